package service_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func (r *rig) add(routerID string, spec l3.InterfaceSpec) (l3.Interface, error) {
	return r.AddRouterInterface(r.Context(), r.member, routerID, spec)
}

func (r *rig) remove(routerID string, spec l3.InterfaceSpec) (l3.Interface, error) {
	return r.RemoveRouterInterface(r.Context(), r.member, routerID, spec)
}

func TestInterfaceNeedsExactlyOneOfSubnetAndPort(t *testing.T) {
	onRigs(t, func(r *rig) {
		router, s := r.router(), r.inside("10.0.1.0/24")
		for _, spec := range []l3.InterfaceSpec{{}, {SubnetID: s.ID, PortID: r.port(r.member, s).ID}} {
			_, err := r.add(router.ID, spec)
			r.refused(err, l3.ErrInvalid, "BadRequest")
		}
		_, err := r.remove(router.ID, l3.InterfaceSpec{})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		_, err = r.add(router.ID, l3.InterfaceSpec{SubnetID: "nobody"})
		r.refused(err, l3.ErrNotFound, "SubnetNotFound")
		_, err = r.add(router.ID, l3.InterfaceSpec{PortID: "nobody"})
		r.refused(err, l3.ErrNotFound, "PortNotFound")
	})
}

func TestInterfaceBySubnetHasItsGatewayAddress(t *testing.T) {
	onRigs(t, func(r *rig) {
		router, s := r.router(), r.inside("10.0.1.0/24")
		got := r.attach(router, s)
		ports := r.routerPorts(router.ID)
		require.Len(r, ports, 1)
		require.Equal(r, l3.Interface{
			RouterID: router.ID, ProjectID: "p1", PortID: ports[0].ID, NetworkID: s.NetworkID, SubnetID: s.ID, SubnetIDs: []string{s.ID}, Tags: []string{},
		}, got)
		require.Equal(r, l3.OwnerRouterInterface, ports[0].DeviceOwner)
		require.Equal(r, "p1", ports[0].ProjectID)
		require.Equal(r, []l3.FixedIP{{SubnetID: s.ID, IPAddress: s.GatewayIP}}, ports[0].FixedIPs)
		require.Equal(r, router.Revision+1, r.see(router.ID).Revision)
		r.refused(r.DeletePort(r.Context(), r.member, ports[0].ID, l3.If{}), l3.ErrConflict, "ServicePortInUse")
	})
}

