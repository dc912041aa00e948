package service_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

func (r *rig) setGateway(who l3.Caller, routerID string, spec l3.GatewaySpec) (l3.Router, error) {
	return r.UpdateRouter(r.Context(), who, routerID, l3.RouterSpec{Gateway: &spec}, l3.If{})
}

func TestGatewayNetworkMustBeExternal(t *testing.T) {
	onRigs(t, func(r *rig) {
		router, n := r.router(), r.network(r.member)
		_, err := r.setGateway(r.member, router.ID, l3.GatewaySpec{NetworkID: n.ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		require.ErrorContains(r, err, "Bad router request: ")
		_, err = r.setGateway(r.member, router.ID, l3.GatewaySpec{NetworkID: r.network(r.other).ID})
		r.refused(err, l3.ErrNotFound, "NetworkNotFound")
		_, err = r.setGateway(r.admin, router.ID, l3.GatewaySpec{EnableSNAT: new(false)})
		r.refused(err, l3.ErrInvalid, "BadRequest")
	})
}

func TestGatewayPortIsHiddenAndNobodys(t *testing.T) {
	onRigs(t, func(r *rig) {
		router := r.routerTo(r.external("public", "203.0.113.0/24"))
		ports := r.routerPorts(router.ID)
		require.Len(r, ports, 1)
		require.Equal(r, l3.OwnerRouterGateway, ports[0].DeviceOwner)
		require.Empty(r, ports[0].ProjectID)
		require.Equal(r, ports[0].ID, router.Gateway.PortID)
		require.Equal(r, ports[0].FixedIPs, router.Gateway.FixedIPs)
		_, err := r.GetPort(r.Context(), r.member, ports[0].ID)
		require.ErrorIs(r, err, l3.ErrNotFound)
		err = r.DeletePort(r.Context(), r.admin, ports[0].ID, l3.If{})
		r.refused(err, l3.ErrConflict, "ServicePortInUse")
	})
}

func TestGatewaySameNetworkKeepsPortAndAddress(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/24")
		router := r.routerTo(ext)
		again := ok(r.setGateway(r.member, router.ID, l3.GatewaySpec{NetworkID: ext.ID}))(r)
		require.Equal(r, router, again)

		second := r.subnet(r.admin, ext, "198.51.100.0/24")
		moved := ok(r.setGateway(r.admin, router.ID, l3.GatewaySpec{NetworkID: ext.ID, FixedIPs: &[]l3.FixedIPSpec{{SubnetID: second.ID}}}))(r)
		require.Equal(r, router.Gateway.PortID, moved.Gateway.PortID)
		require.Equal(r, second.ID, moved.Gateway.FixedIPs[0].SubnetID)
		require.Len(r, moved.Gateway.FixedIPs, 1)
		require.Equal(r, moved.Gateway.FixedIPs, r.routerPorts(router.ID)[0].FixedIPs)
	})
}

func TestGatewayEnableSNAT(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, other := r.external("public", "203.0.113.0/24"), r.external("second", "198.51.100.0/24")
		router := r.routerTo(ext)
		require.True(r, router.Gateway.EnableSNAT)
		off := ok(r.setGateway(r.admin, router.ID, l3.GatewaySpec{NetworkID: ext.ID, EnableSNAT: new(false)}))(r)
		require.False(r, off.Gateway.EnableSNAT)
		require.Equal(r, router.StateRevision+1, off.StateRevision)
		kept := ok(r.setGateway(r.member, router.ID, l3.GatewaySpec{NetworkID: other.ID}))(r)
		require.False(r, kept.Gateway.EnableSNAT, "omitted, it keeps what is stored")
		cleared := ok(r.setGateway(r.member, router.ID, l3.GatewaySpec{}))(r)
		require.Nil(r, cleared.Gateway)
		require.Empty(r, r.routerPorts(router.ID))
		again := ok(r.setGateway(r.member, router.ID, l3.GatewaySpec{NetworkID: ext.ID}))(r)
		require.True(r, again.Gateway.EnableSNAT, "clearing the gateway resets it")
	})
}

func TestGatewayInUseByFloatingIP(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, other, s := r.external("public", "203.0.113.0/24", "2001:db8:e::/64"), r.external("second", "198.51.100.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		f := r.fip(ext, r.port(r.member, s).ID)
		ipv6 := []l3.FixedIPSpec{{IPAddress: netip.MustParseAddr("2001:db8:e::77")}}
		for _, spec := range []l3.GatewaySpec{{}, {NetworkID: other.ID}, {NetworkID: ext.ID, FixedIPs: &ipv6}} {
			_, err := r.setGateway(r.admin, router.ID, spec)
			r.refused(err, l3.ErrConflict, "RouterExternalGatewayInUseByFloatingIp")
		}
		require.Equal(r, router.Gateway, r.see(router.ID).Gateway)
		r.rebind(f, "")
		moved := ok(r.setGateway(r.member, router.ID, l3.GatewaySpec{NetworkID: other.ID}))(r)
		require.NotEqual(r, router.Gateway.PortID, moved.Gateway.PortID)
	})
}

