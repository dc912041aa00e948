package service_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/service"
)

func (r *rig) scope(who l3.Caller, version int) l3.AddressScope {
	r.Helper()
	return one(r.CreateAddressScopes(r.Context(), who, l3.AddressScopeSpec{Name: new("scope"), IPVersion: &version}))(r)
}

// scopedPool is a pool in an address scope, of subnets with 24 bits.
func (r *rig) scopedPool(who l3.Caller, a l3.AddressScope, prefix string) l3.SubnetPool {
	r.Helper()
	spec := poolOf(prefix)
	spec.AddressScopeID = &a.ID
	return r.pool(who, spec)
}

func TestAddressScope(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		a := r.scope(r.member, 4)
		require.Equal(r, a, ok(r.GetAddressScope(ctx, r.member, a.ID))(r))
		_, err := r.GetAddressScope(ctx, r.other, a.ID)
		r.refused(err, l3.ErrNotFound, "AddressScopeNotFound")
		for _, version := range []int{0, 5} {
			_, err := r.CreateAddressScopes(ctx, r.member, l3.AddressScopeSpec{IPVersion: &version})
			r.refused(err, l3.ErrInvalid, "InvalidInput")
		}
		_, err = r.CreateAddressScopes(ctx, r.member, l3.AddressScopeSpec{IPVersion: new(4), Shared: new(true)})
		forbidden(r.T, err)
		update := func(who l3.Caller, spec l3.AddressScopeSpec) error {
			_, err := r.UpdateAddressScope(ctx, who, a.ID, spec, l3.If{})
			return err
		}
		require.NoError(r, update(r.member, l3.AddressScopeSpec{Name: new("other")}))
		r.refused(update(r.member, l3.AddressScopeSpec{IPVersion: new(6)}), l3.ErrInvalid, "HTTPBadRequest")
		forbidden(r.T, update(r.member, l3.AddressScopeSpec{Shared: new(true)}))
		require.NoError(r, update(r.admin, l3.AddressScopeSpec{Shared: new(true)}))
		require.NoError(r, update(r.admin, l3.AddressScopeSpec{Shared: new(true)}))
		require.True(r, ok(r.GetAddressScope(ctx, r.other, a.ID))(r).Shared)
		r.refused(update(r.admin, l3.AddressScopeSpec{Shared: new(false)}), l3.ErrInvalid, "AddressScopeUpdateError")
		require.Len(r, ok(r.ListAddressScopes(ctx, r.other, l3.Query{}))(r), 1)

		p := r.scopedPool(r.other, a, "10.0.0.0/16")
		r.refused(r.DeleteAddressScope(ctx, r.member, a.ID, l3.If{}), l3.ErrConflict, "AddressScopeInUse")
		policies := ok(r.ListRBACPolicies(ctx, r.admin, l3.Query{}))(r)
		require.Len(r, policies, 1)
		r.refused(r.DeleteRBACPolicy(ctx, r.admin, policies[0].ID, l3.If{}), l3.ErrConflict, "RbacPolicyInUse")
		_, err = r.setPool(r.other, p, l3.SubnetPoolSpec{Name: new("x")})
		r.refused(err, l3.ErrInvalid, "IllegalSubnetPoolUpdate")
		_, err = r.AddPrefixes(ctx, r.other, p.ID, blocks("10.1.0.0/16"))
		r.refused(err, l3.ErrInvalid, "IllegalSubnetPoolUpdate")
		require.NoError(r, r.DeleteSubnetPool(ctx, r.other, p.ID, l3.If{}))
		require.NoError(r, r.DeleteAddressScope(ctx, r.member, a.ID, l3.If{}))
		ok(r.SetQuota(ctx, r.admin, "p1", map[string]int{"address_scope": 1, "subnetpool": 1}))(r)
		r.pool(r.member, poolOf("10.0.0.0/8"))
		r.refused(r.tryPool(r.member, poolOf("11.0.0.0/8")), l3.ErrOverQuota, "OverQuota")
		r.scope(r.member, 6)
		_, err = r.CreateAddressScopes(ctx, r.member, l3.AddressScopeSpec{IPVersion: new(4)})
		r.refused(err, l3.ErrOverQuota, "OverQuota")
	})
}

