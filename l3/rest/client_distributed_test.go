package rest_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/common/extensions"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/agents"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsbinding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// distributed makes a distributed router of the member on a network with a gateway, where node can
// have its centre and an edge, and compute-1 an edge.
func (c *cloud) distributed() tiers {
	c.Helper()
	beatAs(c.T, c.service, "node", agent.ModeDVRSNAT, "public")
	beatAs(c.T, c.service, "compute-1", agent.ModeDVR, "public")
	public, outside := c.external("public", "203.0.113.0/24")
	t := tiers{public: public, publicSubnet: outside, inside: c.network(c.member, "inside")}
	t.router = ok(routers.Create(c.Context(), c.admin, routers.CreateOpts{
		Name: "r", ProjectID: "p1", Distributed: new(true), GatewayInfo: &routers.GatewayInfo{NetworkID: public.ID},
	}).Extract())(c)
	t.subnet = c.subnet(c.member, t.inside.ID, "10.0.0.0/24")
	c.attach(t.router.ID, t.subnet.ID)
	return t
}

// bound makes a port of the member that a workload of a host has.
func (c *cloud) bound(network, host string) *ports.Port {
	c.Helper()
	return ok(ports.Create(c.Context(), c.admin, portsbinding.CreateOptsExt{
		CreateOptsBuilder: ports.CreateOpts{NetworkID: network, ProjectID: "p1", DeviceOwner: "compute:nova"}, HostID: host,
	}).Extract())(c)
}

// agentsOf are the hosts that have a router, in the API's order.
func (c *cloud) agentsOf(router string) (hosts []string) {
	c.Helper()
	for _, a := range all(c, routers.ListL3Agents(c.admin, router), routers.ExtractL3Agents) {
		hosts = append(hosts, a.Host)
	}
	return hosts
}

// routersOn are the routers that an agent hosts.
func (c *cloud) routersOn(host string) (ids []string) {
	c.Helper()
	a := all(c, agents.List(c.admin, agents.ListOpts{Host: host}), agents.ExtractAgents)
	require.Len(c, a, 1)
	for _, r := range ok(agents.ListL3Routers(c.Context(), c.admin, a[0].ID).Extract())(c) {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestDistributedRouter(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.distributed()
		require.True(c, at.router.Distributed)
		central := ok(routers.Create(c.Context(), c.admin, routers.CreateOpts{Distributed: new(false)}).Extract())(c)
		require.False(c, central.Distributed)
		unsaid := ok(routers.Create(c.Context(), c.member, routers.CreateOpts{}).Extract())(c)
		require.False(c, ok(routers.Get(c.Context(), c.admin, unsaid.ID).Extract())(c).Distributed)

		ids := func(distributed bool) (ids []string) {
			for _, r := range all(c, routers.List(c.admin, routers.ListOpts{Distributed: &distributed}), routers.ExtractRouters) {
				ids = append(ids, r.ID)
			}
			return ids
		}
		require.Equal(c, []string{at.router.ID}, ids(true))
		require.ElementsMatch(c, []string{central.ID, unsaid.ID}, ids(false))

		// The owner of the router sees its ports under the owner that clients look for.
		legs := all(c, ports.List(c.member, ports.ListOpts{DeviceID: at.router.ID}), ports.ExtractPorts)
		require.Len(c, legs, 1)
		require.Equal(c, "network:router_interface_distributed", legs[0].DeviceOwner)
		c.refused(ports.Delete(c.Context(), c.member, legs[0].ID).Err, http.StatusConflict, "ServicePortInUse")
		status, body := c.raw(c.admin, "GET", "ports/"+legs[0].ID+"?fields=binding:vif_type&fields=binding:host_id", "")
		require.Equal(c, http.StatusOK, status)
		require.JSONEq(c, `{"port": {"binding:vif_type": "distributed", "binding:host_id": ""}}`, body)

		// It is on the host of its centre, and on those of its workloads.
		require.Equal(c, []string{"node"}, c.agentsOf(at.router.ID))
		first, second := c.bound(at.inside.ID, "compute-1"), c.bound(at.inside.ID, "node")
		require.Equal(c, []string{"node", "compute-1"}, c.agentsOf(at.router.ID), "each host once, that of the centre first")
		require.Equal(c, []string{at.router.ID}, c.routersOn("node"), "once, though it has the centre and an edge")
		require.Equal(c, []string{at.router.ID}, c.routersOn("compute-1"))

		// Edges are where workloads are. The centre goes where an administrator wants it.
		id := func(host string) string {
			return all(c, agents.List(c.admin, agents.ListOpts{Host: host}), agents.ExtractAgents)[0].ID
		}
		remove := func(host string) error {
			return agents.RemoveL3Router(c.Context(), c.admin, id(host), at.router.ID).ExtractErr()
		}
		add := func(host string) error {
			return agents.ScheduleL3Router(c.Context(), c.admin, id(host), agents.ScheduleL3RouterOpts{RouterID: at.router.ID}).ExtractErr()
		}
		c.refused(add("compute-1"), http.StatusConflict, "DVRL3CannotAssignToDvrAgent")
		c.refused(remove("compute-1"), http.StatusConflict, "DVRL3CannotRemoveFromDvrAgent")
		require.NoError(c, remove("node"))
		require.ElementsMatch(c, []string{"node", "compute-1"}, c.agentsOf(at.router.ID), "the edge stays")
		c.refused(remove("node"), http.StatusConflict, "DVRL3CannotRemoveFromDvrAgent")
		beatAs(c.T, c.service, "node-2", agent.ModeDVRSNAT, "public")
		c.refused(agents.RemoveL3Router(c.Context(), c.admin, id("node-2"), central.ID).ExtractErr(), http.StatusConflict, "RouterNotHostedByL3Agent")
		require.NoError(c, remove("node-2"), "a new agent has got it")
		require.NoError(c, add("node"))

		f := c.floatingIP(at.public.ID, first.ID)
		settle(c.T, c.service, "node")
		require.Equal(c, "BUILD", ok(routers.Get(c.Context(), c.member, at.router.ID).Extract())(c).Status, "compute-1 has not applied it")
		settle(c.T, c.service, "compute-1")
		require.Equal(c, "ACTIVE", ok(routers.Get(c.Context(), c.member, at.router.ID).Extract())(c).Status)
		require.Equal(c, "ACTIVE", ok(floatingips.Get(c.Context(), c.member, f.ID).Extract())(c).Status)

		require.NoError(c, floatingips.Delete(c.Context(), c.member, f.ID).Err)
		require.NoError(c, ports.Delete(c.Context(), c.admin, first.ID).Err)
		require.Equal(c, []string{"node"}, c.agentsOf(at.router.ID))
		require.Empty(c, c.routersOn("compute-1"))
		require.NoError(c, ports.Delete(c.Context(), c.admin, second.ID).Err)
		require.NoError(c, routers.RemoveInterface(c.Context(), c.member, at.router.ID, routers.RemoveInterfaceOpts{PortID: legs[0].ID}).Err)
		require.NoError(c, routers.Delete(c.Context(), c.member, at.router.ID).Err)
	})
}

