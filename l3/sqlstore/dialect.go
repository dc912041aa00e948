package sqlstore

import (
	"encoding/json"
	"strings"
)

// dialect is how the two databases say the same in different words. What comes from documents is a
// string, an integer or a boolean of the database.
type dialect interface {
	// scalar is the value at a path of from, which is an expression for a document or for an
	// element of a list. If there is none it is null, but for strings, of which it is the empty
	// one. Strings are equal if their bytes are, and ordered by them. An index has to be on the
	// same expression.
	scalar(from string, path []string, k kind) string
	// elements is a table, and the beginning of a condition, with a row for each element of the
	// list at a path; none if there is no list.
	elements(from string, path []string, as string) string
	// element is the expression for one of them, for scalar and elements.
	element(as string) string
	// anyOf says that a value is in a list, which is one parameter; list makes the parameter.
	anyOf(value, parameter string, k kind) string
	list(values []any, k kind) any
	// contains says that a string has another within it. Neither ignores the case of letters.
	contains(value, parameter string) string
	// sortable is the value with another for null, which is less than all that there are.
	sortable(value string, k kind) string
}

// sqliteDialect is SQLite's words.
type sqliteDialect struct{}

func (sqliteDialect) scalar(from string, path []string, k kind) string {
	value := from
	if len(path) > 0 {
		value = from + " ->> '" + jsonPath(path) + "'"
	}
	if k == text {
		return "COALESCE(" + value + ", '')"
	}
	return "(" + value + ")"
}

func (sqliteDialect) elements(from string, path []string, as string) string {
	// The key is null when there is no list but null.
	return "json_each(" + from + ", '" + jsonPath(path) + "') AS " + as + " WHERE " + as + ".key IS NOT NULL"
}

func (sqliteDialect) element(as string) string { return as + ".value" }

func (sqliteDialect) anyOf(value, parameter string, _ kind) string {
	return value + " IN (SELECT value FROM json_each(" + parameter + "))"
}

func (sqliteDialect) list(values []any, _ kind) any {
	doc, _ := json.Marshal(values) // strings, integers and booleans can be written
	return string(doc)
}

func (sqliteDialect) contains(value, parameter string) string {
	return "instr(" + value + ", " + parameter + ") > 0"
}

func (sqliteDialect) sortable(value string, k kind) string {
	if k == text {
		return value
	}
	return "COALESCE(" + value + ", -9223372036854775808)"
}

// jsonPath is a path in the words of SQLite. The names are those of Go types' tags, which have no
// quotes.
func jsonPath(path []string) string { return `$."` + strings.Join(path, `"."`) + `"` }

// postgresDialect is PostgreSQL's words.
type postgresDialect struct{}

func (postgresDialect) scalar(from string, path []string, k kind) string {
	value := from + " #>> '{}'"
	if n := len(path); n > 0 {
		value = from + jsonSteps(path[:n-1]) + " ->> '" + path[n-1] + "'"
	}
	switch k {
	case number:
		return "((" + value + ")::bigint)"
	case boolean:
		return "((" + value + ")::boolean)"
	}
	return "(COALESCE(" + value + `, '') COLLATE "C")`
}

func (postgresDialect) elements(from string, path []string, as string) string {
	list := from + jsonSteps(path)
	return "json_array_elements(CASE json_typeof(" + list + ") WHEN 'array' THEN " + list + " ELSE '[]' END) AS " + as + "(value) WHERE 1 = 1"
}

func (postgresDialect) element(as string) string { return as + ".value" }

func (postgresDialect) anyOf(value, parameter string, k kind) string {
	types := map[kind]string{text: "text", number: "bigint", boolean: "boolean"}
	return value + " = ANY(" + parameter + "::" + types[k] + "[])"
}

func (postgresDialect) list(values []any, k kind) any {
	switch k {
	case number:
		return listOf[int64](values)
	case boolean:
		return listOf[bool](values)
	}
	return listOf[string](values)
}

func listOf[T any](values []any) []T {
	list := make([]T, len(values))
	for i, v := range values {
		list[i] = v.(T)
	}
	return list
}

func (postgresDialect) contains(value, parameter string) string {
	return "strpos(" + value + ", " + parameter + ") > 0"
}

func (postgresDialect) sortable(value string, k kind) string {
	switch k {
	case number:
		return "COALESCE(" + value + ", '-9223372036854775808'::bigint)"
	case boolean:
		return "COALESCE(" + value + "::int, -1)"
	}
	return value
}

// jsonSteps is a path in the words of PostgreSQL. The names are those of Go types' tags, which have
// no quotes.
func jsonSteps(path []string) string {
	steps := ""
	for _, name := range path {
		steps += " -> '" + name + "'"
	}
	return steps
}
