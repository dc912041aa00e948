package rest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
)

// personsRoles are the callers of the tests of roles, all of one project.
var personsRoles = map[string][]string{
	"admin": {"admin"}, "manager": {"manager"}, "member": {"member"}, "reader": {"reader"},
	"other": {"heat_stack_owner"}, "none": nil,
}

// authentications make what each kind of Auth needs, and return how a person says who it is.
func authentications(t *testing.T) map[string]func() (rest.Auth, func(person string) []string) {
	return map[string]func() (rest.Auth, func(string) []string){
		"none": func() (rest.Auth, func(string) []string) {
			return rest.None{}, func(person string) []string {
				return []string{"X-Project-Id", projectID, "X-Roles", strings.Join(personsRoles[person], ",")}
			}
		},
		"token": func() (rest.Auth, func(string) []string) {
			var entries []map[string]any
			for person, roles := range personsRoles {
				entries = append(entries, map[string]any{"token": person + "-token", "project": projectID, "roles": roles})
			}
			text, err := json.Marshal(entries)
			require.NoError(t, err)
			file := filepath.Join(t.TempDir(), "tokens.yaml")
			require.NoError(t, os.WriteFile(file, text, 0o600))
			tokens, err := rest.ReadTokens(file)
			require.NoError(t, err)
			return tokens, byToken
		},
		"keystone": func() (rest.Auth, func(string) []string) {
			k := newIdentity(t)
			k.set(func() {
				for person, names := range personsRoles {
					roles := []map[string]any{}
					for _, name := range names {
						roles = append(roles, map[string]any{"id": name, "name": name})
					}
					k.tokens[person+"-token"] = map[string]any{"expires_at": "2099-01-01T00:00:00.000000Z", "roles": roles,
						"user": map[string]any{"id": person}, "project": map[string]any{"id": projectID}}
				}
			})
			auth, err := rest.NewKeystone(rest.KeystoneConfig{Service: gophercloud.AuthOptions{
				IdentityEndpoint: k.URL + "/v3", Username: "neutron", Password: "x", DomainID: "default"}})
			require.NoError(t, err)
			return auth, byToken
		},
	}
}

func byToken(person string) []string { return []string{"X-Auth-Token", person + "-token"} }

// estate is a project with one resource of every kind, and their IDs by the names of their
// collections.
type estate struct {
	*testing.T
	handler http.Handler
	ids     map[string]string
	headers func(person string) []string
}

func newEstate(t *testing.T, auth rest.Auth, headers func(string) []string) *estate {
	t.Helper()
	svc, err := service.New(service.Config{Store: l3test.Open(t, l3test.SQLiteURL(t))})
	require.NoError(t, err)
	beat(t, svc, "host-1")
	e := &estate{T: t, ids: map[string]string{"agent": "", "tag": "blue", "alias": "router", "project": projectID}, headers: headers,
		handler: holdToOpenAPI(t, rest.New(rest.Config{Service: svc, Auth: auth, Logger: logger(t)}))}
	e.make("networks", `{"network": {"name": "inside"}}`)
	e.make("subnets", `{"subnet": {"network_id": "$networks", "ip_version": 4, "cidr": "10.0.0.0/24"}}`)
	e.make("ports", `{"port": {"network_id": "$networks"}}`)
	e.ids["outside"] = e.make("networks", `{"network": {"router:external": true, "shared": true, "provider:network_type": "flat",
		"provider:physical_network": "p", "project_id": "operators"}}`)
	e.make("subnets", `{"subnet": {"network_id": "$outside", "ip_version": 4, "cidr": "203.0.113.0/24", "project_id": "operators"}}`)
	e.make("routers", `{"router": {"external_gateway_info": {"network_id": "$outside"}}}`)
	e.make("floatingips", `{"floatingip": {"floating_network_id": "$outside"}}`)
	e.forwarding()
	e.make("address-scopes", `{"address_scope": {"name": "x", "ip_version": 4}}`)
	e.make("subnetpools", `{"subnetpool": {"name": "x", "prefixes": ["10.16.0.0/12"], "default_prefixlen": 24, "address_scope_id": "$address-scopes",
		"default_quota": 65536}}`)
	e.policy()
	e.make("security-groups", `{"security_group": {"name": "x"}}`)
	e.make("security-group-rules", `{"security_group_rule": {"security_group_id": "$security-groups", "direction": "ingress"}}`)
	e.make("rbac-policies", `{"rbac_policy": {"object_type": "network", "object_id": "`+e.mine("networks")+`", "action": "access_as_shared",
		"target_tenant": "x"}}`)
	for _, kind := range []string{"networks", "subnets"} { // those of the project, again
		e.ids[kind] = e.mine(kind)
	}
	for _, kind := range []string{"networks", "subnets", "ports", "routers", "floatingips", "security-groups", "security-group-rules", "subnetpools"} {
		require.Less(t, e.as("admin", "PUT", "/v2.0/"+kind+"/"+e.ids[kind]+"/tags/blue", "").Code, 300, kind)
	}
	e.ids["agents"] = e.mine("agents")
	e.ids["network-ip-availabilities"] = e.ids["networks"]
	e.topology()
	return e
}

