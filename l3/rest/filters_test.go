package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3/rest"
)

// unfiltered are the attributes that lists cannot be filtered by: objects and lists of objects, as
// in Neutron, and what is worked out for each resource that is shown.
var unfiltered = map[string]string{
	"networks":                  "segments",
	"subnets":                   "allocation_pools host_routes",
	"ports":                     "binding:profile binding:vif_details allowed_address_pairs extra_dhcp_opts dns_assignment qos_network_policy_id",
	"routers":                   "external_gateway_info routes availability_zones status_reason",
	"floatingips":               "port_details port_forwardings status_reason qos_network_policy_id",
	"qos/policies":              "rules",
	"security-groups":           "security_group_rules",
	"agents":                    "configurations orphans",
	"network-ip-availabilities": "total_ips used_ips subnet_ip_availability",
}

// unsorted are the attributes that lists can be filtered by and not sorted: lists, those of a
// network's first segment, and what follows from other resources.
var unsorted = map[string]string{
	"networks": "tags subnets availability_zones ipv4_address_scope ipv6_address_scope" +
		" provider:network_type provider:physical_network provider:segmentation_id",
	"subnets":              "tags dns_nameservers service_types router:external",
	"subnetpools":          "tags prefixes",
	"ports":                "tags fixed_ips security_groups ip_allocation",
	"routers":              "tags availability_zone_hints",
	"floatingips":          "tags",
	"qos/policies":         "tags",
	"qos/rule-types":       "type",
	"security-groups":      "tags",
	"security-group-rules": "tags",
	"floatingip-pools":     "project_id tenant_id", // which are the caller's
}

// sortedOnly are the attributes that lists can be sorted by and not filtered, as in Neutron.
var sortedOnly = map[string]string{"agents": "configurations"}

// listed is a list that the OpenAPI document has.
type listed struct {
	path, many           string
	attributes           []string
	parameters, sortKeys []string
}