func TestPoolsOfAddressScope(t *testing.T) {
	onRigs(t, func(r *rig) {
		a, six, hidden := r.scope(r.member, 4), r.scope(r.member, 6), r.scope(r.admin, 4)
		in := func(a l3.AddressScope, prefixes ...string) error {
			spec := poolOf(prefixes...)
			spec.AddressScopeID = &a.ID
			return r.tryPool(r.member, spec)
		}
		b := r.scopedPool(r.member, a, "50.0.0.0/16")
		r.refused(in(a, "50.0.5.0/24", "51.0.0.0/16"), l3.ErrConflict, "AddressScopePrefixConflict")
		r.refused(in(a, "50.0.0.0/8"), l3.ErrConflict, "AddressScopePrefixConflict")
		r.refused(in(six, "52.0.0.0/16"), l3.ErrInvalid, "IllegalSubnetPoolIpVersionAssociationToAddressScope")
		r.refused(in(hidden, "52.0.0.0/16"), l3.ErrNotFound, "AddressScopeNotFound")
		r.refused(in(l3.AddressScope{Meta: b.Meta}, "52.0.0.0/16"), l3.ErrNotFound, "AddressScopeNotFound")
		c := r.scopedPool(r.member, a, "51.0.0.0/16")
		_, err := r.AddPrefixes(r.Context(), r.member, c.ID, blocks("50.0.0.0/24"))
		r.refused(err, l3.ErrConflict, "AddressScopePrefixConflict")
		free := r.pool(r.member, poolOf("50.0.0.0/16"))
		_, err = r.setPool(r.member, free, l3.SubnetPoolSpec{AddressScopeID: &a.ID})
		r.refused(err, l3.ErrConflict, "AddressScopePrefixConflict")

		// All subnets of a network that are of a family are in one scope.
		n := r.network(r.member)
		bits := l3.SubnetSpec{PrefixLen: new(24)}
		ok(r.allocate(r.member, n, b, bits))(r)
		ok(r.allocate(r.member, n, c, bits))(r)
		other := r.scopedPool(r.member, r.scope(r.member, 4), "53.0.0.0/16")
		for _, p := range []l3.SubnetPool{other, free} {
			_, err := r.allocate(r.member, n, p, l3.SubnetSpec{CIDR: &p.Prefixes[0]})
			if p.ID == free.ID {
				r.refused(err, l3.ErrInvalid, "InvalidInput") // it overlaps
				continue
			}
			r.refused(err, l3.ErrInvalid, "NetworkAddressScopeAffinityError")
		}
		_, err = r.CreateSubnets(r.Context(), r.member, l3.SubnetSpec{NetworkID: &n.ID, CIDR: &blocks("10.9.0.0/24")[0]})
		r.refused(err, l3.ErrInvalid, "NetworkSubnetPoolAffinityError")
		for _, scope := range []string{"", other.AddressScopeID} {
			_, err = r.setPool(r.member, b, l3.SubnetPoolSpec{AddressScopeID: &scope})
			r.refused(err, l3.ErrInvalid, "NetworkAddressScopeAffinityError")
		}
		ok(r.setPool(r.member, b, l3.SubnetPoolSpec{Name: new("renamed")}))(r)
	})
}

