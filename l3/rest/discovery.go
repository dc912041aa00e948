package rest

import (
	"net/http"

	"github.com/l3kit/l3kit/l3"
)

// discovery registers what says what else there is.
func (a *api) discovery() {
	a.handle("GET /{$}", operation{summary: "List the versions of the API", open: true, status: http.StatusOK,
		answers: envelopeOf("versions", schema{"type": "array", "items": schema{"type": "object"}}),
		run: func(r *http.Request, _ l3.Caller) ([]byte, error) {
			return marshal(schema{"versions": []schema{{
				"id": "v2.0", "status": "CURRENT", "links": []link{{Rel: "self", Href: a.root(r) + "/v2.0/"}},
			}}}), nil
		}})

	resources := operation{summary: "List the kinds of resources", status: http.StatusOK,
		answers: envelopeOf("resources", schema{"type": "array", "items": schema{"type": "object"}}),
		run: func(r *http.Request, _ l3.Caller) ([]byte, error) {
			list := make([]schema, len(a.resources))
			for i, k := range a.resources {
				list[i] = schema{"name": k.one, "collection": k.many, "links": []link{{Rel: "self", Href: a.root(r) + "/v2.0/" + k.path}}}
			}
			return marshal(schema{"resources": list}), nil
		}}
	a.handle("GET /v2.0", resources)
	a.handle("GET /v2.0/{$}", resources)

	var document []byte
	a.handle("GET /openapi.json", operation{summary: "This document", open: true, status: http.StatusOK, answers: schema{"type": "object"},
		run: func(*http.Request, l3.Caller) ([]byte, error) { return document, nil }})
	document = marshal(a.openAPI())
}
