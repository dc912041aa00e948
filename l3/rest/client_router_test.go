package rest_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/extraroutes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/stretchr/testify/require"
)

func TestRouterLife(t *testing.T) {
	onClouds(t, func(c *cloud) {
		r := ok(routers.Create(c.Context(), c.member, routers.CreateOpts{Name: "r", Description: "d"}).Extract())(c)
		require.Equal(c, "ACTIVE", r.Status, "there is nothing to realise")
		require.True(c, r.AdminStateUp)
		require.Equal(c, "p1", r.ProjectID)
		require.Equal(c, "p1", r.TenantID)
		require.Equal(c, *c.now, r.CreatedAt)

		again := ok(routers.Update(c.Context(), c.member, r.ID, routers.UpdateOpts{Name: "r"}).Extract())(c)
		require.Equal(c, r.RevisionNumber, again.RevisionNumber, "no change, no revision")
		changed := ok(routers.Update(c.Context(), c.member, r.ID, routers.UpdateOpts{Name: "q", RevisionNumber: &r.RevisionNumber}).Extract())(c)
		require.Greater(c, changed.RevisionNumber, r.RevisionNumber)
		err := routers.Update(c.Context(), c.member, r.ID, routers.UpdateOpts{Name: "z", RevisionNumber: &r.RevisionNumber}).Err
		c.refused(err, http.StatusPreconditionFailed, "RevisionNumberConstraintFailed")

		_, err = routers.Get(c.Context(), c.other, r.ID).Extract()
		c.refused(err, http.StatusNotFound, "RouterNotFound")
		c.refused(routers.Delete(c.Context(), c.other, r.ID).Err, http.StatusNotFound, "RouterNotFound")
		require.Equal(c, "q", ok(routers.Get(c.Context(), c.admin, r.ID).Extract())(c).Name)

		require.NoError(c, routers.Delete(c.Context(), c.member, r.ID).Err)
		_, err = routers.Get(c.Context(), c.member, r.ID).Extract()
		c.refused(err, http.StatusNotFound, "RouterNotFound")
	})
}

func TestRouterAttributesOfAdministrators(t *testing.T) {
	onClouds(t, func(c *cloud) {
		err := routers.Create(c.Context(), c.member, routers.CreateOpts{Distributed: new(true)}).Err
		c.refused(err, http.StatusForbidden, "PolicyNotAuthorized")
		public, _ := c.external("public", "203.0.113.0/24")
		for _, gateway := range []routers.GatewayInfo{
			{NetworkID: public.ID, EnableSNAT: new(false)},
			{NetworkID: public.ID, ExternalFixedIPs: []routers.ExternalFixedIP{{IPAddress: "203.0.113.9"}}},
		} {
			c.refused(routers.Create(c.Context(), c.member, routers.CreateOpts{GatewayInfo: &gateway}).Err, http.StatusForbidden, "PolicyNotAuthorized")
			r := ok(routers.Create(c.Context(), c.admin, routers.CreateOpts{GatewayInfo: &gateway, ProjectID: "p1"}).Extract())(c)
			require.Equal(c, "p1", r.ProjectID)
		}
		status, body := c.raw(c.member, "POST", "routers", `{"router": {"routes": []}}`)
		require.Equal(c, http.StatusBadRequest, status, body)
		status, body = c.raw(c.member, "POST", "routers", `{"router": {"tenant_id": "p2"}}`)
		require.Contains(c, []int{400, 403}, status, body)
	})
}

