package differential

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
	"github.com/l3kit/l3kit/internal/test/needs"
)

const (
	transitID  = "tr"
	transitNet = "transit"

	thisEdge, otherEdge, theCentre = "169.254.64.1", "169.254.64.2", "169.254.64.99"
	thisEdge6, otherEdge6          = "fe80::1", "fe80::2"
	theCentre6                     = "fe80::99"
)

// drawInstance draws edges and centres of distributed routers.
func drawInstance(t *rapid.T) dataplane.Router {
	r := drawEdge(t)
	if rapid.IntRange(0, 2).Draw(t, "centre") == 2 {
		r = drawCentre(t)
	}
	if r.Validate() != nil {
		r.Routes = nil // one of IPv6 leads elsewhere than its next hop
	}
	return r
}

func drawInstanceScenario(t *rapid.T) scenario {
	r := drawClamping(t, drawInstance(t))
	return scenario{r, rapid.SliceOfN(drawTrials(r), 16, 24).Draw(t, "trials")}
}

func via(dest netip.Prefix, four, six string) dataplane.Route {
	if dest.Addr().Is4() {
		return dataplane.Route{Dest: dest, NextHop: addr(four)}
	}
	return dataplane.Route{Dest: dest, NextHop: addr(six)}
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// some draws part of a list.
func some[T comparable](t *rapid.T, label string, list []T) (part []T) {
	if len(list) > 0 {
		part = rapid.SliceOfNDistinct(rapid.SampledFrom(list), 0, len(list), rapid.ID).Draw(t, label)
	}
	return part
}

func without(list []netip.Addr, others ...netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(a netip.Addr) bool { return slices.Contains(others, a) })
}

func drawTransit(own string) *dataplane.Transit {
	return &dataplane.Transit{Port: dataplane.Port{
		ID: transitID, Network: dataplane.Network{ID: transitNet}, MAC: portMAC(maxPorts + 1), MTU: mtu, Addrs: []netip.Prefix{prefix(own + "/18")},
	}}
}

func drawCentre(t *rapid.T) dataplane.Router {
	r := drawRouter(t)
	hosts := neighbours(r.Ports)
	r.Transit = drawTransit(theCentre)
	for _, a := range some(t, "hosts at edges", hosts) {
		hop := slices.ContainsFunc(r.Routes, func(r dataplane.Route) bool { return r.NextHop == a })
		if hop && a.Is6() { // the kernel wants it on the link
			continue
		}
		r.Transit.Routes = append(r.Transit.Routes, via(host(a), thisEdge, thisEdge6))
	}
	var fixed []netip.Addr
	for _, f := range r.FloatingIPs {
		fixed = append(fixed, f.Fixed)
	}
	for _, f := range r.PortForwardings {
		fixed = append(fixed, f.Fixed)
	}
	r.Transit.Elsewhere = some(t, "translated elsewhere", slices.DeleteFunc(without(hosts, fixed...), netip.Addr.Is6))
	for i := range r.Ports {
		r.Ports[i].Outside = true
	}
	return r
}