// keptAtCentre are options for floating IPs as clients give them that know the attribute.
type keptAtCentre struct {
	floatingips.CreateOptsBuilder
	floatingips.UpdateOptsBuilder
	floatingips.ListOptsBuilder
	Distributed any
}

func (o keptAtCentre) ToFloatingIPCreateMap() (map[string]any, error) {
	return o.with(o.CreateOptsBuilder.ToFloatingIPCreateMap())
}

func (o keptAtCentre) ToFloatingIPUpdateMap() (map[string]any, error) {
	return o.with(o.UpdateOptsBuilder.ToFloatingIPUpdateMap())
}

func (o keptAtCentre) with(body map[string]any, err error) (map[string]any, error) {
	body["floatingip"].(map[string]any)["distributed"] = o.Distributed
	return body, err
}

func (o keptAtCentre) ToFloatingIPListQuery() (string, error) {
	return fmt.Sprintf("?distributed=%v", o.Distributed), nil
}

// TestFloatingIPSaysDistributed: its owner may set the attribute, change it, and find by it.
func TestFloatingIPSaysDistributed(t *testing.T) {
	type floatingIP struct {
		ID          string `json:"id"`
		PortID      string `json:"port_id"`
		Distributed bool   `json:"distributed"`
	}
	type extracts interface {
		ExtractIntoStructPtr(to any, label string) error
	}
	onClouds(t, func(c *cloud) {
		at := c.distributed()
		port := c.bound(at.inside.ID, "compute-1")
		read := func(r extracts) (f floatingIP) {
			c.Helper()
			require.NoError(c, r.ExtractIntoStructPtr(&f, "floatingip"))
			return f
		}
		create := func(distributed any, port string) floatingIP {
			c.Helper()
			return read(floatingips.Create(c.Context(), c.member, keptAtCentre{Distributed: distributed,
				CreateOptsBuilder: floatingips.CreateOpts{FloatingNetworkID: at.public.ID, PortID: port}}))
		}
		update := func(id string, distributed any) floatingIP {
			c.Helper()
			return read(floatingips.Update(c.Context(), c.member, id, keptAtCentre{Distributed: distributed, UpdateOptsBuilder: floatingips.UpdateOpts{}}))
		}
		unsaid := c.floatingIP(at.public.ID, "")
		kept, free := create(false, port.ID), create(nil, "")
		require.False(c, kept.Distributed)
		require.True(c, free.Distributed)
		require.True(c, read(floatingips.Get(c.Context(), c.member, unsaid.ID)).Distributed)

		ids := func(distributed bool) (ids []string) {
			c.Helper()
			for _, f := range all(c, floatingips.List(c.member, keptAtCentre{Distributed: distributed}), floatingips.ExtractFloatingIPs) {
				ids = append(ids, f.ID)
			}
			return ids
		}
		require.Equal(c, []string{kept.ID}, ids(false))
		require.ElementsMatch(c, []string{unsaid.ID, free.ID}, ids(true))

		changed := update(kept.ID, true)
		require.True(c, changed.Distributed)
		require.Equal(c, port.ID, changed.PortID)
		require.False(c, update(kept.ID, false).Distributed)
		changed = update(kept.ID, nil)
		require.True(c, changed.Distributed, "null is the default")
		require.Equal(c, port.ID, changed.PortID)
		require.Empty(c, ids(false))
		status, body := c.raw(c.member, "PUT", "floatingips/"+kept.ID, `{"floatingip": {"distributed": "maybe"}}`)
		require.Equal(c, http.StatusBadRequest, status, body)
	})
}

