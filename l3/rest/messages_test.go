package rest_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// goNames match what names something of Go, of its libraries or of a database, which clients do not
// know: identifiers with dots and capitals, indexes, types, zero values as Go prints them.
var goNames = []*regexp.Regexp{
	regexp.MustCompile(`\b[A-Za-z]\w*\[\d+\]`),      // Addrs[1]
	regexp.MustCompile(`\b[A-Z][a-z]\w*\.[A-Z]\w*`), // Gateway.Addrs
	regexp.MustCompile(`\bnil\b`),                   // <nil>
	regexp.MustCompile(`\bmap\[`),                   // map[a:1]
	regexp.MustCompile(`%!`),                        // %!s(int=1)
	regexp.MustCompile(`\[\](string|byte|any|int|\*?\w+\.)|interface \{|struct \{|\{\{`), // types, nested structs
	regexp.MustCompile(`\*?\b(l3|dataplane|rest|sqlstore|netip|strconv|time|uuid|errors|reflect|http|url|context|runtime)\.[A-Za-z]`),
	regexp.MustCompile(`\b(json|strconv|sql|pq|sqlite|pgx|runtime error|panic|goroutine)\b:?`),
	regexp.MustCompile(`SQLSTATE|\binvalid (Prefix|IP|AddrPort)\b`), // zero values of netip
	regexp.MustCompile(`0x[0-9a-f]{6,}`),
	regexp.MustCompile(`\b[a-z]+[A-Z][a-z]+[A-Z]\w*`), // fooBarBaz
}

// goLike returns the part of a message that names something of Go; empty: none does.
func goLike(message string) string {
	for _, name := range goNames {
		if found := name.FindString(message); found != "" {
			return found
		}
	}
	return ""
}

func TestGoLikeFindsGo(t *testing.T) {
	for _, bad := range []string{
		"Bad router request: Gateway.Addrs[1]: 203.0.113.6 is in the same subnet", "networks[0] is not a dictionary", "'<nil>' is not a string",
		"'map[x:1]' is not valid", "limit %!d(string=x)", "json: cannot unmarshal", "strconv.Atoi: parsing", "'invalid Prefix' is not valid",
		"*l3.Error", "[]string expected", "ERROR: duplicate key (SQLSTATE 23505)", fmt.Sprint(&struct{ A *int }{new(int)}),
		"not in [normal direct]: []string", "{{a b} c}", "runtime error: index out of range",
	} {
		require.NotEmpty(t, goLike(bad), bad)
	}
	for _, good := range []string{
		"Invalid format for routes: [{'destination': '10.50.0.0/16', 'nexthop': '192.0.2.9'}], the nexthop is not connected with router",
		"Invalid input for fixed_ips. Reason: '[null]' is not a list.", "['x'] is invalid attribute for filtering",
		"Only protocol values [None, 'ah'] and integer representations [0 to 255] are supported.", "Network 0c9f7a2b could not be found.",
	} {
		require.Empty(t, goLike(good), good)
	}
}

