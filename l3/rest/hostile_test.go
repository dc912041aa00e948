package rest_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
)

// TestHostileValuesAreNever500 puts values that do not belong there into every attribute and every
// parameter that the OpenAPI document knows.
func TestHostileValuesAreNever500(t *testing.T) {
	hostile := []string{`null`, `""`, `"\u0000"`, `"\ud800"`, `-1`, `0`, `1.5`, `1e400`, `9223372036854775808`, `true`, `"true"`, `[]`, `[null]`, `[{}]`, `{}`,
		`{"network_id": null}`, `"` + strings.Repeat("x", 300) + `"`, `"0.0.0.0/0"`, `"::/0"`, `"255.255.255.255"`, `"::"`, `"fe80::1%eth0"`, `"ff:ff:ff:ff:ff:ff"`,
		`"` + networkID + `"`, `["` + networkID + `"]`, `[{"subnet_id": "` + networkID + `"}]`, `[{"ip_address": "255.255.255.255"}]`,
		`[{"start": "::", "end": "0.0.0.0"}]`, `[{"destination": "0.0.0.0/0", "nexthop": "::"}]`, `"*"`, `"%s' OR 1=1 --"`, `"ip_address=x"`, `["a", "a"]`}
	t.Parallel()
	l3test.Stores(t, func(t *testing.T, store l3.Store) {
		t.Parallel()
		service, err := service.New(service.Config{Store: store})
		require.NoError(t, err)
		h := rest.New(rest.Config{Service: service, Auth: rest.None{}, Logger: logger(t)})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
		var document struct {
			Paths map[string]map[string]struct {
				Parameters  []struct{ Name, In string }
				RequestBody struct {
					Content map[string]struct{ Schema shape }
				}
			}
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &document))

		network := made(t, h, "networks", `{"network": {}}`)
		subnet := made(t, h, "subnets", `{"subnet": {"network_id": "`+network+`", "ip_version": 4, "cidr": "10.0.0.0/24"}}`)
		valid := map[string]string{"network_id": `"` + network + `"`, "ip_version": `4`, "cidr": `"10.7.0.0/24"`, "name": `"x"`,
			"floating_network_id": `"` + network + `"`, "security_group_id": `"` + networkID + `"`, "direction": `"ingress"`,
			"object_type": `"network"`, "object_id": `"` + network + `"`, "action": `"access_as_shared"`, "target_tenant": `"*"`}
		ids := map[string]string{
			"networks": network, "subnets": subnet,
			"ports":           made(t, h, "ports", `{"port": {"network_id": "`+network+`"}}`),
			"routers":         made(t, h, "routers", `{"router": {}}`),
			"security-groups": made(t, h, "security-groups", `{"security_group": {"name": "x"}}`),
			"floatingips":     networkID, "rbac-policies": networkID, "agents": networkID, "quotas": "p",
		}
		asked := 0
		check := func(method, target, body string) {
			asked++
			w := ask(h, method, target, body)
			require.Less(t, w.Code, 500, "%s %s %s", method, target, body)
			if w.Code >= 400 {
				_, message := refusal(t, w)
				require.NotEmpty(t, message, "%s %s %s", method, target, body)
				require.Empty(t, goLike(message), "%s %s %s: %s", method, target, body, message)
			}
		}
		// Queries come first: a list takes time for each resource that is made on the way.
		var writes []func()
		for path, operations := range document.Paths {
			kind, _, _ := strings.Cut(strings.TrimPrefix(path, "/v2.0/"), "/")
			target := strings.NewReplacer("{id}", ids[kind], "{project}", "p", "{router}", ids["routers"], "{tag}", "t", "{alias}", "router").Replace(path)
			for method, o := range operations {
				method = strings.ToUpper(method)
				for _, p := range o.Parameters {
					for _, value := range hostile {
						if p.In == "query" {
							var text string
							if json.Unmarshal([]byte(value), &text) != nil {
								text = value
							}
							check(method, target+"?"+p.Name+"="+url.QueryEscape(text), "")
							if p.Name == "fixed_ips" { // which has members
								check(method, target+"?"+p.Name+"="+url.QueryEscape("ip_address="+text), "")
							}
						}
					}
				}
				envelope, attributes := o.RequestBody.Content["application/json"].Schema.attributes()
				for _, name := range attributes {
					for _, value := range hostile {
						members := maps.Clone(valid)
						if method == "PUT" || envelope == "" {
							clear(members)
						}
						maps.DeleteFunc(members, func(k, _ string) bool { return !slices.Contains(attributes, k) })
						members[name] = value
						writes = append(writes, func() { check(method, target, wrap(envelope, members)) })
					}
				}
			}
		}
		rand.Shuffle(len(writes), func(i, j int) { writes[i], writes[j] = writes[j], writes[i] })
		for _, write := range writes {
			write()
		}
		for kind := range ids { // with what was stored
			if kind != "quotas" {
				require.Equal(t, http.StatusOK, ask(h, "GET", "/v2.0/"+kind, "").Code, kind)
			}
		}
		require.Greater(t, asked, 10_000, "the document has lost its attributes")
	})
}

// shape is as much of a schema as is needed to find the attributes of a request.
type shape struct {
	OneOf      []shape
	Properties map[string]shape
}

// attributes are those of a request, and what the object that has them is called in the body.
func (s shape) attributes() (envelope string, names []string) {
	if len(s.OneOf) > 0 {
		s = s.OneOf[0]
	}
	if len(s.Properties) == 1 {
		for name, inner := range s.Properties {
			if inner.Properties != nil {
				return name, slices.Sorted(maps.Keys(inner.Properties))
			}
		}
	}
	return "", slices.Sorted(maps.Keys(s.Properties))
}

func wrap(envelope string, members map[string]string) string {
	var pairs []string
	for name, value := range members {
		pairs = append(pairs, `"`+name+`": `+value)
	}
	object := "{" + strings.Join(pairs, ", ") + "}"
	if envelope == "" {
		return object
	}
	return `{"` + envelope + `": ` + object + `}`
}

// made makes a resource and returns its ID.
func made(t *testing.T, h http.Handler, kind, body string) string {
	t.Helper()
	w := ask(h, "POST", "/v2.0/"+kind, body)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	var said map[string]struct{ ID string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &said))
	for _, v := range said {
		return v.ID
	}
	return ""
}
