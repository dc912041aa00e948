package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/l3kit/l3kit/l3"
)

var (
	errTooLarge = &l3.Error{Kind: errSize, Name: "HTTPRequestEntityTooLarge", Message: "Request is too large."}
	errNotJSON  = &l3.Error{Kind: errMediaType, Name: "HTTPUnsupportedMediaType",
		Message: "The body must be application/json."}
)

// readBody reads a request's body, which must be one JSON object, and be declared to be one: a web
// page of another site can send a body without a type, or with that of a form, but not as JSON.
// Numbers are left as they were written, so that none loses its digits.
func readBody(r *http.Request) (map[string]any, error) {
	media, _, typeErr := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Header.Get("Content-Type") != "" && (typeErr != nil || media != "application/json") {
		return nil, errNotJSON
	}
	raw, err := io.ReadAll(r.Body) // from memory; see receive
	switch {
	case err != nil:
		return nil, err
	case len(bytes.TrimSpace(raw)) == 0:
		return nil, badRequest("Resource body required")
	case media == "":
		return nil, errNotJSON
	}
	return parseBody(raw)
}

func parseBody(raw []byte) (map[string]any, error) {
	if at := notUTF8(raw); at >= 0 {
		return nil, badRequest("The request body is not UTF-8: byte %d", at+1)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, notJSON(raw, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, badRequest("The request body has more after its JSON")
	}
	if at := loneSurrogate(raw); at >= 0 {
		return nil, badRequest("The request body has half of a surrogate pair, which is no character: byte %d", at+1)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, badRequest("The request body is not a JSON object")
	}
	return object, nil
}

// notJSON refuses a body that cannot be decoded, and says where.
func notJSON(raw []byte, err error) error {
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return badRequest("The request body is not JSON: byte %d", syntax.Offset)
	}
	return badRequest("The request body is not JSON: it ends too early, after byte %d", len(raw))
}

// notUTF8 returns where a text first is not UTF-8, or -1. Decoders replace what is not.
func notUTF8(raw []byte) int {
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// loneSurrogate returns where JSON first escapes half of a surrogate pair without the other half,
// or -1. Decoders replace it.
func loneSurrogate(raw []byte) int {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		r := escaped(raw[i:])
		switch {
		case !utf16.IsSurrogate(r):
			i++ // what is escaped, which may be a backslash
		case utf16.DecodeRune(r, escaped(raw[i+len(`\ud800`):])) == utf8.RuneError:
			return i
		default:
			i += len(`\ud800\udc00`) - 1
		}
	}
	return -1
}

// escaped returns the code unit that JSON begins with as an escape such as \u00e9, or -1.
func escaped(raw []byte) rune {
	if len(raw) < len(`\u00e9`) || raw[0] != '\\' || raw[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(unit)
}

// member is the object that a body has under a name.
func member(body map[string]any, name string) (map[string]any, error) {
	v := body[name]
	if v == nil {
		return nil, badRequest("Unable to find '%s' in request body", name)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, notAnObject(name)
	}
	return object, nil
}

func notAnObject(name string) error {
	return badRequest("Object '%s' contains invalid data", name)
}