// topology makes that of the project, and what it needs.
func (e *estate) topology() {
	e.Helper()
	pool := e.ids["subnetpools"]
	e.make("subnetpools", `{"subnetpool": {"name": "y", "prefixes": ["10.160.0.0/12"], "default_prefixlen": 24, "is_default": true, "shared": true,
		"project_id": "operators"}}`)
	e.ids["subnetpools"] = pool
	require.Equal(e, http.StatusOK, e.as("admin", "PUT", "/v2.0/networks/"+e.ids["outside"], `{"network": {"is_default": true}}`).Code)
	w := e.as("admin", "GET", "/v2.0/auto-allocated-topology/"+projectID, "")
	require.Equal(e, http.StatusOK, w.Code, w.Body)
}

// forwarding makes a port forwarding, and what it needs: a router and a network of the operators,
// and on it a port of the project.
func (e *estate) forwarding() {
	e.Helper()
	ids := maps.Clone(e.ids)
	defer func() {
		for _, name := range []string{"networks", "subnets", "ports", "routers", "floatingips"} {
			e.ids[name] = ids[name]
		}
	}()
	e.make("networks", `{"network": {"project_id": "operators"}}`)
	e.make("subnets", `{"subnet": {"network_id": "$networks", "ip_version": 4, "cidr": "10.3.0.0/24", "project_id": "operators"}}`)
	e.make("routers", `{"router": {"external_gateway_info": {"network_id": "$outside"}, "project_id": "operators"}}`)
	w := e.as("admin", "PUT", "/v2.0/routers/"+e.ids["routers"]+"/add_router_interface", `{"subnet_id": "$subnets"}`)
	require.Equal(e, http.StatusOK, w.Code, w.Body)
	e.ids["inner"] = e.make("ports", `{"port": {"network_id": "$networks", "project_id": "`+projectID+`"}}`)
	e.ids["outer"] = e.make("floatingips", `{"floatingip": {"floating_network_id": "$outside"}}`)
	e.ids["forwarding"] = e.make("floatingips/"+e.ids["outer"]+"/port_forwardings", `{"port_forwarding": {"internal_port_id": "$inner", "protocol": "tcp",
		"internal_port": 80, "external_port": 8080, "description": "web"}}`)
}

// policy makes a QoS policy with a rule of each type.
func (e *estate) policy() {
	e.Helper()
	e.ids["policies"] = e.make("qos/policies", `{"policy": {"name": "x"}}`)
	for kind, rule := range map[string]string{
		"bandwidth_limit": `"max_kbps": 1000`, "dscp_marking": `"dscp_mark": 26`, "minimum_bandwidth": `"min_kbps": 10`,
	} {
		e.ids[kind] = e.make("qos/policies/"+e.ids["policies"]+"/"+kind+"_rules", `{"`+kind+`_rule": {`+rule+`}}`)
	}
	require.Less(e, e.as("admin", "PUT", "/v2.0/policies/"+e.ids["policies"]+"/tags/blue", "").Code, 300)
}

// parent is the ID of what a path below a collection's resource begins with, and part that of what it
// ends in, which may be empty.
func (e *estate) parent(path string) string {
	if strings.Contains(path, "qos/") {
		return e.ids["policies"]
	}
	return e.ids["outer"]
}