// TestScopesOfRouters: networks show the scopes of their subnets, and the ports of routers are in
// them. Another scope of a pool concerns its routers, and no others.
func TestScopesOfRouters(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		r.agent("host")
		a, b, six := r.scope(r.member, 4), r.scope(r.member, 4), r.scope(r.member, 6)
		p, q := r.scopedPool(r.member, a, "10.1.0.0/16"), r.scopedPool(r.member, six, "2001:db8::/48")
		n := r.network(r.member)
		s := ok(r.allocate(r.member, n, p, l3.SubnetSpec{PrefixLen: new(24)}))(r)
		s6 := ok(r.allocate(r.member, n, q, l3.SubnetSpec{}))(r)
		plain := r.inside("10.2.0.0/24")
		public := r.external("uplink", "203.0.113.0/24")
		outer := r.scopedPool(r.admin, r.scope(r.admin, 4), "203.0.112.0/24")
		ok(r.OnboardNetworkSubnets(ctx, r.admin, outer.ID, public.ID))(r)
		router := r.routerTo(public, s, s6, plain)
		bystander := r.routerTo(r.external("other", "198.51.100.0/24"), r.inside("10.3.0.0/24"))

		seen := ok(r.GetNetwork(ctx, r.member, n.ID))(r)
		require.Equal(r, []string{a.ID, six.ID}, []string{seen.IPv4AddressScope, seen.IPv6AddressScope})
		scopes := func() map[string][2]string {
			r.Helper()
			var in service.Intent
			require.NoError(r, r.store.View(ctx, func(tx l3.Tx) (err error) {
				in, err = service.IntentOf(ctx, tx, router.ID)
				return err
			}))
			found := map[string][2]string{}
			for i := range in.Ports {
				four, six := in.AddressScopesOf(&in.Ports[i])
				found[in.Ports[i].NetworkID] = [2]string{four, six}
			}
			return found
		}
		require.Equal(r, map[string][2]string{n.ID: {a.ID, six.ID}, plain.NetworkID: {}, public.ID: {outer.AddressScopeID, ""}}, scopes())

		revision := func(id string) uint64 { return ok(r.DesiredOf(ctx, id))(r).Revision }
		before, aside := revision(router.ID), revision(bystander.ID)
		ok(r.setPool(r.member, p, l3.SubnetPoolSpec{AddressScopeID: &b.ID}))(r)
		require.Equal(r, [2]string{b.ID, six.ID}, scopes()[n.ID])
		require.Greater(r, revision(router.ID), before)
		before = revision(router.ID)
		ok(r.setPool(r.member, p, l3.SubnetPoolSpec{Name: new("renamed")}))(r)
		require.Equal(r, before, revision(router.ID), "a name concerns no router")
		ok(r.setPool(r.member, p, l3.SubnetPoolSpec{AddressScopeID: new("")}))(r)
		require.Equal(r, [2]string{"", six.ID}, scopes()[n.ID])
		require.Empty(r, ok(r.GetNetwork(ctx, r.member, n.ID))(r).IPv4AddressScope)
		require.Greater(r, revision(router.ID), before)
		before = revision(router.ID)
		ok(r.OnboardNetworkSubnets(ctx, r.member, r.scopedPool(r.member, b, "10.4.0.0/16").ID, plain.NetworkID))(r)
		require.Equal(r, [2]string{b.ID, ""}, scopes()[plain.NetworkID])
		require.Greater(r, revision(router.ID), before)
		require.Equal(r, aside, revision(bystander.ID))

		found := func(field, scope string) []string {
			filters := []l3.Filter{{Field: field, Values: []any{scope}}, {Field: "project_id", Values: []any{"p1"}}}
			var ids []string
			for _, n := range ok(r.ListNetworks(ctx, r.member, l3.Query{Filters: filters}))(r) {
				ids = append(ids, n.ID)
			}
			return ids
		}
		require.Equal(r, []string{plain.NetworkID}, found("ipv4_address_scope", b.ID))
		require.Equal(r, []string{n.ID}, found("ipv6_address_scope", six.ID))
		require.Empty(r, found("ipv4_address_scope", a.ID))
		require.NotContains(r, found("ipv4_address_scope", ""), plain.NetworkID)
		require.Contains(r, found("ipv4_address_scope", ""), n.ID)
	})
}