func TestGatewayOverlapsAnAttachedSubnet(t *testing.T) {
	onRigs(t, func(r *rig) {
		// The subnet that overlaps is not the one that the gateway would get its address from.
		ext := r.external("public", "203.0.113.0/24", "10.0.0.0/8")
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		_, err := r.setGateway(r.member, router.ID, l3.GatewaySpec{NetworkID: ext.ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		require.ErrorContains(r, err, "overlaps")
		require.Len(r, r.routerPorts(router.ID), 1)
	})
}

func TestGatewayAddressIsNotTheSubnetsGateway(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/24")
		router := r.router()
		own := []l3.FixedIPSpec{{IPAddress: netip.MustParseAddr("203.0.113.1")}}
		_, err := r.setGateway(r.admin, router.ID, l3.GatewaySpec{NetworkID: ext.ID, FixedIPs: &own})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		require.Empty(r, r.routerPorts(router.ID))
	})
}

// TestGatewayOfSeveralAddressesInOneSubnet: the host has all of them, the further ones by
// themselves, so that the kernel does not take them for secondary ones of the first.
func TestGatewayOfSeveralAddressesInOneSubnet(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext := r.external("public", "203.0.113.0/24")
		router := r.router()
		addrs := func(given ...string) []string {
			r.Helper()
			want := []l3.FixedIPSpec{}
			for _, a := range given {
				f := l3.FixedIPSpec{SubnetID: r.subnetOf(ext).ID}
				if a != "" {
					f.IPAddress = netip.MustParseAddr(a)
				}
				want = append(want, f)
			}
			ok(r.setGateway(r.admin, router.ID, l3.GatewaySpec{NetworkID: ext.ID, FixedIPs: &want}))(r)
			var got []string
			for _, a := range r.report(router.ID).Router.Gateway.Addrs {
				got = append(got, a.String())
			}
			return got
		}
		require.Equal(r, []string{"203.0.113.7/24", "203.0.113.8/32", "203.0.113.6/32"}, addrs("203.0.113.7", "203.0.113.8", "203.0.113.6"))
		require.Equal(r, []string{"203.0.113.8/24", "203.0.113.7/32"}, addrs("203.0.113.8", "203.0.113.7"))
		require.Len(r, addrs("", ""), 2)
		require.Len(r, r.see(router.ID).Gateway.FixedIPs, 2)
		twice := []l3.FixedIPSpec{{IPAddress: netip.MustParseAddr("203.0.113.9")}, {IPAddress: netip.MustParseAddr("203.0.113.9")}}
		_, err := r.setGateway(r.admin, router.ID, l3.GatewaySpec{NetworkID: ext.ID, FixedIPs: &twice})
		r.refused(err, l3.ErrInvalid, "InvalidInput")
		s := r.inside("10.0.1.0/24")
		r.attach(router, s)
		ok(r.add(r.router().ID, l3.InterfaceSpec{PortID: r.port(r.member, s).ID}))(r)
		two := r.port(r.member, s, "10.0.1.50", "10.0.1.51")
		_, err = r.add(r.router().ID, l3.InterfaceSpec{PortID: two.ID})
		r.refused(err, l3.ErrInvalid, "BadRequest")
	})
}

// subnetOf is the only subnet of a network.
func (r *rig) subnetOf(n l3.Network) l3.Subnet {
	r.Helper()
	return one(r.ListSubnets(r.Context(), r.admin, l3.Query{Filters: []l3.Filter{{Field: "network_id", Values: []any{n.ID}}}}))(r)
}

func TestGatewayWhoseRoutesWouldNoLongerBeConnected(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, other := r.external("public", "203.0.113.0/24"), r.external("second", "198.51.100.0/24")
		router := r.routerTo(ext)
		ok(r.putRoutes(router.ID, route("10.9.0.0/16", "203.0.113.99")))(r)
		for _, spec := range []l3.GatewaySpec{{}, {NetworkID: other.ID}} {
			_, err := r.setGateway(r.member, router.ID, spec)
			r.refused(err, l3.ErrInvalid, "InvalidRoutes")
		}
		both := l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: other.ID}, Routes: &[]l3.Route{route("10.9.0.0/16", "198.51.100.99")}}
		ok(r.UpdateRouter(r.Context(), r.member, router.ID, both, l3.If{}))(r)
	})
}

func TestGatewayKeepsItsNetworkExternal(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/24")
		router := r.routerTo(ext)
		close := l3.NetworkSpec{External: new(false)}
		_, err := r.UpdateNetwork(r.Context(), r.admin, ext.ID, close, l3.If{})
		r.refused(err, l3.ErrConflict, "ExternalNetworkInUse")
		require.NoError(r, r.DeleteRouter(r.Context(), r.member, router.ID, l3.If{}))
		ok(r.UpdateNetwork(r.Context(), r.admin, ext.ID, close, l3.If{}))(r)
	})
}

