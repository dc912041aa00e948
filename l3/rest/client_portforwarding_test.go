package rest_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/portforwarding"
	"github.com/stretchr/testify/require"
)

func TestPortForwardingByItsClient(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		f := c.floatingIP(at.public.ID, "")
		create := func(opts portforwarding.CreateOpts) (*portforwarding.PortForwarding, error) {
			opts.InternalPortID, opts.InternalIPAddress = at.port.ID, "10.0.0.10"
			return portforwarding.Create(c.Context(), c.member, f.ID, opts).Extract()
		}
		one := ok(create(portforwarding.CreateOpts{Description: "web", Protocol: "tcp", ExternalPort: 80, InternalPort: 8080}))(c)
		require.Equal(c, portforwarding.PortForwarding{
			ID: one.ID, Description: "web", InternalPortID: at.port.ID, InternalIPAddress: "10.0.0.10", Protocol: "tcp",
			ExternalPort: 80, ExternalPortRange: "80:80", InternalPort: 8080, InternalPortRange: "8080:8080",
		}, *one)
		several := ok(create(portforwarding.CreateOpts{Protocol: "udp", ExternalPortRange: "100:199", InternalPortRange: "200:299"}))(c)
		require.Zero(c, several.ExternalPort)
		require.Equal(c, "100:199", several.ExternalPortRange)
		require.Equal(c, "200:299", several.InternalPortRange)
		require.Equal(c, one, ok(portforwarding.Get(c.Context(), c.member, f.ID, one.ID).Extract())(c))

		list := func(opts portforwarding.ListOpts) []portforwarding.PortForwarding {
			c.Helper()
			return all(c, portforwarding.List(c.member, opts, f.ID), portforwarding.ExtractPortForwardings)
		}
		require.Equal(c, []portforwarding.PortForwarding{*several, *one}, list(portforwarding.ListOpts{SortKey: "external_port", SortDir: "asc"}))
		byPort := portforwarding.ListOpts{SortKey: "external_port", SortDir: "desc", Limit: 1}
		require.Equal(c, []portforwarding.PortForwarding{*one}, list(byPort))
		byPort.Marker = one.ID
		require.Equal(c, []portforwarding.PortForwarding{*several}, list(byPort))
		_, page := c.raw(c.member, "GET", "floatingips/"+f.ID+"/port_forwardings?limit=1", "") // as Neutron names the links; gophercloud looks elsewhere
		require.Contains(c, page, `"port_forwardings_links":[{"rel":"next","href":"`)
		require.Contains(c, page, "/v2.0/floatingips/"+f.ID+"/port_forwardings?")
		for _, opts := range []portforwarding.ListOpts{
			{ID: one.ID}, {ExternalPort: "80"}, {ExternalPortRange: "80"}, {ExternalPortRange: "80:80"}, {InternalPort: "8080"}, {Protocol: "tcp"}, {Description: "web"},
		} {
			require.Equal(c, []portforwarding.PortForwarding{*one}, list(opts), "%+v", opts)
		}

		bound := ok(floatingips.Get(c.Context(), c.member, f.ID).Extract())(c)
		require.Equal(c, at.router.ID, bound.RouterID)
		require.Empty(c, bound.PortID)
		_, body := c.raw(c.member, "GET", "floatingips/"+f.ID+"?fields=port_forwardings", "")
		exposed := func(pf *portforwarding.PortForwarding, external, internal string) string {
			return fmt.Sprintf(`{"id": %q, "internal_port_id": %q, "internal_ip_address": "10.0.0.10", "protocol": %q, "external_port": %s, "external_port_range": %q,
				"internal_port": %s, "internal_port_range": %q}`, pf.ID, at.port.ID, pf.Protocol, external, pf.ExternalPortRange, internal, pf.InternalPortRange)
		}
		first, second := exposed(one, "80", "8080"), exposed(several, "null", "null")
		if one.ID > several.ID {
			first, second = second, first
		}
		require.JSONEq(c, `{"floatingip": {"port_forwardings": [`+first+`, `+second+`]}}`, body)

		changed := ok(portforwarding.Update(c.Context(), c.member, f.ID, one.ID, portforwarding.UpdateOpts{
			Description: new(""), ExternalPortRange: "90:91", InternalPort: 9090, Protocol: "sctp",
		}).Extract())(c)
		require.Equal(c, "90:91", changed.ExternalPortRange)
		require.Equal(c, 9090, changed.InternalPort)
		require.Equal(c, "sctp", changed.Protocol)
		require.Empty(c, changed.Description)

		_, err := create(portforwarding.CreateOpts{Protocol: "udp", ExternalPort: 150, InternalPort: 1})
		c.refused(err, http.StatusBadRequest, "BadRequest")
		_, err = floatingips.Update(c.Context(), c.member, f.ID, floatingips.UpdateOpts{PortID: &at.port.ID}).Extract()
		c.refused(err, http.StatusConflict, "FipInUseByPortForwarding")
		c.refused(floatingips.Delete(c.Context(), c.member, f.ID).Err, http.StatusConflict, "FipInUseByPortForwarding")
		c.refused(portforwarding.Get(c.Context(), c.other, f.ID, one.ID).Err, http.StatusNotFound, "PortForwardingNotFound")
		for _, pf := range []string{one.ID, several.ID} {
			require.NoError(c, portforwarding.Delete(c.Context(), c.member, f.ID, pf).Err)
			c.refused(portforwarding.Delete(c.Context(), c.member, f.ID, pf).Err, http.StatusNotFound, "PortForwardingNotFound")
		}
		require.NoError(c, floatingips.Delete(c.Context(), c.member, f.ID).Err)
	})
}