func (e *estate) part(path string) string {
	switch {
	case strings.Contains(path, "/port_forwardings"):
		return e.ids["forwarding"]
	case strings.Contains(path, "/qos/rule-types"):
		return "bandwidth_limit"
	case strings.Contains(path, "/qos/") && strings.Contains(path, "_rules"):
		name := strings.Split(path[strings.Index(path, "/qos/"):], "/")
		i := slices.IndexFunc(name, func(s string) bool { return strings.HasSuffix(s, "_rules") })
		return e.ids[strings.TrimPrefix(strings.TrimSuffix(name[i], "_rules"), "alias_")]
	case strings.Contains(path, "/qos/"):
		return e.ids["policies"]
	}
	return ""
}

// as has a person ask. Words that begin with $ stand for IDs.
func (e *estate) as(person, method, target, body string) *httptest.ResponseRecorder {
	var pairs []string
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(e.ids))) { // the longer names first
		pairs = append(pairs, "$"+name, e.ids[name])
	}
	body = strings.NewReplacer(pairs...).Replace(body)
	headers := append([]string{"X-Roles", "", "X-Project-Id", ""}, e.headers(person)...)
	return ask(e.handler, method, target, body, headers...)
}

func (e *estate) make(kind, body string) string {
	e.Helper()
	w := e.as("admin", "POST", "/v2.0/"+kind, body)
	require.Equal(e, http.StatusCreated, w.Code, w.Body)
	var said map[string]struct{ ID string }
	require.NoError(e, json.Unmarshal(w.Body.Bytes(), &said))
	for _, v := range said {
		e.ids[kind] = v.ID
	}
	return e.ids[kind]
}

// mine is the ID of the project's oldest resource in a collection; of agents, of the only one.
func (e *estate) mine(kind string) string {
	e.Helper()
	filter := "?project_id=" + projectID
	if kind == "agents" {
		filter = ""
	}
	w := e.as("admin", "GET", "/v2.0/"+kind+filter, "")
	var said map[string][]struct{ ID string }
	require.NoError(e, json.Unmarshal(w.Body.Bytes(), &said), w.Body)
	require.Len(e, said[kind], 1)
	return said[kind][0].ID
}

// everything is all that an administrator sees.
func (e *estate) everything() string {
	e.Helper()
	var all strings.Builder
	for _, kind := range []string{"networks", "subnets", "ports", "routers", "floatingips", "security-groups", "security-group-rules", "rbac-policies",
		"agents", "quotas", "subnetpools", "address-scopes"} {
		w := e.as("admin", "GET", "/v2.0/"+kind, "")
		require.Equal(e, http.StatusOK, w.Code)
		all.Write(w.Body.Bytes())
	}
	return all.String()
}

