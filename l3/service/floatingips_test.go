package service_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

func (r *rig) tryFIP(who l3.Caller, spec l3.FloatingIPSpec) error {
	_, err := r.CreateFloatingIPs(r.Context(), who, spec)
	return err
}

func (r *rig) tryBind(who l3.Caller, f l3.FloatingIP, spec l3.FloatingIPSpec) error {
	_, err := r.UpdateFloatingIP(r.Context(), who, f.ID, spec, l3.If{})
	return err
}

// TestFloatingIPChecksInThisOrder: each request is wrong in all the ways that come later too.
func TestFloatingIPChecksInThisOrder(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		unreached := r.port(r.member, r.inside("10.0.2.0/24"))
		r.routerTo(ext, s)
		p := r.port(r.member, s, "10.0.1.7", "10.0.1.8")
		r.fip(ext, r.port(r.member, s, "10.0.1.9").ID)
		ok(r.CreateRBACPolicies(r.Context(), r.member, l3.RBACPolicySpec{
			ObjectType: new("network"), ObjectID: &s.NetworkID, Action: new(l3.AccessAsShared), TargetProject: &r.other.Project,
		}))(r)
		theirs := one(r.CreatePorts(r.Context(), r.other, l3.PortSpec{NetworkID: &s.NetworkID}))(r)
		away := new(netip.MustParseAddr("10.99.0.1"))

		create := func(network, port string, fixed *netip.Addr) error {
			return r.tryFIP(r.member, l3.FloatingIPSpec{NetworkID: &network, PortID: &port, FixedIP: fixed})
		}
		r.refused(create("nobody", "nobody", away), l3.ErrNotFound, "NetworkNotFound")
		r.refused(create(s.NetworkID, "nobody", away), l3.ErrInvalid, "BadRequest")
		require.ErrorContains(r, create(s.NetworkID, "nobody", away), "not a valid external network")
		r.refused(create(ext.ID, "nobody", away), l3.ErrNotFound, "PortNotFound")
		r.refused(create(ext.ID, theirs.ID, away), l3.ErrInvalid, "BadRequest")
		require.ErrorContains(r, create(ext.ID, theirs.ID, away), "owned by a different project")
		r.refused(create(ext.ID, unreached.ID, away), l3.ErrInvalid, "BadRequest")
		require.ErrorContains(r, create(ext.ID, unreached.ID, away), "10.99.0.1")
		r.refused(create(ext.ID, p.ID, nil), l3.ErrInvalid, "BadRequest")
		require.ErrorContains(r, create(ext.ID, p.ID, nil), "fixed_ip_address must be given")
		r.refused(create(ext.ID, unreached.ID, nil), l3.ErrNotFound, "ExternalGatewayForFloatingIPNotFound")
		r.fipAt(ext, p.ID, "10.0.1.7")
		r.refused(create(ext.ID, p.ID, new(netip.MustParseAddr("10.0.1.7"))), l3.ErrConflict, "FloatingIPPortAlreadyAssociated")
		r.fipAt(ext, p.ID, "10.0.1.8")
	})
}

func (r *rig) fipAt(ext l3.Network, port, fixed string) l3.FloatingIP {
	r.Helper()
	spec := l3.FloatingIPSpec{NetworkID: &ext.ID, PortID: &port, FixedIP: new(netip.MustParseAddr(fixed))}
	return one(r.CreateFloatingIPs(r.Context(), r.member, spec))(r)
}

func TestFloatingIPUnbound(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/24", "2001:db8:e::/64")
		f := r.fip(ext, "")
		require.Equal(r, l3.StatusDown, f.Status)
		require.Empty(r, f.PortID+f.RouterID)
		require.Nil(r, f.PortDetails)
		require.False(r, f.FixedIP.IsValid())
		require.True(r, f.Address.Is4())
		require.Equal(r, "p1", f.ProjectID)
		require.Empty(r, f.Name)

		own := ok(r.GetPort(r.Context(), r.admin, f.OwnPort))(r)
		require.Equal(r, l3.OwnerFloatingIP, own.DeviceOwner)
		require.Equal(r, f.ID, own.DeviceID)
		require.Empty(r, own.ProjectID)
		require.Equal(r, []l3.FixedIP{{SubnetID: f.SubnetID, IPAddress: f.Address}}, own.FixedIPs)
		_, err := r.GetPort(r.Context(), r.member, f.OwnPort)
		require.ErrorIs(r, err, l3.ErrNotFound, "hidden")
		r.refused(r.DeletePort(r.Context(), r.admin, f.OwnPort, l3.If{}), l3.ErrConflict, "ServicePortInUse")
	})
}