// TestPortForwardingValues: what makes no sense is refused by name, and changes nothing.
func TestPortForwardingValues(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		f := c.floatingIP(at.public.ID, "")
		path := "floatingips/" + f.ID + "/port_forwardings"
		body := func(attributes string) string {
			return `{"port_forwarding": {"internal_port_id": "` + at.port.ID + `", ` + attributes + `}}`
		}
		for attributes, says := range map[string]string{
			`"protocol": "icmp", "internal_port": 1, "external_port": 1`:                                      "protocol",
			`"protocol": "dccp", "internal_port": 1, "external_port": 1`:                                      "protocol",
			`"protocol": null, "internal_port": 1, "external_port": 1`:                                        "protocol",
			`"protocol": "TCP", "internal_port": 1, "external_port": 1`:                                       "protocol",
			`"protocol": 6, "internal_port": 1, "external_port": 1`:                                           "protocol",
			`"internal_port": 1, "external_port": 1`:                                                          "protocol",
			`"protocol": "tcp", "internal_port": 0, "external_port": 1`:                                       "internal_port",
			`"protocol": "tcp", "internal_port": 65536, "external_port": 1`:                                   "internal_port",
			`"protocol": "tcp", "internal_port": 1, "external_port": -1`:                                      "external_port",
			`"protocol": "tcp", "internal_port": 1, "external_port": "1:2"`:                                   "external_port",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1e99`:                                    "external_port",
			`"protocol": "tcp", "internal_port": 1`:                                                           "external_port",
			`"protocol": "tcp", "external_port": 1, "internal_port": null`:                                    "internal_port",
			`"protocol": "tcp", "internal_port": 1, "external_port_range": "2:1"`:                             "external_port_range",
			`"protocol": "tcp", "internal_port": 1, "external_port_range": "1:2:3"`:                           "external_port_range",
			`"protocol": "tcp", "internal_port": 1, "external_port_range": "1-2"`:                             "external_port_range",
			`"protocol": "tcp", "internal_port": 1, "external_port_range": ":"`:                               "external_port_range",
			`"protocol": "tcp", "internal_port": 1, "external_port_range": ["1:2"]`:                           "external_port_range",
			`"protocol": "tcp", "internal_port": 1, "external_port_range": "1:65536"`:                         "external_port_range",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1, "external_port_range": "2:3"`:         "external_port",
			`"protocol": "tcp", "internal_port_range": "1:2", "external_port_range": "1:3"`:                   "N-N or 1-N",
			`"protocol": "tcp", "internal_port_range": "1:2", "external_port": 1`:                             "N-N or 1-N",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1, "internal_ip_address": "x"`:           "internal_ip_address",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1, "internal_ip_address": "::1"`:         "internal IP address",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1, "internal_ip_address": "0.0.0.0"`:     "internal IP address",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1, "internal_port_id": "x"`:              "internal_port_id",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1, "description": null`:                  "description",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1, "description": "\u0000"`:              "description",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1, "id": "x"`:                            "id",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1, "project_id": "x"`:                    "The project of a port forwarding is that of floating IP",
			`"protocol": "tcp", "internal_port": 1, "external_port": 1, "project_id": "p1", "tenant_id": "x"`: "do not match",
		} {
			status, answer := c.raw(c.member, "POST", path, body(attributes))
			require.Equal(c, http.StatusBadRequest, status, "%s: %s", attributes, answer)
			require.Contains(c, messageOf(c.T, answer), says, attributes)
		}
		_, answer := c.raw(c.member, "GET", path, "")
		require.JSONEq(c, `{"port_forwardings": []}`, answer)

		status, answer := c.raw(c.member, "POST", path, `{"port_forwardings": [`+
			`{"internal_port_id": "`+at.port.ID+`", "protocol": "tcp", "internal_port": "1", "external_port_range": 1, "project_id": "p1"},`+
			`{"internal_port_id": "`+at.port.ID+`", "protocol": "udp", "internal_port": 1, "external_port": 1, "internal_ip_address": null}]}`)
		require.Equal(c, http.StatusCreated, status, answer)
		status, answer = c.raw(c.member, "POST", path, `{"port_forwardings": [`+
			`{"internal_port_id": "`+at.port.ID+`", "protocol": "tcp", "internal_port": 2, "external_port": 2},`+
			`{"internal_port_id": "`+at.port.ID+`", "protocol": "tcp", "internal_port": 3, "external_port": 2}]}`)
		require.Equal(c, http.StatusBadRequest, status, answer)
		_, answer = c.raw(c.member, "GET", path+"?fields=external_port_range&sort_key=protocol&sort_dir=asc", "")
		require.JSONEq(c, `{"port_forwardings": [{"external_port_range": "1:1"}, {"external_port_range": "1:1"}]}`, answer, "all or none")

		for _, alias := range []string{"floating-ip-port-forwarding", "floating-ip-port-forwarding-description", "floating-ip-port-forwarding-detail",
			"floating-ip-port-forwarding-port-ranges", "expose-port-forwarding-in-fip"} {
			status, _ := c.raw(c.member, "GET", "extensions/"+alias, "")
			require.Equal(c, http.StatusOK, status, alias)
		}
	})
}
