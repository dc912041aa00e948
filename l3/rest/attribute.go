package rest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/l3kit/l3kit/l3"
)

// use is what can be done with an attribute. One that has none is only shown.
type use uint8

const (
	inPost   use = 1 << iota // may be given when the resource is made
	inPut                    // may be given when it is changed
	needed                   // must be given when it is made
	filtered                 // lists can be filtered by it
	sorted                   // lists can be sorted by it
	guarded                  // callers see it, and can find by it, if the service's policy allows get_RESOURCE:ATTRIBUTE

	given = inPost | inPut
	found = filtered | sorted
)

// attribute is one of a resource R, which callers describe by an S. The tables of attributes are
// all that this package knows about a resource: requests are read, answers written, lists filtered
// and sorted by them, and the OpenAPI document says what they say.
type attribute[R, S any] struct {
	name   string
	uses   use
	schema schema
	takes  schema // in requests; nil: as schema says
	key    string // "name": as JSON
	stored string // the name that l3.Query knows; empty: it is the same for every resource

	write func(b []byte, r *R) []byte // nil: not shown
	when  func(r *R) bool             // whether it is shown; nil: always
	read  func(s *S, v any) error
	// filters are the conditions that the values of a query parameter stand for.
	filters func(values []string) ([]l3.Filter, error)
}

// field is an attribute that is a field of R, given by its name in Go: NetworkID, or Binding.HostID
// for a field of a field. In the API and in [l3.Query] it has the field's name in JSON. One that
// can be given is also a field of S with the same name in Go; a pointer there is nil when it is not
// given. A field that is not there, or is of another type, panics when the table is made.
func field[R, S, Out, In any](path string, c codec[Out, In], uses use) attribute[R, S] {
	from, offset := reflect.TypeFor[R](), uintptr(0)
	var stored []string
	for _, part := range strings.Split(path, ".") {
		f, _ := from.FieldByName(part)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			panic(fmt.Sprintf("%s has no field %s with a name in JSON", reflect.TypeFor[R](), path))
		}
		stored = append(stored, name)
		for _, i := range f.Index {
			offset += from.Field(i).Offset
			from = from.Field(i).Type
		}
	}
	if from != reflect.TypeFor[Out]() {
		panic(fmt.Sprintf("%s of %s is a %s, and is written as a %s", path, reflect.TypeFor[R](), from, reflect.TypeFor[Out]()))
	}
	// Lists of thousands are written by this, and would take three times as long by reflect.Value.
	get := func(r *R) Out { return *(*Out)(unsafe.Add(unsafe.Pointer(r), offset)) }
	name := stored[len(stored)-1]
	a := shown[R, S](name, c, uses, get)
	a.stored = strings.Join(stored, ".")
	if uses&filtered != 0 {
		a = a.parsedBy(c.parse)
	}
	if uses&given == 0 {
		return a
	}
	to, _ := reflect.TypeFor[S]().FieldByName(path[strings.LastIndexByte(path, '.')+1:])
	set := func(s *S, v In) {
		switch p := reflect.ValueOf(s).Elem().FieldByIndex(to.Index).Addr().Interface().(type) {
		case *In:
			*p = v
		case **In:
			*p = &v
		default:
			panic(fmt.Sprintf("%s has no field for %s of %s", reflect.TypeFor[S](), path, reflect.TypeFor[R]()))
		}
	}
	set(new(S), *new(In))
	a.read = reading(c, set)
	return a
}

// custom is an attribute that is no field of R, or none of S. In set is what a spec calls it.
func custom[R, S, Out, In any](name string, c codec[Out, In], uses use, get func(*R) Out, set func(*S, In)) attribute[R, S] {
	a := shown[R, S](name, c, uses, get)
	a.read = reading(c, set)
	return a
}

func reading[S, Out, In any](c codec[Out, In], set func(*S, In)) func(*S, any) error {
	return func(s *S, v any) error {
		in, err := c.read(v)
		if err == nil {
			set(s, in)
		}
		return err
	}
}

// shown is an attribute that is no field with a name in JSON, and cannot be given.
func shown[R, S, Out, In any](name string, c codec[Out, In], uses use, get func(*R) Out) attribute[R, S] {
	a := attribute[R, S]{name: name, uses: uses, schema: c.schema, key: `"` + name + `":`, stored: name}
	a.write = func(b []byte, r *R) []byte { return c.write(b, get(r)) }
	if uses&filtered != 0 {
		return a.as(name, c.parse)
	}
	return a
}

// constant is an attribute that is the same for every resource here: one of an extension that is
// not served, which clients expect. As a sort key it decides nothing.
func constant[R, S, Out any](name string, c codec[Out, Out], text string, v Out) attribute[R, S] {
	a := shown[R, S](name, c, 0, func(*R) Out { return v })
	a.uses, a.stored = found, ""
	return a.by(allOrNone(text))
}