// scopesOf are the address scopes of a compiled router's ports by their networks, with commas
// between the IP versions.
func scopesOf(r dataplane.Router) map[string]string {
	found := map[string]string{}
	ports := slices.Clone(r.Ports)
	if r.Gateway != nil {
		ports = append(ports, r.Gateway.Port)
	}
	for _, p := range ports {
		found[p.Network.ID] = p.Scopes.IPv4 + "," + p.Scopes.IPv6
	}
	return found
}

// TestScopesOnHosts: hosts are told of address scopes as soon as they make a difference.
func TestScopesOnHosts(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		r.agent("host")
		a, b := r.scope(r.member, 4), r.scope(r.member, 4)
		p, q := r.scopedPool(r.member, a, "10.1.0.0/16"), r.scopedPool(r.member, a, "10.2.0.0/16")
		first := ok(r.allocate(r.member, r.network(r.member), p, l3.SubnetSpec{PrefixLen: new(24)}))(r)
		second := ok(r.allocate(r.member, r.network(r.member), q, l3.SubnetSpec{PrefixLen: new(24)}))(r)
		router := r.router()
		r.attach(router, first)
		r.attach(router, second)
		scopes := func() map[string]string {
			r.Helper()
			return scopesOf(r.report(router.ID).Router)
		}
		require.Equal(r, map[string]string{first.NetworkID: ",", second.NetworkID: ","}, scopes(), "both are in one")
		ok(r.setPool(r.member, q, l3.SubnetPoolSpec{AddressScopeID: &b.ID}))(r)
		require.Equal(r, map[string]string{first.NetworkID: a.ID + ",", second.NetworkID: b.ID + ","}, scopes())
		ok(r.setPool(r.member, q, l3.SubnetPoolSpec{AddressScopeID: &a.ID}))(r)
		require.Equal(r, map[string]string{first.NetworkID: ",", second.NetworkID: ","}, scopes())

		// Within the scope of the external network there is no source NAT.
		public := r.external("uplink", "203.0.113.0/24")
		outer := r.pool(r.admin, poolOf("203.0.112.0/24"))
		ok(r.OnboardNetworkSubnets(ctx, r.admin, outer.ID, public.ID))(r)
		ok(r.UpdateRouter(ctx, r.member, router.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: public.ID}}, l3.If{}))(r)
		require.Equal(r, ",", scopes()[public.ID])
		require.Equal(r, a.ID+",", scopes()[first.NetworkID], "the gateway is in none")
		ok(r.setPool(r.admin, outer, l3.SubnetPoolSpec{AddressScopeID: &a.ID}))(r)
		require.Equal(r, map[string]string{first.NetworkID: a.ID + ",", second.NetworkID: a.ID + ",", public.ID: a.ID + ","}, scopes())

		// All subnets of the external network are on the gateway's link, also those that it has no
		// address of.
		six := r.scopedPool(r.admin, r.scope(r.admin, 6), "2001:db8::/48")
		ok(r.allocate(r.admin, public, six, l3.SubnetSpec{ServiceTypes: &[]string{l3.OwnerFloatingIP}}))(r)
		require.Equal(r, a.ID+","+six.AddressScopeID, scopes()[public.ID])
	})
}