// bodies are what the operations with a body are asked with, in the order in which a member can do
// all of them.
var bodies = []struct{ operation, body string }{
	{"POST /v2.0/networks", `{"network": {}}`},
	{"PUT /v2.0/networks/{id}", `{"network": {"name": "n"}}`},
	{"POST /v2.0/subnets", `{"subnet": {"network_id": "$networks", "ip_version": 4, "cidr": "10.1.0.0/24"}}`},
	{"PUT /v2.0/subnets/{id}", `{"subnet": {"name": "n"}}`},
	{"PUT /v2.0/subnetpools/{id}/onboard_network_subnets", `{"network_id": "$networks"}`},
	{"PUT /v2.0/subnetpools/{id}/add_prefixes", `{"prefixes": ["172.16.0.0/16"]}`},
	{"PUT /v2.0/subnetpools/{id}/remove_prefixes", `{"prefixes": ["172.16.0.0/16"]}`},
	{"PUT /v2.0/subnetpools/{id}", `{"subnetpool": {"description": "n", "address_scope_id": null}}`},
	{"POST /v2.0/subnetpools", `{"subnetpool": {"name": "y", "prefixes": ["10.240.0.0/12"]}}`},
	{"POST /v2.0/address-scopes", `{"address_scope": {"ip_version": 6}}`},
	{"PUT /v2.0/address-scopes/{id}", `{"address_scope": {"name": "n"}}`},
	{"POST /v2.0/ports", `{"port": {"network_id": "$outside"}}`}, // which is shared
	{"PUT /v2.0/ports/{id}", `{"port": {"name": "n"}}`},
	{"POST /v2.0/routers", `{"router": {}}`},
	{"PUT /v2.0/routers/{id}", `{"router": {"name": "n"}}`},
	{"PUT /v2.0/routers/{id}/add_router_interface", `{"subnet_id": "$subnets"}`},
	{"PUT /v2.0/routers/{id}/add_extraroutes", `{"router": {"routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]}}`},
	{"PUT /v2.0/routers/{id}/remove_extraroutes", `{"router": {"routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]}}`},
	{"POST /v2.0/floatingips", `{"floatingip": {"floating_network_id": "$outside"}}`},
	{"PUT /v2.0/floatingips/{id}", `{"floatingip": {"port_id": "$ports"}}`},
	{"DELETE /v2.0/floatingips/{id}", ""},
	{"POST /v2.0/floatingips/{parent}/port_forwardings", `{"port_forwarding": {"internal_port_id": "$inner", "protocol": "udp",
		"internal_port_range": "90:99", "external_port_range": "90:99"}}`},
	{"PUT /v2.0/floatingips/{parent}/port_forwardings/{id}", `{"port_forwarding": {"description": "n"}}`},
	{"PUT /v2.0/routers/{id}/remove_router_interface", `{"subnet_id": "$subnets"}`},
	{"POST /v2.0/security-groups", `{"security_group": {"name": "y"}}`},
	{"PUT /v2.0/security-groups/{id}", `{"security_group": {"name": "n"}}`},
	{"POST /v2.0/security-group-rules", `{"security_group_rule": {"security_group_id": "$security-groups", "direction": "ingress", "protocol": "tcp"}}`},
	{"POST /v2.0/rbac-policies", `{"rbac_policy": {"object_type": "network", "object_id": "$networks", "action": "access_as_shared", "target_tenant": "y"}}`},
	{"PUT /v2.0/rbac-policies/{id}", `{"rbac_policy": {"target_tenant": "z"}}`},
	{"POST /v2.0/qos/policies", `{"policy": {"name": "y"}}`},
	{"PUT /v2.0/qos/policies/{id}", `{"policy": {"name": "z"}}`},
	{"POST /v2.0/qos/policies/{parent}/bandwidth_limit_rules", `{"bandwidth_limit_rule": {"max_kbps": 1, "direction": "ingress"}}`},
	{"PUT /v2.0/qos/policies/{parent}/bandwidth_limit_rules/{id}", `{"bandwidth_limit_rule": {"max_kbps": 2000}}`},
	{"PUT /v2.0/qos/alias_bandwidth_limit_rules/{id}", `{"alias_bandwidth_limit_rule": {"max_kbps": 3000}}`},
	{"POST /v2.0/qos/policies/{parent}/dscp_marking_rules", `{"dscp_marking_rule": {"dscp_mark": 8}}`},
	{"PUT /v2.0/qos/policies/{parent}/dscp_marking_rules/{id}", `{"dscp_marking_rule": {"dscp_mark": 10}}`},
	{"PUT /v2.0/qos/alias_dscp_marking_rules/{id}", `{"alias_dscp_marking_rule": {"dscp_mark": 12}}`},
	{"POST /v2.0/qos/policies/{parent}/minimum_bandwidth_rules", `{"minimum_bandwidth_rule": {"min_kbps": 5, "direction": "ingress"}}`},
	{"PUT /v2.0/qos/policies/{parent}/minimum_bandwidth_rules/{id}", `{"minimum_bandwidth_rule": {"min_kbps": 6}}`},
	{"PUT /v2.0/qos/alias_minimum_bandwidth_rules/{id}", `{"alias_minimum_bandwidth_rule": {"min_kbps": 7}}`},
	{"PUT /v2.0/agents/{id}", `{"agent": {"description": "n"}}`},
	{"POST /v2.0/agents/{id}/l3-routers", `{"router_id": "$routers"}`},
	{"PUT /v2.0/quotas/{project}", `{"quota": {"router": 7}}`},
}