// dig follows the members of JSON objects.
func dig(v any, names ...string) any {
	for _, name := range names {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

// lists reads from the OpenAPI document which lists there are, and what they can be asked.
func lists(t *testing.T, h http.Handler) []listed {
	t.Helper()
	var document any
	require.NoError(t, json.Unmarshal(ask(h, "GET", "/openapi.json", "").Body.Bytes(), &document))
	paths, ok := dig(document, "paths").(map[string]any)
	require.True(t, ok)
	var all []listed
	for path, item := range paths {
		get := dig(item, "get")
		parameters, _ := dig(get, "parameters").([]any)
		l := listed{path: strings.TrimPrefix(path, "/v2.0/")}
		for _, p := range parameters {
			name, _ := dig(p, "name").(string)
			l.parameters = append(l.parameters, name)
			if keys, ok := dig(p, "schema", "items", "enum").([]any); ok && name == "sort_key" {
				for _, key := range keys {
					l.sortKeys = append(l.sortKeys, key.(string))
				}
			}
		}
		if !slices.Contains(l.parameters, "sort_key") {
			continue
		}
		answers, _ := dig(get, "responses", "200", "content", "application/json", "schema", "properties").(map[string]any)
		for many, s := range answers {
			if ref, ok := dig(s, "items", "$ref").(string); ok {
				l.many = many
				properties, _ := dig(document, "components", "schemas", ref[strings.LastIndex(ref, "/")+1:], "properties").(map[string]any)
				for name := range properties {
					l.attributes = append(l.attributes, name)
				}
			}
		}
		require.NotEmpty(t, l.attributes, path)
		slices.Sort(l.attributes)
		all = append(all, l)
	}
	return all
}

// filterValue is what a filter for the value of an attribute says; ok is false for a list without
// elements, by which nothing is found.
func filterValue(v any) (text string, ok bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case []any:
		if len(v) == 0 {
			return "", false
		}
		if object, is := v[0].(map[string]any); is {
			return fmt.Sprintf("ip_address=%v", object["ip_address"]), true
		}
		return fmt.Sprint(v[0]), true
	case json.Number:
		return v.String(), true
	}
	return fmt.Sprint(v), true
}

// TestEveryAttributeCanBeFilteredAndSorted: whoever adds an attribute makes it one that lists can
// be filtered and sorted by, or lists it above.
func TestEveryAttributeCanBeFilteredAndSorted(t *testing.T) {
	e := newEstate(t, rest.None{}, func(person string) []string {
		return []string{"X-Project-Id", projectID, "X-Roles", strings.Join(personsRoles[person], ",")}
	})
	e.as("admin", "POST", "/v2.0/security-group-rules", `{"security_group_rule": {"security_group_id": "$security-groups", "direction": "egress",
		"protocol": "tcp", "port_range_min": 80, "port_range_max": 81, "remote_ip_prefix": "10.0.0.0/8"}}`)
	e.as("admin", "POST", "/v2.0/subnets", `{"subnet": {"network_id": "$networks", "ip_version": 4, "cidr": "10.2.0.0/24",
		"dns_nameservers": ["192.0.2.53"], "service_types": ["compute:nova"], "gateway_ip": null}}`)
	e.as("admin", "POST", "/v2.0/networks", `{"network": {"availability_zone_hints": ["nova"], "tags": ["red"]}}`)
	e.as("admin", "POST", "/v2.0/ports", `{"port": {"network_id": "$networks", "fixed_ips": [], "binding:host_id": "host-1"}}`)
	e.as("admin", "PUT", "/v2.0/routers/$routers", "")
	e.make("floatingips/"+e.ids["outer"]+"/port_forwardings", `{"port_forwarding": {"internal_port_id": "$inner", "protocol": "udp",
		"internal_port": 53, "external_port_range": "100:199"}}`)
	e.make("networks", `{"network": {}}`)
	e.as("admin", "POST", "/v2.0/subnets", `{"subnet": {"network_id": "$networks", "ip_version": 4, "subnetpool_id": "$subnetpools"}}`)
	e.make("address-scopes", `{"address_scope": {"ip_version": 6, "shared": true, "project_id": "operators"}}`)
	e.make("subnetpools", `{"subnetpool": {"name": "y", "prefixes": ["2001:db8::/48", "2001:db8:2::/48"], "is_default": true, "shared": true,
		"address_scope_id": "$address-scopes", "project_id": "operators"}}`)
	e.as("admin", "POST", "/v2.0/subnets", `{"subnet": {"network_id": "$networks", "ip_version": 6, "use_default_subnetpool": true}}`)
	all := lists(t, e.handler)
	require.Len(t, all, 20, "lists in the document")
	tried := 0
	for _, l := range all {
		none, fixed := strings.Fields(unfiltered[l.path]), strings.Fields(unsorted[l.path])
		for _, name := range append(none, fixed...) {
			require.Contains(t, l.attributes, name, "%s: excused, and no attribute", l.path)
		}
		resources := e.list(l, "")
		require.NotEmpty(t, resources, l.path)
		for _, name := range l.attributes {
			can, sorts := slices.Contains(l.parameters, name), slices.Contains(l.sortKeys, name)
			require.NotEqual(t, slices.Contains(none, name), can, "%s?%s: filterable, or excused", l.path, name)
			excused := slices.Contains(none, name) && !slices.Contains(strings.Fields(sortedOnly[l.path]), name)
			require.NotEqual(t, excused || slices.Contains(fixed, name), sorts, "%s?sort_key=%s: sortable, or excused", l.path, name)
			if can {
				tried += e.filters(l, name, resources)
			}
			if sorts {
				e.sorts(l, name, len(resources))
			}
		}
		for name := range resources[0] {
			require.Contains(t, l.attributes, name, "%s: shown, and not in the document", l.path)
		}
	}
	require.Greater(t, tried, 150, "filters that could be tried")
}

// list asks for a list as an administrator.
func (e *estate) list(l listed, query string) []map[string]any {
	e.Helper()
	w := e.as("admin", "GET", "/v2.0/"+strings.Replace(l.path, "{parent}", e.parent(l.path), 1)+"?"+query, "")
	require.Equal(e, http.StatusOK, w.Code, "%s?%s: %s", l.path, query, w.Body)
	var said map[string]json.RawMessage
	require.NoError(e, json.Unmarshal(w.Body.Bytes(), &said))
	d := json.NewDecoder(strings.NewReader(string(said[l.many])))
	d.UseNumber()
	var resources []map[string]any
	require.NoError(e, d.Decode(&resources))
	return resources
}

// filters requires that a list filtered by what each resource shows has that resource and only such
// that show the same, and returns how many filters there were.
func (e *estate) filters(l listed, name string, resources []map[string]any) int {
	e.Helper()
	tried := map[string]bool{}
	for _, r := range resources {
		v, shown := r[name]
		text, ok := filterValue(v)
		if !shown || !ok || tried[text] {
			continue
		}
		tried[text] = true
		found := e.list(l, name+"="+url.QueryEscape(text))
		require.Contains(e, found, r, "%s?%s=%s", l.path, name, text)
		for _, f := range found {
			list, _ := f[name].([]any)
			if len(list) == 0 {
				require.Equal(e, v, f[name], "%s?%s=%s", l.path, name, text)
			}
		}
	}
	return len(tried)
}

// sorts requires that the pages of a sorted list, in both directions, have every resource once.
func (e *estate) sorts(l listed, name string, count int) {
	e.Helper()
	for _, dir := range []string{"asc", "desc"} {
		query := url.Values{"sort_key": {name}, "sort_dir": {dir}}
		require.Len(e, e.list(l, query.Encode()), count)
		if l.path == "availability_zones" { // which have no ID for a marker
			continue
		}
		seen := map[string]bool{}
		query.Set("limit", "1")
		for range count + 1 {
			page := e.list(l, query.Encode())
			if len(page) == 0 {
				break
			}
			marker := idOfItem(page[0])
			require.False(e, seen[marker], "%s?%s: twice", l.path, query.Encode())
			seen[marker] = true
			query.Set("marker", marker)
		}
		require.Len(e, seen, count, "%s?sort_key=%s&sort_dir=%s", l.path, name, dir)
	}
}

func idOfItem(r map[string]any) string {
	for _, name := range []string{"id", "subnet_id", "network_id"} {
		if id, ok := r[name].(string); ok {
			return id
		}
	}
	return ""
}

// TestFiltersOfWhatOthersHave: what a filter finds for members, where it follows from a network.
func TestFiltersOfWhatOthersHave(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		shared := c.network(c.other, "theirs")
		theirs := c.subnet(c.other, shared.ID, "10.7.0.0/24")
		status, answer := c.raw(c.other, "POST", "rbac-policies", `{"rbac_policy": {"object_type": "network", "object_id": "`+shared.ID+
			`", "action": "access_as_shared", "target_tenant": "p1"}}`)
		require.Equal(c, http.StatusCreated, status, answer)
		for _, q := range []struct {
			who   *client
			query string
			want  []string
		}{
			{c.member, "subnets?shared=true", []string{theirs.ID}},
			{c.member, "subnets?shared=false", []string{at.subnet.ID}},
			{c.member, "subnets?shared=false&shared=true", []string{at.subnet.ID, theirs.ID}},
			{c.other, "subnets?shared=true", nil},
			{c.admin, "subnets?shared=true", nil},
			{c.admin, "subnets?router:external=true", []string{at.publicSubnet.ID}},
			{c.admin, "subnets?router:external=false", []string{at.subnet.ID, theirs.ID}},
			{c.member, "subnets?router:external=true", nil},
			{c.member, "subnets?subnetpool_id=", []string{at.subnet.ID, theirs.ID}},
			{c.member, "subnets?subnetpool_id=" + networkID, nil},
			{c.member, "subnets?segment_id=", []string{at.subnet.ID, theirs.ID}},
			{c.member, "subnets?segment_id=" + networkID, nil},
			{c.member, "networks?subnets=" + at.subnet.ID, []string{at.inside.ID}},
			{c.member, "networks?subnets=" + at.subnet.ID + "&subnets=" + theirs.ID, []string{at.inside.ID, shared.ID}},
			{c.other, "networks?subnets=" + at.subnet.ID, nil},
			{c.member, "networks?ipv4_address_scope=" + networkID, nil},
			{c.member, "networks?created_at=2030-01-02T03:04:05Z&name=inside", []string{at.inside.ID}},
			{c.member, "networks?created_at=2030-01-02T04:04:05%2B01:00&name=inside", []string{at.inside.ID}},
			{c.member, "networks?updated_at=2031-01-02T03:04:05", nil},
			{c.member, "ports?ip_allocation=immediate&id=" + at.port.ID, []string{at.port.ID}},
			{c.member, "ports?ip_allocation=none&id=" + at.port.ID, nil},
			{c.member, "ports?ip_allocation=deferred", nil},
			{c.member, "ports?ip_allocation=none&ip_allocation=immediate&id=" + at.port.ID, []string{at.port.ID}},
			{c.member, "security-groups?shared=true", nil},
			{c.member, "security-group-rules?remote_address_group_id=" + networkID, nil},
		} {
			status, answer := c.raw(q.who, "GET", q.query+"&fields=id", "")
			require.Equal(c, http.StatusOK, status, "%s: %s", q.query, answer)
			var said map[string][]struct{ ID string }
			require.NoError(c, json.Unmarshal([]byte(answer), &said))
			var got []string
			for _, list := range said {
				for _, r := range list {
					got = append(got, r.ID)
				}
			}
			require.ElementsMatch(c, q.want, got, q.query)
		}
		for _, query := range []string{"networks?created_at=yesterday", "subnets?shared=x", "subnets?router:external=x"} {
			status, answer := c.raw(c.member, "GET", query, "")
			require.Equal(c, http.StatusBadRequest, status, answer)
		}
	})
}
