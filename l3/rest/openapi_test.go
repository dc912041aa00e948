package rest_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/rest"
)

// held holds requests and answers to the OpenAPI document: what the handler answers with success
// must have been a request that the document allows, and every answer must be as it says.
type held struct {
	t      *testing.T
	next   http.Handler
	router routers.Router
}

func holdToOpenAPI(t *testing.T, h http.Handler) *held {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	document, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	require.NoError(t, err)
	require.NoError(t, document.Validate(context.Background()))
	router, err := legacy.NewRouter(document)
	require.NoError(t, err)
	return &held{t, h, router}
}

func (h *held) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	h.next.ServeHTTP(answer, r)
	if why := h.check(r, body, answer); why != nil {
		h.t.Errorf("%s %s %s\n→ %d %s\nis not as the OpenAPI document says: %v", r.Method, r.URL, body, answer.Code, answer.Body, why)
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

func (h *held) check(r *http.Request, body []byte, answer *httptest.ResponseRecorder) error {
	again := r.Clone(context.Background())
	again.URL.Scheme, again.URL.Host = "", ""
	again.Body = io.NopCloser(bytes.NewReader(body))
	if len(body) > 0 && again.Header.Get("Content-Type") == "" {
		again.Header.Set("Content-Type", "application/json")
	}
	route, parameters, err := h.router.FindRoute(again)
	if err != nil {
		if answer.Code == http.StatusNotFound || answer.Code == http.StatusMethodNotAllowed || answer.Code == http.StatusUnauthorized {
			return nil
		}
		return err
	}
	request := &openapi3filter.RequestValidationInput{
		Request: again, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if answer.Code < 400 {
		if err := openapi3filter.ValidateRequest(context.Background(), request); err != nil {
			return err
		}
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: request, Status: answer.Code, Header: answer.Header(), Body: io.NopCloser(bytes.NewReader(answer.Body.Bytes())),
		Options: request.Options,
	})
}

func TestOpenAPIDescribesRequestsAndAnswers(t *testing.T) {
	f := &fake{
		routers:  []l3.Router{sampleRouter, {Meta: sampleRouter.Meta}},
		networks: []l3.Network{{Meta: sampleRouter.Meta, Segments: []l3.Segment{{}}}},
		agents:   []l3.Agent{{ID: routerID}},
	}
	h := holdToOpenAPI(t, rest.New(rest.Config{Service: f, Auth: rest.None{}}))
	for _, c := range [][3]string{
		{"GET", "/", ""}, {"GET", "/v2.0", ""}, {"GET", "/v2.0/", ""}, {"GET", "/v2.0/extensions", ""}, {"GET", "/v2.0/extensions/router", ""},
		{"GET", "/openapi.json", ""}, {"GET", "/v2.0/nothing", ""}, {"PATCH", "/v2.0/routers", ""},
		{"GET", "/v2.0/routers?limit=1&name=x&sort_key=name&sort_dir=asc", ""}, {"GET", "/v2.0/routers/" + routerID, ""},
		{"GET", "/v2.0/routers/unknown", ""}, {"GET", "/v2.0/routers?x=y", ""}, {"GET", "/v2.0/networks", ""}, {"GET", "/v2.0/agents", ""},
		{"POST", "/v2.0/routers", `{"router": {"name": "x", "external_gateway_info": null}}`},
		{"POST", "/v2.0/routers", `{"routers": [{}, {}]}`}, {"POST", "/v2.0/routers", `{"routers": []}`},
		{"PUT", "/v2.0/routers/x", `{"router": {"routes": [{"destination": "10.0.0.0/8", "nexthop": "10.0.0.1"}]}}`},
		{"DELETE", "/v2.0/routers/x", ""}, {"PUT", "/v2.0/networks/x/tags/y", ""}, {"PUT", "/v2.0/networks/x/tags", `{"tags": ["y"]}`},
		{"PUT", "/v2.0/quotas/p", `{"quota": {"router": 5, "check_limit": true}}`},
		{"POST", "/v2.0/agents/a/l3-routers", `{"router_id": "` + routerID + `"}`},
	} {
		ask(h, c[0], c[1], c[2])
	}
	ask(h, "GET", "/v2.0/routers", "", "X-Project-Id", "", "X-Roles", "")
}
