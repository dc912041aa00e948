package sqlstore

import "strconv"

// dialect is how the two databases say the same in different words. What comes from documents is a string, an integer or a boolean of the database.
type dialect interface {
	// scalar is the value at a path of from, which is an expression for a document or for an element of a list. If there is none it is null, but for
	// strings, of which it is the empty one. Strings are equal if their bytes are, and ordered by them. An index has to be on the same expression.
	scalar(from string, path []string, k kind) string
	// elements is a table, and the beginning of a condition, with a row for each element of the list at a path; none if there is no list.
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

// parameters collects the arguments of a query.
type parameters struct{ args []any }

// add returns the parameter's name.
func (p *parameters) add(v any) string {
	p.args = append(p.args, v)
	return "$" + strconv.Itoa(len(p.args))
}
