package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/stretchr/testify/require"
)

func TestFloatingIPBindMoveUnbind(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		second := c.port(c.member, at.inside.ID, "10.0.0.11")
		f := c.floatingIP(at.public.ID, "")
		require.Equal(c, "DOWN", f.Status)
		require.Empty(c, f.PortID)

		update := func(opts floatingips.UpdateOpts) (*floatingips.FloatingIP, error) {
			return floatingips.Update(c.Context(), c.member, f.ID, opts).Extract()
		}
		bound := ok(update(floatingips.UpdateOpts{PortID: &at.port.ID}))(c)
		require.Equal(c, at.router.ID, bound.RouterID)
		require.Equal(c, "10.0.0.10", bound.FixedIP)
		require.Equal(c, f.FloatingIP, bound.FloatingIP)
		again := ok(update(floatingips.UpdateOpts{PortID: &at.port.ID}))(c)
		require.Equal(c, bound.RevisionNumber, again.RevisionNumber)
		kept := ok(update(floatingips.UpdateOpts{Description: new("x")}))(c)
		require.Equal(c, at.port.ID, kept.PortID)

		moved := ok(update(floatingips.UpdateOpts{PortID: &second.ID}))(c)
		require.Equal(c, "10.0.0.11", moved.FixedIP)
		status, body := c.raw(c.member, "GET", "floatingips/"+f.ID+"?fields=port_details&fields=port_forwardings", "")
		require.Equal(c, http.StatusOK, status)
		require.JSONEq(c, `{"floatingip": {"port_forwardings": [], "port_details": {"name": "", "network_id": "`+at.inside.ID+`", "mac_address": "`+second.MACAddress+`",
			"admin_state_up": true, "status": "`+second.Status+`", "device_id": "", "device_owner": ""}}}`, body)

		free := ok(update(floatingips.UpdateOpts{PortID: new("")}))(c)
		require.Empty(c, free.PortID)
		require.Empty(c, free.RouterID)
		require.Equal(c, "DOWN", free.Status)

		ok(update(floatingips.UpdateOpts{PortID: &second.ID}))(c)
		status, body = c.raw(c.member, "PUT", "floatingips/"+f.ID, `{"floatingip": {}}`)
		require.Equal(c, http.StatusOK, status, body)
		require.Contains(c, body, `"port_id":null`, "an empty update unbinds")

		ok(update(floatingips.UpdateOpts{PortID: &second.ID}))(c)
		require.NoError(c, ports.Delete(c.Context(), c.member, second.ID).Err)
		require.Empty(c, ok(floatingips.Get(c.Context(), c.member, f.ID).Extract())(c).PortID, "a port that is deleted unbinds")
		require.NoError(c, floatingips.Delete(c.Context(), c.member, f.ID).Err)
	})
}