// TestScopesOfDistributedRouters: what their instances cannot tell apart is refused.
func TestScopesOfDistributedRouters(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		s := newSpreadOut(r)
		const name = "DistributedRouterAddressScope"
		a, six := r.scope(r.member, 4), r.scope(r.member, 6)
		p, q := r.scopedPool(r.member, a, "10.1.0.0/16"), r.scopedPool(r.member, a, "10.2.0.0/16")
		subnetOf := func(p l3.SubnetPool) l3.Subnet {
			r.Helper()
			return ok(r.allocate(r.member, r.network(r.member), p, l3.SubnetSpec{PrefixLen: new(p.DefaultPrefixLen + 16)}))(r)
		}
		first, second := subnetOf(p), subnetOf(q)
		join := func(router l3.Router, sub l3.Subnet) error {
			_, err := r.AddRouterInterface(ctx, r.member, router.ID, l3.InterfaceSpec{SubnetID: sub.ID})
			return err
		}
		err := join(s.router, first)
		r.refused(err, l3.ErrConflict, name)
		require.ErrorContains(r, err, "cannot be distributed: the IPv4 address scope of port")
		require.ErrorContains(r, err, "Make it a central router (distributed: false), or use subnets that are in no address scope.")
		require.Len(r, s.centre("nn").Ports, 2)
		require.NoError(r, join(s.router, r.inside("2001:db8:8::/64")))
		v6 := r.scopedPool(r.member, six, "2001:db8::/48")
		r.refused(join(s.router, ok(r.allocate(r.member, r.network(r.member), v6, l3.SubnetSpec{}))(r)), l3.ErrConflict, name)

		// A pool that gets a scope, and one that takes in a subnet of the router.
		free := r.pool(r.member, poolOf("10.8.0.0/16"))
		require.NoError(r, join(s.router, subnetOf(free)))
		_, err = r.setPool(r.member, free, l3.SubnetPoolSpec{AddressScopeID: &a.ID})
		r.refused(err, l3.ErrConflict, name)
		_, err = r.OnboardNetworkSubnets(ctx, r.member, p.ID, s.web.NetworkID)
		r.refused(err, l3.ErrConflict, name)
		outer := r.scopedPool(r.admin, r.scope(r.admin, 4), "203.0.112.0/24")
		_, err = r.OnboardNetworkSubnets(ctx, r.admin, outer.ID, s.external.ID)
		r.refused(err, l3.ErrConflict, name)

		// A subnet of the external network in another scope is not on its gateway's link.
		outer6 := r.scopedPool(r.admin, r.scope(r.admin, 6), "2001:db8:9::/48")
		made := ok(r.allocate(r.admin, s.external, outer6, l3.SubnetSpec{}))(r)
		require.NotContains(r, s.centre("nn").Gateway.OnLink, made.CIDR)
		require.Len(r, s.centre("nn").Gateway.Addrs, 1)

		// Without a gateway all may be in one.
		// Only those with an IPv6 address count for IPv6, of which each network has a port of its own.
		inner := one(r.CreateRouters(ctx, r.admin, l3.RouterSpec{ProjectID: &r.member.Project, Distributed: new(true)}))(r)
		require.NoError(r, join(inner, first))
		require.NoError(r, join(inner, second))
		dual := ok(r.allocate(r.member, l3.Network{Meta: l3.Meta{ID: first.NetworkID}}, v6, l3.SubnetSpec{}))(r)
		require.NoError(r, join(inner, dual))
		r.refused(join(inner, r.inside("10.9.0.0/24")), l3.ErrConflict, name)
		gateway := l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: r.external("", "192.0.2.0/24").ID}}
		_, err = r.UpdateRouter(ctx, r.member, inner.ID, gateway, l3.If{})
		r.refused(err, l3.ErrConflict, name)
		b := r.scope(r.member, 4)
		_, err = r.setPool(r.member, q, l3.SubnetPoolSpec{AddressScopeID: &b.ID})
		r.refused(err, l3.ErrConflict, name)
		scoped := r.external("other", "198.51.100.0/24")
		ok(r.OnboardNetworkSubnets(ctx, r.admin, r.scopedPool(r.member, a, "198.51.0.0/24").ID, scoped.ID))(r)
		_, err = r.UpdateRouter(ctx, r.member, inner.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: scoped.ID}}, l3.If{})
		r.refused(err, l3.ErrConflict, name)
		require.ErrorContains(r, err, "within which there is no source NAT")

		// It can become central, and have any scopes then, with which it stays central.
		turn := func(distributed bool) error {
			r.Helper()
			ok(r.UpdateRouter(ctx, r.admin, inner.ID, l3.RouterSpec{AdminStateUp: new(false)}, l3.If{}))(r)
			_, err := r.UpdateRouter(ctx, r.admin, inner.ID, l3.RouterSpec{Distributed: &distributed}, l3.If{})
			ok(r.UpdateRouter(ctx, r.admin, inner.ID, l3.RouterSpec{AdminStateUp: new(true)}, l3.If{}))(r)
			return err
		}
		require.NoError(r, turn(false))
		ok(r.UpdateRouter(ctx, r.member, inner.ID, gateway, l3.If{}))(r)
		require.Equal(r, a.ID+","+six.ID, scopesOf(ok(r.DesiredOf(ctx, inner.ID))(r).Router)[first.NetworkID])
		r.refused(turn(true), l3.ErrConflict, name)
		require.False(r, r.see(inner.ID).Distributed)
		ok(r.setPool(r.member, p, l3.SubnetPoolSpec{AddressScopeID: new("")}))(r)
		r.refused(turn(true), l3.ErrConflict, name)
		ok(r.setPool(r.member, q, l3.SubnetPoolSpec{AddressScopeID: new("")}))(r)
		require.NoError(r, turn(true))
	})
}

