package service_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

// subnetBy makes a subnet of the administrator.
func (r *rig) subnetBy(n l3.Network, cidr string, change func(*l3.SubnetSpec)) l3.Subnet {
	r.Helper()
	spec := l3.SubnetSpec{NetworkID: &n.ID, CIDR: new(netip.MustParsePrefix(cidr))}
	change(&spec)
	return one(r.CreateSubnets(r.Context(), r.admin, spec))(r)
}

func gatewayAddrs(router l3.Router) []string {
	list := []string{}
	for _, ip := range router.Gateway.FixedIPs {
		list = append(list, ip.IPAddress.String())
	}
	return list
}

// TestSubnetAddedOutsideReachesGateways: each gateway gets an address of a family that it lacks,
// and its host is told.
func TestSubnetAddedOutsideReachesGateways(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		public := r.external("")
		made := r.routerTo(public)
		require.Empty(r, made.Gateway.FixedIPs, "there is none to be had")
		r.report(made.ID)
		r.notices(nil)

		v4 := r.subnet(r.admin, public, "203.0.113.0/24")
		got := r.see(made.ID)
		require.Equal(r, []string{"203.0.113.2"}, gatewayAddrs(got))
		require.Equal(r, l3.StatusBuild, got.Status)
		require.Greater(r, got.Revision, made.Revision)
		require.Len(r, r.notices(nil), 1, "the host is told")
		a := r.report(made.ID)
		require.Equal(r, []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24")}, a.Router.Gateway.Addrs)
		require.Equal(r, []netip.Addr{v4.GatewayIP}, a.Router.Gateway.NextHops)

		r.subnet(r.admin, public, "2001:db8:1::/64")
		require.Equal(r, []string{"203.0.113.2", "2001:db8:1::2"}, gatewayAddrs(r.see(made.ID)))
		require.Len(r, r.report(made.ID).Router.Gateway.NextHops, 2)

		before := r.see(made.ID)
		r.subnet(r.admin, public, "198.51.100.0/24")
		r.subnet(r.admin, public, "2001:db8:2::/64")
		got = r.see(made.ID)
		require.Equal(r, before.Gateway, got.Gateway, "it has both families")
		require.Equal(r, l3.StatusBuild, got.Status, "they are on its link")
		require.Equal(r, before.Revision+1, got.Revision, "of which nothing but the status has changed")
	})
}

// TestSubnetAddedOutsideThatGatewaysCannotHave: the subnet is made all the same.
func TestSubnetAddedOutsideThatGatewaysCannotHave(t *testing.T) {
	onRigs(t, func(r *rig) {
		public := r.external("", "203.0.113.0/24")
		inside := r.inside("2001:db8:1::/64")
		first, second := r.routerTo(public), r.routerTo(public, inside)
		has := func(router l3.Router, want ...string) {
			r.Helper()
			require.Equal(r, want, gatewayAddrs(r.see(router.ID)))
		}
		r.subnetBy(public, "2001:db8:9::/64", func(s *l3.SubnetSpec) { s.ServiceTypes = &[]string{l3.OwnerFloatingIP} })
		has(first, "203.0.113.2")
		r.subnet(r.admin, public, "2001:db8:1::/64")
		has(first, "203.0.113.2", "2001:db8:1::2")
		has(second, "203.0.113.3") // the subnet overlaps one inside
		third := r.routerTo(r.external("", "198.51.100.0/24"))
		narrow := l3.Network{Meta: l3.Meta{ID: third.Gateway.NetworkID}}
		fourth := r.routerTo(narrow)
		r.subnetBy(narrow, "2001:db8:3::/64", func(s *l3.SubnetSpec) {
			one := netip.MustParseAddr("2001:db8:3::9")
			s.AllocationPools = &[]l3.AddressRange{{First: one, Last: one}}
		})
		require.Equal(r, 3, len(r.see(third.ID).Gateway.FixedIPs)+len(r.see(fourth.ID).Gateway.FixedIPs), "there is an address for one of them")
	})
}

