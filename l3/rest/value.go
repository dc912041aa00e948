package rest

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// codec is a type of values: how they are written as JSON, read from JSON and from the value of a
// filter, and described in OpenAPI. Resources hold Out, specs take In, which mostly are the same.
type codec[Out, In any] struct {
	schema schema
	write  func(b []byte, v Out) []byte
	read   func(v any) (In, error)        // v is as encoding/json decodes it, with numbers as json.Number; the error says what is wrong with it
	parse  func(text string) (any, error) // for a filter: a string, bool or int, as the store compares them; nil: nothing can be found by it
}

// value is a codec whose values are read and written alike.
type value[T any] = codec[T, T]

// longest is as much text as names, and whatever else has no limit of its own, may have:
// characters.
const longest = 255

var (
	label    = text(longest)
	boolean  = value[bool]{schema{"type": "boolean"}, strconv.AppendBool, readBool, parsed(readBool)}
	anyUUID  = value[string]{schema{"type": "string", "format": "uuid"}, appendString, readUUID, asWritten}
	uuidOrNo = orNull(anyUUID)
	textOrNo = orNull(label)
	address  = value[netip.Addr]{schema{"type": "string"}, appendAddr, readAddr, canonical(readAddr)}
	addrOrNo = orNull(address)
	cidr     = value[netip.Prefix]{schema{"type": "string"}, appendPrefix, readCIDR, canonical(readCIDR)}
	mac      = value[dataplane.MAC]{schema{"type": "string"}, appendMAC, readMAC, canonical(readMAC)}
	jsonDict = value[json.RawMessage]{schema{"type": "object"}, appendObject, readObject, nil}
	texts    = list(label)
	status   = word[l3.Status](label)
	stamp    = value[time.Time]{schema{"type": "string", "format": "date-time"}, appendTime, nil, func(s string) (any, error) { return parseTime(s) }}
)

// text is a string of at most so many characters.
func text(limit int) value[string] {
	read := func(v any) (string, error) {
		s, ok := v.(string)
		switch {
		case !ok:
			return "", fmt.Errorf("'%s' is not a valid string", show(v))
		case utf8.RuneCountInString(s) > limit:
			return "", fmt.Errorf("'%s' exceeds maximum length of %d", show(v), limit)
		case strings.ContainsRune(s, 0): // which PostgreSQL cannot keep
			return "", fmt.Errorf("%q has a character that text cannot have", s)
		}
		return s, nil
	}
	return value[string]{schema{"type": "string", "maxLength": limit}, appendString, read, asWritten}
}

// integer is a whole number from first to last. In requests it may be a string.
func integer(first, last int) value[int] {
	read := func(v any) (int, error) {
		var digits string
		switch v := v.(type) {
		case json.Number:
			digits = v.String()
		case string:
			digits = v
		}
		n, err := strconv.Atoi(digits)
		if err != nil {
			return 0, fmt.Errorf("'%s' is not an integer", show(v))
		}
		switch {
		case n < first:
			return 0, fmt.Errorf("'%s' is too small - must be at least '%d'", show(v), first)
		case n > last:
			return 0, fmt.Errorf("'%s' is too large - must be no larger than '%d'", show(v), last)
		}
		return n, nil
	}
	write := func(b []byte, v int) []byte { return strconv.AppendInt(b, int64(v), 10) }
	return value[int]{schema{"type": "integer"}, write, read, parsed(read)}
}

// choice is one of several words.
func choice(words ...string) value[string] {
	read := func(v any) (string, error) {
		s, ok := v.(string)
		if !ok || !slices.Contains(words, s) {
			return "", fmt.Errorf("'%s' is not in ['%s']", show(v), strings.Join(words, "', '"))
		}
		return s, nil
	}
	return value[string]{schema{"type": "string", "enum": words}, appendString, read, asWritten}
}

// orNull lets the zero value be null.
func orNull[T comparable](c value[T]) value[T] {
	var zero T
	return value[T]{
		schema: c.schema.nullable(),
		write: func(b []byte, v T) []byte {
			if v == zero {
				return append(b, "null"...)
			}
			return c.write(b, v)
		},
		read: func(v any) (T, error) {
			if v == nil {
				return zero, nil
			}
			return c.read(v)
		},
		parse: func(s string) (any, error) {
			if s == "" {
				return "", nil
			}
			return c.parse(s)
		},
	}
}