// TestMessages: requests that clients get wrong, with the words by which they tell the refusals
// apart. They are those of neutron-server 21. None names anything of Go; nor do those of
// [TestHostileValuesAreNever500].
func TestMessages(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		c.floatingIP(at.public.ID, at.port.ID)
		router, free := "routers/"+at.router.ID, c.port(c.member, at.inside.ID)
		two := c.port(c.member, at.inside.ID, "10.0.0.50", "10.0.0.51")
		other := c.router(at.public.ID)
		overlapping := c.subnet(c.member, c.network(c.member, "overlapping").ID, "10.0.0.0/16")
		outsideToo := c.subnet(c.member, c.network(c.member, "outside too").ID, "203.0.112.0/23")
		status, answer := c.raw(c.member, "PUT", router, `{"router": {"routes": [{"destination": "10.50.0.0/16", "nexthop": "10.0.0.9"}]}}`)
		require.Equal(c, http.StatusOK, status, answer)
		group := idOf(c.T, second(c.raw(c.member, "POST", "security-groups", `{"security_group": {"name": "g"}}`)))
		rule := func(more string) string {
			return `{"security_group_rule": {"security_group_id": "` + group + `", "direction": "ingress", ` + more + `}}`
		}
		routes := func(list string) string { return `{"router": {"routes": [` + list + `]}}` }
		gateway := func(more string) string {
			return `{"router": {"external_gateway_info": {"network_id": "` + at.public.ID + `", ` + more + `}}}`
		}
		subnet := `{"subnet": {"network_id": "` + at.inside.ID + `", "ip_version": 4, `
		for _, r := range []struct {
			who           *client
			request, body string
			status        int
			says          string
		}{
			{c.member, "POST floatingips", `{"floatingip": {"floating_network_id": "` + at.public.ID + `", "port_id": "` + at.port.ID + `"}}`,
				409, "as that fixed IP already has a floating IP on external network " + at.public.ID},
			{c.member, "POST floatingips", `{"floatingip": {"floating_network_id": "` + at.inside.ID + `"}}`, 400, "is not a valid external network."},
			{c.member, "POST floatingips", `{"floatingip": {"floating_network_id": "` + at.public.ID + `", "subnet_id": "` + networkID + `"}}`,
				404, "Subnet " + networkID + " could not be found."},
			{c.member, "POST floatingips", `{"floatingip": {"floating_network_id": "` + at.public.ID + `", "subnet_id": "` + at.subnet.ID + `"}}`,
				400, "fixed_ips included invalid subnet " + at.subnet.ID},
			{c.member, "POST floatingips", `{"floatingip": {"floating_network_id": "` + at.public.ID + `", "fixed_ip_address": "10.0.0.9"}}`,
				400, "fixed_ip_address cannot be specified without a port_id."},
			{c.member, "POST floatingips", `{"floatingip": {"floating_network_id": "` + at.public.ID + `", "port_id": "` + at.port.ID +
				`", "fixed_ip_address": "10.0.0.9"}}`, 400, "does not have fixed ip 10.0.0.9."},

			{c.member, "PUT " + router + "/remove_router_interface", `{"subnet_id": "` + at.subnet.ID + `"}`, 409, "is required by one or more routes."},
			{c.member, "PUT " + router, `{"router": {"external_gateway_info": null}}`, 409, "is required by one or more floating IPs."},
			{c.member, "DELETE " + router, "", 409, "has ports still attached: "},
			{c.member, "PUT " + router + "/add_router_interface", `{"subnet_id": "` + at.subnet.ID + `"}`, 400,
				"Router already has a port on subnet " + at.subnet.ID},
			{c.member, "PUT " + router + "/add_router_interface", `{}`, 400, "Either subnet_id or port_id must be specified."},
			{c.member, "PUT " + router + "/add_router_interface", `{"subnet_id": "` + at.subnet.ID + `", "port_id": "` + free.ID + `"}`,
				400, "Cannot specify both subnet-id and port-id."},
			{c.member, "PUT " + router + "/add_router_interface", `{"subnet_id": "` + overlapping.ID + `"}`, 400, "overlaps with cidr 10.0.0.0/24"},
			{c.member, "PUT " + router + "/add_router_interface", `{"subnet_id": "` + outsideToo.ID + `"}`, 400, "overlaps with cidr 203.0.113.0/24"},
			{c.member, "PUT " + router + "/add_router_interface", `{"port_id": "` + free.ID + `"}`, 400, "already has a port on subnet"},
			{c.member, "PUT routers/" + other.ID + "/add_router_interface", `{"port_id": "` + two.ID + `"}`, 400, "more than one IPv4"},

			{c.member, "PUT " + router, routes(`{"destination": "10.51.0.0/16", "nexthop": "192.0.2.9"}`), 400,
				"Invalid format for routes: [{'destination': '10.51.0.0/16', 'nexthop': '192.0.2.9'}], the nexthop is not connected with router"},
			{c.member, "PUT " + router, routes(`{"destination": "10.51.0.0/16", "nexthop": "10.0.0.1"}`), 400, "the nexthop is used by router"},
			{c.member, "PUT " + router, routes(`{"destination": "10.51.0.0/16", "nexthop": "10.0.0.255"}`), 400, "Invalid format for routes: "},
			{c.member, "PUT " + router, routes(`{"destination": "10.51.0.0/16", "nexthop": "2001:db8::1"}`), 400, "Invalid format for routes: "},
			{c.member, "PUT " + router, routes(`{"destination": "224.0.0.0/8", "nexthop": "10.0.0.9"}`), 400, "Invalid format for routes: "},
			{c.member, "PUT " + router, routes(`{"destination": "127.0.0.0/8", "nexthop": "10.0.0.9"}`), 400, "Invalid format for routes: "},
			{c.member, "PUT " + router, routes(`{"destination": "2001:db8::/32", "nexthop": "fe80::1"}`), 400, "Invalid format for routes: "},
			{c.member, "PUT " + router, routes(`{"destination": "10.51.0.0/16", "nexthop": "10.0.0.9"}, {"destination": "10.51.0.0/16", "nexthop": "10.0.0.9"}`),
				400, "Duplicate hostroute"},
			{c.member, "PUT " + router, routes(`{"destination": "10.51.0.0/16"}`), 400, "'nexthop'"},
			{c.member, "PUT " + router, routes(strings.TrimSuffix(strings.Repeat(`{"destination": "10.51.0.0/16", "nexthop": "10.0.0.9"}, `, 2), ", ") +
				`, 7`), 400, "Invalid input for routes"},
			{c.member, "PUT " + router + "/add_extraroutes", routes(`{"destination": "10.51.0.0/16", "nexthop": "192.0.2.9"}`), 400,
				"the nexthop is not connected with router"},
			{c.admin, "PUT " + router, gateway(`"external_fixed_ips": [{"ip_address": "203.0.113.1"}]`), 400, "Bad router request: "},
			{c.admin, "PUT " + router, gateway(`"external_fixed_ips": [{"ip_address": "203.0.113.0"}]`), 400, "203.0.113.0"},
			{c.admin, "PUT " + router, gateway(`"external_fixed_ips": [{"subnet_id": "` + at.subnet.ID + `"}]`), 400, "invalid subnet"},
			{c.admin, "PUT " + router, gateway(`"external_fixed_ips": [{"subnet_id": {"a": [1]}}]`), 400, `'{"a":[1]}'`},
			{c.admin, "PUT " + router, gateway(`"external_fixed_ips": []`), 409, "is required by one or more floating IPs."},

			{c.member, "POST security-group-rules", rule(`"protocol": "tcp", "port_range_min": -16, "port_range_max": 80`), 400, "Invalid value for port -16"},
			{c.member, "POST security-group-rules", rule(`"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536`), 400, "Invalid value for port 65536"},
			{c.member, "POST security-group-rules", rule(`"protocol": "tcp", "port_range_min": "x", "port_range_max": 1`), 400, "Invalid value for port x"},
			{c.member, "POST security-group-rules", rule(`"protocol": "tcp", "port_range_min": 0, "port_range_max": 1`), 400, "Invalid value for port 0"},
			{c.member, "POST security-group-rules", rule(`"protocol": "icmp", "port_range_min": 256`), 400, "ICMP type (port_range_min) 256"},
			{c.member, "POST security-group-rules", rule(`"protocol": "esp", "port_range_min": 1, "port_range_max": 2`), 400,
				"Ports cannot be specified for protocol 50."},
			{c.member, "POST security-group-rules", rule(`"protocol": "nonsense"`), 400, "Only protocol values [None, 'ah',"},
			{c.member, "POST security-group-rules", rule(`"protocol": 58`), 400, "Invalid ethertype IPv4 for protocol 58."},
			{c.member, "POST security-group-rules", rule(`"ethertype": "IPX"`), 400, "Allowed values are ['IPv4', 'IPv6']."},
			{c.member, "POST security-group-rules", rule(`"remote_ip_prefix": "x"`), 400, "Invalid CIDR x given as IP prefix."},
			{c.member, "POST security-group-rules", rule(`"remote_group_id": "x"`), 404, "Security group x does not exist"},
			{c.member, "POST security-group-rules", rule(`"remote_address_group_id": "x"`), 404, "Address group x could not be found."},

			{c.member, "POST subnets", subnet + `"cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.9", "end": "10.9.0.3"}]}}`, 400, "is not valid."},
			{c.member, "POST subnets", subnet + `"cidr": "10.9.0.0/24", "allocation_pools": {"start": [7]}}}`, 400, `'{"start":[7]}' is not a list`},
			{c.member, "POST subnets", subnet + `"cidr": ["10.9.0.0/24"]}}`, 400, `["10.9.0.0/24"]`},
			{c.member, "POST ports", `{"port": {"network_id": "` + at.inside.ID + `", "binding:vnic_type": "x"}}`, 400, "'x' is not in ['normal', 'direct',"},
			{c.member, "POST ports", `{"port": {"network_id": "` + at.inside.ID + `", "security_groups": ["` + group + `", "` + group + `"]}}`,
				400, "Duplicate items in the list: '" + group + "'"},
			{c.member, "POST networks", `{"network": {"mtu": -1}}`, 400, "'-1' is too small - must be at least '0'"},
			{c.member, "POST networks", `{"network": [{"a": null}]}`, 400, "Object 'network' contains invalid data"},
			{c.member, "POST networks", `{"networks": [{"network": null}]}`, 400, "Unable to find 'network' in request body"},
			{c.member, "POST networks", `{"network": {"name": {"a": null}}}`, 400, `'{"a":null}' is not a valid string`},
			{c.member, "POST networks", `{"network": `, 400, "JSON"},
			{c.member, "GET networks?sort_key=provider:network_type&sort_dir=asc", "", 400, "is invalid attribute for sort_keys"},
			{c.admin, "GET networks?sort_key=provider:network_type&sort_dir=asc", "", 400, "['provider:network_type'] is invalid attribute for sort_keys"},
			{c.admin, "PUT quotas/p1", `{"quota": {"network": -2}}`, 400, "'-2' is too small - must be at least '-1'"},
			{c.admin, "PUT quotas/p1", `{"quota": {"horse": 2}}`, 400, "Unrecognized attribute(s) 'horse'"},
			{c.admin, "PUT quotas/p1", `{"quota": {"router": 0, "check_limit": true}}`, 400,
				"Quota limit 0 for router must be greater than or equal to already used 2"},
			{c.admin, "DELETE quotas/nobody", "", 404, "Quota for tenant nobody could not be found."},
			{c.member, "POST rbac-policies", `{"rbac_policy": {"object_type": "horse", "object_id": "` + networkID + `", "action": "x", "target_tenant": "y"}}`,
				400, "'horse' is not a valid RBAC object type."},
			{c.member, "POST rbac-policies", `{"rbac_policy": {"object_type": "network", "object_id": "` + at.inside.ID +
				`", "action": "x", "target_tenant": "y"}}`, 400, "Valid actions: ('access_as_shared', 'access_as_external')"},
		} {
			method, path := cut(r.request)
			status, answer := c.raw(r.who, method, path, r.body)
			require.Equal(c, r.status, status, "%s %s: %s", r.request, r.body, answer)
			message := messageOf(c.T, answer)
			require.Contains(c, message, r.says, "%s %s", r.request, r.body)
			require.Empty(c, goLike(message), "%s %s: %s", r.request, r.body, message)
		}
	})
}

func second(_ int, answer string) string { return answer }