// TestSubnetAddedOutsideWithAddressesOfItsOwn: a gateway makes one for itself, and still lacks one
// that is given out.
func TestSubnetAddedOutsideWithAddressesOfItsOwn(t *testing.T) {
	onRigs(t, func(r *rig) {
		public := r.external("", "203.0.113.0/24")
		made := r.routerTo(public)
		slaac := r.subnetBy(public, "2001:db8:1::/64", func(s *l3.SubnetSpec) { s.IPv6AddressMode, s.IPv6RAMode = new(l3.IPv6SLAAC), new(l3.IPv6SLAAC) })
		got := r.see(made.ID)
		require.Len(r, got.Gateway.FixedIPs, 2)
		require.True(r, slaac.CIDR.Contains(got.Gateway.FixedIPs[1].IPAddress))
		r.subnet(r.admin, public, "2001:db8:2::/64")
		require.Len(r, r.see(made.ID).Gateway.FixedIPs, 3)
	})
}

// TestChangesReviseWhatTheyBelongTo holds revisions to those of a Neutron server.
func TestChangesReviseWhatTheyBelongTo(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		n := r.network(r.member)
		network := func() l3.Meta { return ok(r.GetNetwork(ctx, r.member, n.ID))(r).Meta }
		last := network()
		grows := func(what string, is func() l3.Meta, by int, change func()) {
			r.Helper()
			before := is()
			r.clock.sleep(time.Minute)
			change()
			after := is()
			require.Equal(r, before.Revision+by, after.Revision, what)
			require.Equal(r, by > 0, after.UpdatedAt.After(before.UpdatedAt), what)
		}
		require.Equal(r, 1, last.Revision)
		var sub l3.Subnet
		grows("subnet made", network, 1, func() { sub = r.subnet(r.member, n, "10.0.1.0/24") })
		rename := func() { ok(r.UpdateSubnet(ctx, r.member, sub.ID, l3.SubnetSpec{Name: new("x")}, l3.If{}))(r) }
		grows("subnet changed", network, 1, rename)
		grows("subnet not changed", network, 0, rename)
		grows("subnet's nameservers", network, 1, func() {
			ok(r.UpdateSubnet(ctx, r.member, sub.ID, l3.SubnetSpec{DNSNameservers: &[]string{"192.0.2.1"}}, l3.If{}))(r)
		})
		grows("subnet's gateway", network, 1, func() {
			ok(r.UpdateSubnet(ctx, r.member, sub.ID, l3.SubnetSpec{GatewayIP: new(netip.Addr{})}, l3.If{}))(r)
		})
		grows("subnet deleted", network, 1, func() { require.NoError(r, r.DeleteSubnet(ctx, r.member, sub.ID, l3.If{})) })
		var policy l3.RBACPolicy
		grows("network shared with a project", network, 1, func() {
			policy = one(r.CreateRBACPolicies(ctx, r.member, l3.RBACPolicySpec{
				ObjectType: new("network"), ObjectID: &n.ID, Action: new(l3.AccessAsShared), TargetProject: new("p3")}))(r)
		})
		grows("shared with another", network, 1, func() {
			ok(r.UpdateRBACPolicy(ctx, r.member, policy.ID, l3.RBACPolicySpec{TargetProject: new("p4")}, l3.If{}))(r)
		})
		grows("not shared", network, 1, func() { require.NoError(r, r.DeleteRBACPolicy(ctx, r.member, policy.ID, l3.If{})) })
		sub = r.subnet(r.member, n, "10.0.1.0/24")
		var p l3.Port
		grows("port made", network, 0, func() { p = r.port(r.member, sub) })
		port := func() l3.Meta { return r.seePort(r.member, p.ID).Meta }
		grows("port's address", port, 1, func() {
			ok(r.UpdatePort(ctx, r.member, p.ID, l3.PortSpec{FixedIPs: &[]l3.FixedIPSpec{{IPAddress: netip.MustParseAddr("10.0.1.77")}}}, l3.If{}))(r)
		})

		public := r.external("", "203.0.113.0/24")
		made := r.router()
		router := func() l3.Meta { return r.see(made.ID).Meta }
		outside := func() l3.Meta { return ok(r.GetNetwork(ctx, r.admin, public.ID))(r).Meta }
		grows("gateway of a router", outside, 0, func() {
			grows("gateway", router, 1, func() {
				ok(r.UpdateRouter(ctx, r.member, made.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: public.ID}}, l3.If{}))(r)
			})
		})
		grows("interface", router, 1, func() { r.attach(made, sub) })
		grows("routes", router, 1, func() { ok(r.putRoutes(made.ID, route("10.9.0.0/16", "10.0.1.9")))(r) })
		grows("no routes", router, 1, func() { ok(r.putRoutes(made.ID))(r) })
		var f l3.FloatingIP
		grows("floating IP bound", router, 0, func() { f = r.fip(public, p.ID) })
		grows("address of its port", router, 0, func() { grows("floating IP bound, of the port", port, 0, func() { r.rebind(f, "") }) })
		fip := func() l3.Meta { return ok(r.GetFloatingIP(ctx, r.member, f.ID))(r).Meta }
		grows("binding", fip, 1, func() { r.rebind(f, p.ID) })
		grows("the same binding", fip, 0, func() { r.rebind(f, p.ID) })
		grows("its port deleted", fip, 1, func() { require.NoError(r, r.DeletePort(ctx, r.member, p.ID, l3.If{})) })
		grows("no interface", router, 1, func() {
			ok(r.RemoveRouterInterface(ctx, r.member, made.ID, l3.InterfaceSpec{SubnetID: sub.ID}))(r)
		})
		grows("IPv6 outside", router, 1, func() {
			grows("subnet outside", outside, 1, func() { r.subnet(r.admin, public, "2001:db8::/64") })
		})
		grows("no gateway", router, 1, func() {
			ok(r.UpdateRouter(ctx, r.member, made.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{}}, l3.If{}))(r)
		})

		made2 := one(r.CreateSecurityGroups(ctx, r.member, l3.SecurityGroupSpec{Name: new("g")}))(r)
		group := func() l3.Meta { return ok(r.GetSecurityGroup(ctx, r.member, made2.ID))(r).Meta }
		var rule l3.SecurityGroupRule
		grows("rule made", group, 1, func() {
			rule = one(r.CreateSecurityGroupRules(ctx, r.member, l3.SecurityGroupRuleSpec{SecurityGroupID: made2.ID, Direction: "ingress"}))(r)
		})
		grows("rule deleted", group, 1, func() { require.NoError(r, r.DeleteSecurityGroupRule(ctx, r.member, rule.ID, l3.If{})) })
	})
}

