package rest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// emptiedByNull are the lists for which Neutron takes null, and reads it as an empty one.
var emptiedByNull = []string{
	"routers.routes", "ports.security_groups", "ports.allowed_address_pairs", "ports.extra_dhcp_opts",
	"subnets.dns_nameservers", "subnets.host_routes",
}

// listsOf reads from a schema of the OpenAPI document the names of the lists that a request takes.
func listsOf(s any, envelope string) []string {
	if either, ok := dig(s, "oneOf").([]any); ok {
		s = either[0] // of one resource, and not of several
	}
	if envelope != "" {
		s = dig(s, "properties", envelope)
	}
	properties, _ := dig(s, "properties").(map[string]any)
	var names []string
	for name, p := range properties {
		if dig(p, "type") == "array" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// TestNullIsNoList: null in the place of a list is refused and changes nothing, whatever the list
// is of, but for those that Neutron empties.
func TestNullIsNoList(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		group := idOf(c.T, second(c.raw(c.member, "POST", "security-groups", `{"security_group": {"name": "g"}}`)))
		inNetwork := `"network_id": "` + at.inside.ID + `"`
		var document any
		require.NoError(c, json.Unmarshal(ask(c.handler, "GET", "/openapi.json", "").Body.Bytes(), &document))
		accepts := func(method, path string) any {
			return dig(document, "paths", "/v2.0/"+path, method, "requestBody", "content", "application/json", "schema")
		}
		checked := 0
		for kind, r := range map[string]struct{ one, base, full string }{
			"networks": {"network", `"name": "n"`, `"tags": ["a"]`},
			"subnets": {"subnet", inNetwork + `, "ip_version": 4, "cidr": "10.1.0.0/24"`,
				`"tags": ["a"], "allocation_pools": [{"start": "10.1.0.10", "end": "10.1.0.20"}], "dns_nameservers": ["10.1.0.2"],
				"host_routes": [{"destination": "10.5.0.0/16", "nexthop": "10.1.0.9"}], "service_types": ["compute:nova"]`},
			"ports": {"port", inNetwork, `"tags": ["a"], "fixed_ips": [{"ip_address": "10.0.0.77"}], "security_groups": ["` + group + `"],
				"allowed_address_pairs": [{"ip_address": "10.0.0.99"}], "extra_dhcp_opts": [{"opt_name": "x", "opt_value": "y"}]`},
			"routers":              {"router", `"name": "r"`, `"tags": ["a"]`},
			"floatingips":          {"floatingip", `"floating_network_id": "` + at.public.ID + `"`, `"tags": ["a"]`},
			"security-groups":      {"security_group", `"name": "b"`, `"tags": ["a"]`},
			"security-group-rules": {"security_group_rule", `"security_group_id": "` + group + `", "direction": "ingress", "protocol": "udp"`, `"tags": ["a"]`},
			"rbac-policies": {"rbac_policy", `"object_type": "network", "object_id": "` + at.inside.ID +
				`", "action": "access_as_shared", "target_tenant": "x"`, ""},
		} {
			get := func(path string) string {
				status, answer := c.raw(c.admin, "GET", path, "")
				require.Equal(c, http.StatusOK, status, answer)
				return answer
			}
			post := func(more string) (int, string) {
				return c.raw(c.admin, "POST", kind, `{"`+r.one+`": {`+strings.TrimSuffix(r.base+", "+more, ", ")+`}}`)
			}
			for _, name := range listsOf(accepts("post", kind), r.one) {
				if slices.Contains(emptiedByNull, kind+"."+name) {
					continue
				}
				before := get(kind)
				status, answer := post(`"` + name + `": null`)
				require.Equal(c, http.StatusBadRequest, status, "POST %s: %s: %s", kind, name, answer)
				require.Contains(c, answer, "Invalid input for "+name+". Reason: 'None' is not a list.")
				require.JSONEq(c, before, get(kind), "POST %s: %s", kind, name)
				checked++
			}
			status, answer := post(r.full)
			require.Equal(c, http.StatusCreated, status, "%s: %s", kind, answer)
			item := kind + "/" + idOf(c.T, answer)
			type change struct{ path, envelope, name string }
			var changes []change
			for _, name := range listsOf(accepts("put", kind+"/{id}"), r.one) {
				changes = append(changes, change{item, r.one, name})
			}
			if accepts("put", kind+"/{id}/tags") != nil {
				changes = append(changes, change{item + "/tags", "", "tags"})
			}
			for _, ch := range changes {
				before := get(item)
				status, answer := c.raw(c.admin, "PUT", ch.path, wrap(ch.envelope, map[string]string{ch.name: "null"}))
				if slices.Contains(emptiedByNull, kind+"."+ch.name) {
					require.Equal(c, http.StatusOK, status, "PUT %s: %s: %s", kind, ch.name, answer)
					continue
				}
				require.Equal(c, http.StatusBadRequest, status, "PUT %s: %s: %s", ch.path, ch.name, answer)
				require.Contains(c, answer, "'None' is not a list.")
				require.JSONEq(c, before, get(item), "PUT %s: %s", ch.path, ch.name)
				checked++
			}
		}
		require.GreaterOrEqual(c, checked, 24, "the document has lost its lists")

		router := "routers/" + at.router.ID
		_, before := c.raw(c.admin, "GET", router, "")
		for path, body := range map[string]string{
			router:                         `{"router": {"external_gateway_info": {"network_id": "` + at.public.ID + `", "external_fixed_ips": null}}}`,
			router + "/add_extraroutes":    `{"router": {"routes": null}}`,
			router + "/remove_extraroutes": `{"router": {"routes": null}}`,
		} {
			status, answer := c.raw(c.admin, "PUT", path, body)
			require.Equal(c, http.StatusBadRequest, status, "%s: %s", path, answer)
		}
		_, after := c.raw(c.admin, "GET", router, "")
		require.JSONEq(c, before, after)
	})
}
