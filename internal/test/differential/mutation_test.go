package differential

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// mutation is a mistake that a backend could make. It is made in the kernel, after nftables has
// realised a router.
type mutation struct {
	name  string
	needs func(dataplane.Router) bool // other routers do not show it
	make  func(victim) error
}

var mutations = []mutation{
	{"a floating IP is not translated on the way in", floats, dropRule("prerouting", 0)},
	{"a floating IP is not translated for the router itself", floats, dropRule("output", 0)},
	{"a floating IP leads to another host", floats, victim.misdirect},
	{"a port is not forwarded on the way in", forwards, dropRule("prerouting", 1)},
	{"a port is not forwarded for the router itself", forwards, dropRule("output", 1)},
	{"a forwarded port leads to another", forwards, victim.redirect},
	{"a forwarded port leads to another host", forwards, victim.mislead},
	{"no address for forwarded ports", answersForPorts, victim.removeForwarding},
	{"hosts with a floating IP leave without it", floats, dropRule("postrouting", 0)},
	{"no shared SNAT", translates, dropRule("postrouting", 1)},
	{"shared SNAT before floating IPs", both(floats, translates), swapRules("postrouting", 0, 1)},
	{"no hairpin", floats, dropRule("forward", 8)},
	{"hairpin shows no floating IP", floats, dropRule("postrouting", 2)},
	{"hairpin does not show the gateway's address", floats, dropRule("postrouting", 3)},
	{"hairpin for clients outside", floats, editRule("forward", 8, inverted)},
	{"SNAT between subnets", gateway4, editRule("postrouting", 3, unmarked)},
	{"no guard", translates, dropRule("forward", 7)},
	{"guard against floating IPs too", both(floats, translates), editRule("forward", 7, unconditional)},
	{"guard before translation", both(floats, translates), victim.guardEarly},
	{"guard before answers", translates, dropRule("forward", 1)},
	{"strays are let in", translates, dropRule("forward", 5)},
	{"strays are let out", translates, dropRule("forward", 6)},
	{"answers leave untranslated", translates, dropRule("forward", 4)},
	{"answers of floating IPs do not leave", both(floats, translates), dropRule("forward", 3)},
	{"spoofed sources pass", gateway4, dropRule("ingress", 0)},
	{"spoofed sources of IPv6 pass", both(hasGateway, speaks6), dropRule6("ingress", 1)},
	{"sources of IPv6 may be the router's own", speaks6, dropRule6("ingress", 0)},
	{"link-local addresses are forwarded", gateway4, dropRule("forward", 0)},
	{"link-local addresses of IPv6 are forwarded", speaks6, dropRule6("forward", 0)},
	{"IPv6 is guarded too", func(r dataplane.Router) bool { return translates(r) && speaks6(r) }, victim.guardIPv6},

	{"no metadata address", servesMetadata, victim.removeMetadata},
	{"no metadata address of IPv6", both(servesMetadata, speaks6), victim.removeMetadata6},
	{"metadata for the outside", both(servesMetadata, gateway4), dropRule("metadata_in", 0)},
	{"answers of the metadata proxy leave", both(servesMetadata, gateway4), dropRule("metadata_out", 0)},
	{"limits drop what exceeds none, on the way in", limits, editRule("limit_in", 0, boundless)},
	{"limits drop what exceeds none, on the way out", limits, editRule("limit_out", 0, boundless)},

	{"no forwarding", hasPorts, writeSysctl("ipv4/ip_forward", "0")},
	{"no forwarding of IPv6", speaks6, writeSysctl("ipv6/conf/all/forwarding", "0")},
	{"sources are checked", hasPorts, writeSysctl("ipv4/conf/all/rp_filter", "1")},
	{"answers for the addresses of others", hasPorts, writeSysctl("ipv4/conf/all/proxy_arp", "1")},
	{"no address for a floating IP", floats, victim.removeFloating},
	{"a hop of ECMP is missing", sharesRoutes, victim.removeHop},
	{"an extra route is missing", func(r dataplane.Router) bool { return len(r.Routes) > 0 }, removeRoute(extra)},
	{"no default route", func(r dataplane.Router) bool { return r.Gateway != nil && len(r.Gateway.NextHops) > 0 }, removeRoute(defaults)},
	{"no route to a next hop outside the subnet", onLink, removeRoute(direct)},
	{"no route to a second subnet outside", func(r dataplane.Router) bool { return r.Gateway != nil && len(r.Gateway.OnLink) > 0 }, removeRoute(neighbouring)},
}