// TestAgentThatLeavesAddressScopesOut is of an older version: it says that it has realised the
// router.
func TestAgentThatLeavesAddressScopesOut(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		p := r.scopedPool(r.member, r.scope(r.member, 4), "10.1.0.0/16")
		first := ok(r.allocate(r.member, r.network(r.member), p, l3.SubnetSpec{PrefixLen: new(24)}))(r)
		router := r.router()
		r.attach(router, first)
		r.report(router.ID)
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status, "the scope makes no difference")
		plain := r.attach(router, r.inside("10.2.0.0/24"))
		a := r.report(router.ID)
		failed := func() {
			r.Helper()
			seen := r.see(router.ID)
			require.Equal(r, l3.StatusError, seen.Status)
			require.Contains(r, seen.StatusReason, "h1 is of a version that does not know address scopes")
		}
		failed()
		beat := agent.Heartbeat{Host: "h1", Instance: "i", Machine: "m", Deployment: ok(r.Deployment(r.Context()))(r).ID}
		seq := uint64(0)
		runs := func(knows bool) {
			r.Helper()
			seq++
			beat.Capabilities.AddressScopes = knows
			beat.Inventory = &agent.Inventory{Seq: seq, Routers: []agent.RunningRouter{{ID: router.ID, Epoch: a.Epoch, Revision: a.Revision}}}
			r.beat(beat)
		}
		runs(false)
		failed()
		runs(true)
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status, "it was replaced")
		runs(false)
		failed()
		ok(r.UpdatePort(r.Context(), r.admin, plain.PortID, l3.PortSpec{AdminStateUp: new(false)}, l3.If{}))(r)
		a = r.report(router.ID)
		runs(false)
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status, "one port is left")
		ok(r.UpdatePort(r.Context(), r.admin, plain.PortID, l3.PortSpec{AdminStateUp: new(true)}, l3.If{}))(r)

		// A router in scopes moves to an agent that knows them, if there is one.
		for _, h := range []string{"h2", "h3", "h4"} {
			r.beat(agent.Heartbeat{Host: h, Capabilities: agent.Capabilities{PortForwarding: true}})
		}
		r.beat(agent.Heartbeat{Host: "h5", Capabilities: agent.Capabilities{AddressScopes: true}})
		ok(r.UpdateAgent(r.Context(), r.admin, ok(r.AgentsOfRouter(r.Context(), r.admin, router.ID))(r)[0].ID, l3.AgentSpec{AdminStateUp: new(false)}))(r)
		require.Equal(r, "h5", r.hostOf(router.ID))
	})
}