func drawEdge(t *rapid.T) dataplane.Router {
	r := dataplane.Router{ID: routerID, Transit: drawTransit(thisEdge)}
	tr := r.Transit
	tr.Centre = addrs(theCentre, theCentre6)
	tr.Routes = []dataplane.Route{via(prefix("10.50.0.0/24"), theCentre, "")}
	var here []netip.Addr
	for i := range rapid.IntRange(1, maxPorts).Draw(t, "ports") {
		p := drawPort(t, i)
		p.Network.ID = networkID(i)
		hosts := neighbours([]dataplane.Port{p})
		known := some(t, "neighbours", hosts)
		p.Anycast = &dataplane.Anycast{Neighbours: known}
		here = append(here, known...)
		for _, a := range some(t, "hosts at another edge", without(hosts, known...)) {
			tr.Routes = append(tr.Routes, via(host(a), otherEdge, otherEdge6))
		}
		for _, a := range p.Addrs {
			if !a.IsSingleIP() {
				tr.Routes = append(tr.Routes, via(a.Masked(), theCentre, theCentre6))
			}
		}
		r.Ports = append(r.Ports, p)
	}
	order := rapid.Permutation(floating).Draw(t, "floating IPs")
	here4 := slices.DeleteFunc(slices.Clone(here), netip.Addr.Is6)
	var fixed []netip.Addr
	if rapid.IntRange(0, 3).Draw(t, "gateway") > 0 {
		g := &dataplane.Gateway{
			Port:            dataplane.Port{ID: gatewayID, Network: dataplane.Network{ID: externalNet}, MAC: portMAC(maxPorts), MTU: mtu},
			OnLink:          []netip.Prefix{prefix("203.0.113.0/24")},
			FloatingIPsOnly: true,
			Hairpin:         addr("203.0.113.2"),
		}
		if a := rapid.SampledFrom([]string{"203.0.113.1", "192.0.2.1", ""}).Draw(t, "next hop"); a != "" {
			g.NextHops = addrs(a)
		}
		if rapid.Bool().Draw(t, "a second subnet outside") {
			g.OnLink = append(g.OnLink, prefix("203.0.114.0/24"))
		}
		r.Gateway = g
		fixed = some(t, "hosts with a floating IP", here4[:min(len(here4), 4)])
		for i, a := range fixed {
			r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: fmt.Sprintf("f%d", i), Addr: order[i], Fixed: a})
		}
	}
	for _, a := range some(t, "floating IPs of another edge", order[len(fixed):]) {
		tr.External = append(tr.External, via(host(a), otherEdge, ""))
	}
	tr.Elsewhere = some(t, "translated elsewhere", without(here4, fixed...))
	r.Routes = drawEdgeRoutes(t, r, here)
	r.Limits = drawLimits(t, r)
	return r
}

func drawEdgeRoutes(t *rapid.T, r dataplane.Router, here []netip.Addr) []dataplane.Route {
	hops := append(addrs(otherEdge, otherEdge6), here...)
	if r.Gateway != nil {
		hops = append(hops, addr("203.0.113.9"))
	}
	dests := map[bool][]netip.Prefix{}
	for _, s := range slices.Concat(dests4, dests6, []string{"10.0.0.128/25", "10.50.0.0/28"}) {
		d := prefix(s)
		dests[d.Addr().Is4()] = append(dests[d.Addr().Is4()], d)
	}
	route := rapid.Custom(func(t *rapid.T) dataplane.Route {
		v := rapid.SampledFrom(hops).Draw(t, "via")
		return dataplane.Route{Dest: rapid.SampledFrom(dests[v.Is4()]).Draw(t, "dest"), NextHop: v}
	})
	return rapid.SliceOfNDistinct(route, 0, 4, rapid.ID).Draw(t, "routes")
}

func isEdge(r dataplane.Router) bool { return r.Transit != nil && len(r.Transit.Centre) > 0 }

// plain is an edge as it routes what is not of its floating IPs, without translation and gateway.
func plain(r dataplane.Router) dataplane.Router {
	r = r.Clone()
	for i, route := range r.Routes {
		if r.Gateway != nil && slices.ContainsFunc(r.Gateway.OnLink, func(p netip.Prefix) bool { return p.Contains(route.NextHop) }) {
			r.Routes[i].NextHop = addr(theCentre)
		}
	}
	r.Gateway, r.FloatingIPs, r.Limits, r.Transit.Elsewhere = nil, nil, nil, nil
	return r
}

// outward is an edge as it routes what is of its floating IPs, without translation and filter.
func outward(r dataplane.Router) dataplane.Router {
	if r.Gateway == nil {
		return plain(r)
	}
	r = bare(r.Clone())
	r.Gateway.FloatingIPsOnly, r.Gateway.Hairpin = false, netip.Addr{}
	r.Transit.Centre, r.Transit.External, r.Transit.Elsewhere = nil, nil, nil
	return r
}