// TestMutationsAreCaught: each mistake makes a difference that is seen.
func TestMutationsAreCaught(t *testing.T) {
	needs.Root(t)
	s := openSite(t, backends[0])
	for _, m := range slices.Concat(mutations, clampingMutations) {
		t.Run(m.name, func(t *testing.T) { s.catch(t, m, drawScenario) })
	}
	for _, m := range scopeMutations {
		t.Run(m.name, func(t *testing.T) { s.catch(t, m, drawScopedScenario) })
	}
}

// catch fails the test unless the mistake is seen.
func (s *site) catch(t *testing.T, m mutation, draw func(*rapid.T) scenario) {
	stayOnOneCPU(t)
	const enough = 150 // routers that could show it
	tried := 0
	for seed := 0; tried < enough; seed++ {
		c := rapid.Custom(draw).Example(seed)
		if !m.needs(c.router) {
			continue
		}
		tried++
		require.NoError(t, s.apply(c.router))
		if difference := s.tryDamaged(t, m, c); difference != "" {
			t.Logf("router %d: %s", tried, difference)
			return
		}
	}
	t.Errorf("%d routers with this mistake behave as they should", tried)
}

// tryDamaged makes the mistake, and returns the first difference that it makes.
func (s *site) tryDamaged(t *testing.T, m mutation, c scenario) string {
	v := openVictim(t, s)
	defer v.close()
	require.NoError(t, m.make(v))
	for i, p := range c.trials {
		e := expect(c.router, p)
		a := s.try(p)
		difference := e.judge(a)
		if difference == "" && c.spreads(i) {
			difference = s.spread(e)
		}
		if difference != "" && a.Fault == "" {
			return p.String() + ": " + difference
		}
	}
	return ""
}

// What a router must have.

func hasPorts(r dataplane.Router) bool   { return len(r.Ports) > 0 }
func hasGateway(r dataplane.Router) bool { return r.Gateway != nil }
func floats(r dataplane.Router) bool     { return len(r.FloatingIPs) > 0 }
func gateway4(r dataplane.Router) bool   { return r.Gateway.HairpinAddr().IsValid() && len(r.Ports) > 1 }
func translates(r dataplane.Router) bool {
	return r.Gateway.SNATAddr().IsValid() && len(r.Ports) > 0
}

func both(a, b func(dataplane.Router) bool) func(dataplane.Router) bool {
	return func(r dataplane.Router) bool { return a(r) && b(r) }
}

func speaks6(r dataplane.Router) bool {
	return slices.ContainsFunc(r.Ports, func(p dataplane.Port) bool {
		return slices.ContainsFunc(p.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() })
	})
}

func sharesRoutes(r dataplane.Router) bool {
	seen := map[netip.Prefix]bool{}
	for _, route := range r.Routes {
		if seen[route.Dest] {
			return true
		}
		seen[route.Dest] = true
	}
	return false
}

// onLink: an extra route must cover the next hop, or else the default route leads there just as
// well.
func onLink(r dataplane.Router) bool {
	return r.Gateway != nil && slices.ContainsFunc(r.Gateway.NextHops, func(a netip.Addr) bool {
		return !slices.ContainsFunc(r.Gateway.Addrs, func(p netip.Prefix) bool { return p.Contains(a) }) &&
			slices.ContainsFunc(r.Routes, func(route dataplane.Route) bool { return route.Dest.Contains(a) && route.Dest.Bits() > 0 })
	})
}