func TestFloatingIPAddressAskedFor(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/24")
		second, six := r.subnet(r.admin, ext, "198.51.100.0/24"), r.subnet(r.admin, ext, "2001:db8:e::/64")
		f := one(r.CreateFloatingIPs(r.Context(), r.member, l3.FloatingIPSpec{NetworkID: &ext.ID, SubnetID: &second.ID}))(r)
		require.Equal(r, second.ID, f.SubnetID)
		asked := func(a string) l3.FloatingIPSpec {
			return l3.FloatingIPSpec{NetworkID: &ext.ID, Address: new(netip.MustParseAddr(a))}
		}
		r.refused(r.tryFIP(r.member, asked("203.0.113.77")), l3.ErrForbidden, "PolicyNotAuthorized")
		f = one(r.CreateFloatingIPs(r.Context(), r.admin, asked("203.0.113.77")))(r)
		require.Equal(r, "203.0.113.77", f.Address.String())
		r.refused(r.tryFIP(r.admin, asked("203.0.113.77")), l3.ErrConflict, "IpAddressInUse")
		r.refused(r.tryFIP(r.admin, asked("203.0.113.1")), l3.ErrInvalid, "BadRequest")
		r.refused(r.tryFIP(r.admin, asked("10.0.0.1")), l3.ErrInvalid, "InvalidIpForNetwork")
		r.refused(r.tryFIP(r.admin, asked("2001:db8:e::7")), l3.ErrInvalid, "InvalidInput")
		r.refused(r.tryFIP(r.member, l3.FloatingIPSpec{NetworkID: &ext.ID, SubnetID: &six.ID}), l3.ErrInvalid, "BadRequest")
		for subnet, want := range map[string]struct {
			kind error
			name string
		}{
			r.inside("10.0.0.0/24").ID:                                {l3.ErrInvalid, "InvalidInput"}, // its own, and not the network's
			"0c9f7a2b-1d3e-4f5a-8b6c-7d8e9f0a1b2c":                    {l3.ErrNotFound, "SubnetNotFound"},
			r.subnet(r.other, r.network(r.other), "10.9.0.0/24").ID:   {l3.ErrNotFound, "SubnetNotFound"},
			r.subnet(r.admin, r.external("other"), "192.0.2.0/24").ID: {l3.ErrNotFound, "SubnetNotFound"},
		} {
			r.refused(r.tryFIP(r.member, l3.FloatingIPSpec{NetworkID: &ext.ID, SubnetID: &subnet}), want.kind, want.name)
		}
	})
}

func TestFloatingIPNoAddressLeft(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/29")
		for range 5 {
			r.fip(ext, "")
		}
		r.refused(r.tryFIP(r.member, l3.FloatingIPSpec{NetworkID: &ext.ID}), l3.ErrConflict, "IpAddressGenerationFailure")
		bare := r.external("second", "2001:db8:e::/64")
		r.refused(r.tryFIP(r.member, l3.FloatingIPSpec{NetworkID: &bare.ID}), l3.ErrInvalid, "ExternalIpAddressExhausted")
	})
}

func TestFloatingIPQuota(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext := r.external("public", "203.0.113.0/24")
		ok(r.SetQuota(r.Context(), r.admin, "p1", map[string]int{"floatingip": 1}))(r)
		r.fip(ext, "")
		r.refused(r.tryFIP(r.member, l3.FloatingIPSpec{NetworkID: &ext.ID}), l3.ErrOverQuota, "OverQuota")
	})
}

func TestFloatingIPOfAnotherProjectIsNotFound(t *testing.T) {
	onRigs(t, func(r *rig) {
		f := r.fip(r.external("public", "203.0.113.0/24"), "")
		_, err := r.GetFloatingIP(r.Context(), r.other, f.ID)
		r.refused(err, l3.ErrNotFound, "FloatingIPNotFound")
		r.refused(r.tryBind(r.other, f, l3.FloatingIPSpec{}), l3.ErrNotFound, "FloatingIPNotFound")
		r.refused(r.DeleteFloatingIP(r.Context(), r.other, f.ID, l3.If{}), l3.ErrNotFound, "FloatingIPNotFound")
		require.Empty(r, ok(r.ListFloatingIPs(r.Context(), r.other, l3.Query{}))(r))
	})
}