func TestFloatingIPRefusals(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		create := func(opts floatingips.CreateOpts) error { return floatingips.Create(c.Context(), c.member, opts).Err }
		c.refused(create(floatingips.CreateOpts{FloatingNetworkID: at.inside.ID}), http.StatusBadRequest, "BadRequest")
		c.refused(create(floatingips.CreateOpts{FloatingNetworkID: at.public.ID, PortID: networkID}), http.StatusNotFound, "PortNotFound")
		c.refused(create(floatingips.CreateOpts{FloatingNetworkID: at.public.ID, PortID: at.port.ID, FixedIP: "10.0.0.99"}), http.StatusBadRequest, "BadRequest")
		c.refused(create(floatingips.CreateOpts{FloatingNetworkID: at.public.ID, FloatingIP: "203.0.113.9"}), http.StatusForbidden, "PolicyNotAuthorized")

		lonely := c.network(c.member, "lonely")
		c.subnet(c.member, lonely.ID, "10.5.0.0/24")
		err := create(floatingips.CreateOpts{FloatingNetworkID: at.public.ID, PortID: c.port(c.member, lonely.ID).ID})
		c.refused(err, http.StatusNotFound, "ExternalGatewayForFloatingIPNotFound")

		several := c.port(c.member, at.inside.ID, "10.0.0.20", "10.0.0.21")
		c.refused(create(floatingips.CreateOpts{FloatingNetworkID: at.public.ID, PortID: several.ID}), http.StatusBadRequest, "BadRequest")
		require.NoError(c, create(floatingips.CreateOpts{FloatingNetworkID: at.public.ID, PortID: several.ID, FixedIP: "10.0.0.21"}))

		bound := c.floatingIP(at.public.ID, at.port.ID)
		c.refused(create(floatingips.CreateOpts{FloatingNetworkID: at.public.ID, PortID: at.port.ID}), http.StatusConflict, "FloatingIPPortAlreadyAssociated")
		_, err = floatingips.Get(c.Context(), c.other, bound.ID).Extract()
		c.refused(err, http.StatusNotFound, "FloatingIPNotFound")

		// What a floating IP goes through stays.
		c.refused(routers.RemoveInterface(c.Context(), c.member, at.router.ID, routers.RemoveInterfaceOpts{SubnetID: at.subnet.ID}).Err,
			http.StatusConflict, "RouterInterfaceInUseByFloatingIP")
		c.refused(routers.Update(c.Context(), c.member, at.router.ID, routers.UpdateOpts{GatewayInfo: &routers.GatewayInfo{}}).Err,
			http.StatusConflict, "RouterExternalGatewayInUseByFloatingIp")

		// Its own port is nobody's.
		held := all(c, ports.List(c.admin, ports.ListOpts{DeviceOwner: "network:floatingip"}), ports.ExtractPorts)
		require.Len(c, held, 2)
		require.Empty(c, held[0].ProjectID)
		c.refused(ports.Delete(c.Context(), c.admin, held[0].ID).Err, http.StatusConflict, "ServicePortInUse")
	})
}

func TestFloatingIPAddressesRunOut(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n, _ := c.external("small", "203.0.113.0/30") // one address beside the gateway's
		f := c.floatingIP(n.ID, "")
		require.Equal(c, "203.0.113.2", f.FloatingIP)
		c.refused(floatingips.Create(c.Context(), c.member, floatingips.CreateOpts{FloatingNetworkID: n.ID}).Err, http.StatusConflict, "IpAddressGenerationFailure")
		err := floatingips.Create(c.Context(), c.admin, floatingips.CreateOpts{FloatingNetworkID: n.ID, FloatingIP: "203.0.113.2"}).Err
		c.refused(err, http.StatusConflict, "IpAddressInUse")
		require.NoError(c, floatingips.Delete(c.Context(), c.member, f.ID).Err)
		require.Equal(c, "203.0.113.2", c.floatingIP(n.ID, "").FloatingIP)
	})
}

func TestFloatingIPPools(t *testing.T) {
	onClouds(t, func(c *cloud) {
		_, body := c.raw(c.member, "GET", "floatingip-pools", "")
		require.JSONEq(c, `{"floatingip_pools": []}`, body)
		n, sub := c.external("public", "203.0.113.0/24")
		c.subnet(c.member, c.network(c.member, "inside").ID, "10.0.0.0/24")
		_, body = c.raw(c.member, "GET", "floatingip-pools?cidr=203.0.113.0/24", "")
		var said struct {
			Pools []map[string]any `json:"floatingip_pools"`
		}
		require.NoError(c, json.Unmarshal([]byte(body), &said))
		require.Equal(c, []map[string]any{{"subnet_id": sub.ID, "subnet_name": "", "cidr": "203.0.113.0/24", "network_id": n.ID,
			"project_id": "p1", "tenant_id": "p1"}}, said.Pools, "as in Neutron: whoever may use them")
		_, body = c.raw(c.member, "GET", "subnets/"+sub.ID, "")
		require.Contains(c, body, "SubnetNotFound", "of an external network that is not shared, members see the pools alone")
		for query, count := range map[string]int{"project_id=p1": 1, "tenant_id=p2": 0, "subnet_id=" + sub.ID: 1, "network_id=" + routerID: 0,
			"marker=" + sub.ID + "&limit=5": 0, "sort_key=subnet_name&sort_dir=desc": 1} {
			status, body := c.raw(c.member, "GET", "floatingip-pools?"+query, "")
			require.Equal(c, http.StatusOK, status, body)
			require.Equal(c, count, strings.Count(body, `"subnet_id"`), query)
		}
	})
}
