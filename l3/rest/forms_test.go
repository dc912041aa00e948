package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

// TestBulkItemsMayBeWrapped: each item of a bulk request may be in an object with the resource's
// name, as some clients send it; all or none are made.
func TestBulkItemsMayBeWrapped(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		inNetwork := `"network_id": "` + at.inside.ID + `"`
		group := idOf(c.T, second(c.raw(c.member, "POST", "security-groups", `{"security_group": {}}`)))
		for kind, r := range map[string]struct{ one, many, first, second string }{
			"networks": {"network", "networks", `"name": "a"`, `"name": "b"`},
			"subnets": {"subnet", "subnets", inNetwork + `, "ip_version": 4, "cidr": "10.1.0.0/24"`,
				inNetwork + `, "ip_version": 4, "cidr": "10.2.0.0/24"`},
			"ports":           {"port", "ports", inNetwork, inNetwork},
			"routers":         {"router", "routers", `"name": "a"`, `"name": "b"`},
			"floatingips":     {"floatingip", "floatingips", `"floating_network_id": "` + at.public.ID + `"`, `"floating_network_id": "` + at.public.ID + `"`},
			"security-groups": {"security_group", "security_groups", `"name": "a"`, `"name": "b"`},
			"security-group-rules": {"security_group_rule", "security_group_rules",
				`"security_group_id": "` + group + `", "direction": "ingress", "protocol": "tcp"`,
				`"security_group_id": "` + group + `", "direction": "ingress", "protocol": "udp"`},
			"rbac-policies": {"rbac_policy", "rbac_policies",
				`"object_type": "network", "object_id": "` + at.inside.ID + `", "action": "access_as_shared", "target_tenant": "x"`,
				`"object_type": "network", "object_id": "` + at.inside.ID + `", "action": "access_as_shared", "target_tenant": "y"`},
		} {
			count := func() int {
				status, answer := c.raw(c.member, "GET", kind, "")
				require.Equal(c, http.StatusOK, status, answer)
				var said map[string][]any
				require.NoError(c, json.Unmarshal([]byte(answer), &said))
				return len(said[r.many])
			}
			before := count()
			for _, wrong := range []string{`{"` + r.one + `": 7}`, `{"` + r.one + `": null}`, `{"` + r.one + `": {"colour": "red"}}`, `7`, `{"horse": {}}`} {
				status, answer := c.raw(c.member, "POST", kind, `{"`+r.many+`": [{"`+r.one+`": {`+r.first+`}}, `+wrong+`]}`)
				require.Equal(c, http.StatusBadRequest, status, "%s: %s: %s", kind, wrong, answer)
			}
			require.Equal(c, before, count(), kind)
			// One is wrapped and the other is not: each stands for itself.
			status, answer := c.raw(c.member, "POST", kind, `{"`+r.many+`": [{"`+r.one+`": {`+r.first+`}}, {`+r.second+`}]}`)
			require.Equal(c, http.StatusCreated, status, "%s: %s", kind, answer)
			var made map[string][]any
			require.NoError(c, json.Unmarshal([]byte(answer), &made), answer)
			require.Len(c, made[r.many], 2, answer)
		}
	})
}

// TestTagsInPOST: whatever has tags takes them when it is made, under the rules for tags.
func TestTagsInPOST(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		inNetwork := `"network_id": "` + at.inside.ID + `"`
		group := idOf(c.T, second(c.raw(c.member, "POST", "security-groups", `{"security_group": {"name": "g"}}`)))
		many := make([]string, 51)
		for i := range many {
			many[i] = fmt.Sprintf("%q", fmt.Sprint("t", i))
		}
		for kind, r := range map[string]struct{ one, base string }{
			"networks":             {"network", `"name": "a"`},
			"subnets":              {"subnet", inNetwork + `, "ip_version": 4, "cidr": "10.1.0.0/24"`},
			"ports":                {"port", inNetwork},
			"routers":              {"router", `"external_gateway_info": {"network_id": "` + at.public.ID + `"}`},
			"floatingips":          {"floatingip", `"floating_network_id": "` + at.public.ID + `"`},
			"security-groups":      {"security_group", `"name": "b"`},
			"security-group-rules": {"security_group_rule", `"security_group_id": "` + group + `", "direction": "ingress", "protocol": "udp"`},
		} {
			post := func(tags string) (int, string) {
				return c.raw(c.member, "POST", kind, `{"`+r.one+`": {`+r.base+`, "tags": `+tags+`}}`)
			}
			for _, wrong := range []string{`["a", "a"]`, `[""]`, `"a"`, `[7]`, `[` + strings.Join(many, ", ") + `]`} {
				status, answer := post(wrong)
				require.Equal(c, http.StatusBadRequest, status, "%s: %s: %s", kind, wrong, answer)
			}
			status, answer := post(`["b", "a"]`)
			require.Equal(c, http.StatusCreated, status, "%s: %s", kind, answer)
			require.Contains(c, answer, `"tags":["a","b"]`, kind)
			id := idOf(c.T, answer)
			status, answer = c.raw(c.member, "GET", kind+"?tags=a,b&fields=id", "")
			require.Equal(c, http.StatusOK, status, answer)
			require.Contains(c, answer, id, "%s: found by its tags", kind)
			if kind != "security-group-rules" { // which do not change
				status, answer = c.raw(c.member, "PUT", kind+"/"+id, `{"`+r.one+`": {"tags": ["c"]}}`)
				require.Equal(c, http.StatusBadRequest, status, "%s: %s", kind, answer)
			}
		}
	})
}