func TestInterfaceBySubnetWhoseGatewayIsNotSetOrNotFree(t *testing.T) {
	onRigs(t, func(r *rig) {
		router, n := r.router(), r.network(r.member)
		none := one(r.CreateSubnets(r.Context(), r.member, l3.SubnetSpec{
			NetworkID: &n.ID, CIDR: new(netip.MustParsePrefix("10.0.1.0/24")), GatewayIP: new(netip.Addr{}),
		}))(r)
		_, err := r.add(router.ID, l3.InterfaceSpec{SubnetID: none.ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		s := r.inside("10.0.2.0/24")
		r.port(r.member, s, "10.0.2.1")
		_, err = r.add(router.ID, l3.InterfaceSpec{SubnetID: s.ID})
		r.refused(err, l3.ErrConflict, "IpAddressInUse")
		require.Empty(r, r.routerPorts(router.ID))
	})
}

func TestInterfaceByPort(t *testing.T) {
	onRigs(t, func(r *rig) {
		router, s := r.router(), r.inside("10.0.1.0/24")
		p := r.port(r.member, s)
		got := ok(r.add(router.ID, l3.InterfaceSpec{PortID: p.ID}))(r)
		require.Equal(r, p.ID, got.PortID)
		require.Equal(r, []string{s.ID}, got.SubnetIDs)
		p = ok(r.GetPort(r.Context(), r.member, p.ID))(r)
		require.Equal(r, router.ID, p.DeviceID)
		require.Equal(r, l3.OwnerRouterInterface, p.DeviceOwner)

		second := r.router()
		_, err := r.add(second.ID, l3.InterfaceSpec{PortID: p.ID})
		r.refused(err, l3.ErrConflict, "PortInUse")
		machine := one(r.CreatePorts(r.Context(), r.member, l3.PortSpec{NetworkID: &s.NetworkID, DeviceID: new("vm")}))(r)
		_, err = r.add(second.ID, l3.InterfaceSpec{PortID: machine.ID})
		r.refused(err, l3.ErrConflict, "PortInUse")
		bare := one(r.CreatePorts(r.Context(), r.member, l3.PortSpec{NetworkID: &s.NetworkID, FixedIPs: &[]l3.FixedIPSpec{}}))(r)
		_, err = r.add(second.ID, l3.InterfaceSpec{PortID: bare.ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		n := r.network(r.member)
		a, b := r.subnet(r.member, n, "10.2.0.0/24"), r.subnet(r.member, n, "10.3.0.0/24")
		fixed := []l3.FixedIPSpec{{SubnetID: a.ID}, {SubnetID: b.ID}}
		two := one(r.CreatePorts(r.Context(), r.member, l3.PortSpec{NetworkID: &n.ID, FixedIPs: &fixed}))(r)
		_, err = r.add(second.ID, l3.InterfaceSpec{PortID: two.ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")
	})
}

func TestInterfaceByPortWithFloatingIP(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		r.routerTo(ext, s)
		p := r.port(r.member, s)
		r.fip(ext, p.ID)
		_, err := r.add(r.router().ID, l3.InterfaceSpec{PortID: p.ID})
		r.refused(err, l3.ErrConflict, "PortInUse")
	})
}

func TestInterfaceByPortOfAnotherProject(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := r.inside("10.0.1.0/24")
		ok(r.CreateRBACPolicies(r.Context(), r.member, l3.RBACPolicySpec{
			ObjectType: new("network"), ObjectID: &s.NetworkID, Action: new(l3.AccessAsShared), TargetProject: &r.other.Project,
		}))(r)
		theirs := one(r.CreatePorts(r.Context(), r.other, l3.PortSpec{NetworkID: &s.NetworkID}))(r)
		ok(r.GetPort(r.Context(), r.member, theirs.ID))(r) // the owner of the network sees it
		_, err := r.add(r.router().ID, l3.InterfaceSpec{PortID: theirs.ID})
		r.refused(err, l3.ErrNotFound, "PortNotFound")
	})
}

func TestInterfaceSameSubnetTwiceOrOverlapping(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s := r.external("public", "203.0.113.0/24", "192.0.2.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		for name, spec := range map[string]l3.InterfaceSpec{
			"the same subnet":                     {SubnetID: s.ID},
			"a port on the same subnet":           {PortID: r.port(r.member, s).ID},
			"a subnet that overlaps":              {SubnetID: r.inside("10.0.0.0/16").ID},
			"a port on a subnet that overlaps":    {PortID: r.port(r.member, r.inside("10.0.1.128/25")).ID},
			"the gateway's subnet":                {SubnetID: r.inside("203.0.113.0/25").ID},
			"another subnet of the gateway's net": {SubnetID: r.inside("192.0.2.64/26").ID},
		} {
			_, err := r.add(router.ID, spec)
			r.refused(err, l3.ErrInvalid, "BadRequest")
			require.Len(r, r.routerPorts(router.ID), 2, name)
		}
	})
}