// TestOnlyAnAdministratorSaysDistributed, and only of a router that is down and stays so.
func TestOnlyAnAdministratorSaysDistributed(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.distributed()
		c.bound(at.inside.ID, "compute-1")
		update := func(who *client, opts routers.UpdateOpts) error {
			return routers.Update(c.Context(), who, at.router.ID, opts).Err
		}
		for _, d := range []bool{true, false} {
			c.refused(routers.Create(c.Context(), c.member, routers.CreateOpts{Distributed: &d}).Err, http.StatusForbidden, "PolicyNotAuthorized")
			c.refused(update(c.member, routers.UpdateOpts{Distributed: &d}), http.StatusForbidden, "PolicyNotAuthorized")
		}
		status, body := c.raw(c.member, "GET", "routers/"+at.router.ID, "")
		require.Equal(c, http.StatusOK, status)
		require.NotContains(c, body, "distributed")

		require.NoError(c, update(c.admin, routers.UpdateOpts{Distributed: new(true)}), "it is already")
		c.refused(update(c.admin, routers.UpdateOpts{Distributed: new(false)}), http.StatusBadRequest, "BadRequest")
		c.refused(update(c.admin, routers.UpdateOpts{Distributed: new(false), AdminStateUp: new(false)}), http.StatusBadRequest, "BadRequest")
		require.NoError(c, update(c.member, routers.UpdateOpts{AdminStateUp: new(false)}))
		c.refused(update(c.admin, routers.UpdateOpts{Distributed: new(false), AdminStateUp: new(true)}), http.StatusBadRequest, "BadRequest")
		status, body = c.raw(c.admin, "PUT", "routers/"+at.router.ID, `{"router": {"distributed": null}}`)
		require.Equal(c, http.StatusBadRequest, status, body)

		require.NoError(c, update(c.admin, routers.UpdateOpts{Distributed: new(false)}))
		require.NoError(c, update(c.member, routers.UpdateOpts{AdminStateUp: new(true)}))
		require.Equal(c, []string{"node"}, c.agentsOf(at.router.ID))
		require.Len(c, all(c, ports.List(c.member, ports.ListOpts{DeviceOwner: "network:router_interface"}), ports.ExtractPorts), 1)
	})
}

func TestExtensionsOfDistributedRouters(t *testing.T) {
	onClouds(t, func(c *cloud) {
		e := ok(extensions.Get(c.Context(), c.member, "dvr").Extract())(c)
		require.Equal(c, "Distributed Virtual Router", e.Name)
		require.Equal(c, "2014-06-1T10:00:00-00:00", e.Updated)
		require.NotEmpty(c, e.Description)
		ok(extensions.Get(c.Context(), c.member, "router-admin-state-down-before-update").Extract())(c)
		require.Equal(c, "2022-08-30T10:00:00-00:00", ok(extensions.Get(c.Context(), c.member, "floating-ip-distributed").Extract())(c).Updated)
	})
}