// untranslatedPaths lists the ways of a packet at an edge that no rule translates: an answer, of
// which ofFloatingIP says whether a floating IP let in what it answers, and a stray packet. seen is
// the destination that its sender has seen.
func (e expectation) untranslatedPaths(p dataplane.Packet, seen netip.Addr, ofFloatingIP bool) []dataplane.Trace {
	nowhere := []dataplane.Trace{{Packet: p, Verdict: dataplane.Dropped}}
	r := e.router
	here := floatsTo(r, seen)
	remote := slices.ContainsFunc(r.Transit.External, func(f dataplane.Route) bool { return f.Dest.Addr() == seen })
	fixed := slices.ContainsFunc(r.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Fixed == p.Src })
	leg := p.In != gatewayID && p.In != transitID && p.In != ""
	switch {
	case p.In == gatewayID && (!here || !p.Dst.Is4()), leg && floatsTo(r, p.Src):
		return nowhere
	case leg && slices.Contains(r.Transit.Elsewhere, p.Src) && (here || remote):
		t := e.bare.Paths(dataplane.Packet{In: p.In, Src: p.Src, Dst: addr(theCentre)})[0] // refused, but on the way
		t.Verdict, t.Out, t.NextHops, t.Src, t.Dst = dataplane.Forwarded, transitID, addrs(theCentre), p.Src, p.Dst
		return []dataplane.Trace{t}
	case floatsTo(r, p.Dst):
		return nowhere // the router itself takes it
	case p.In == gatewayID, leg && fixed && ofFloatingIP:
		if paths := e.outward.Paths(p); paths[0].Verdict != dataplane.Unreachable {
			return paths
		}
	}
	return e.bare.Paths(p)
}

// TestInstancesDoAsTheModelSays is the proof for instances of distributed routers.
func TestInstancesDoAsTheModelSays(t *testing.T) {
	setChecks(t, 15)
	stayOnOneCPU(t)
	sites := openSites(t)
	rapid.Check(t, func(rt *rapid.T) { compare(rt, sites, drawInstanceScenario(rt)) })
}

// instanceMutations are mistakes with instances.
var instanceMutations = []mutation{
	{"what fixed addresses send is not marked", both(isEdge, floats), dropRule("steer", 2)},
	{"answers to what came by the transit leave by the gateway", both(isEdge, floats), dropRule("steer", 1)},
	{"IPv6 comes by the gateway", both(onlyFloats, speaks6), dropRule6("ingress", 2)},
	{"the gateway brings more than floating IPs", onlyFloats, dropRule("ingress", 3)},
	{"packets return to the transit", isEdge, dropRule("forward", 1)},
	{"packets of IPv6 return to the transit", both(isEdge, speaks6), dropRule6("forward", 1)},
	{"the centre is not asked to translate", both(isEdge, centred), dropRule("ingress", 1)},
	{"what the centre translates is translated here", both(both(isEdge, centred), floats), dropRule("prerouting", 0)},
	{"internal addresses come from outside", onlyFloats, dropRule("ingress", 0)},
	{"what is translated elsewhere leaves", both(isCentre, both(centred, translates)), dropRule("forward", 1)},
	{"spoofed sources of IPv6 on the transit", both(isCentre, speaks6), dropRule6("ingress", 0)},
	{"hairpin shows no address", both(isEdge, floats), dropRule("postrouting", 3)},
}

func isCentre(r dataplane.Router) bool   { return r.Transit != nil && !isEdge(r) }
func centred(r dataplane.Router) bool    { return len(r.Transit.Elsewhere) > 0 }
func onlyFloats(r dataplane.Router) bool { return isEdge(r) && r.Gateway != nil }

// TestInstanceMutationsAreCaught: each mistake makes a difference that is seen.
func TestInstanceMutationsAreCaught(t *testing.T) {
	needs.Root(t)
	s := openSite(t, backends[0])
	for _, m := range instanceMutations {
		t.Run(m.name, func(t *testing.T) { s.catch(t, m, drawInstanceScenario) })
	}
}

// floatingEdge has floating IP 203.0.113.5 of 10.0.0.5, and 10.0.0.7 has none.
func floatingEdge() dataplane.Router {
	r := dataplane.Router{
		ID: routerID,
		Ports: []dataplane.Port{{
			ID: portID(0), Network: dataplane.Network{ID: networkID(0)}, MAC: portMAC(0), MTU: mtu, Addrs: []netip.Prefix{prefix("10.0.0.1/24"), prefix("2001:db8::1/64")},
			Anycast: &dataplane.Anycast{Neighbours: addrs("10.0.0.5", "10.0.0.7", "2001:db8::7")},
		}},
		Gateway: &dataplane.Gateway{
			Port:            dataplane.Port{ID: gatewayID, Network: dataplane.Network{ID: externalNet}, MAC: portMAC(maxPorts), MTU: mtu},
			OnLink:          []netip.Prefix{prefix("203.0.113.0/24")},
			NextHops:        addrs("203.0.113.1"),
			FloatingIPsOnly: true,
			Hairpin:         addr("203.0.113.2"),
		},
		FloatingIPs: []dataplane.FloatingIP{{ID: "f", Addr: addr("203.0.113.5"), Fixed: addr("10.0.0.5")}},
		Transit:     drawTransit(thisEdge),
	}
	r.Transit.Centre = addrs(theCentre, theCentre6)
	return r
}

