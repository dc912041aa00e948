package sqlstore

import (
	"slices"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// builder makes a query for one table.
type builder struct {
	parameters
	dialect    dialect
	attributes map[string]attribute
	elements   int // names given to elements of lists
}

// id is the attribute that is a column too.
const id = "id"

// value is the expression for an attribute that is not in a list, or that is a list of plain
// values: for that, its JSON.
func (b *builder) value(field string) (string, attribute, error) {
	if field == id {
		return "id", attribute{}, nil
	}
	a, ok := b.attributes[field]
	switch {
	case ok && len(a.lists) == 1 && len(a.path) == 0:
		a = attribute{path: a.lists[0], kind: text}
	case !ok || len(a.lists) > 0:
		return "", a, refuse("'%s' is not an attribute to sort by", field)
	}
	return b.dialect.scalar("doc", a.path, a.kind), a, nil
}

// where is the condition that all filters hold, and one of scope if there are any. It is empty if
// that is always so, and never null.
func (b *builder) where(filters, scope []l3.Filter) (string, error) {
	var terms []string
	for _, f := range filters {
		term, err := b.filter(f)
		if err != nil {
			return "", err
		}
		terms = append(terms, term)
	}
	if len(scope) > 0 {
		var either []string
		for _, f := range scope {
			term, err := b.filter(f)
			if err != nil {
				return "", err
			}
			either = append(either, term)
		}
		terms = append(terms, "("+strings.Join(either, " OR ")+")")
	}
	return strings.Join(terms, " AND "), nil
}

// filter is the condition that one holds.
func (b *builder) filter(f l3.Filter) (string, error) {
	switch {
	case f.Op == l3.Either && len(f.Of) == 0:
		return "1 = 0", nil
	case f.Op == l3.Every && len(f.Of) == 0:
		return "1 = 1", nil
	case f.Op == l3.Either:
		return b.where(nil, f.Of)
	case f.Op == l3.Every:
		term, err := b.where(f.Of, nil)
		return "(" + term + ")", err
	}
	a, ok := b.attributes[f.Field]
	if !ok {
		return "", refuse("'%s' is not an attribute to filter by", f.Field)
	}
	switch f.Op {
	case l3.In, l3.Contains, l3.NotIn, l3.NotContains:
		vs, err := valuesOf(f.Field, a.kind, f.Values)
		if err != nil {
			return "", err
		}
		contains := f.Op == l3.Contains || f.Op == l3.NotContains
		if contains && a.kind != text {
			return "", refuse("'%s' is not a string, which could contain another", f.Field)
		}
		term := b.some(f.Field, a, vs, contains)
		if f.Op == l3.NotIn || f.Op == l3.NotContains {
			term = "(" + term + ") IS NOT TRUE"
		}
		return term, nil
	case l3.NotBefore, l3.Before:
		vs, err := valuesOf(f.Field, a.kind, f.Values)
		if err != nil {
			return "", err
		}
		if a.kind != text || len(a.lists) > 0 || len(vs.list) != 1 || len(f.Values) != 1 {
			return "", refuse("'%s' cannot be compared so", f.Field)
		}
		op := " >= "
		if f.Op == l3.Before {
			op = " < "
		}
		return b.dialect.scalar("doc", a.path, a.kind) + op + b.add(vs.list[0]), nil
	case l3.All, l3.NotAll:
		terms := []string{"1 = 1"}
		for _, v := range f.Values {
			vs, err := valuesOf(f.Field, a.kind, []any{v})
			if err != nil {
				return "", err
			}
			terms = append(terms, b.some(f.Field, a, vs, false))
		}
		term := "(" + strings.Join(terms, " AND ") + ")"
		if f.Op == l3.NotAll {
			term += " IS NOT TRUE"
		}
		return term, nil
	}
	return "", refuse("filter of '%s': no such comparison: %d", f.Field, f.Op)
}

// some is the condition that the attribute, or an element of it, is one of the values, or contains
// one.
func (b *builder) some(field string, a attribute, vs values, contains bool) string {
	from, open, closing := "doc", "", ""
	for _, list := range a.lists {
		b.elements++
		as := "e" + strconv.Itoa(b.elements)
		open += "EXISTS (SELECT 1 FROM " + b.dialect.elements(from, list, as) + " AND "
		closing += ")"
		from = b.dialect.element(as)
	}
	value := "id"
	if field != id {
		value = b.dialect.scalar(from, a.path, a.kind)
	}
	return open + b.one(value, a.kind, vs, contains) + closing
}

// one is the same for one value.
func (b *builder) one(value string, k kind, vs values, contains bool) string {
	var terms []string
	switch {
	case contains && vs.empty:
		return "1 = 1"
	case contains:
		for _, v := range vs.list {
			terms = append(terms, b.dialect.contains(value, b.add(v)))
		}
	case len(vs.list) == 1:
		terms = append(terms, value+" = "+b.add(vs.list[0]))
	case len(vs.list) > 1:
		terms = append(terms, b.dialect.anyOf(value, b.add(b.dialect.list(vs.list, k)), k))
	}
	if vs.empty {
		nothing := " IS NULL"
		if k == text {
			nothing = " = ''"
		}
		terms = append(terms, value+nothing)
	}
	if len(terms) == 0 {
		return "1 = 0"
	}
	return "(" + strings.Join(terms, " OR ") + ")"
}

// key is what rows are ordered by.
type key struct {
	value string
	desc  bool
}

// keys are those of the query, and the ID last, in the direction of the one before it, so that an
// index can have both.
func (b *builder) keys(q l3.Query) ([]key, error) {
	var keys []key
	byID := false
	for _, s := range q.Sort {
		value, a, err := b.value(s.Field)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key{b.dialect.sortable(value, a.kind), s.Desc})
		if byID = s.Field == id; byID {
			break // it leaves nothing equal
		}
	}
	if !byID {
		keys = append(keys, key{"id", len(keys) > 0 && keys[len(keys)-1].desc})
	}
	if q.Reverse {
		for i := range keys {
			keys[i].desc = !keys[i].desc
		}
	}
	return keys, nil
}

// after is the condition that a row comes behind the one whose keys have the values at.
func (b *builder) after(keys []key, at []any) string {
	if !slices.ContainsFunc(keys, func(k key) bool { return k.desc != keys[0].desc }) {
		return b.afterAll(keys, at)
	}
	term := ""
	for i, k := range slices.Backward(keys) {
		p := b.add(at[i])
		op := " > "
		if k.desc {
			op = " < "
		}
		if term == "" {
			term = k.value + op + p
		} else {
			term = "(" + k.value + op + p + " OR " + k.value + " = " + p + " AND " + term + ")"
		}
	}
	return term
}

// afterAll is the same for keys of one direction, in the words that the databases find an index
// for.
func (b *builder) afterAll(keys []key, at []any) string {
	var values, parameters []string
	for i, k := range keys {
		values = append(values, k.value)
		parameters = append(parameters, b.add(at[i]))
	}
	op := " > "
	if keys[0].desc {
		op = " < "
	}
	return "(" + strings.Join(values, ", ") + ")" + op + "(" + strings.Join(parameters, ", ") + ")"
}

func orderBy(keys []key) string {
	terms := make([]string, len(keys))
	for i, k := range keys {
		terms[i] = k.value
		if k.desc {
			terms[i] += " DESC"
		}
	}
	return " ORDER BY " + strings.Join(terms, ", ")
}

// parameters collects the arguments of a query.
type parameters struct{ args []any }

// add returns the parameter's name.
func (p *parameters) add(v any) string {
	p.args = append(p.args, v)
	return "$" + strconv.Itoa(len(p.args))
}