const (
	forAdministrators = "agents quotas network-ip-availabilities"
	tagsBody          = `{"tags": ["blue", "red"]}`
)

// operations are all that the OpenAPI document has, in an order in which they can be done.
func (e *estate) operations() []string {
	e.Helper()
	w := ask(e.handler, "GET", "/openapi.json", "")
	var document struct{ Paths map[string]map[string]any }
	require.NoError(e, json.Unmarshal(w.Body.Bytes(), &document))
	var all []string
	for path, item := range document.Paths {
		for method := range item {
			all = append(all, strings.ToUpper(method)+" "+path)
		}
	}
	rank := func(operation string) int {
		i := slices.IndexFunc(bodies, func(b struct{ operation, body string }) bool { return b.operation == operation })
		switch method, path, _ := strings.Cut(operation, " "); {
		case i >= 0:
			return 10 + i
		case strings.HasSuffix(operation, "/tags") && method == "DELETE":
			return 4
		case strings.Contains(path, "/tags"):
			return map[string]int{"GET": 0, "PUT": 2, "DELETE": 3}[method]
		case method == "GET":
			return 1
		}
		return 100 + slices.Index([]string{"security-group-rules", "security-groups", "rbac-policies", "ports", "routers", "subnets", "networks", "subnetpools", "address-scopes"},
			strings.Split(operation, "/")[2])
	}
	slices.SortFunc(all, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return all
}

// do has a person do an operation to what the estate has.
func (e *estate) do(person, operation string) *httptest.ResponseRecorder {
	method, path, _ := strings.Cut(operation, " ")
	kind, _, _ := strings.Cut(strings.TrimPrefix(path, "/v2.0/"), "/")
	id := e.ids[kind]
	if part := e.part(path); part != "" {
		id = part
	}
	target := strings.NewReplacer("{id}", id, "{parent}", e.parent(path), "{router}", e.ids["routers"], "{project}", projectID, "{tag}", "blue", "{alias}", "router").Replace(path)
	if method != "GET" && method != "DELETE" && strings.HasSuffix(path, "/tags") {
		return e.as(person, method, target, tagsBody)
	}
	for _, b := range bodies {
		if b.operation == operation {
			return e.as(person, method, target, b.body)
		}
	}
	return e.as(person, method, target, "")
}

// TestRoles does every operation that there is, as every role, with every kind of authentication.
func TestRoles(t *testing.T) {
	for name, open := range authentications(t) {
		t.Run(name, func(t *testing.T) {
			auth, headers := open()
			e := newEstate(t, auth, headers)
			all := e.operations()
			require.Greater(t, len(all), 90, "the document has lost its operations")
			before := e.everything()
			for _, operation := range all {
				method, path, _ := strings.Cut(operation, " ")
				part := strings.Contains(path, "{parent}") // of what not everybody sees
				item := strings.Contains(path, "{id}") || part
				kind := strings.Split(path+"///", "/")[2]
				reserved := slices.Contains(strings.Fields(forAdministrators), kind) || strings.HasSuffix(path, "/l3-agents")
				public := kind == "" || kind == "extensions" || path == "/openapi.json"

				reads, member := e.do("reader", operation), e.do
				switch {
				case method != "GET":
					require.Equal(t, e.status(reserved && item && !strings.Contains(path, "/l3-"), method), reads.Code, "reader: %s: %s", operation, reads.Body)
				default:
					can := member("member", operation)
					require.Equal(t, can.Code, reads.Code, "reader: %s", operation)
					require.Equal(t, can.Body.String(), reads.Body.String(), "reader: %s", operation)
					if !reserved {
						require.Less(t, can.Code, 300, "%s: %s", operation, can.Body)
					}
				}
				for _, person := range []string{"none", "other"} {
					w := e.do(person, operation)
					switch {
					case public:
						require.Equal(t, http.StatusOK, w.Code, operation)
					case kind == "quotas" || kind == "auto-allocated-topology" || strings.Contains(path, "/l3-") || method == "POST" && !part:
						require.Equal(t, http.StatusForbidden, w.Code, "%s: %s: %s", person, operation, w.Body)
					case item:
						require.Equal(t, http.StatusNotFound, w.Code, "%s: %s: %s", person, operation, w.Body)
					default:
						require.Equal(t, http.StatusOK, w.Code, operation)
						var list map[string][]any
						require.NoError(t, json.Unmarshal(w.Body.Bytes(), &list))
						for _, resources := range list {
							require.Empty(t, resources, "%s: %s", person, operation)
						}
					}
				}
			}
			require.Equal(t, before, e.everything(), "who cannot write has changed nothing")

			// A member can do all of it but what is for administrators, and so can a manager.
			for _, person := range []string{"member", "manager"} {
				auth, headers := open()
				e := newEstate(t, auth, headers)
				for _, operation := range all {
					method, path, _ := strings.Cut(operation, " ")
					kind := strings.Split(path+"///", "/")[2]
					w := e.do(person, operation)
					switch {
					case method == "GET" && !strings.Contains(path, "/l3-") && kind != "agents" && path != "/v2.0/quotas" && !strings.HasPrefix(path, "/v2.0/network-ip"):
						require.Less(t, w.Code, 300, "%s: %s: %s", person, operation, w.Body)
					case method == "GET":
					case kind == "qos":
						require.Equal(t, http.StatusForbidden, w.Code, "%s: %s: %s", person, operation, w.Body)
					case slices.Contains(strings.Fields(forAdministrators), kind):
						require.Contains(t, []int{403, 404}, w.Code, "%s: %s: %s", person, operation, w.Body)
					default:
						require.Less(t, w.Code, 300, "%s: %s: %s", person, operation, w.Body)
					}
				}
			}
		})
	}
}

// status is what a reader gets for a change: of what it sees 403, and of what it does not see 404.
func (e *estate) status(unseen bool, method string) int {
	if unseen && method != "POST" {
		return http.StatusNotFound
	}
	return http.StatusForbidden
}

// auditor is a policy beside Neutron's: the role auditor reads everything, and members switch SNAT.
type auditor struct{ l3.DefaultPolicy }

func (a auditor) Allows(who l3.Caller, rule string, to l3.Relation) bool {
	if strings.HasPrefix(rule, "get_") && who.HasRole("auditor") {
		return true
	}
	if rule == "update_router:external_gateway_info:enable_snat" {
		rule = "update_router"
	}
	return a.DefaultPolicy.Allows(who, rule, to)
}

func TestPolicyCanBeReplaced(t *testing.T) {
	svc, err := service.New(service.Config{Store: l3test.Open(t, l3test.SQLiteURL(t)), Policy: auditor{}})
	require.NoError(t, err)
	h := rest.New(rest.Config{Service: svc, Auth: rest.None{}, Logger: logger(t)})
	outside := made(t, h, "networks", `{"network": {"router:external": true}}`)
	made(t, h, "subnets", `{"subnet": {"network_id": "`+outside+`", "ip_version": 4, "cidr": "203.0.113.0/24"}}`)
	router := made(t, h, "routers", `{"router": {"project_id": "p", "external_gateway_info": {"network_id": "`+outside+`"}}}`)
	member := []string{"X-Project-Id", "p", "X-Roles", "member"}
	w := ask(h, "PUT", "/v2.0/routers/"+router, `{"router": {"external_gateway_info": {"network_id": "`+outside+`", "enable_snat": false}}}`, member...)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	w = ask(h, "PUT", "/v2.0/routers/"+router, `{"router": {"ha": true}}`, member...)
	require.Equal(t, http.StatusForbidden, w.Code, w.Body)

	auditor := []string{"X-Project-Id", "nobody", "X-Roles", "auditor"}
	for _, kind := range []string{"networks", "subnets", "routers", "ports"} {
		w := ask(h, "GET", "/v2.0/"+kind, "", auditor...)
		require.Equal(t, ask(h, "GET", "/v2.0/"+kind, "").Body.String(), w.Body.String(), "what the administrator sees, guarded attributes too")
	}
	require.Equal(t, http.StatusForbidden, ask(h, "DELETE", "/v2.0/routers/"+router, "", auditor...).Code)
}