func TestFloatingIPPrefersTheRouterThatOwnsTheSubnetsGateway(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		for range 4 {
			router := r.routerTo(ext)
			ok(r.add(router.ID, l3.InterfaceSpec{PortID: r.port(r.member, s).ID}))(r)
		}
		owner := r.routerTo(ext, s)
		require.Equal(r, owner.ID, r.fip(ext, r.port(r.member, s).ID).RouterID)
		lonely := r.inside("10.0.2.0/24")
		r.routerTo(r.external("second", "198.51.100.0/24"), lonely)
		router := r.routerTo(ext)
		ok(r.add(router.ID, l3.InterfaceSpec{PortID: r.port(r.member, lonely).ID}))(r)
		require.Equal(r, router.ID, r.fip(ext, r.port(r.member, lonely).ID).RouterID, "the owner is on another external network")
	})
}

func TestFloatingIPUpdate(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		p, q := r.port(r.member, s), r.port(r.member, s)
		f := r.fip(ext, p.ID)
		require.Equal(r, router.ID, f.RouterID)
		require.Equal(r, p.FixedIPs[0].IPAddress, f.FixedIP)
		require.Equal(r, p.MAC.String(), f.PortDetails.MAC)
		r.notices(nil)

		require.Equal(r, f, r.rebind(f, p.ID), "the same port again is no change")
		described := ok(r.UpdateFloatingIP(r.Context(), r.member, f.ID, l3.FloatingIPSpec{Description: new("web")}, l3.If{}))(r)
		require.Equal(r, p.ID, described.PortID, "omitted beside other attributes keeps")
		require.Equal(r, f.Revision+1, described.Revision)
		require.Empty(r, r.notices(nil))

		moved := r.rebind(f, q.ID)
		require.Equal(r, f.Address, moved.Address)
		require.Equal(r, q.FixedIPs[0].IPAddress, moved.FixedIP)
		require.Len(r, r.notices(nil), 1)

		unbound := ok(r.UpdateFloatingIP(r.Context(), r.member, f.ID, l3.FloatingIPSpec{}, l3.If{}))(r)
		require.Empty(r, unbound.PortID+unbound.RouterID, "an empty update object unbinds")
		require.Equal(r, f.Address, unbound.Address)
		require.Len(r, r.notices(nil), 1)
		again := ok(r.UpdateFloatingIP(r.Context(), r.member, f.ID, l3.FloatingIPSpec{}, l3.If{}))(r)
		require.Equal(r, unbound, again)

		require.Empty(r, r.rebind(r.rebind(f, p.ID), "").PortID, "null unbinds")
		fixed := l3.FloatingIPSpec{FixedIP: new(netip.MustParseAddr("10.0.1.7"))}
		r.refused(r.tryBind(r.member, f, fixed), l3.ErrInvalid, "BadRequest")
		r.refused(r.tryBind(r.admin, f, l3.FloatingIPSpec{Address: new(netip.MustParseAddr("203.0.113.9"))}), l3.ErrInvalid, "HTTPBadRequest")
		_, err := r.UpdateFloatingIP(r.Context(), r.member, f.ID, l3.FloatingIPSpec{}, l3.If{Revision: new(1)})
		require.ErrorIs(r, err, l3.ErrRevision)
	})
}

func TestFloatingIPIsNotForTheServicesOwnPorts(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.router()
		i := r.attach(router, s)
		ok(r.setGateway(r.member, router.ID, l3.GatewaySpec{NetworkID: ext.ID}))(r)
		r.refused(r.tryFIP(r.member, l3.FloatingIPSpec{NetworkID: &ext.ID, PortID: &i.PortID}), l3.ErrInvalid, "BadRequest")
		f := r.fip(ext, "")
		r.refused(r.tryBind(r.admin, f, l3.FloatingIPSpec{PortID: &f.OwnPort}), l3.ErrInvalid, "BadRequest")
	})
}

func TestFloatingIPOfAPortWithoutIPv4(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("2001:db8:1::/64")
		r.routerTo(ext, s)
		r.refused(r.tryFIP(r.member, l3.FloatingIPSpec{NetworkID: &ext.ID, PortID: new(r.port(r.member, s).ID)}), l3.ErrInvalid, "BadRequest")
	})
}

func TestFloatingIPInASubnetThatTheRouterHasInside(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		r.routerTo(ext, s)
		late := r.subnet(r.admin, ext, "10.0.0.0/16") // overlaps, and came after the router
		address := l3.FloatingIPSpec{ProjectID: new("p1"), NetworkID: &ext.ID, SubnetID: &late.ID, PortID: new(r.port(r.member, s).ID)}
		address.Address = new(netip.MustParseAddr("10.0.1.200"))
		r.refused(r.tryFIP(r.admin, address), l3.ErrInvalid, "BadRequest")
		address.Address = new(netip.MustParseAddr("10.0.77.200"))
		ok(r.CreateFloatingIPs(r.Context(), r.admin, address))(r)
	})
}