// allOrNone filters by an attribute whose value, in a parameter's text, is the same for every
// resource.
func allOrNone(text string) func(values []string) ([]l3.Filter, error) {
	return func(values []string) ([]l3.Filter, error) {
		if slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, text) }) {
			return nil, nil
		}
		return []l3.Filter{{Field: "id", Op: l3.In}}, nil // nothing has an ID that is none
	}
}

// notShown is the attribute, which requests may give and answers do not have.
func notShown[R, S any](a attribute[R, S]) attribute[R, S] {
	a.write = nil
	return a
}

// unset is the value of an attribute that is not shown.
func unset[R, Out any](*R) (none Out) { return none }

// sought is a query parameter of lists that is no attribute by itself.
func sought[R, S any](name string, filters func(values []string) ([]l3.Filter, error)) attribute[R, S] {
	return attribute[R, S]{name: name, uses: filtered, schema: schema{"type": "string"}, filters: filters}
}

// named is the attribute under another name than its field's.
func (a attribute[R, S]) named(name string) attribute[R, S] {
	a.name, a.key = name, `"`+name+`":`
	return a
}

// unlessNull is the attribute, for which null says as much as leaving it out.
func (a attribute[R, S]) unlessNull() attribute[R, S] {
	read := a.read
	a.read = func(s *S, v any) error {
		if v == nil {
			return nil
		}
		return read(s, v)
	}
	return a
}

// Why nothing acts on attributes that are accepted and shown.
const (
	firewall  = "security groups are not enforced"
	dhcp      = "there is no DHCP server"
	dns       = "there is no DNS server"
	elsewhere = "whoever plugs the port in can read it"
)

// storedOnly is the attribute, on which nothing acts, for a reason that the OpenAPI document gives.
func (a attribute[R, S]) storedOnly(reason string) attribute[R, S] {
	text := "Stored only: " + reason
	a.schema = a.schema.described(text)
	if a.takes != nil {
		a.takes = a.takes.described(text)
	}
	return a
}

// as is the attribute, found by another name than its own.
func (a attribute[R, S]) as(stored string, parse func(string) (any, error)) attribute[R, S] {
	a.stored = stored
	a.filters = func(values []string) ([]l3.Filter, error) {
		f, err := oneOf(stored, values, parse)
		return []l3.Filter{f}, err
	}
	return a
}

// parsedBy is the attribute, of which a filter's text is read in another way.
func (a attribute[R, S]) parsedBy(parse func(string) (any, error)) attribute[R, S] {
	return a.as(a.stored, parse)
}

// by is the attribute, filtered in another way than by its value.
func (a attribute[R, S]) by(filters func(values []string) ([]l3.Filter, error)) attribute[R, S] {
	a.uses |= filtered
	a.filters = filters
	return a
}

// taking is the attribute, of which requests may give more than what is shown.
func (a attribute[R, S]) taking(s schema) attribute[R, S] {
	a.takes = s
	return a
}

// emptiedByNull is the attribute, a list, for which requests may give null: an empty one.
func (a attribute[R, S]) emptiedByNull() attribute[R, S] { return a.orNull([]any{}) }

// orNull is the attribute, for which requests may give null instead of a value.
func (a attribute[R, S]) orNull(value any) attribute[R, S] {
	read := a.read
	a.read = func(s *S, v any) error {
		if v == nil {
			v = value
		}
		return read(s, v)
	}
	return a.taking(a.schema.asGiven().nullable())
}

// only is the attribute, shown where a condition holds.
func (a attribute[R, S]) only(when func(*R) bool) attribute[R, S] {
	a.when = when
	return a
}

// oneOf asks for an attribute that has one of some values.
func oneOf(stored string, values []string, parse func(string) (any, error)) (l3.Filter, error) {
	f := l3.Filter{Field: stored, Op: l3.In}
	for _, s := range values {
		v, err := parse(s)
		if err != nil {
			return f, err
		}
		f.Values = append(f.Values, v)
	}
	return f, nil
}

// table is the attributes of a resource.
type table[R, S any] []attribute[R, S]

// sight reports whether a caller may see the guarded attribute with a name.
type sight func(attribute string) bool

// everything is the sight of whoever is not restricted.
func everything(string) bool { return true }

// sightOf returns what the service's policy lets a caller see of the resources with a name.
func (a *api) sightOf(who l3.Caller, resource string) sight {
	return func(attribute string) bool { return a.service.Allows(who, "get_"+resource+":"+attribute, 0) }
}

// shows reports whether a caller with a sight sees the attribute.
func (a *attribute[R, S]) shows(sees sight) bool { return a.uses&guarded == 0 || sees(a.name) }

// seen returns the attributes that a caller sees of a resource, of those with the given names, or
// of all.
func (t table[R, S]) seen(sees sight, names []string) table[R, S] {
	out := make(table[R, S], 0, len(t))
	for _, a := range t {
		if a.write != nil && (len(names) == 0 || slices.Contains(names, a.name)) && a.shows(sees) {
			out = append(out, a)
		}
	}
	return out
}

// write appends a resource as a JSON object.
func (t table[R, S]) write(b []byte, r *R) []byte {
	b = append(b, '{')
	first := true
	for i := range t {
		a := &t[i]
		if a.when != nil && !a.when(r) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = a.write(append(b, a.key...), r)
	}
	return append(b, '}')
}