func TestInterfaceOnAnExternalNetwork(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public")
		s := r.subnet(r.admin, ext, "203.0.113.0/24")
		router := r.router()
		_, err := r.add(router.ID, l3.InterfaceSpec{SubnetID: s.ID})
		r.refused(err, l3.ErrNotFound, "SubnetNotFound")
		shared := one(r.CreateNetworks(r.Context(), r.admin, l3.NetworkSpec{External: new(true), Shared: new(true)}))(r)
		_, err = r.add(router.ID, l3.InterfaceSpec{SubnetID: r.subnet(r.admin, shared, "198.51.100.0/24").ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		r.share(shared, r.member)
		_, err = r.add(router.ID, l3.InterfaceSpec{SubnetID: r.subnet(r.admin, shared, "198.51.101.0/24").ID})
		r.refused(err, l3.ErrForbidden, "PolicyNotAuthorized")
		ok(r.AddRouterInterface(r.Context(), r.admin, router.ID, l3.InterfaceSpec{SubnetID: s.ID}))(r)
		_, err = r.setGateway(r.member, router.ID, l3.GatewaySpec{NetworkID: ext.ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")

		second := r.routerTo(ext)
		_, err = r.AddRouterInterface(r.Context(), r.admin, second.ID, l3.InterfaceSpec{SubnetID: r.subnet(r.admin, ext, "192.0.2.0/24").ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")
	})
}

func TestInterfaceOnePortForTheIPv6SubnetsOfANetwork(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		router, n := r.router(), r.network(r.member)
		v4, a, b := r.subnet(r.member, n, "10.0.1.0/24"), r.subnet(r.member, n, "2001:db8:1::/64"), r.subnet(r.member, n, "2001:db8:2::/64")
		r.attach(router, v4)
		first, second := r.attach(router, a), r.attach(router, b)
		require.Equal(r, first.PortID, second.PortID)
		require.Equal(r, []string{b.ID}, second.SubnetIDs)
		require.Len(r, r.report(router.ID).Router.Ports, 2)

		third := r.subnet(r.member, n, "2001:db8:3::/64")
		_, err := r.add(router.ID, l3.InterfaceSpec{PortID: r.port(r.member, third).ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")

		gone := ok(r.remove(router.ID, l3.InterfaceSpec{SubnetID: a.ID}))(r)
		require.Equal(r, first.PortID, gone.PortID)
		require.Equal(r, []string{a.ID}, gone.SubnetIDs)
		require.Len(r, r.routerPorts(router.ID), 2, "the port has another subnet still")
		ok(r.remove(router.ID, l3.InterfaceSpec{SubnetID: b.ID}))(r)
		require.Len(r, r.routerPorts(router.ID), 1)
	})
}

func TestInterfaceRemove(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		router, s, away := r.router(), r.inside("10.0.1.0/24"), r.inside("10.0.2.0/24")
		i := r.attach(router, s)
		names := map[string]string{router.ID: "r"}
		r.notices(names)
		_, err := r.remove(router.ID, l3.InterfaceSpec{SubnetID: away.ID})
		r.refused(err, l3.ErrNotFound, "RouterInterfaceNotFoundForSubnet")
		_, err = r.remove(router.ID, l3.InterfaceSpec{PortID: r.port(r.member, s).ID})
		r.refused(err, l3.ErrNotFound, "RouterInterfaceNotFound")
		_, err = r.remove(router.ID, l3.InterfaceSpec{PortID: i.PortID, SubnetID: away.ID})
		r.refused(err, l3.ErrInvalid, "SubnetMismatchForPort")
		got := ok(r.remove(router.ID, l3.InterfaceSpec{PortID: i.PortID, SubnetID: s.ID}))(r)
		require.Equal(r, i, got)
		require.Empty(r, r.routerPorts(router.ID))
		require.Equal(r, []string{"h1 r 1 gone"}, r.notices(names), "there is nothing left to realise")
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status)
		require.Equal(r, i.SubnetIDs, r.attach(router, s).SubnetIDs, "the address is free again")
	})
}

func TestInterfaceInUse(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s, quiet := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24"), r.inside("10.0.2.0/24")
		router := r.routerTo(ext, s, quiet)
		f := r.fip(ext, r.port(r.member, s).ID)
		_, err := r.remove(router.ID, l3.InterfaceSpec{SubnetID: s.ID})
		r.refused(err, l3.ErrConflict, "RouterInterfaceInUseByFloatingIP")
		r.rebind(f, "")
		ok(r.putRoutes(router.ID, route("10.9.0.0/16", "10.0.1.9")))(r)
		_, err = r.remove(router.ID, l3.InterfaceSpec{SubnetID: s.ID})
		r.refused(err, l3.ErrConflict, "RouterInterfaceInUseByRoute")
		ok(r.remove(router.ID, l3.InterfaceSpec{SubnetID: quiet.ID}))(r)
		ok(r.putRoutes(router.ID))(r)
		ok(r.remove(router.ID, l3.InterfaceSpec{SubnetID: s.ID}))(r)
	})
}

// share lets a caller's project use a network.
func (r *rig) share(n l3.Network, with l3.Caller) {
	r.Helper()
	one(r.CreateRBACPolicies(r.Context(), r.admin, l3.RBACPolicySpec{
		ObjectType: new("network"), ObjectID: &n.ID, Action: new(l3.AccessAsShared), TargetProject: &with.Project,
	}))(r)
}

// TestInterfaceOnASharedNetwork: the gateway address of a network that is shared with everyone is
// not for the first who asks, as in Neutron.
func TestInterfaceOnASharedNetwork(t *testing.T) {
	onRigs(t, func(r *rig) {
		router := r.router()
		everyones := one(r.CreateNetworks(r.Context(), r.admin, l3.NetworkSpec{Shared: new(true)}))(r)
		s := r.subnet(r.admin, everyones, "10.1.0.0/24")
		_, err := r.add(router.ID, l3.InterfaceSpec{SubnetID: s.ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		require.ErrorContains(r, err, "because subnet "+s.ID+" is not owned by project making the request")
		require.Empty(r, r.routerPorts(router.ID))

		ok(r.add(router.ID, l3.InterfaceSpec{PortID: r.port(r.member, s).ID}))(r)
		ok(r.AddRouterInterface(r.Context(), r.admin, r.router().ID, l3.InterfaceSpec{SubnetID: s.ID}))(r)

		ours := r.network(r.admin)
		s = r.subnet(r.admin, ours, "10.2.0.0/24")
		_, err = r.add(router.ID, l3.InterfaceSpec{SubnetID: s.ID})
		r.refused(err, l3.ErrNotFound, "SubnetNotFound")
		r.share(ours, r.other)
		_, err = r.add(router.ID, l3.InterfaceSpec{SubnetID: s.ID})
		r.refused(err, l3.ErrNotFound, "SubnetNotFound")
		r.share(ours, r.member)
		ok(r.add(router.ID, l3.InterfaceSpec{SubnetID: s.ID}))(r)
	})
}