func TestFloatingIPDeletingAPortUnbinds(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		p := r.port(r.member, s)
		f := r.fip(ext, p.ID)
		require.Len(r, r.report(router.ID).Router.FloatingIPs, 1)
		require.NoError(r, r.DeletePort(r.Context(), r.member, p.ID, l3.If{}))
		got := ok(r.GetFloatingIP(r.Context(), r.member, f.ID))(r)
		require.Empty(r, got.PortID+got.RouterID)
		require.Equal(r, f.Address, got.Address)
		require.Equal(r, l3.StatusDown, got.Status)
		require.Empty(r, r.report(router.ID).Router.FloatingIPs)
	})
}

func TestFloatingIPDelete(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		f := r.fip(ext, r.port(r.member, s).ID)
		r.report(router.ID)
		require.NoError(r, r.DeleteFloatingIP(r.Context(), r.member, f.ID, l3.If{}))
		_, err := r.GetPort(r.Context(), r.admin, f.OwnPort)
		require.ErrorIs(r, err, l3.ErrNotFound)
		require.Empty(r, r.report(router.ID).Router.FloatingIPs)
		require.Equal(r, f.Address, r.fip(ext, "").Address, "the address is free again")
	})
}

// TestFloatingIPMoveBetweenRoutersOnTwoHosts: the old host lets go before the new one announces.
func TestFloatingIPMoveBetweenRoutersOnTwoHosts(t *testing.T) {
	onRigs(t, func(r *rig) {
		ext, a, b := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24"), r.inside("10.0.2.0/24")
		r.agent("h1")
		first := r.routerTo(ext, a)
		r.agent("h2")
		second := r.routerTo(ext, b)
		names := map[string]string{first.ID: "first", second.ID: "second"}
		f := r.fip(ext, r.port(r.member, a).ID)
		for _, move := range []struct {
			port string
			want []string
		}{
			{r.port(r.member, b).ID, []string{"h1 first 1", "h2 second 1"}},
			{r.port(r.member, a).ID, []string{"h2 second 1", "h1 first 1"}},
		} {
			r.notices(names)
			f = r.rebind(f, move.port)
			require.Equal(r, move.want, r.notices(names))
		}
		require.Len(r, r.report(first.ID).Router.FloatingIPs, 1)
		require.Empty(r, r.report(second.ID).Router.FloatingIPs)
	})
}

func TestFloatingIPStatus(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		ext, s := r.external("public", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		router := r.routerTo(ext, s)
		f := r.fip(ext, r.port(r.member, s).ID)
		see := func(f l3.FloatingIP) l3.FloatingIP {
			r.Helper()
			return ok(r.GetFloatingIP(r.Context(), r.member, f.ID))(r)
		}
		why := func(f l3.FloatingIP) string {
			r.Helper()
			require.Equal(r, "The host cannot realise it. Administrators see why", see(f).StatusReason)
			return ok(r.GetFloatingIP(r.Context(), r.admin, f.ID))(r).StatusReason
		}
		require.Equal(r, l3.StatusDown, see(f).Status, "nobody has applied it yet")
		r.report(router.ID)
		require.Equal(r, l3.StatusActive, see(f).Status)

		g := r.fip(ext, r.port(r.member, s).ID)
		require.Equal(r, l3.StatusActive, see(f).Status, "another one's binding does not change what the kernel has")
		require.Equal(r, l3.StatusDown, see(g).Status)

		a := ok(r.DesiredOf(r.Context(), router.ID))(r)
		report := agent.Report{Host: a.Host, RouterID: router.ID, Epoch: a.Epoch, Revision: a.Revision}
		require.NoError(r, r.Report(r.Context(), report))
		require.Equal(r, l3.StatusActive, see(f).Status)
		require.Equal(r, l3.StatusActive, see(g).Status)

		report.Error = "no physical network"
		require.NoError(r, r.Report(r.Context(), report))
		require.Equal(r, "no physical network", why(f), "it shares the router's fate")
		require.Equal(r, "no physical network", why(g))
		require.Equal(r, l3.StatusError, r.see(router.ID).Status)
		require.Equal(r, "no physical network", r.see(router.ID).StatusReason)
		require.Equal(r, "The host cannot realise it. Administrators see why",
			ok(r.GetRouter(r.Context(), r.member, router.ID))(r).StatusReason)

		errors := ok(r.ListFloatingIPs(r.Context(), r.member, l3.Query{Filters: []l3.Filter{{Field: "status", Values: []any{"ERROR"}}}}))(r)
		require.Len(r, errors, 2)

		r.clock.sleep(76 * time.Second)
		require.Equal(r, l3.StatusDown, see(f).Status, "its host is not alive")
	})
}