// TestRBACPolicyShowsWhatNeutronShows: a policy has none of the standard attributes.
func TestRBACPolicyShowsWhatNeutronShows(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.member, "n")
		policy := `"object_type": "network", "object_id": "` + n.ID + `", "action": "access_as_shared"`
		status, answer := c.raw(c.member, "POST", "rbac-policies", `{"rbac_policy": {`+policy+`, "target_tenant": "x"}}`)
		require.Equal(c, http.StatusCreated, status, answer)
		id := idOf(c.T, answer)
		for _, request := range []string{"GET rbac-policies/" + id, "GET rbac-policies"} {
			method, path := cut(request)
			status, answer = c.raw(c.member, method, path, "")
			require.Equal(c, http.StatusOK, status, answer)
			object := `{"id": "` + id + `", "project_id": "p1", "tenant_id": "p1", ` + policy + `, "target_tenant": "x"}`
			if path == "rbac-policies" {
				require.JSONEq(c, `{"rbac_policies": [`+object+`]}`, answer)
			} else {
				require.JSONEq(c, `{"rbac_policy": `+object+`}`, answer)
			}
		}
		for _, wrong := range []string{`"target_project": "y"`, `"target_tenant": "y", "tags": []`, `"target_tenant": "y", "description": "d"`} {
			status, answer = c.raw(c.member, "POST", "rbac-policies", `{"rbac_policy": {`+policy+`, `+wrong+`}}`)
			require.Equal(c, http.StatusBadRequest, status, answer)
			require.Contains(c, answer, "Unrecognized attribute(s)")
		}
		for _, path := range []string{"?tags=x", "?target_project=x", "?revision_number=1", "?sort_key=created_at&sort_dir=asc"} {
			status, answer = c.raw(c.member, "GET", "rbac-policies"+path, "")
			require.Equal(c, http.StatusBadRequest, status, answer)
		}
		status, _ = c.raw(c.member, "GET", "rbac-policies/"+id+"/tags", "")
		require.Equal(c, http.StatusNotFound, status)
		status, answer = c.raw(c.member, "GET", "rbac-policies?target_tenant=x&sort_key=target_tenant&sort_dir=asc&fields=id", "")
		require.Equal(c, http.StatusOK, status, answer)
		require.Contains(c, answer, id)
	})
}

// TestSubnetShowsWhetherItsNetworkIsExternal follows the network.
func TestSubnetShowsWhetherItsNetworkIsExternal(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.admin, "n")
		status, answer := c.raw(c.admin, "POST", "subnets", `{"subnet": {"network_id": "`+n.ID+`", "ip_version": 4, "cidr": "203.0.113.0/24"}}`)
		require.Equal(c, http.StatusCreated, status, answer)
		require.Contains(c, answer, `"router:external":false`)
		id := idOf(c.T, answer)
		for _, external := range []string{"true", "false"} {
			status, answer = c.raw(c.admin, "PUT", "networks/"+n.ID, `{"network": {"router:external": `+external+`}}`)
			require.Equal(c, http.StatusOK, status, answer)
			for _, r := range []string{"GET subnets/" + id, "GET subnets?id=" + id, "PUT subnets/" + id} {
				method, path := cut(r)
				status, answer = c.raw(c.admin, method, path, `{"subnet": {"name": "`+external+`"}}`)
				require.Equal(c, http.StatusOK, status, answer)
				require.Contains(c, answer, `"router:external":`+external, r)
			}
		}
		status, answer = c.raw(c.admin, "POST", "subnets", `{"subnet": {"network_id": "`+n.ID+`", "ip_version": 4, "cidr": "10.0.0.0/24",
			"router:external": true}}`)
		require.Equal(c, http.StatusBadRequest, status, answer)
		status, answer = c.raw(c.admin, "POST", "subnets", `{"subnet": {"network_id": "`+n.ID+`", "ip_version": 4}}`)
		require.Equal(c, http.StatusBadRequest, status, answer)
		require.Contains(c, answer, "a subnetpool must be specified in the absence of a cidr.")
	})
}