// TestPoolWalk does anything to pools, scopes and networks, in any order: what is not refused leaves
// nothing that the audit finds.
func TestPoolWalk(t *testing.T) {
	r := newRig(t, l3test.Open(t, l3test.SQLiteURL(t)))
	ctx := r.Context()
	seed := uint64(time.Now().UnixNano())
	r.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ok(r.SetQuota(ctx, r.admin, "p1", map[string]int{"subnet": -1}))(r)
	r.agent("host")
	outside := r.external("uplink", "203.0.113.0/24")
	router := r.routerTo(outside)
	var networks []l3.Network
	var pools []l3.SubnetPool
	scopes := []string{"", r.scope(r.member, 4).ID, r.scope(r.member, 4).ID}
	for range 4 {
		networks = append(networks, r.network(r.member))
		pools = append(pools, r.pool(r.member, poolOf("10.0.0.0/28")))
	}
	networks = append(networks, outside)
	block := func() netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(256))}), 25+random.IntN(5)).Masked()
	}
	done := map[string]int{}
	for range 300 {
		n, i := networks[random.IntN(len(networks))], random.IntN(len(pools))
		p := pools[i]
		subnets := ok(r.ListSubnets(ctx, r.admin, l3.Query{Filters: []l3.Filter{{Field: "network_id", Values: []any{n.ID}}}}))(r)
		steps := []struct {
			name string
			do   func() error
		}{
			{"allocate", func() error { _, err := r.allocate(r.admin, n, p, l3.SubnetSpec{PrefixLen: new(29)}); return err }},
			{"allocate a CIDR", func() error { _, err := r.allocate(r.admin, n, p, l3.SubnetSpec{CIDR: new(block())}); return err }},
			{"subnet of no pool", func() error {
				_, err := r.CreateSubnets(ctx, r.admin, l3.SubnetSpec{NetworkID: &n.ID, CIDR: new(block())})
				return err
			}},
			{"onboard", func() error { _, err := r.OnboardNetworkSubnets(ctx, r.admin, p.ID, n.ID); return err }},
			{"rescope", func() error {
				_, err := r.setPool(r.admin, p, l3.SubnetPoolSpec{AddressScopeID: &scopes[random.IntN(len(scopes))]})
				return err
			}},
			{"add prefixes", func() error { _, err := r.AddPrefixes(ctx, r.admin, p.ID, []netip.Prefix{block()}); return err }},
			{"remove prefixes", func() error { _, err := r.RemovePrefixes(ctx, r.admin, p.ID, []netip.Prefix{block()}); return err }},
			{"delete subnet", func() error {
				if len(subnets) == 0 {
					return notFoundHere
				}
				return r.DeleteSubnet(ctx, r.admin, subnets[random.IntN(len(subnets))].ID, l3.If{})
			}},
			{"attach", func() error {
				if len(subnets) == 0 {
					return notFoundHere
				}
				_, err := r.AddRouterInterface(ctx, r.admin, router.ID, l3.InterfaceSpec{SubnetID: subnets[0].ID})
				return err
			}},
			{"detach", func() error {
				if len(subnets) == 0 {
					return notFoundHere
				}
				_, err := r.RemoveRouterInterface(ctx, r.admin, router.ID, l3.InterfaceSpec{SubnetID: subnets[0].ID})
				return err
			}},
			{"new pool", func() error {
				if err := r.DeleteSubnetPool(ctx, r.admin, p.ID, l3.If{}); err != nil {
					return err
				}
				pools[i] = r.pool(r.member, l3.SubnetPoolSpec{Name: new("again"), Prefixes: &[]netip.Prefix{block()}})
				return nil
			}},
		}
		step := steps[random.IntN(len(steps))]
		err := step.do()
		var refusal *l3.Error
		require.True(r, err == nil || errors.As(err, &refusal), "%s: %v", step.name, err)
		if err == nil {
			done[step.name]++
		}
		require.NoError(r, l3test.Audit(ctx, r.store), "%s", step.name)
	}
	r.Log(done)
}
