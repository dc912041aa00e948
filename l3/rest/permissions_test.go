package rest_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWhoMayDoWhat asks what depends on whose resources are meant. The answers are those of
// neutron-server 21.
func TestWhoMayDoWhat(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		ask := func(who, method, path, body string) (int, string) {
			c.Helper()
			return c.raw(map[string]*client{"admin": c.admin, "member": c.member, "other": c.other}[who], method, path, body)
		}
		made := func(who, kind, body string) string {
			c.Helper()
			status, answer := ask(who, "POST", kind, body)
			require.Equal(c, http.StatusCreated, status, answer)
			return idOf(c.T, answer)
		}

		// An administrator binds a floating IP, which is its own, to another project's port.
		bound := `{"floatingip": {"floating_network_id": "` + at.public.ID + `", "port_id": "` + at.port.ID + `"}}`
		fip := made("admin", "floatingips", bound)
		status, answer := ask("admin", "GET", "floatingips/"+fip, "")
		require.Equal(c, http.StatusOK, status, answer)
		require.Contains(c, answer, `"project_id":"admins"`)
		require.Contains(c, answer, `"router_id":"`+at.router.ID+`"`)
		for _, port := range []string{"null", `"` + at.port.ID + `"`} {
			status, answer = ask("admin", "PUT", "floatingips/"+fip, `{"floatingip": {"port_id": `+port+`}}`)
			require.Equal(c, http.StatusOK, status, answer)
			require.Contains(c, answer, `"port_id":`+port)
		}
		refusals := []struct {
			who, method, path, body string
			status                  int
			says                    string
		}{
			{"member", "GET", "floatingips/" + fip, "", 404, "FloatingIPNotFound"},
			{"member", "DELETE", "floatingips/" + fip, "", 404, "FloatingIPNotFound"},
			{"member", "POST", "floatingips", bound, 409, "already has a floating IP"},
			{"other", "POST", "floatingips", bound, 404, "PortNotFound"},
		}
		shared := made("admin", "networks", `{"network": {"shared": true}}`)
		sharedSubnet := made("admin", "subnets", `{"subnet": {"network_id": "`+shared+`", "ip_version": 4, "cidr": "10.9.0.0/24"}}`)
		both := made("admin", "networks", `{"network": {"shared": true, "router:external": true}}`)
		bothSubnet := made("admin", "subnets", `{"subnet": {"network_id": "`+both+`", "ip_version": 4, "cidr": "198.51.100.0/24"}}`)
		outside := at.publicSubnet.ID
		policy := func(network, target string) string {
			return `{"rbac_policy": {"object_type": "network", "object_id": "` + network + `", "action": "access_as_shared", "target_tenant": "` + target + `"}}`
		}

		// Members see the subnets of a shared network, and of one that is external alone they do
		// not.
		status, answer = ask("member", "GET", "subnets", "")
		require.Equal(c, http.StatusOK, status, answer)
		for _, id := range []string{at.subnet.ID, sharedSubnet, bothSubnet} {
			require.Contains(c, answer, id)
		}
		require.NotContains(c, answer, outside)
		status, answer = ask("admin", "GET", "subnets?router:external=true", "")
		require.Equal(c, http.StatusOK, status, answer)
		require.Contains(c, answer, outside)
		status, answer = ask("member", "GET", "networks/"+at.public.ID, "")
		require.Equal(c, http.StatusOK, status, answer)
		require.Contains(c, answer, outside, "the network names its subnets to whoever may use it")
		refusals = append(refusals, []struct {
			who, method, path, body string
			status                  int
			says                    string
		}{
			{"member", "GET", "subnets/" + outside, "", 404, "SubnetNotFound"},
			{"member", "PUT", "subnets/" + outside, `{"subnet": {"name": "x"}}`, 404, "SubnetNotFound"},
			{"member", "GET", "subnets?limit=1&marker=" + outside, "", 404, "Marker"},
			{"member", "PUT", "subnets/" + outside + "/tags/x", "", 404, "SubnetNotFound"},
			{"member", "PUT", "routers/" + at.router.ID + "/add_router_interface", `{"subnet_id": "` + outside + `"}`, 404, "SubnetNotFound"},
			{"member", "PUT", "subnets/" + sharedSubnet, `{"subnet": {"name": "x"}}`, 403, "PolicyNotAuthorized"},

			// Only who owns a network shares it. It is 400 for a network that the caller sees.
			{"member", "POST", "rbac-policies", policy(shared, "p2"), 400, "Only admins can manipulate policies on networks they do not own."},
			{"member", "POST", "rbac-policies", policy(at.public.ID, "p2"), 400, `"InvalidInput"`},
			{"member", "POST", "rbac-policies", policy(at.inside.ID, "*"), 403, "create_rbac_policy:target_tenant"},
		}...)
		status, answer = ask("other", "POST", "rbac-policies", policy(at.inside.ID, "p2"))
		require.Equal(c, http.StatusNotFound, status, answer)
		theirs := made("member", "rbac-policies", policy(at.inside.ID, "p2"))
		given := made("admin", "rbac-policies", `{"rbac_policy": {"object_type": "network", "object_id": "`+shared+`", "action": "access_as_shared",
			"target_tenant": "p9", "project_id": "p1"}}`)
		refusals = append(refusals, []struct {
			who, method, path, body string
			status                  int
			says                    string
		}{
			{"other", "POST", "rbac-policies", policy(at.inside.ID, "p3"), 400, `"InvalidInput"`}, // now it sees it
			{"other", "GET", "rbac-policies/" + theirs, "", 404, "RbacPolicyNotFound"},
			{"member", "PUT", "rbac-policies/" + given, `{"rbac_policy": {"target_tenant": "p8"}}`, 400, `"InvalidInput"`},
		}...)
		for _, r := range refusals {
			status, answer := ask(r.who, r.method, r.path, r.body)
			require.Equal(c, r.status, status, "%s: %s %s %s: %s", r.who, r.method, r.path, r.body, answer)
			require.Contains(c, answer, r.says)
		}

		status, answer = ask("member", "DELETE", "rbac-policies/"+given, "")
		require.Equal(c, http.StatusNoContent, status, answer)

		// What members may set of their own.
		for _, body := range []string{`["compute:nova"]`, `[]`} {
			status, answer = ask("member", "PUT", "subnets/"+at.subnet.ID, `{"subnet": {"service_types": `+body+`}}`)
			require.Equal(c, http.StatusOK, status, answer)
			require.Contains(c, answer, `"service_types":`+body)
		}
		made("member", "subnets", `{"subnet": {"network_id": "`+at.inside.ID+`", "ip_version": 4, "cidr": "10.3.0.0/24", "service_types": ["network:dhcp"]}}`)
	})
}