// orNil is a value that may be null: a nil pointer.
func orNil[Out, In any](c codec[Out, In]) codec[*Out, *In] {
	return codec[*Out, *In]{
		schema: c.schema.nullable(),
		write: func(b []byte, v *Out) []byte {
			if v == nil {
				return append(b, "null"...)
			}
			return c.write(b, *v)
		},
		read: func(v any) (*In, error) {
			if v == nil {
				return nil, nil
			}
			in, err := c.read(v)
			return &in, err
		},
		parse: func(s string) (any, error) {
			if s == "" {
				return "", nil
			}
			return c.parse(s)
		},
	}
}

// word is a text that has a type of its own.
func word[T ~string](c value[string]) value[T] {
	return value[T]{
		schema: c.schema,
		write:  func(b []byte, v T) []byte { return c.write(b, string(v)) },
		read: func(v any) (T, error) {
			s, err := c.read(v)
			return T(s), err
		},
		parse: c.parse,
	}
}

// readBool takes what Neutron takes: true, "true", "True", 1, "1".
func readBool(v any) (bool, error) {
	var word string
	switch v := v.(type) {
	case bool:
		return v, nil
	case json.Number:
		word = v.String()
	case string:
		word = strings.ToLower(v)
	}
	switch word {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("'%s' cannot be converted to boolean", show(v))
}

func readUUID(v any) (string, error) {
	if s, ok := v.(string); ok && len(s) == len(uuid.UUID{}.String()) {
		if id, err := uuid.Parse(s); err == nil {
			return id.String(), nil
		}
	}
	return "", fmt.Errorf("'%s' is not a valid UUID", show(v))
}

func readAddr(v any) (netip.Addr, error) {
	s, _ := v.(string)
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("'%s' is not a valid IP address", show(v))
	}
	return a, nil
}

func readCIDR(v any) (netip.Prefix, error) {
	s, _ := v.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("'%s' is not a valid IP subnet", show(v))
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("'%s' isn't a recognized IP subnet cidr, '%s' is recommended", show(v), p.Masked())
	}
	return p, nil
}

func readMAC(v any) (dataplane.MAC, error) {
	s, _ := v.(string)
	m, err := dataplane.ParseMAC(s)
	if err != nil || m == (dataplane.MAC{}) {
		return m, fmt.Errorf("'%s' is not a valid MAC address", show(v))
	}
	return m, nil
}

func readObject(v any) (json.RawMessage, error) {
	if v == nil {
		return json.RawMessage("{}"), nil
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, fmt.Errorf("'%s' is not a dictionary", show(v))
	}
	raw, err := json.Marshal(v)
	if err == nil && strings.Contains(string(raw), `\u0000`) { // which PostgreSQL cannot keep
		return nil, fmt.Errorf("'%s' has a character that text cannot have", show(v))
	}
	return raw, err
}

// show is a value as a message quotes it: not more of it than helps.
func show(v any) string {
	if v == nil {
		return "None"
	}
	var s string
	switch v.(type) {
	case []any, map[string]any: // as the client wrote it, and not as Go does
		b, _ := json.Marshal(v) // fails for nothing that was read from JSON
		s = string(b)
	default:
		s = fmt.Sprint(v)
	}
	if utf8.RuneCountInString(s) > longest {
		s = string([]rune(s)[:longest]) + "…"
	}
	return s
}

// asWritten takes a filter's text as it is.
func asWritten(s string) (any, error) { return s, nil }

// parsed reads a filter's text as a body's string is read.
func parsed[T any](read func(any) (T, error)) func(string) (any, error) {
	return func(s string) (any, error) { return read(s) }
}

// orNothing reads a filter's text; what cannot be a value finds nothing.
func orNothing(parse func(string) (any, error)) func(string) (any, error) {
	return func(s string) (any, error) {
		if v, err := parse(s); err == nil {
			return v, nil
		}
		return s, nil
	}
}

// canonical reads a filter's text as a body's string is read, and gives it in the form that is
// stored.
func canonical[T fmt.Stringer](read func(any) (T, error)) func(string) (any, error) {
	return func(s string) (any, error) {
		v, err := read(s)
		if err != nil {
			return nil, err
		}
		return v.String(), nil
	}
}

// appendString appends a JSON string. Nearly every string needs no escapes; for others
// encoding/json knows the rules.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // fails for no string
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendAddr(b []byte, a netip.Addr) []byte {
	return append(a.AppendTo(append(b, '"')), '"')
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	return append(p.AppendTo(append(b, '"')), '"')
}

func appendMAC(b []byte, m dataplane.MAC) []byte { return appendString(b, m.String()) }

func appendObject(b []byte, raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return append(b, "{}"...)
	}
	return append(b, raw...)
}

func appendTime(b []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(append(b, '"'), time.RFC3339), '"')
}
