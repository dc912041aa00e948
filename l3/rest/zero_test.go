package rest_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestZeroIsANumber: 0 in the place of a number is not the same as none.
func TestZeroIsANumber(t *testing.T) {
	onClouds(t, func(c *cloud) {
		group := idOf(c.T, second(c.raw(c.member, "POST", "security-groups", `{"security_group": {"name": "g"}}`)))
		rule := func(more string) string {
			return `{"security_group_rule": {"security_group_id": "` + group + `", "direction": "ingress", ` + more + `}}`
		}
		for _, r := range []struct{ kind, body, says string }{
			{"networks", `{"network": {"provider:network_type": "vlan", "provider:physical_network": "p", "provider:segmentation_id": 0}}`,
				"Invalid input for provider:segmentation_id. Reason: '0' is too small - must be at least '1'."},
			{"networks", `{"network": {"provider:network_type": "vxlan", "provider:segmentation_id": "0"}}`, "'0' is too small"},
			{"networks", `{"network": {"provider:segmentation_id": 0}}`, "'0' is too small"},
			{"networks", `{"network": {"segments": [{"provider:network_type": "gre", "provider:segmentation_id": 0},
				{"provider:network_type": "vxlan", "provider:segmentation_id": 7}]}}`, "'0' is too small"},
			{"networks", `{"network": {"provider:network_type": "vlan", "provider:physical_network": "p", "provider:segmentation_id": 5000}}`,
				"segmentation_id out of range (1 through 4094)."},
			{"security-group-rules", rule(`"protocol": "tcp", "port_range_min": 0, "port_range_max": 0`), "Invalid value for port 0"},
			{"security-group-rules", rule(`"protocol": "tcp", "port_range_min": 0`), "Invalid value for port 0"},
			{"security-group-rules", rule(`"port_range_min": 0, "port_range_max": 0`), "Must also specify protocol"},
			{"security-group-rules", rule(`"protocol": 0, "port_range_min": 0, "port_range_max": 0`), "Ports cannot be specified for protocol 0."},
			{"subnets", `{"subnet": {"network_id": "` + networkID + `", "cidr": "10.0.0.0/24", "ip_version": 0}}`, "'0' is too small"},
			{"ports", `{"port": {"network_id": "` + networkID + `", "extra_dhcp_opts": [{"opt_name": "a", "opt_value": "b", "ip_version": 0}]}}`, "'0' is too small"},
			{"ports", `{"port": {"network_id": "` + networkID + `", "mac_address": "00:00:00:00:00:00"}}`, "is not a valid MAC address"},
		} {
			status, answer := c.raw(c.admin, "POST", r.kind, r.body)
			require.Equal(c, http.StatusBadRequest, status, "%s: %s", r.body, answer)
			require.Contains(c, messageOf(c.T, answer), r.says, r.body)
		}
		// A flat network has no ID, for which gophercloud says 0: it is found by none, and not by
		// 0.
		c.external("flat", "203.0.113.0/24")
		status, answer := c.raw(c.admin, "POST", "networks", `{"network": {"provider:network_type": "local", "provider:segmentation_id": 0}}`)
		require.Equal(c, http.StatusCreated, status, answer)
		require.Contains(c, answer, `"provider:segmentation_id":null`)
		for filter, found := range map[string]bool{"0": false, "": true} {
			status, answer := c.raw(c.admin, "GET", "networks?provider:segmentation_id="+filter, "")
			require.Equal(c, http.StatusOK, status, answer)
			require.Equal(c, found, answer != `{"networks":[]}`, "%q: %s", filter, answer)
		}
		status, answer = c.raw(c.member, "POST", "security-group-rules", rule(`"protocol": "icmp", "port_range_min": 0, "port_range_max": 0`))
		require.Equal(c, http.StatusCreated, status, answer)
		require.Contains(c, answer, `"port_range_min":0`)
	})
}

// TestHostOfUnboundPort: a port without a host shows an empty one, and is found by it.
func TestHostOfUnboundPort(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.admin, "n")
		inNetwork := `"network_id": "` + n.ID + `"`
		var ids []string
		for _, more := range []string{``, `, "binding:host_id": ""`, `, "binding:host_id": null`} {
			status, answer := c.raw(c.admin, "POST", "ports", `{"port": {`+inNetwork+more+`}}`)
			require.Equal(c, http.StatusCreated, status, answer)
			require.Contains(c, answer, `"binding:host_id":""`)
			ids = append(ids, idOf(c.T, answer))
		}
		status, answer := c.raw(c.admin, "POST", "ports", `{"port": {`+inNetwork+`, "binding:host_id": "h"}}`)
		require.Equal(c, http.StatusCreated, status, answer)
		bound := idOf(c.T, answer)
		status, answer = c.raw(c.admin, "GET", "ports?binding:host_id=", "")
		require.Equal(c, http.StatusOK, status, answer)
		for _, id := range ids {
			require.Contains(c, answer, id)
		}
		require.NotContains(c, answer, bound)
		status, answer = c.raw(c.admin, "GET", "ports?binding:host_id=h&fields=id", "")
		require.Equal(c, http.StatusOK, status, answer)
		require.JSONEq(c, `{"ports": [{"id": "`+bound+`"}]}`, answer)
		status, answer = c.raw(c.admin, "PUT", "ports/"+bound, `{"port": {"binding:host_id": null}}`)
		require.Equal(c, http.StatusOK, status, answer)
		require.Contains(c, answer, `"binding:host_id":""`)
		status, answer = c.raw(c.admin, "GET", "ports/"+bound, "")
		require.Equal(c, http.StatusOK, status, answer)
		require.Contains(c, answer, `"binding:host_id":""`)
	})
}