// TestSecurityGroupRuleForms: the answers are those of neutron-server 21.
func TestSecurityGroupRuleForms(t *testing.T) {
	onClouds(t, func(c *cloud) {
		group := idOf(c.T, second(c.raw(c.member, "POST", "security-groups", `{"security_group": {"name": "g"}}`)))
		theirs := idOf(c.T, second(c.raw(c.other, "POST", "security-groups", `{"security_group": {"name": "g"}}`)))
		post := func(more string) (int, string) {
			return c.raw(c.member, "POST", "security-group-rules", `{"security_group_rule": {"security_group_id": "`+group+`", "direction": "ingress", `+more+`}}`)
		}
		for i, protocol := range []string{`41`, `43`, `44`, `58`, `59`, `60`, `"41"`, `"ipv6-encap"`, `"ipv6-route"`, `"ipv6-frag"`, `"ipv6-icmp"`,
			`"icmpv6"`, `"ipv6-nonxt"`, `"ipv6-opts"`} {
			status, answer := post(`"protocol": ` + protocol + `, "ethertype": "IPv4"`)
			require.Equal(c, http.StatusBadRequest, status, "%s: %s", protocol, answer)
			require.Contains(c, answer, "SecurityGroupEthertypeConflictWithProtocol")
			status, answer = post(`"protocol": ` + protocol + `, "ethertype": "IPv6"`)
			want := http.StatusConflict // it is there by its number
			if i < 6 {
				want = http.StatusCreated
			}
			require.Equal(c, want, status, "%s: %s", protocol, answer)
		}
		for remote, want := range map[string]int{`"x"`: 404, `""`: 404, `"` + networkID + `"`: 404, `"` + theirs + `"`: 404, `7`: 400, `null`: 201,
			`"` + group + `"`: 201} {
			status, answer := post(`"protocol": "udp", "remote_group_id": ` + remote)
			require.Equal(c, want, status, "%s: %s", remote, answer)
		}
		for remote, want := range map[string]int{`"x"`: 404, `"` + networkID + `"`: 404, `7`: 400, `null`: 201} {
			status, answer := post(`"protocol": "sctp", "remote_address_group_id": ` + remote)
			require.Equal(c, want, status, "%s: %s", remote, answer)
		}
		for _, of := range []string{`"x"`, `""`, `"` + networkID + `"`, `"` + theirs + `"`} {
			status, answer := c.raw(c.member, "POST", "security-group-rules", `{"security_group_rule": {"security_group_id": `+of+`, "direction": "ingress"}}`)
			require.Equal(c, http.StatusNotFound, status, "%s: %s", of, answer)
		}
		status, answer := post(`"protocol": "dccp", "ethertype": "ipv4", "remote_ip_prefix": "10.0.0.1"`)
		require.Equal(c, http.StatusCreated, status, answer)
		for _, shown := range []string{`"ethertype":"IPv4"`, `"remote_ip_prefix":"10.0.0.1/32"`, `"normalized_cidr":"10.0.0.1/32"`,
			`"remote_address_group_id":null`} {
			require.Contains(c, answer, shown)
		}
		status, answer = post(`"protocol": "dccp", "remote_ip_prefix": ""`)
		require.Equal(c, http.StatusCreated, status, answer)
		require.Contains(c, answer, `"remote_ip_prefix":null`)
	})
}

// TestGroupNamedTwice is refused by POST and PUT, and changes nothing.
func TestGroupNamedTwice(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.member, "n")
		p := c.port(c.member, n.ID)
		group := idOf(c.T, second(c.raw(c.member, "POST", "security-groups", `{"security_group": {"name": "g"}}`)))
		twice := `"security_groups": ["` + group + `", "` + group + `"]`
		status, answer := c.raw(c.member, "POST", "ports", `{"port": {"network_id": "`+n.ID+`", `+twice+`}}`)
		require.Equal(c, http.StatusBadRequest, status, answer)
		status, answer = c.raw(c.member, "PUT", "ports/"+p.ID, `{"port": {`+twice+`}}`)
		require.Equal(c, http.StatusBadRequest, status, answer)
		status, answer = c.raw(c.member, "GET", "ports?network_id="+n.ID, "")
		require.Equal(c, http.StatusOK, status, answer)
		require.Equal(c, 1, strings.Count(answer, `"mac_address"`))
		require.NotContains(c, answer, group)
	})
}