func eachBackend(t *testing.T, fn func(t *testing.T, s *site)) {
	needs.Root(t)
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			if !b.installed(t) {
				t.Skip("without CI this may be missing: " + b.tool)
			}
			stayOnOneCPU(t)
			fn(t, openSite(t, b))
		})
	}
}

// What the edge itself says to the outside about a packet to a floating IP leaves by the gateway,
// in the name of the floating IP.
func TestEdgeErrorsLeaveByTheGateway(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *site) {
		require.NoError(t, s.apply(floatingEdge()))
		w, err := s.watch(func() error {
			return s.inject(s.ports[gatewayID], frame.Packet{
				Src: addr("198.51.100.9"), Dst: addr("203.0.113.5"), Proto: unix.IPPROTO_UDP, SrcPort: 7, DstPort: 9, TTL: 1, Data: []byte("too far"),
			})
		})
		require.NoError(t, err)
		require.Len(t, w.seen, 1)
		const exceeded = 11
		require.Equal(t, gatewayID, w.seen[0].Port)
		require.Equal(t, neighbourMAC(addr("203.0.113.1")), w.seen[0].Hop)
		require.Equal(t, uint8(exceeded), w.seen[0].Type)
		require.Equal(t, addr("203.0.113.5"), w.seen[0].Src)
	})
}

// A route that somebody adds leads nothing out by a gateway for floating IPs, or in, that is not of
// one.
func TestEdgeGatewayIsForFloatingIPsOnly(t *testing.T) {
	eachBackend(t, func(t *testing.T, s *site) {
		require.NoError(t, s.apply(floatingEdge()))
		require.NoError(t, s.inside.Do(func() error {
			out, err := netlink.LinkByName(dataplane.GatewayDevice(gatewayID))
			if err != nil {
				return err
			}
			outside := &net.IPNet{IP: net.IP{198, 51, 100, 0}, Mask: net.CIDRMask(24, 32)}
			return netlink.RouteAdd(&netlink.Route{Dst: outside, Gw: net.IP{203, 0, 113, 1}, LinkIndex: out.Attrs().Index, Flags: int(netlink.FLAG_ONLINK)})
		}))
		send := func(in, src, dst string) []sighting {
			w, err := s.watch(func() error {
				return s.inject(s.ports[in], frame.Packet{Src: addr(src), Dst: addr(dst), Proto: unix.IPPROTO_UDP, SrcPort: 7, DstPort: 9, Data: []byte("hello")})
			})
			require.NoError(t, err)
			return w.seen
		}
		require.Empty(t, send(portID(0), "10.0.0.7", "198.51.100.9"))
		require.Empty(t, send(transitID, "10.0.1.7", "198.51.100.9"))
		require.Empty(t, send(gatewayID, "198.51.100.9", "10.0.0.7"))
		require.Empty(t, send(gatewayID, "198.51.100.9", "10.0.0.1"), "the router itself answers")
		require.Empty(t, send(gatewayID, "2001:db8:e::9", "2001:db8::7"))
		seen := send(portID(0), "10.0.0.5", "198.51.100.9")
		require.Len(t, seen, 1)
		require.Equal(t, gatewayID, seen[0].Port)
		require.Equal(t, addr("203.0.113.5"), seen[0].Src)

		// an answer to 10.0.0.7, which asked by the centre, comes by the gateway
		require.Len(t, send(portID(0), "10.0.0.7", "192.0.2.9"), 1)
		w, err := s.watch(func() error {
			return s.inject(s.ports[gatewayID], frame.Packet{Src: addr("192.0.2.9"), Dst: addr("10.0.0.7"), Proto: unix.IPPROTO_UDP, SrcPort: 9, DstPort: 7, Data: []byte("forged")})
		})
		require.NoError(t, err)
		require.Empty(t, w.seen)
	})
}
