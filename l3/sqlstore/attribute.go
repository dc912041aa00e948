package sqlstore

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// attribute is a place in a document that can be asked for.
type attribute struct {
	lists [][]string // paths of the lists on the way, the first from the document, the next from an element of the one before
	path  []string   // from there; none: the element itself
	kind  kind
}

// kind is what the value of an attribute is.
type kind int

const (
	text kind = iota // whatever JSON writes as a string: times and addresses too
	number
	boolean
)

// attributesOf finds what can be asked for in the documents of a type, by its JSON tags: every
// value of a struct, and of the elements of a list. A struct that writes JSON itself is asked for
// as that JSON; raw JSON cannot be asked for.
func attributesOf(t reflect.Type) map[string]attribute {
	found := map[string]attribute{}
	explore(t, attribute{}, nil, found)
	return found
}

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
)

// explore adds what a value of type t holds, which is at the place at and has the name that
// consists of names.
func explore(t reflect.Type, at attribute, names []string, found map[string]attribute) {
	switch {
	case t.Implements(textMarshaler) || t.Kind() == reflect.String || t.Kind() == reflect.Struct && t.Implements(jsonMarshaler):
		at.kind = text
	case t.Kind() == reflect.Bool:
		at.kind = boolean
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		at.kind = number
	case t.Kind() == reflect.Pointer:
		explore(t.Elem(), at, names, found)
		return
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		at.lists = append(slices.Clone(at.lists), at.path)
		at.path = nil
		explore(t.Elem(), at, names, found)
		return
	case t.Kind() == reflect.Struct:
		for field := range t.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			switch {
			case field.Anonymous && name == "":
				explore(field.Type, at, names, found)
			case field.IsExported() && name != "-" && name != "":
				inner := at
				inner.path = append(slices.Clone(at.path), name)
				explore(field.Type, inner, append(slices.Clone(names), name), found)
			}
		}
		return
	default:
		return
	}
	found[strings.Join(names, ".")] = at
}

// values are those of a filter, as the database compares them. The empty string is no value of its
// own: it is what an absent one counts as.
type values struct {
	list  []any // all of them string, int64 or bool, as the attribute's kind says
	empty bool  // the empty string is among them
}

// valuesOf checks and converts. A string that cannot be in a document is left out: nothing is equal
// to it, and nothing contains it.
func valuesOf(field string, k kind, given []any) (values, error) {
	var vs values
	for _, v := range given {
		if s, ok := textOf(v); ok && (k == text || s == "") {
			if s == "" {
				vs.empty = true
			} else if storable(s) {
				vs.list = append(vs.list, s)
			}
			continue
		}
		r := reflect.ValueOf(v)
		switch {
		case k == boolean && r.Kind() == reflect.Bool:
			vs.list = append(vs.list, r.Bool())
		case k == number && r.CanInt():
			vs.list = append(vs.list, r.Int())
		case k == number && r.CanUint():
			vs.list = append(vs.list, int64(r.Uint()))
		default:
			return values{}, refuse("'%v' is not a value of '%s'", v, field)
		}
	}
	return vs, nil
}

// textOf is a value that JSON writes as a string.
func textOf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case time.Time:
		return v.Format(time.RFC3339Nano), true
	case encoding.TextMarshaler:
		b, err := v.MarshalText()
		return string(b), err == nil
	}
	r := reflect.ValueOf(v)
	if r.Kind() == reflect.String {
		return r.String(), true
	}
	return "", false
}

// refuse is an error about what a caller has asked for.
func refuse(format string, args ...any) error {
	return l3.Refuse(l3.ErrInvalid, "InvalidInput", format, args...)
}
