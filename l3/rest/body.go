package rest

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"

	"github.com/l3kit/l3kit/l3"
)

var (
	errTooLarge = &l3.Error{Name: "HTTPRequestEntityTooLarge", Status: http.StatusRequestEntityTooLarge, Message: "Request is too large."}
	errNotJSON  = &l3.Error{Name: "HTTPUnsupportedMediaType", Status: http.StatusUnsupportedMediaType,
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
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, badRequest("The request body is not JSON: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, badRequest("The request body has more after its JSON")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, badRequest("The request body is not a JSON object")
	}
	return object, nil
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