// read makes a spec of a JSON object in a request that makes (inPost) or changes (inPut) a
// resource. Errors are ones of fault, with what is wrong with the value of an attribute under the
// attribute's name.
func (t table[R, S]) read(object map[string]any, in use) (S, error) {
	var s S
	if err := t.unknown(object); err != nil {
		return s, err
	}
	for i := range t {
		a := &t[i]
		v, ok := object[a.name]
		switch {
		case ok && a.uses&in == 0 && in == inPost:
			return s, badRequest("Attribute '%s' not allowed in POST", a.name)
		case ok && a.uses&in == 0:
			return s, badRequest("Cannot update read-only attribute %s", a.name)
		case ok:
			if err := a.read(&s, v); err != nil {
				return s, unreadable(a.name, err)
			}
		case in == inPost && a.uses&needed != 0:
			return s, badRequest("Failed to parse request. Required attribute '%s' not specified", a.name)
		}
	}
	return s, nil
}

func (t table[R, S]) unknown(object map[string]any) error {
	var names []string
	for name := range object {
		if !slices.ContainsFunc(t, func(a attribute[R, S]) bool { return a.name == name && (a.write != nil || a.read != nil) }) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return badRequest("Unrecognized attribute(s) '%s'", show(strings.Join(names, ", ")))
}

// record is a codec of JSON objects with the attributes of a table.
func record[Out, In any](t table[Out, In]) codec[Out, In] {
	written := t.seen(everything, nil)
	return codec[Out, In]{
		schema: t.schema(0),
		write:  func(b []byte, v Out) []byte { return written.write(b, &v) },
		read: func(v any) (In, error) {
			object, ok := v.(map[string]any)
			if !ok {
				var none In
				return none, fmt.Errorf("'%s' is not a dictionary", show(v))
			}
			in, err := t.read(object, inPost)
			return in, reason(err)
		},
	}
}

// list is a codec of JSON lists. Null is none; see [attribute.emptiedByNull]. Filters look for an
// element.
func list[Out, In any](c codec[Out, In]) codec[[]Out, []In] {
	return codec[[]Out, []In]{
		schema: schema{"type": "array", "items": c.schema},
		write: func(b []byte, v []Out) []byte {
			b = append(b, '[')
			for i, e := range v {
				if i > 0 {
					b = append(b, ',')
				}
				b = c.write(b, e)
			}
			return append(b, ']')
		},
		read: func(v any) ([]In, error) {
			elements, ok := v.([]any)
			if !ok {
				return nil, fmt.Errorf("'%s' is not a list", show(v))
			}
			out := make([]In, 0, len(elements))
			for _, e := range elements {
				in, err := c.read(e)
				if err != nil {
					return nil, err
				}
				out = append(out, in)
			}
			return out, nil
		},
		parse: c.parse,
	}
}

// schema describes the objects of a table: those of an answer, or those of a request.
func (t table[R, S]) schema(in use) schema {
	properties := schema{}
	var must []string
	for _, a := range t {
		if in == 0 && a.write == nil || in != 0 && a.uses&in == 0 {
			continue
		}
		properties[a.name] = a.schema
		switch {
		case in == 0:
		case a.takes != nil:
			properties[a.name] = a.takes
		default:
			properties[a.name] = a.schema.asGiven()
		}
		if in == inPost && a.uses&needed != 0 {
			must = append(must, a.name)
		}
	}
	s := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if must != nil {
		s["required"] = must
	}
	return s
}

// schema is one of OpenAPI 3.0.
type schema map[string]any

func (s schema) described(text string) schema {
	out := maps.Clone(s)
	out["description"] = text
	return out
}

func (s schema) nullable() schema {
	out := maps.Clone(s)
	out["nullable"] = true
	return out
}

// asGiven is the schema of a value in a request, where a number may be a string, and a boolean may
// be one or a number.
func (s schema) asGiven() schema {
	out := maps.Clone(s)
	switch s["type"] {
	case "integer":
		return out.or("string")
	case "boolean":
		return out.or("string", "integer")
	case "array":
		if items, ok := s["items"].(schema); ok {
			out["items"] = items.asGiven()
		}
	case "object":
		if properties, ok := s["properties"].(schema); ok {
			given := schema{}
			for name, p := range properties {
				if inner, ok := p.(schema); ok {
					given[name] = inner.asGiven()
				}
			}
			out["properties"] = given
		}
	}
	return out
}

// or lets a value be of other types too.
func (s schema) or(types ...string) schema {
	all := []schema{s}
	for _, t := range types {
		other := schema{"type": t}
		if s["nullable"] == true {
			other["nullable"] = true
		}
		all = append(all, other)
	}
	out := schema{"anyOf": all}
	if s["nullable"] == true {
		out["nullable"] = true
	}
	if text, ok := s["description"]; ok {
		out["description"] = text // of the attribute, whatever the type of its value
	}
	return out
}