func TestGatewayFamilies(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		router := r.routerTo(r.external("public", "203.0.113.0/24", "2001:db8:e::/64"), r.inside("10.0.1.0/24"))
		got := r.report(router.ID).Router.Gateway
		require.Len(r, got.Addrs, 2)
		require.Equal(r, []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:e::1")}, got.NextHops)
		require.Equal(r, dataplane.Network{ID: router.Gateway.NetworkID, Type: dataplane.NetworkFlat, Physical: "public"}, got.Network)
	})
}

func TestGatewayFollowsItsSubnet(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext := r.external("public")
		s := r.subnet(r.admin, ext, "203.0.113.0/24")
		router := r.routerTo(ext, r.inside("10.0.1.0/24"))
		r.report(router.ID)
		taken := router.Gateway.FixedIPs[0].IPAddress
		pools := []l3.AddressRange{{First: netip.MustParseAddr("203.0.113.128"), Last: netip.MustParseAddr("203.0.113.200")}}
		_, err := r.UpdateSubnet(r.Context(), r.admin, s.ID, l3.SubnetSpec{GatewayIP: &taken, AllocationPools: &pools}, l3.If{})
		require.ErrorIs(r, err, l3.ErrInvalid, "it would be its own gateway")
		ok(r.UpdateSubnet(r.Context(), r.admin, s.ID, l3.SubnetSpec{GatewayIP: new(netip.MustParseAddr("203.0.113.254")), AllocationPools: &pools}, l3.If{}))(r)
		require.Equal(r, l3.StatusBuild, r.see(router.ID).Status, "a host must realise it first")
		require.Equal(r, []netip.Addr{netip.MustParseAddr("203.0.113.254")}, r.report(router.ID).Router.Gateway.NextHops)
	})
}

// Hosts are told of every subnet of the external network, also of one that comes or goes later. A
// router that cannot have one on its link keeps nobody from making it.
func TestSubnetsOfTheExternalNetworkReachHosts(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/24")
		r.external("elsewhere", "198.18.0.0/24")
		r.agent("h1", "public")
		router := r.routerTo(ext, r.inside("203.0.115.0/24"))
		bystander := r.routerTo(r.external("another", "198.18.1.0/24"))
		names := map[string]string{router.ID: "router", bystander.ID: "bystander"}
		r.notices(names)
		onLink := func() []netip.Prefix {
			a := ok(r.DesiredOf(r.Context(), router.ID))(r)
			return a.Router.Gateway.OnLink
		}
		first := netip.MustParsePrefix("203.0.113.0/24")
		require.Equal(r, []netip.Prefix{first}, onLink())
		before := ok(r.DesiredOf(r.Context(), router.ID))(r).Revision

		second := r.subnet(r.admin, ext, "203.0.114.0/24")
		require.Equal(r, []netip.Prefix{first, second.CIDR}, onLink())
		require.Equal(r, []string{"h1 router 1"}, r.notices(names))
		after := ok(r.DesiredOf(r.Context(), router.ID))(r).Revision
		require.Equal(r, before+1, after)

		r.subnet(r.admin, ext, "203.0.115.0/25") // overlaps the one inside
		require.Equal(r, []netip.Prefix{first, second.CIDR}, onLink())

		r.notices(names)
		require.NoError(r, r.DeleteSubnet(r.Context(), r.admin, second.ID, l3.If{}))
		require.Equal(r, []netip.Prefix{first}, onLink())
		require.Equal(r, []string{"h1 router 1"}, r.notices(names))

		r.subnet(r.member, r.network(r.member), "10.77.0.0/24")
		require.Empty(r, r.notices(names), "an internal network")
	})
}

// TestGatewayWithoutAddressExplainsItself: a pool of one address is wanted by two. Who sets the
// gateway again when there is a free address gets it.
func TestGatewayWithoutAddressExplainsItself(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext := r.external("public")
		first, second := r.routerTo(ext), r.routerTo(ext)
		for _, id := range []string{first.ID, second.ID} {
			r.report(id)
			require.Contains(r, r.see(id).StatusReason, "The gateway has no address")
		}
		r.subnet(r.admin, ext, "203.0.113.0/30") // .1 is the provider's own
		has := func(id string) bool { return len(r.see(id).Gateway.FixedIPs) > 0 }
		lucky, other := first.ID, second.ID
		if !has(lucky) {
			lucky, other = other, lucky
		}
		require.True(r, has(lucky))
		require.False(r, has(other))
		require.NotContains(r, r.see(lucky).StatusReason, "no address")
		require.Contains(r, r.see(other).StatusReason, "The gateway has no address")

		again := func() error {
			_, err := r.UpdateRouter(r.Context(), r.member, other, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: ext.ID}}, l3.If{})
			return err
		}
		refused(r.T, again(), l3.ErrConflict, "IpAddressGenerationFailure")
		require.NoError(r, r.DeleteRouter(r.Context(), r.member, lucky, l3.If{}))
		require.NoError(r, again())
		require.True(r, has(other))
		require.NotContains(r, r.see(other).StatusReason, "no address")
	})
}