// TestGatewayWithTwoAddressesOfOneSubnet is for the administrator to ask for.
func TestGatewayWithTwoAddressesOfOneSubnet(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		for _, ips := range []string{`{"ip_address": "203.0.113.91"}, {"ip_address": "203.0.113.92"}`,
			`{"subnet_id": "` + at.publicSubnet.ID + `"}, {"subnet_id": "` + at.publicSubnet.ID + `"}`} {
			status, answer := c.raw(c.admin, "PUT", "routers/"+at.router.ID, `{"router": {"external_gateway_info": {"network_id": "`+at.public.ID+
				`", "external_fixed_ips": [`+ips+`]}}}`)
			require.Equal(c, http.StatusOK, status, answer)
			require.Equal(c, 2, strings.Count(answer, `"subnet_id":"`+at.publicSubnet.ID+`"`), answer)
		}
	})
}

// TestQuotaNames: each core quota of Neutron is accepted, alone and with the others.
func TestQuotaNames(t *testing.T) {
	onClouds(t, func(c *cloud) {
		names := []string{"floatingip", "network", "port", "port_forwarding", "rbac_policy", "router", "security_group", "security_group_rule", "subnet", "subnetpool", "router_route", "address_scope"}
		var all []string
		for i, name := range names {
			status, answer := c.raw(c.admin, "PUT", "quotas/p9", fmt.Sprintf(`{"quota": {%q: %d}}`, name, 10+i))
			require.Equal(c, http.StatusOK, status, answer)
			require.Contains(c, answer, fmt.Sprintf(`%q:%d`, name, 10+i))
			all = append(all, fmt.Sprintf(`%q: "%d"`, name, 20+i))
		}
		status, answer := c.raw(c.admin, "PUT", "quotas/p9", `{"quota": {`+strings.Join(all, ", ")+`}}`)
		require.Equal(c, http.StatusOK, status, answer)
		for _, path := range []string{"quotas/p9", "quotas/p9/default", "quotas/p9/details"} {
			status, answer = c.raw(c.admin, "GET", path, "")
			require.Equal(c, http.StatusOK, status, answer)
			var said struct{ Quota map[string]any }
			require.NoError(c, json.Unmarshal([]byte(answer), &said))
			var got []string
			for name := range said.Quota {
				got = append(got, name)
			}
			require.ElementsMatch(c, names, got, path)
		}
		for _, name := range []string{"route", "trunk", "address_group", "tenant_id", "horse"} {
			require.False(c, slices.Contains(names, name))
			status, answer = c.raw(c.admin, "PUT", "quotas/p9", `{"quota": {"network": 99, "`+name+`": 1}}`)
			require.Equal(c, http.StatusBadRequest, status, answer)
			require.Contains(c, answer, "Unrecognized attribute(s) '"+name+"'")
		}
		_, answer = c.raw(c.admin, "GET", "quotas/p9", "")
		require.NotContains(c, answer, `"network":99`)
	})
}

// TestCollectionsAreSpelledEitherWay: in the names of collections, - and _ are the same.
func TestCollectionsAreSpelledEitherWay(t *testing.T) {
	f := &fake{zones: []l3.AvailabilityZone{{Name: "nova", Resource: "router", State: "available"}},
		counts: []l3.IPAvailability{{NetworkID: networkID, TotalIPs: "1"}}}
	for _, path := range []string{"availability_zones", "availability-zones", "availability-zones?name=nova",
		"network-ip-availabilities", "network_ip_availabilities", "network-ip_availabilities", "network_ip_availabilities/" + networkID,
		"security_groups/x%2Fy/tags", "security-groups/x%2Fy/tags", "rbac_policies", "floatingip_pools", "security_group_rules"} {
		if strings.Contains(path, "rbac") || strings.Contains(path, "pools") || strings.Contains(path, "rules") {
			path += "?colour=red" // is refused before the service is asked
		}
		w := ask(api(f), "GET", "/v2.0/"+path, "")
		if strings.Contains(path, "colour") {
			require.Equal(t, http.StatusBadRequest, w.Code, "%s: %s", path, w.Body)
			continue
		}
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
	}
	require.Equal(t, "x/y", f.id)
	for _, path := range []string{"availability__zones", "net_works", "networks-", "l3_agents"} {
		require.Equal(t, http.StatusNotFound, ask(api(f), "GET", "/v2.0/"+path, "").Code, path)
	}
}

// TestFilterValueThatCannotBe finds nothing where Neutron does not look at its form.
func TestFilterValueThatCannotBe(t *testing.T) {
	for _, target := range []string{"ports?mac_address=x", "floatingips?floating_ip_address=x", "floatingips?fixed_ip_address=x"} {
		f := &fake{}
		require.Equal(t, http.StatusOK, ask(api(f), "GET", "/v2.0/"+target, "").Code, target)
		require.Equal(t, []any{"x"}, f.query.Filters[0].Values)
	}
	for _, target := range []string{"networks?mtu=x", "networks?admin_state_up=x"} {
		require.Equal(t, http.StatusBadRequest, ask(api(&fake{}), "GET", "/v2.0/"+target, "").Code, target)
	}
}