// TestExternalNetworkGoesWithItsUnboundFloatingIPs: what is in use keeps it, and then all of it
// stays.
func TestExternalNetworkGoesWithItsUnboundFloatingIPs(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		public := r.external("", "203.0.113.0/24")
		sub := r.inside("10.0.1.0/24")
		made, p := r.routerTo(public, sub), r.port(r.member, sub)
		free, bound := r.fip(public, ""), r.fip(public, p.ID)
		refused := func() {
			r.Helper()
			r.refused(r.DeleteNetwork(ctx, r.admin, public.ID, l3.If{}), l3.ErrConflict, "NetworkInUse")
			ok(r.GetFloatingIP(ctx, r.member, free.ID))(r)
			ok(r.GetFloatingIP(ctx, r.member, bound.ID))(r)
		}
		refused()
		r.rebind(bound, "")
		refused() // the gateway
		_, err := r.UpdateRouter(ctx, r.member, made.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{}}, l3.If{})
		require.NoError(r, err)
		outside := one(r.ListSubnets(ctx, r.admin, l3.Query{Filters: []l3.Filter{{Field: "network_id", Values: []any{public.ID}}}}))(r)
		r.refused(r.DeleteSubnet(ctx, r.admin, outside.ID, l3.If{}), l3.ErrConflict, "SubnetInUse") // unlike the network

		external := func(is bool) {
			ok(r.UpdateNetwork(ctx, r.admin, public.ID, l3.NetworkSpec{External: &is}, l3.If{}))(r)
		}
		external(false) // no router needs it
		external(true)
		other := one(r.CreatePorts(ctx, r.admin, l3.PortSpec{NetworkID: &public.ID}))(r)
		refused()
		require.NoError(r, r.DeletePort(ctx, r.admin, other.ID, l3.If{}))

		require.NoError(r, r.DeleteNetwork(ctx, r.admin, public.ID, l3.If{}))
		for _, f := range []l3.FloatingIP{free, bound} {
			_, err := r.GetFloatingIP(ctx, r.member, f.ID)
			r.refused(err, l3.ErrNotFound, "FloatingIPNotFound")
		}
	})
}
