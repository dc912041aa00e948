package rest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/rest"
)

func api(f *fake) http.Handler {
	return rest.New(rest.Config{Service: f, Auth: rest.None{}, Limits: rest.Limits{Body: 4096}})
}

// ask sends a request to a handler as an administrator, or as who the further pairs of headers say.
func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "localhost"
	r.Header.Set("X-Project-Id", projectID)
	r.Header.Set("X-Roles", "admin,member")
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func refusal(t *testing.T, w *httptest.ResponseRecorder) (name, message string) {
	t.Helper()
	var body struct {
		NeutronError struct{ Type, Message, Detail string }
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body), w.Body.String())
	require.NotEmpty(t, body.NeutronError.Type, w.Body.String())
	return body.NeutronError.Type, body.NeutronError.Message
}

func TestRouterIsShownWhole(t *testing.T) {
	f := &fake{routers: []l3.Router{sampleRouter}}
	w := ask(api(f), "GET", "/v2.0/routers/"+routerID, "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Regexp(t, `^req-[0-9a-f-]{36}$`, w.Header().Get("X-Openstack-Request-Id"))
	require.JSONEq(t, `{"router": {
		"id": "`+routerID+`", "project_id": "`+projectID+`", "tenant_id": "`+projectID+`", "name": "core \"7\"", "description": "für alle",
		"tags": ["blue", "tier=1"], "revision_number": 3, "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:06Z",
		"admin_state_up": true, "status": "ACTIVE", "status_reason": "",
		"external_gateway_info": {"network_id": "`+networkID+`", "enable_snat": true, "qos_policy_id": null,
			"external_fixed_ips": [{"subnet_id": "`+subnetID+`", "ip_address": "203.0.113.7"}]},
		"routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}],
		"availability_zones": ["nova"], "availability_zone_hints": [], "flavor_id": null, "distributed": false, "ha": false
	}}`, w.Body.String())
}

func TestMembersDoNotSeeWhatIsForAdministrators(t *testing.T) {
	f := &fake{routers: []l3.Router{sampleRouter}, ports: []l3.Port{samplePort},
		networks: []l3.Network{{Segments: []l3.Segment{{Type: dataplane.NetworkVXLAN, ID: 7}}}}}
	hidden := map[string][]string{
		"routers":  {"distributed", "ha"},
		"networks": {"provider:network_type", "provider:physical_network", "provider:segmentation_id"},
		"ports":    {"binding:host_id", "binding:profile", "binding:vif_type", "binding:vif_details"},
	}
	for many, names := range hidden {
		for _, name := range names {
			require.Contains(t, ask(api(f), "GET", "/v2.0/"+many, "").Body.String(), `"`+name+`"`)
			require.NotContains(t, ask(api(f), "GET", "/v2.0/"+many, "", "X-Roles", "member").Body.String(), `"`+name+`"`)
			require.NotContains(t, ask(api(f), "GET", "/v2.0/"+many+"?fields="+name, "", "X-Roles", "member").Body.String(), name)

			// What one cannot see one cannot find out by searching either.
			require.Equal(t, 400, ask(api(f), "GET", "/v2.0/"+many+"?"+name+"=x", "", "X-Roles", "member").Code)
			require.Equal(t, 400, ask(api(f), "GET", "/v2.0/"+many+"?sort_dir=asc&sort_key="+name, "", "X-Roles", "member").Code)
		}
	}
	require.Contains(t, ask(api(f), "GET", "/v2.0/ports", "", "X-Roles", "member").Body.String(), `"binding:vnic_type":"normal"`)
}

func TestNetworkShowsOneSegmentOrSeveral(t *testing.T) {
	one, two := l3.Segment{Type: dataplane.NetworkVXLAN, ID: 7}, l3.Segment{Type: dataplane.NetworkVLAN, Physical: "p", ID: 8}
	w := ask(api(&fake{networks: []l3.Network{{Segments: []l3.Segment{one}}}}), "GET", "/v2.0/networks", "")
	require.Contains(t, w.Body.String(), `"provider:network_type":"vxlan","provider:physical_network":null,"provider:segmentation_id":7`)
	require.NotContains(t, w.Body.String(), "segments")
	w = ask(api(&fake{networks: []l3.Network{{Segments: []l3.Segment{one, two}}}}), "GET", "/v2.0/networks", "")
	require.Contains(t, w.Body.String(), `"segments":[{"provider:network_type":"vxlan","provider:physical_network":null,"provider:segmentation_id":7},`+
		`{"provider:network_type":"vlan","provider:physical_network":"p","provider:segmentation_id":8}]`)
}

func TestFields(t *testing.T) {
	f := &fake{routers: []l3.Router{sampleRouter}}
	require.JSONEq(t, `{"routers": [{"id": "`+routerID+`", "status": "ACTIVE"}]}`,
		ask(api(f), "GET", "/v2.0/routers?fields=id&fields=status&fields=unknown", "").Body.String())
	require.JSONEq(t, `{"router": {"tenant_id": "`+projectID+`"}}`, ask(api(f), "GET", "/v2.0/routers/"+routerID+"?fields=tenant_id", "").Body.String())
	require.Contains(t, ask(api(f), "GET", "/v2.0/routers?fields=", "").Body.String(), `"revision_number":3`)
}

func TestFiltersReachTheService(t *testing.T) {
	in := func(field string, values ...any) l3.Filter { return l3.Filter{Field: field, Op: l3.In, Values: values} }
	cases := []struct {
		target string
		want   []l3.Filter
	}{
		{"routers?name=x&name=y", []l3.Filter{in("name", "x", "y")}},
		{"routers?name=", []l3.Filter{in("name", "")}},
		{"routers?tenant_id=p&status=ACTIVE", []l3.Filter{in("status", "ACTIVE"), in("project_id", "p")}},
		{"routers?admin_state_up=True", []l3.Filter{in("admin_state_up", true)}},
		{"routers?revision_number=7", []l3.Filter{in("revision_number", 7)}},
		{"networks?router:external=0&mtu=1500", []l3.Filter{in("mtu", 1500), in("router:external", false)}},
		{"networks?provider:segmentation_id=9", []l3.Filter{in("segments.provider:segmentation_id", 9)}},
		{"ports?fixed_ips=ip_address%3D10.0.0.1&fixed_ips=ip_address=2001:DB8::1&fixed_ips=subnet_id=s",
			[]l3.Filter{in("fixed_ips.ip_address", "10.0.0.1", "2001:db8::1"), in("fixed_ips.subnet_id", "s")}},
		{"ports?fixed_ips=ip_address_substr=0.0.", []l3.Filter{{Field: "fixed_ips.ip_address", Op: l3.Contains, Values: []any{"0.0."}}}},
		{"ports?mac_address=FA:16:3E:00:00:01", []l3.Filter{in("mac_address", "fa:16:3e:00:00:01")}},
		{"ports?binding:host_id=h", []l3.Filter{in("binding.binding:host_id", "h")}},
		{"routers?tags=a,b", []l3.Filter{{Field: "tags", Op: l3.All, Values: []any{"a", "b"}}}},
		{"routers?tags-any=a,b", []l3.Filter{{Field: "tags", Op: l3.In, Values: []any{"a", "b"}}}},
		{"routers?not-tags=a", []l3.Filter{{Field: "tags", Op: l3.NotAll, Values: []any{"a"}}}},
		{"routers?not-tags-any=a", []l3.Filter{{Field: "tags", Op: l3.NotIn, Values: []any{"a"}}}},
		{"floatingips?port_id=&floating_ip_address=203.0.113.9", []l3.Filter{in("floating_ip_address", "203.0.113.9"), in("port_id", "")}},
	}
	for _, c := range cases {
		f := &fake{}
		w := ask(api(f), "GET", "/v2.0/"+c.target, "")
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", c.target, w.Body)
		require.Equal(t, c.want, f.query.Filters, c.target)
	}
}

func TestSortAndPages(t *testing.T) {
	f := &fake{routers: []l3.Router{sampleRouter, {Meta: l3.Meta{ID: "last"}}}}
	w := ask(api(f), "GET", "/v2.0/routers?limit=2&sort_key=name&sort_dir=desc&sort_key=status&sort_dir=asc&name=x&marker=before", "")
	require.Equal(t, l3.Query{
		Filters: []l3.Filter{{Field: "name", Values: []any{"x"}}}, Sort: []l3.Sort{{Field: "name", Desc: true}, {Field: "status"}}, Limit: 2, Marker: "before",
	}, f.query)
	var body struct {
		Links []struct{ Rel, Href string } `json:"routers_links"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	require.Equal(t, []struct{ Rel, Href string }{
		{"next", "http://localhost/v2.0/routers?limit=2&marker=last&name=x&sort_dir=desc&sort_dir=asc&sort_key=name&sort_key=status"},
		{"previous", "http://localhost/v2.0/routers?limit=2&marker=" + routerID + "&name=x&page_reverse=True&sort_dir=desc&sort_dir=asc&sort_key=name&sort_key=status"},
	}, body.Links)

	// The last page leads nowhere, a page back that is not full neither.
	w = ask(api(f), "GET", "/v2.0/routers?limit=3", "")
	require.NotContains(t, w.Body.String(), `"next"`)
	require.Contains(t, w.Body.String(), `"previous"`)
	w = ask(api(f), "GET", "/v2.0/routers?limit=3&page_reverse=true&marker=x", "")
	require.True(t, f.query.Reverse)
	require.Contains(t, w.Body.String(), `"next"`)
	require.NotContains(t, w.Body.String(), `"previous"`)

	// From an empty page one gets back to the last.
	f.routers = nil
	w = ask(api(f), "GET", "/v2.0/routers?limit=3&marker=x", "")
	require.Contains(t, w.Body.String(), `{"rel":"previous","href":"http://localhost/v2.0/routers?limit=3\u0026page_reverse=True"}`)
	require.NotContains(t, ask(api(f), "GET", "/v2.0/routers?limit=0", "").Body.String(), "links")
}

func TestLinksNameTheURLThatClientsKnow(t *testing.T) {
	h := rest.New(rest.Config{Service: &fake{}, Auth: rest.None{}, URL: "https://cloud.example/network/"})
	require.JSONEq(t, `{"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": "https://cloud.example/network/v2.0/"}]}]}`,
		ask(h, "GET", "/", "", "X-Project-Id", "", "X-Roles", "").Body.String())
	require.Contains(t, ask(h, "GET", "/v2.0/", "").Body.String(),
		`{"collection":"security_groups","links":[{"rel":"self","href":"https://cloud.example/network/v2.0/security-groups"}],"name":"security_group"}`)
	require.Equal(t, 200, ask(h, "GET", "/v2.0", "").Code)
}

func TestSpecsAreRead(t *testing.T) {
	f := &fake{}
	w := ask(api(f), "POST", "/v2.0/routers", `{"router": {"name": "r", "admin_state_up": "False", "tenant_id": "p",
		"external_gateway_info": {"network_id": "`+networkID+`", "enable_snat": 0,
			"external_fixed_ips": [{"ip_address": "203.0.113.9"}, {"subnet_id": "`+subnetID+`"}]}}}`)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	require.Equal(t, []any{l3.RouterSpec{
		Name: new("r"), AdminStateUp: new(false), ProjectID: new("p"),
		Gateway: &l3.GatewaySpec{NetworkID: networkID, EnableSNAT: new(false),
			FixedIPs: &[]l3.FixedIPSpec{{IPAddress: netip.MustParseAddr("203.0.113.9")}, {SubnetID: subnetID}}},
	}}, f.specs)

	for _, none := range []string{"null", "{}"} {
		w = ask(api(f), "PUT", "/v2.0/routers/"+routerID, `{"router": {"external_gateway_info": `+none+`, "routes": null}}`)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, []any{l3.RouterSpec{Gateway: &l3.GatewaySpec{}, Routes: &[]l3.Route{}}}, f.specs)
	}

	w = ask(api(f), "POST", "/v2.0/networks", `{"networks": [{"mtu": "1400", "provider:network_type": "vlan", "provider:segmentation_id": 5}, {"name": ""}]}`)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	require.Equal(t, []any{
		l3.NetworkSpec{MTU: new(1400), Segments: &[]l3.Segment{{Type: dataplane.NetworkVLAN, ID: 5}}}, l3.NetworkSpec{Name: new("")},
	}, f.specs)

	w = ask(api(f), "POST", "/v2.0/subnets", `{"subnet": {"network_id": "`+strings.ToUpper(networkID)+`", "ip_version": 4, "cidr": "10.0.0.0/24",
		"gateway_ip": null, "subnetpool_id": null, "allocation_pools": [{"start": "10.0.0.5", "end": "10.0.0.9"}]}}`)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	require.Equal(t, []any{l3.SubnetSpec{
		NetworkID: new(networkID), IPVersion: new(4), CIDR: new(netip.MustParsePrefix("10.0.0.0/24")), GatewayIP: new(netip.Addr{}),
		AllocationPools: &[]l3.AddressRange{{First: netip.MustParseAddr("10.0.0.5"), Last: netip.MustParseAddr("10.0.0.9")}},
		SubnetPoolID:    new(""),
	}}, f.specs)

	w = ask(api(f), "POST", "/v2.0/ports", `{"port": {"network_id": "`+networkID+`", "binding:profile": {"a": [1, 2.50]}, "mac_address": null,
		"allowed_address_pairs": [{"ip_address": "10.0.0.7"}, {"ip_address": "10.1.0.1/16", "mac_address": "fa:16:3e:00:00:01"}]}}`)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	require.Equal(t, []any{l3.PortSpec{
		NetworkID: new(networkID), Profile: new(json.RawMessage(`{"a":[1,2.50]}`)), MAC: new(dataplane.MAC{}),
		AllowedAddressPairs: &[]l3.AddressPair{
			{IPAddress: netip.MustParsePrefix("10.0.0.7/32")},
			{IPAddress: netip.MustParsePrefix("10.1.0.0/16"), MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}},
		},
	}}, f.specs)

	w = ask(api(f), "POST", "/v2.0/security-group-rules", `{"security_group_rule": {"security_group_id": "`+networkID+`", "direction": "ingress",
		"protocol": 6, "port_range_min": "22", "port_range_max": null, "remote_ip_prefix": "10.0.0.1/8"}}`)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	require.Equal(t, []any{l3.SecurityGroupRuleSpec{
		SecurityGroupID: networkID, Direction: "ingress", Protocol: "6", PortRangeMin: new(22), RemoteIPPrefix: netip.MustParsePrefix("10.0.0.0/8"),
	}}, f.specs)

	w = ask(api(f), "PUT", "/v2.0/routers/"+routerID+"/add_extraroutes", `{"router": {"routes": [{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]}}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, []any{sampleRouter.Routes}, f.specs)
	w = ask(api(f), "PUT", "/v2.0/routers/"+routerID+"/add_router_interface", `{"subnet_id": "`+subnetID+`"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, []any{l3.InterfaceSpec{SubnetID: subnetID}}, f.specs)
}

func TestFloatingIPUpdateTellsNullFromOmitted(t *testing.T) {
	f := &fake{}
	for body, want := range map[string]l3.FloatingIPSpec{
		`{}`:                               {},
		`{"port_id": null}`:                {PortID: new("")},
		`{"description": "d"}`:             {Description: new("d")},
		`{"port_id": "` + networkID + `"}`: {PortID: new(networkID)},
		`{"fixed_ip_address": "10.0.0.5"}`: {FixedIP: new(netip.MustParseAddr("10.0.0.5"))},
	} {
		w := ask(api(f), "PUT", "/v2.0/floatingips/"+routerID, `{"floatingip": `+body+`}`)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, []any{want}, f.specs, body)
	}
}

func TestConditions(t *testing.T) {
	f := &fake{}
	ask(api(f), "PUT", "/v2.0/routers/r", `{"router": {}}`, "If-Match", "revision_number=7")
	require.Equal(t, l3.If{Revision: new(7)}, f.cond)
	require.Equal(t, http.StatusNoContent, ask(api(f), "DELETE", "/v2.0/routers/r", "", "If-Match", "revision_number=8").Code)
	require.Equal(t, l3.If{Revision: new(8)}, f.cond)
	for _, bad := range []string{"7", `"abc"`, "revision_number=", "revision_number=x", "revision_number=1, revision_number=2"} {
		require.Equal(t, 400, ask(api(f), "DELETE", "/v2.0/routers/r", "", "If-Match", bad).Code, bad)
	}
	require.Equal(t, http.StatusNoContent, ask(api(f), "DELETE", "/v2.0/routers/r", "", "If-Match", "*").Code, "any revision")
	require.Equal(t, l3.If{}, f.cond)
	w := ask(api(f), "PUT", "/v2.0/routers/r/tags/x", "", "If-Match", "revision_number=7")
	require.Equal(t, 400, w.Code, "a condition that is not heeded must not be taken for one that holds")
	f.err = &l3.Error{Kind: l3.ErrRevision, Name: "RevisionNumberConstraintFailed"}
	require.Equal(t, http.StatusPreconditionFailed, ask(api(f), "DELETE", "/v2.0/routers/r", "", "If-Match", "revision_number=8").Code)
}

func TestTags(t *testing.T) {
	f := &fake{}
	h := api(f)
	require.JSONEq(t, `{"tags": ["a", "b/c"]}`, ask(h, "GET", "/v2.0/networks/n/tags", "").Body.String())
	require.Equal(t, http.StatusNoContent, ask(h, "GET", "/v2.0/networks/n/tags/b%2Fc", "").Code)
	require.Equal(t, http.StatusNotFound, ask(h, "GET", "/v2.0/networks/n/tags/c", "").Code)
	require.Equal(t, http.StatusCreated, ask(h, "PUT", "/v2.0/security-groups/n/tags/x%2F%2Fy", "").Code)
	require.Equal(t, []any{l3.KindSecurityGroup, "x//y"}, f.specs)
	w := ask(h, "PUT", "/v2.0/ports/n/tags", `{"tags": ["z", "y"]}`)
	require.JSONEq(t, `{"tags": ["z", "y"]}`, w.Body.String())
	require.Equal(t, []any{l3.KindPort, []string{"z", "y"}}, f.specs)
	require.Equal(t, http.StatusNoContent, ask(h, "DELETE", "/v2.0/ports/n/tags", "").Code)
	require.Equal(t, []any{l3.KindPort, []string{}}, f.specs)
	require.Equal(t, 400, ask(h, "PUT", "/v2.0/ports/n/tags/"+strings.Repeat("x", 300), "").Code)
	require.Equal(t, 404, ask(h, "GET", "/v2.0/agents/n/tags", "").Code, "agents have none")
}

func TestQuotaCheckLimit(t *testing.T) {
	f := &fake{}
	w := ask(api(f), "PUT", "/v2.0/quotas/p", `{"quota": {"router": "5", "network": -1}}`)
	require.JSONEq(t, `{"quota": {"router": 5, "network": -1}}`, w.Body.String())
	require.Equal(t, []any{map[string]int{"router": 5, "network": -1}}, f.specs)
	ask(api(f), "PUT", "/v2.0/quotas/p", `{"quota": {"router": 5, "check_limit": true}}`)
	require.Equal(t, []any{map[string]int{"router": 5}, "above usage"}, f.specs)
	ask(api(f), "PUT", "/v2.0/quotas/p", `{"quota": {"router": 5, "force": true}}`)
	require.Equal(t, []any{map[string]int{"router": 5}}, f.specs)
}

func TestZonesAreFiltered(t *testing.T) {
	f := &fake{zones: []l3.AvailabilityZone{{Name: "a", Resource: "router", State: "available"}, {Name: "a", Resource: "network", State: "available"}}}
	require.JSONEq(t, `{"availability_zones": [{"name": "a", "resource": "network", "state": "available"}]}`,
		ask(api(f), "GET", "/v2.0/availability_zones?resource=network&name=a&name=b", "").Body.String())
}

func TestAvailability(t *testing.T) {
	f := &fake{counts: []l3.IPAvailability{{
		NetworkID: networkID, TotalIPs: "18446744073709551869", UsedIPs: 3,
		Subnets: []l3.SubnetIPAvailability{{SubnetID: subnetID, CIDR: "fd00::/64", IPVersion: 6, TotalIPs: "18446744073709551616", UsedIPs: 2}},
	}}}
	w := ask(api(f), "GET", "/v2.0/network-ip-availabilities?ip_version=6&network_name=n", "")
	require.Equal(t, []l3.Filter{{Field: "ip_version", Values: []any{6}}, {Field: "network_name", Values: []any{"n"}}}, f.query.Filters)
	require.Contains(t, w.Body.String(), `"total_ips":18446744073709551869,"used_ips":3,"subnet_ip_availability":[{"subnet_id":"`+subnetID+
		`","subnet_name":"","cidr":"fd00::/64","ip_version":6,"total_ips":18446744073709551616,"used_ips":2}]`)
	require.Equal(t, 200, ask(api(f), "GET", "/v2.0/network-ip-availabilities/"+networkID, "").Code)
	f.counts = nil
	require.Equal(t, 404, ask(api(f), "GET", "/v2.0/network-ip-availabilities/"+networkID, "").Code)
}

func TestAgentTimesAreAsClientsReadThem(t *testing.T) {
	f := &fake{agents: []l3.Agent{{HeartbeatAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Capabilities: agent.Capabilities{Routers: new(3)}}}}
	w := ask(api(f), "GET", "/v2.0/agents?alive=true", "")
	require.Contains(t, w.Body.String(), `"heartbeat_timestamp":"2026-01-02 03:04:05"`)
	require.Contains(t, w.Body.String(), `"configurations":{"routers":3}`)
	require.Equal(t, []l3.Filter{{Field: "alive", Values: []any{true}}}, f.query.Filters)
	w = ask(api(f), "POST", "/v2.0/agents/a/l3-routers", `{"router_id": "`+routerID+`"}`)
	require.Equal(t, http.StatusCreated, w.Code)
	require.Equal(t, []any{routerID}, f.specs)
}

func TestExtensions(t *testing.T) {
	w := ask(api(&fake{}), "GET", "/v2.0/extensions", "")
	var body struct {
		Extensions []struct{ Alias, Name, Description, Updated string }
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	have := map[string]bool{}
	for _, e := range body.Extensions {
		require.False(t, have[e.Alias], e.Alias)
		have[e.Alias] = true
		require.NotEmpty(t, e.Name)
		require.NotEmpty(t, e.Description)
		require.Regexp(t, `^20\d\d-\d\d-\d\d?T`, e.Updated) // dvr's day has one digit in Neutron, too
		require.Equal(t, 200, ask(api(&fake{}), "GET", "/v2.0/extensions/"+e.Alias, "").Code)
	}
	for alias := range strings.FieldsSeq(`project-id external-net router ext-gw-mode extraroute extraroute-atomic provider multi-provider binding
		port-security allowed-address-pairs extra_dhcp_opt net-mtu net-mtu-writable subnet-service-types port-mac-address-regenerate
		l3-port-ip-change-not-allowed standard-attr-description standard-attr-revisions standard-attr-tag standard-attr-timestamp revision-if-match
		sorting pagination filter-validation ip-substring-filtering empty-string-filtering fip-port-details floatingip-pools agent l3_agent_scheduler
		availability_zone availability_zone_filter network_availability_zone router_availability_zone quotas quota_details quota-check-limit
		network-ip-availability security-group rbac-policies subnet-external-network security-groups-normalized-cidr
		security-groups-shared-filtering dvr floating-ip-distributed router-admin-state-down-before-update
		qos qos-fip qos-gateway-ip qos-default qos-bw-limit-direction qos-rules-alias qos-port-network-policy qos-fip-network-policy`) {
		require.True(t, have[alias], alias)
	}
	require.Equal(t, 404, ask(api(&fake{}), "GET", "/v2.0/extensions/l3-ha", "").Code)
}

// TestBadRequests shows that what is wrong is refused with a 4xx that names it, before the service
// hears of it.
func TestBadRequests(t *testing.T) {
	put, post := "PUT /v2.0/routers/r", "POST /v2.0/routers"
	cases := []struct {
		request, body string
		status        int
		name, says    string
	}{
		{"GET /v2.0/router", "", 404, "HTTPNotFound", "could not be found"},
		{"GET /v2.0/routers//", "", 404, "HTTPNotFound", ""},
		{"DELETE /v2.0/routers/", "", 405, "HTTPMethodNotAllowed", ""},
		{"GET //v2.0/routers", "", 404, "HTTPNotFound", ""},
		{"GET /v2.0/routers/%00", "", 404, "HTTPNotFound", ""},
		{"GET /v2.0/routers/%ff", "", 404, "HTTPNotFound", ""},
		{"GET /v2.0/routers/a/../b", "", 404, "HTTPNotFound", ""},
		{"PATCH /v2.0/routers", "", 405, "HTTPMethodNotAllowed", ""},
		{"POST /v2.0/agents", "{}", 405, "HTTPMethodNotAllowed", ""},
		{"PUT /v2.0/security-group-rules/x", "{}", 405, "HTTPMethodNotAllowed", ""},

		{post, "", 400, "HTTPBadRequest", "body required"},
		{post, "{", 400, "HTTPBadRequest", "not JSON"},
		{post, "[]", 400, "HTTPBadRequest", "not a JSON object"},
		{post, "{} {}", 400, "HTTPBadRequest", "more after its JSON"},
		{post, "{}", 400, "HTTPBadRequest", "Unable to find 'router' in request body"},
		{post, `{"router": null}`, 400, "HTTPBadRequest", "router"},
		{post, `{"router": []}`, 400, "HTTPBadRequest", "router"},
		{post, `{"routers": []}`, 400, "HTTPBadRequest", "routers"},
		{post, `{"routers": {}}`, 400, "HTTPBadRequest", "routers"},
		{post, `{"routers": [{}, 1]}`, 400, "HTTPBadRequest", "Object 'router' contains invalid data"},
		{post, `{"router": {"x": 1, "a": 2}}`, 400, "HTTPBadRequest", "Unrecognized attribute(s) 'a, x'"},
		{post, `{"router": {"tags-any": 1}}`, 400, "HTTPBadRequest", "Unrecognized attribute(s) 'tags-any'"},
		{post, `{"router": {"status": "ACTIVE"}}`, 400, "HTTPBadRequest", "Attribute 'status' not allowed in POST"},
		{post, `{"router": {"routes": []}}`, 400, "HTTPBadRequest", "Attribute 'routes' not allowed in POST"},
		{put, `{"router": {"id": "x"}}`, 400, "HTTPBadRequest", "Cannot update read-only attribute id"},
		{put, `{"routers": [{}]}`, 400, "HTTPBadRequest", "Unable to find 'router' in request body"},
		{post, `{"router": {"project_id": "a", "tenant_id": "b"}}`, 400, "HTTPBadRequest", "'project_id' and 'tenant_id'"},
		{post, `{"router": {"admin_state_up": "maybe"}}`, 400, "InvalidInput", "Invalid input for admin_state_up. Reason: 'maybe' cannot be converted to boolean."},
		{post, `{"router": {"admin_state_up": null}}`, 400, "InvalidInput", "admin_state_up"},
		{post, `{"router": {"name": null}}`, 400, "InvalidInput", "Invalid input for name. Reason: 'None' is not a valid string."},
		{post, `{"router": {"name": "` + strings.Repeat("é", 256) + `"}}`, 400, "InvalidInput", "exceeds maximum length of 255"},
		{post, `{"router": {"name": "a\u0000b"}}`, 400, "InvalidInput", "Invalid input for name"},
		{post, `{"router": {"external_gateway_info": {"enable_snat": true}}}`, 400, "InvalidInput", "Required attribute 'network_id' not specified"},
		{post, `{"router": {"external_gateway_info": {"network_id": "x"}}}`, 400, "InvalidInput",
			"Invalid input for external_gateway_info. Reason: Invalid input for network_id. Reason: 'x' is not a valid UUID."},
		{post, `{"router": {"external_gateway_info": {"network_id": "` + networkID + `", "x": 1}}}`, 400, "InvalidInput", "Unrecognized attribute(s) 'x'"},
		{put, `{"router": {"routes": {}}}`, 400, "InvalidInput", "routes"},
		{put, `{"router": {"routes": [{"destination": "10.0.0.1/8", "nexthop": "10.0.0.1"}]}}`, 400, "InvalidInput", "'10.0.0.0/8' is recommended"},
		{put, `{"router": {"routes": [{"destination": "10.0.0.0/8", "nexthop": "fe80::1%eth0"}]}}`, 400, "InvalidInput", "nexthop"},
		{"PUT /v2.0/routers/r/add_router_interface", `{"subnet": "x"}`, 400, "HTTPBadRequest", "Unrecognized attribute(s) 'subnet'"},
		{"PUT /v2.0/routers/r/add_extraroutes", `{"router": {}}`, 400, "HTTPBadRequest", "routes"},
		{"POST /v2.0/subnets", `{"subnet": {"cidr": "10.0.0.0/24"}}`, 400, "HTTPBadRequest", "Required attribute"},
		{"POST /v2.0/subnets", `{"subnet": {"network_id": "` + networkID + `", "cidr": "10.0.0.0/24", "ip_version": 5}}`, 400, "InvalidInput", "ip_version"},
		{"POST /v2.0/networks", `{"network": {"mtu": 1e3}}`, 400, "InvalidInput", "mtu"},
		{"POST /v2.0/networks", `{"network": {"mtu": 99999999999999999999}}`, 400, "InvalidInput", "mtu"},
		{"POST /v2.0/networks", `{"network": {"segments": [{}], "provider:network_type": "vlan"}}`, 400, "SegmentsSetInConjunctionWithProviders", "segments"},
		{"POST /v2.0/ports", `{"port": {"network_id": "` + networkID + `", "binding:profile": [1]}}`, 400, "InvalidInput", "binding:profile"},
		{"POST /v2.0/ports", `{"port": {"network_id": "` + networkID + `", "binding:profile": {"a": "\u0000"}}}`, 400, "InvalidInput", "binding:profile"},
		{"POST /v2.0/ports", `{"port": {"network_id": "` + networkID + `", "mac_address": "00:00"}}`, 400, "InvalidInput", "mac_address"},
		{"PUT /v2.0/quotas/p", `{"quota": {"router": -2}}`, 400, "InvalidInput", "router"},
		{"PUT /v2.0/quotas/p", `{"quota": {"router": 1, "check_limit": "x"}}`, 400, "InvalidInput", "check_limit"},
		{"PUT /v2.0/ports/p/tags", `{"tags": "x"}`, 400, "InvalidInput", "tags"},
		{"PUT /v2.0/ports/p/tags", `{}`, 400, "HTTPBadRequest", "tags"},

		{"GET /v2.0/routers?x=1&a=2", "", 400, "HTTPBadRequest", "['a', 'x'] is invalid attribute for filtering"},
		{"GET /v2.0/routers?%zz=1", "", 400, "HTTPBadRequest", "query"},
		{"GET /v2.0/routers?name=%00", "", 400, "HTTPBadRequest", "name"},
		{"GET /v2.0/routers?name=%ff", "", 400, "HTTPBadRequest", "name"},
		{"GET /v2.0/routers?marker=%00", "", 400, "HTTPBadRequest", "marker"},
		{"GET /v2.0/routers?admin_state_up=x", "", 400, "InvalidInput", "admin_state_up"},
		{"GET /v2.0/routers?routes=x", "", 400, "HTTPBadRequest", "routes"},
		{"GET /v2.0/ports?fixed_ips=10.0.0.1", "", 400, "InvalidInput", "fixed_ips"},
		{"GET /v2.0/ports?fixed_ips=mac=10.0.0.1", "", 400, "InvalidInput", "ip_address"},
		{"GET /v2.0/ports?fixed_ips=ip_address=x", "", 400, "InvalidInput", "fixed_ips"},
		{"GET /v2.0/routers?limit=x", "", 400, "BadRequest", "Limit must be an integer 0 or greater and not 'x'."},
		{"GET /v2.0/routers?limit=-1", "", 400, "BadRequest", "Limit"},
		{"GET /v2.0/routers?limit=", "", 400, "BadRequest", "Limit must be an integer 0 or greater and not ''."},
		{"GET /v2.0/routers?sort_key=name", "", 400, "HTTPBadRequest", "sort_keys and sort_dirs"},
		{"GET /v2.0/routers?sort_key=x&sort_dir=asc", "", 400, "HTTPBadRequest", "['x'] is invalid attribute for sort_keys"},
		{"GET /v2.0/routers?sort_key=name&sort_dir=up", "", 400, "HTTPBadRequest", "up"},

		{post, `{"router": {"name": "` + strings.Repeat("x", 5000) + `"}}`, 413, "HTTPRequestEntityTooLarge", "large"},
	}
	for _, c := range cases {
		f := &fake{}
		method, target, _ := strings.Cut(c.request, " ")
		w := ask(api(f), method, target, c.body)
		require.Equal(t, c.status, w.Code, "%s %s: %s", c.request, c.body, w.Body)
		name, message := refusal(t, w)
		require.Equal(t, c.name, name, "%s %s: %s", c.request, c.body, message)
		require.Contains(t, message, c.says)
		require.Zero(t, f.who.Project, "%s %s: the service was asked", c.request, c.body)
		require.NotEmpty(t, w.Header().Get("X-Openstack-Request-Id"))
	}
}

func TestOnlyJSON(t *testing.T) {
	w := ask(api(&fake{}), "POST", "/v2.0/routers", `{"router": {}}`, "Content-Type", "application/x-www-form-urlencoded")
	require.Equal(t, http.StatusUnsupportedMediaType, w.Code)
	refusal(t, w)
	require.Equal(t, http.StatusCreated, ask(api(&fake{}), "POST", "/v2.0/routers", `{"router": {}}`, "Content-Type", "application/json; charset=UTF-8").Code)
}

func TestMethodNotAllowedNamesTheOthers(t *testing.T) {
	w := ask(api(&fake{}), "PATCH", "/v2.0/routers", "")
	require.Contains(t, w.Header().Get("Allow"), "POST")
}

func TestErrorsOfTheService(t *testing.T) {
	f := &fake{err: &l3.Error{Kind: l3.ErrConflict, Name: "RouterInUse", Message: "Router r is in use", Err: errors.New("secret")}}
	w := ask(api(f), "DELETE", "/v2.0/routers/r", "")
	require.Equal(t, http.StatusConflict, w.Code)
	require.JSONEq(t, `{"NeutronError": {"type": "RouterInUse", "message": "Router r is in use", "detail": ""}}`, w.Body.String())

	for kind, status := range map[error]int{
		l3.ErrInvalid: 400, l3.ErrForbidden: 403, l3.ErrNotFound: 404, l3.ErrConflict: 409, l3.ErrOverQuota: 409, l3.ErrRevision: 412,
		l3.ErrExhausted: 503,
	} {
		f.err = fmt.Errorf("delete router: %w", l3.Refuse(kind, "Refused", "No %s", "way"))
		w = ask(api(f), "DELETE", "/v2.0/routers/r", "")
		require.Equal(t, status, w.Code, kind)
		require.JSONEq(t, `{"NeutronError": {"type": "Refused", "message": "No way", "detail": ""}}`, w.Body.String())
		require.Equal(t, status == http.StatusServiceUnavailable, w.Header().Get("Retry-After") != "", kind)
	}

	for _, err := range []error{errors.New("secret"), l3.Refuse(errors.New("secret kind"), "Refused", "secret")} {
		f.err = err
		w = ask(api(f), "DELETE", "/v2.0/routers/r", "")
		require.Equal(t, http.StatusInternalServerError, w.Code)
		require.NotContains(t, w.Body.String(), "secret")
	}

	f.err = fmt.Errorf("%w: %w", l3.ErrUnavailable, errors.New("secret"))
	w = ask(api(f), "DELETE", "/v2.0/routers/r", "")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.NotContains(t, w.Body.String(), "secret")

	w = ask(api(&fake{}), "GET", "/v2.0/quotas", "") // a method that the fake lacks
	require.Equal(t, http.StatusInternalServerError, w.Code)
	name, _ := refusal(t, w)
	require.Equal(t, "HTTPInternalServerError", name)
}