// TestAdministratorsAttributes: what a member may give of each resource, attribute by attribute.
// The answers are those of neutron-server 21.
func TestAdministratorsAttributes(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		spare := c.port(c.member, at.inside.ID)
		inNetwork := `"network_id": "` + at.inside.ID + `", `
		for _, r := range []struct {
			request, one, base, attribute string
			status                        int
		}{
			{"POST networks", "network", "", `"shared": true`, 403},
			{"POST networks", "network", "", `"shared": false`, 201},
			{"POST networks", "network", "", `"router:external": true`, 403},
			{"POST networks", "network", "", `"router:external": false`, 201},
			{"POST networks", "network", "", `"is_default": true`, 403},
			{"POST networks", "network", "", `"provider:network_type": "vxlan"`, 403},
			{"POST networks", "network", "", `"provider:segmentation_id": 7`, 403},
			{"POST networks", "network", "", `"segments": [{"provider:network_type": "vxlan"}]`, 403},
			{"POST networks", "network", "", `"port_security_enabled": false`, 201},
			{"POST networks", "network", "", `"mtu": 1400`, 201},
			{"POST networks", "network", "", `"project_id": "p2"`, 400},
			{"PUT networks/" + at.inside.ID, "network", "", `"shared": false`, 403},
			{"PUT networks/" + at.inside.ID, "network", "", `"router:external": false`, 403},
			{"PUT networks/" + at.inside.ID, "network", "", `"mtu": 1400`, 200},
			{"PUT networks/" + at.inside.ID, "network", "", `"port_security_enabled": true`, 200},
			{"POST subnets", "subnet", inNetwork + `"ip_version": 4, "cidr": "10.7.0.0/24", `, `"service_types": ["compute:nova"]`, 201},
			{"POST subnets", "subnet", inNetwork + `"ip_version": 4, "cidr": "10.8.0.0/24", `, `"subnetpool_id": null`, 201},
			{"POST subnets", "subnet", inNetwork + `"ip_version": 4, "cidr": "10.9.0.0/24", `, `"subnetpool_id": "` + networkID + `"`, 404},
			{"POST subnets", "subnet", inNetwork + `"ip_version": 4, "cidr": "10.9.0.0/24", `, `"project_id": "p2"`, 400},
			{"POST ports", "port", inNetwork, `"binding:host_id": "h"`, 403},
			{"POST ports", "port", inNetwork, `"binding:profile": {"a": "b"}`, 403},
			{"POST ports", "port", inNetwork, `"binding:vnic_type": "normal"`, 201},
			{"POST ports", "port", inNetwork, `"mac_address": "fa:16:3e:00:00:99"`, 201},
			{"POST ports", "port", inNetwork, `"device_owner": "compute:nova"`, 201},
			{"POST ports", "port", inNetwork, `"port_security_enabled": false`, 201},
			{"PUT ports/" + spare.ID, "port", "", `"binding:host_id": "h"`, 403},
			{"PUT ports/" + spare.ID, "port", "", `"mac_address": "fa:16:3e:00:00:98"`, 403},
			{"PUT ports/" + spare.ID, "port", "", `"fixed_ips": [{"ip_address": "10.0.0.201"}]`, 200},
			{"POST routers", "router", "", `"ha": false`, 403},
			{"POST routers", "router", "", `"distributed": false`, 403},
			{"PUT routers/" + at.router.ID, "router", "", `"external_gateway_info": {"network_id": "` + at.public.ID + `", "enable_snat": true}`, 403},
			{"PUT routers/" + at.router.ID, "router", "", `"external_gateway_info": {"network_id": "` + at.public.ID + `",
				"external_fixed_ips": [{"subnet_id": "` + at.publicSubnet.ID + `"}]}`, 403},
			{"PUT routers/" + at.router.ID, "router", "", `"external_gateway_info": {"network_id": "` + at.public.ID + `"}`, 200},
			{"POST floatingips", "floatingip", `"floating_network_id": "` + at.public.ID + `", `, `"floating_ip_address": "203.0.113.77"`, 403},
			{"POST floatingips", "floatingip", `"floating_network_id": "` + at.public.ID + `", `, `"subnet_id": "` + at.publicSubnet.ID + `"`, 201},
			{"POST floatingips", "floatingip", `"floating_network_id": "` + at.public.ID + `", `, `"project_id": "p2"`, 400},
			{"PUT quotas/p1", "quota", "", `"network": 1`, 403},
		} {
			method, path := cut(r.request)
			status, answer := c.raw(c.member, method, path, `{"`+r.one+`": {`+r.base+r.attribute+`}}`)
			require.Equal(c, r.status, status, "%s %s: %s", r.request, r.attribute, answer)
		}
	})
}
