package service_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

// defaults makes the default external network, and a default pool of each prefix.
func (r *rig) defaults(prefixes ...string) l3.Network {
	r.Helper()
	n := r.external("uplink", "203.0.113.0/24")
	n = ok(r.UpdateNetwork(r.Context(), r.admin, n.ID, l3.NetworkSpec{IsDefault: new(true)}, l3.If{}))(r)
	for _, prefix := range prefixes {
		spec := poolOf(prefix)
		spec.IsDefault, spec.Shared = new(true), new(true)
		if spec.DefaultPrefixLen = new(26); (*spec.Prefixes)[0].Addr().Is6() {
			spec.DefaultPrefixLen = nil
		}
		r.pool(r.admin, spec)
	}
	return n
}

func TestAutoAllocatedTopology(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		failed := func(err error, says string) {
			r.Helper()
			r.refused(err, l3.ErrConflict, "AutoAllocationFailure")
			require.ErrorContains(r, err, says)
		}
		get := func(who l3.Caller, project string) error {
			_, err := r.AutoAllocatedTopology(ctx, who, project)
			return err
		}
		failed(get(r.member, "p1"), "No default router:external network.")
		failed(r.CheckAutoAllocation(ctx, r.member, "p1"), "No default router:external network.")
		outside := r.defaults()
		failed(get(r.member, "p1"), "Unable to provide tenant private network")
		failed(r.CheckAutoAllocation(ctx, r.member, "p1"), "No default subnetpools defined.")
		small := r.pool(r.admin, l3.SubnetPoolSpec{Name: new("small"), Prefixes: new(blocks("10.0.0.0/24")), DefaultPrefixLen: new(26),
			IsDefault: new(true), Shared: new(true)})
		spec := poolOf("2001:db8::/48")
		spec.IsDefault, spec.Shared = new(true), new(true)
		r.pool(r.admin, spec)
		require.NoError(r, r.CheckAutoAllocation(ctx, r.member, "p1"))
		forbidden(r.T, get(r.other, "p1"))
		forbidden(r.T, r.CheckAutoAllocation(ctx, r.other, "p1"))
		reader := l3.Caller{Project: "p1", Roles: []string{l3.RoleReader}}
		forbidden(r.T, get(reader, "p1"))
		require.NoError(r, r.CheckAutoAllocation(ctx, reader, "p1"))

		made := ok(r.AutoAllocatedTopology(ctx, r.member, "p1"))(r)
		require.Equal(r, made, ok(r.AutoAllocatedTopology(ctx, reader, "p1"))(r))
		n := ok(r.GetNetwork(ctx, r.member, made.NetworkID))(r)
		require.Equal(r, "auto_allocated_network", n.Name)
		require.True(r, n.AdminStateUp)
		subnets := ok(r.ListSubnets(ctx, r.member, l3.Query{Filters: []l3.Filter{{Field: "network_id", Values: []any{n.ID}}}, Sort: []l3.Sort{{Field: "name"}}}))(r)
		require.Len(r, subnets, 2)
		require.Equal(r, []string{"auto_allocated_subnet_v4", "10.0.0.0/26"}, []string{subnets[0].Name, subnets[0].CIDR.String()})
		require.Equal(r, []string{"auto_allocated_subnet_v6", "2001:db8::/64"}, []string{subnets[1].Name, subnets[1].CIDR.String()})
		router := ok(r.GetRouter(ctx, r.member, made.RouterID))(r)
		require.Equal(r, "auto_allocated_router", router.Name)
		require.Equal(r, outside.ID, router.Gateway.NetworkID)
		require.Len(r, r.routerPorts(router.ID), 3)

		theirs := ok(r.AutoAllocatedTopology(ctx, r.admin, "p2"))(r)
		require.Equal(r, "p2", ok(r.GetNetwork(ctx, r.other, theirs.NetworkID))(r).ProjectID)
		forbidden(r.T, r.DeleteAutoAllocatedTopology(ctx, r.member, "p2"))
		forbidden(r.T, r.DeleteAutoAllocatedTopology(ctx, reader, "p1"))
		f := r.fip(outside, r.port(r.member, subnets[0]).ID)
		require.Error(r, r.DeleteAutoAllocatedTopology(ctx, r.member, "p1"), "a port uses it")
		require.Equal(r, made, ok(r.AutoAllocatedTopology(ctx, r.member, "p1"))(r), "all of it is there")
		require.Len(r, r.routerPorts(router.ID), 3)
		require.NoError(r, r.DeletePort(ctx, r.member, f.PortID, l3.If{}))
		require.NoError(r, r.DeleteAutoAllocatedTopology(ctx, r.member, "p1"))
		require.NoError(r, r.DeleteAutoAllocatedTopology(ctx, r.member, "p1"))
		_, err := r.GetRouter(ctx, r.member, router.ID)
		r.refused(err, l3.ErrNotFound, "RouterNotFound")
		_, err = r.GetNetwork(ctx, r.member, n.ID)
		r.refused(err, l3.ErrNotFound, "NetworkNotFound")

		// Its parts can be deleted by themselves.
		second := ok(r.AutoAllocatedTopology(ctx, r.member, "p1"))(r)
		require.NotEqual(r, made.NetworkID, second.NetworkID)
		for _, p := range r.routerPorts(second.RouterID) {
			if p.IsRouterInterface() {
				ok(r.remove(second.RouterID, l3.InterfaceSpec{PortID: p.ID}))(r)
			}
		}
		require.NoError(r, r.DeleteRouter(ctx, r.member, second.RouterID, l3.If{}))
		second.RouterID = ""
		require.Equal(r, second, ok(r.AutoAllocatedTopology(ctx, r.member, "p1"))(r))
		require.NoError(r, r.DeleteAutoAllocatedTopology(ctx, r.member, "p1"))
		third := ok(r.AutoAllocatedTopology(ctx, r.member, "p1"))(r)
		require.NotEqual(r, second.NetworkID, third.NetworkID)

		require.NoError(r, r.DeleteAutoAllocatedTopology(ctx, r.member, "p1"))
		ok(r.SetQuota(ctx, r.admin, "p1", map[string]int{"router": 0}))(r)
		r.refused(get(r.member, "p1"), l3.ErrOverQuota, "OverQuota")
		ok(r.SetQuota(ctx, r.admin, "p1", map[string]int{"router": 9}))(r)
		ok(r.setPool(r.admin, small, l3.SubnetPoolSpec{DefaultPrefixLen: new(24)}))(r)
		failed(get(r.member, "p1"), "Unable to provide tenant private network: Failed to allocate subnet: Insufficient prefix space")
		require.Empty(r, ok(r.ListNetworks(ctx, r.member, l3.Query{Filters: []l3.Filter{{Field: "project_id", Values: []any{"p1"}}}}))(r), "nothing is left")
	})
}

func TestRaceForATopology(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.defaults("10.0.0.0/16", "2001:db8::/48")
		got := r.atOnce(func(int) error { _, err := r.AutoAllocatedTopology(r.Context(), r.member, "p1"); return err })
		require.Equal(r, map[string]int{"": clients}, got)
		networks := ok(r.ListNetworks(r.Context(), r.member, l3.Query{Filters: []l3.Filter{{Field: "project_id", Values: []any{"p1"}}}}))(r)
		require.Len(r, networks, 1)
		got = r.atOnce(func(int) error { return r.DeleteAutoAllocatedTopology(r.Context(), r.member, "p1") })
		require.Equal(r, map[string]int{"": clients}, got)
	})
}