func TestRouterGateway(t *testing.T) {
	onClouds(t, func(c *cloud) {
		inside := c.network(c.member, "inside")
		c.subnet(c.member, inside.ID, "10.0.0.0/24")
		err := routers.Create(c.Context(), c.member, routers.CreateOpts{GatewayInfo: &routers.GatewayInfo{NetworkID: inside.ID}}).Err
		c.refused(err, http.StatusBadRequest, "BadRequest")

		public, _ := c.external("public", "203.0.113.0/24")
		r := c.router(public.ID)
		require.Equal(c, public.ID, r.GatewayInfo.NetworkID)
		require.True(c, *r.GatewayInfo.EnableSNAT)
		require.Len(c, r.GatewayInfo.ExternalFixedIPs, 1)
		require.Equal(c, "DOWN", r.Status, "there is something to realise, and nobody who could")

		// The gateway's port is nobody's, and hidden.
		require.Empty(c, all(c, ports.List(c.member, ports.ListOpts{}), ports.ExtractPorts))
		gateway := all(c, ports.List(c.admin, ports.ListOpts{DeviceOwner: "network:router_gateway"}), ports.ExtractPorts)
		require.Len(c, gateway, 1)
		require.Empty(c, gateway[0].ProjectID)

		// The same network again keeps the address; SNAT stays as it was set.
		off := ok(routers.Update(c.Context(), c.admin, r.ID, routers.UpdateOpts{GatewayInfo: &routers.GatewayInfo{NetworkID: public.ID, EnableSNAT: new(false)}}).Extract())(c)
		require.Equal(c, r.GatewayInfo.ExternalFixedIPs, off.GatewayInfo.ExternalFixedIPs)
		same := ok(routers.Update(c.Context(), c.member, r.ID, routers.UpdateOpts{GatewayInfo: &routers.GatewayInfo{NetworkID: public.ID}}).Extract())(c)
		require.Equal(c, off.GatewayInfo, same.GatewayInfo)
		require.Equal(c, off.RevisionNumber, same.RevisionNumber)

		none := ok(routers.Update(c.Context(), c.member, r.ID, routers.UpdateOpts{GatewayInfo: &routers.GatewayInfo{}}).Extract())(c)
		require.Empty(c, none.GatewayInfo.NetworkID)
		status, body := c.raw(c.member, "GET", "routers/"+r.ID+"?fields=external_gateway_info", "")
		require.Equal(c, http.StatusOK, status)
		require.JSONEq(c, `{"router": {"external_gateway_info": null}}`, body)
		back := ok(routers.Update(c.Context(), c.member, r.ID, routers.UpdateOpts{GatewayInfo: &routers.GatewayInfo{NetworkID: public.ID}}).Extract())(c)
		require.True(c, *back.GatewayInfo.EnableSNAT, "clearing the gateway switches SNAT on again")

		// A subnet of the external network overlaps one that is attached.
		overlapping := c.subnet(c.member, c.network(c.member, "overlapping").ID, "203.0.113.0/25")
		_, err = routers.AddInterface(c.Context(), c.member, r.ID, routers.AddInterfaceOpts{SubnetID: overlapping.ID}).Extract()
		c.refused(err, http.StatusBadRequest, "BadRequest")
	})
}

func TestRouterInterfaces(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.member, "n")
		sub := c.subnet(c.member, n.ID, "10.0.0.0/24")
		r := ok(routers.Create(c.Context(), c.member, routers.CreateOpts{}).Extract())(c)

		status, body := c.raw(c.member, "PUT", "routers/"+r.ID+"/add_router_interface", `{"subnet_id": "`+sub.ID+`"}`)
		require.Equal(c, http.StatusOK, status, body)
		own := all(c, ports.List(c.member, ports.ListOpts{DeviceID: r.ID}), ports.ExtractPorts)
		require.Len(c, own, 1)
		require.Equal(c, "network:router_interface", own[0].DeviceOwner)
		require.Equal(c, "10.0.0.1", own[0].FixedIPs[0].IPAddress)
		for _, want := range []string{`"id":"` + r.ID, `"tenant_id":"p1"`, `"project_id":"p1"`, `"port_id":"` + own[0].ID, `"subnet_id":"` + sub.ID,
			`"subnet_ids":["` + sub.ID + `"]`, `"network_id":"` + n.ID} {
			require.Contains(c, body, want)
		}
		c.refused(ports.Delete(c.Context(), c.member, own[0].ID).Err, http.StatusConflict, "ServicePortInUse")
		c.refused(routers.Delete(c.Context(), c.member, r.ID).Err, http.StatusConflict, "RouterInUse")

		add := func(opts routers.AddInterfaceOpts) error {
			return routers.AddInterface(c.Context(), c.member, r.ID, opts).Err
		}
		remove := func(opts routers.RemoveInterfaceOpts) error {
			return routers.RemoveInterface(c.Context(), c.member, r.ID, opts).Err
		}
		c.refused(add(routers.AddInterfaceOpts{SubnetID: sub.ID}), http.StatusBadRequest, "BadRequest")
		for _, bad := range []string{`{}`, `{"subnet_id": "` + sub.ID + `", "port_id": "` + own[0].ID + `"}`} {
			status, body := c.raw(c.member, "PUT", "routers/"+r.ID+"/add_router_interface", bad)
			require.Equal(c, http.StatusBadRequest, status, body)
		}

		isolated := ok(subnets.Create(c.Context(), c.member, subnets.CreateOpts{NetworkID: n.ID, CIDR: "10.1.0.0/24", IPVersion: 4, GatewayIP: new("")}).Extract())(c)
		require.Empty(c, isolated.GatewayIP)
		c.refused(add(routers.AddInterfaceOpts{SubnetID: isolated.ID}), http.StatusBadRequest, "BadRequest")
		p := c.port(c.member, n.ID, "10.1.0.9")
		byPort := ok(routers.AddInterface(c.Context(), c.member, r.ID, routers.AddInterfaceOpts{PortID: p.ID}).Extract())(c)
		require.Equal(c, isolated.ID, byPort.SubnetID)
		c.refused(add(routers.AddInterfaceOpts{PortID: p.ID}), http.StatusConflict, "PortInUse")

		elsewhere := c.subnet(c.member, c.network(c.member, "m").ID, "10.2.0.0/24")
		c.refused(remove(routers.RemoveInterfaceOpts{SubnetID: elsewhere.ID}), http.StatusNotFound, "RouterInterfaceNotFoundForSubnet")
		c.refused(remove(routers.RemoveInterfaceOpts{PortID: c.port(c.member, n.ID).ID}), http.StatusNotFound, "RouterInterfaceNotFound")
		c.refused(remove(routers.RemoveInterfaceOpts{PortID: p.ID, SubnetID: sub.ID}), http.StatusBadRequest, "SubnetMismatchForPort")
		require.NoError(c, remove(routers.RemoveInterfaceOpts{PortID: p.ID}))
		require.NoError(c, remove(routers.RemoveInterfaceOpts{SubnetID: sub.ID}))
		require.NoError(c, routers.Delete(c.Context(), c.member, r.ID).Err)
	})
}

func TestRouterInterfaceAddressInUse(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.member, "n")
		sub := c.subnet(c.member, n.ID, "10.0.0.0/24")
		c.port(c.member, n.ID, "10.0.0.1")
		r := ok(routers.Create(c.Context(), c.member, routers.CreateOpts{}).Extract())(c)
		err := routers.AddInterface(c.Context(), c.member, r.ID, routers.AddInterfaceOpts{SubnetID: sub.ID}).Err
		c.refused(err, http.StatusConflict, "IpAddressInUse")
	})
}

func TestExtraRoutes(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		route := func(destination, hop string) routers.Route {
			return routers.Route{DestinationCIDR: destination, NextHop: hop}
		}
		update := func(list ...routers.Route) (*routers.Router, error) {
			return routers.Update(c.Context(), c.member, at.router.ID, routers.UpdateOpts{Routes: &list}).Extract()
		}
		one, two := route("10.8.0.0/16", "10.0.0.8"), route("10.9.0.0/16", "10.0.0.9")
		require.Equal(c, []routers.Route{one}, ok(update(one))(c).Routes)
		require.ElementsMatch(c, []routers.Route{one, two},
			ok(extraroutes.Add(c.Context(), c.member, at.router.ID, extraroutes.Opts{Routes: &[]routers.Route{one, two}}).Extract())(c).Routes)
		require.Equal(c, []routers.Route{two},
			ok(extraroutes.Remove(c.Context(), c.member, at.router.ID, extraroutes.Opts{Routes: &[]routers.Route{one, route("10.7.0.0/16", "10.0.0.9")}}).Extract())(c).Routes)

		_, err := update(route("10.8.0.0/16", "192.0.2.1"))
		c.refused(err, http.StatusBadRequest, "InvalidRoutes")
		_, err = update(route("10.8.0.0/16", "10.0.0.1"))
		c.refused(err, http.StatusBadRequest, "InvalidRoutes")
		_, err = update(one, one)
		c.refused(err, http.StatusBadRequest, "HTTPBadRequest")
		many := make([]routers.Route, 31)
		for i := range many {
			many[i] = route(fmt.Sprintf("172.16.%d.0/24", i), "10.0.0.9")
		}
		_, err = update(many...)
		c.refused(err, http.StatusBadRequest, "RoutesExhausted")

		err = routers.RemoveInterface(c.Context(), c.member, at.router.ID, routers.RemoveInterfaceOpts{SubnetID: at.subnet.ID}).Err
		c.refused(err, http.StatusConflict, "RouterInterfaceInUseByRoute")
		status, body := c.raw(c.member, "PUT", "routers/"+at.router.ID, `{"router": {"routes": null}}`)
		require.Equal(c, http.StatusOK, status, body)
		require.Contains(c, body, `"routes":[]`)
	})
}
