package dataplane_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

const otherEdge, theCentre, theCentre6 = "169.254.64.2", "169.254.64.99", "fe80::99"

func TestEdge(t *testing.T) {
	check(t, edge(), []path{
		// between subnets
		{in: "web", src: "10.0.0.7", dst: "10.0.1.9", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "10.0.1.9"},
		{in: "web", src: "10.0.0.7", dst: "10.0.1.7", verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: "10.0.1.7", via: otherEdge},
		{in: "tr", src: "10.0.1.7", dst: "10.0.0.7", verdict: fwd, out: "web", seenSrc: "10.0.1.7", seenDst: "10.0.0.7"},
		{in: "web", src: "2001:db8:0:1::5", dst: "2001:db8:0:2::6", verdict: fwd, out: "tr", seenSrc: "2001:db8:0:1::5", seenDst: "2001:db8:0:2::6", via: "fe80::2"},
		// to what is nowhere listed, by the centre; and back only on the link
		{in: "web", src: "10.0.0.7", dst: "10.0.1.77", verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: "10.0.1.77", via: theCentre},
		{in: "web", src: "10.0.0.7", dst: "10.0.0.77", verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: "10.0.0.77", via: theCentre},
		{in: "web", src: "2001:db8:0:1::5", dst: "2001:db8:0:2::77", verdict: fwd, out: "tr", seenSrc: "2001:db8:0:1::5", seenDst: "2001:db8:0:2::77", via: theCentre6},
		{in: "tr", src: "10.0.1.7", dst: "10.0.0.77", verdict: dropped},
		{in: "tr", src: outside, dst: outside, verdict: dropped},
		// outwards
		{in: "web", src: "10.0.0.7", dst: outside, verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: outside, via: theCentre},
		{in: "web", src: "10.0.0.7", dst: "203.0.113.77", verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: "203.0.113.77", via: theCentre},
		{in: "web", src: "10.0.0.5", dst: outside, verdict: fwd, out: "ext", seenSrc: "203.0.113.5", seenDst: outside, via: "203.0.113.1"},
		{in: "web", src: "10.0.0.5", dst: "203.0.113.77", verdict: fwd, out: "ext", seenSrc: "203.0.113.5", seenDst: "203.0.113.77"},
		{in: "web", src: "10.0.0.8", dst: outside, verdict: fwd, out: "tr", seenSrc: "10.0.0.8", seenDst: outside, via: theCentre},
		{in: "web", src: "2001:db8:0:1::5", dst: outside6, verdict: fwd, out: "tr", seenSrc: "2001:db8:0:1::5", seenDst: outside6, via: theCentre6},
		// inwards
		{in: "ext", src: outside, dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: outside, seenDst: "10.0.0.5"},
		{in: "ext", src: outside, dst: "10.0.0.7", verdict: dropped},
		{in: "ext", src: outside, dst: "203.0.113.6", verdict: dropped},
		{in: "ext", src: outside, dst: "10.0.0.1", verdict: dropped},
		{in: "ext", src: outside6, dst: "2001:db8:0:1::5", verdict: dropped},
		{in: "ext", src: "10.0.2.7", dst: "203.0.113.5", verdict: dropped}, // spoofed: an internal subnet that has no leg here
	})
}

func TestEdgeExtraRoutes(t *testing.T) {
	check(t, edge(), []path{
		{in: "web", src: "10.0.0.7", dst: "10.9.0.1", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "10.9.0.1", via: "10.0.1.9"},
		{in: "web", src: "10.0.0.5", dst: "10.9.0.1", verdict: fwd, out: "app", seenSrc: "10.0.0.5", seenDst: "10.9.0.1", via: "10.0.1.9"},
		{in: "tr", src: "10.0.1.7", dst: "10.9.0.1", verdict: fwd, out: "app", seenSrc: "10.0.1.7", seenDst: "10.9.0.1", via: "10.0.1.9"},
		// part of a subnet
		{in: "web", src: "10.0.0.7", dst: "10.0.1.200", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "10.0.1.200", via: "10.0.1.9"},
		// the next hop is outside
		{in: "web", src: "10.0.0.5", dst: "192.0.2.9", verdict: fwd, out: "ext", seenSrc: "203.0.113.5", seenDst: "192.0.2.9", via: "203.0.113.7"},
		{in: "web", src: "10.0.0.7", dst: "192.0.2.9", verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: "192.0.2.9", via: theCentre},
	})

	// without a default route outside, what is of a floating IP follows all else
	lost := edge()
	lost.Gateway.NextHops = nil
	check(t, lost, []path{
		{in: "web", src: "10.0.0.5", dst: outside, verdict: fwd, out: "tr", seenSrc: "10.0.0.5", seenDst: outside, via: theCentre},
		{in: "web", src: "10.0.0.5", dst: "203.0.113.77", verdict: fwd, out: "ext", seenSrc: "203.0.113.5", seenDst: "203.0.113.77"},
	})

	away := edge()
	away.Routes = append(away.Routes,
		dataplane.Route{Dest: prefix("10.8.0.0/16"), NextHop: addr(otherEdge)},
		dataplane.Route{Dest: prefix("2001:db8:8::/48"), NextHop: addr("fe80::2")})
	check(t, away, []path{
		{in: "web", src: "10.0.0.5", dst: "10.8.0.1", verdict: fwd, out: "tr", seenSrc: "10.0.0.5", seenDst: "10.8.0.1", via: otherEdge},
		{in: "web", src: "2001:db8:0:1::5", dst: "2001:db8:8::1", verdict: fwd, out: "tr", seenSrc: "2001:db8:0:1::5", seenDst: "2001:db8:8::1", via: "fe80::2"},
	})

	all := edge()
	all.Routes = append(all.Routes, dataplane.Route{Dest: prefix("0.0.0.0/0"), NextHop: addr("10.0.1.9")})
	check(t, all, []path{
		{in: "web", src: "10.0.0.7", dst: outside, verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: outside, via: "10.0.1.9"},
		{in: "web", src: "10.0.0.5", dst: outside, verdict: fwd, out: "app", seenSrc: "10.0.0.5", seenDst: outside, via: "10.0.1.9"},
		{in: "web", src: "10.0.0.7", dst: "10.0.1.77", verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: "10.0.1.77", via: theCentre},
		{in: "web", src: "10.0.0.7", dst: "203.0.113.6", verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: "203.0.113.6", via: otherEdge},
	})
}

// The rows of P7, as far as an edge sees them.
func TestEdgeHairpin(t *testing.T) {
	check(t, edge(), []path{
		{in: "web", src: "10.0.0.7", dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: "203.0.113.2", seenDst: "10.0.0.5"},
		{in: "tr", src: "10.0.1.7", dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: "203.0.113.2", seenDst: "10.0.0.5"},
		{in: "web", src: "10.0.0.5", dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: "203.0.113.5", seenDst: "10.0.0.5"},
		{in: "web", src: "10.0.0.7", dst: "203.0.113.6", verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: "203.0.113.6", via: otherEdge},
		{in: "web", src: "10.0.0.5", dst: "203.0.113.6", verdict: fwd, out: "ext", seenSrc: "203.0.113.5", seenDst: "203.0.113.6"},
		{in: "web", src: "10.0.0.7", dst: "203.0.113.8", verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: "203.0.113.8", via: theCentre},
		{in: "web", src: "10.0.0.5", dst: "203.0.113.8", verdict: fwd, out: "ext", seenSrc: "203.0.113.5", seenDst: "203.0.113.8"},
		// the client's floating IP is elsewhere
		{in: "web", src: "10.0.0.8", dst: "203.0.113.5", verdict: fwd, out: "tr", seenSrc: "10.0.0.8", seenDst: "203.0.113.5", via: theCentre},
		{in: "web", src: "10.0.0.8", dst: "203.0.113.6", verdict: fwd, out: "tr", seenSrc: "10.0.0.8", seenDst: "203.0.113.6", via: theCentre},
		{in: "web", src: "10.0.0.8", dst: "203.0.113.8", verdict: fwd, out: "tr", seenSrc: "10.0.0.8", seenDst: "203.0.113.8", via: theCentre},
		{in: "web", src: "10.0.0.8", dst: "10.0.1.7", verdict: fwd, out: "tr", seenSrc: "10.0.0.8", seenDst: "10.0.1.7", via: otherEdge},
	})
}

// An edge without a gateway still knows the floating IPs of others.
func TestEdgeWithoutGateway(t *testing.T) {
	r := edge()
	r.Gateway, r.FloatingIPs, r.Routes = nil, nil, r.Routes[:1]
	check(t, r, []path{
		{in: "web", src: "10.0.0.5", dst: outside, verdict: fwd, out: "tr", seenSrc: "10.0.0.5", seenDst: outside, via: theCentre},
		{in: "web", src: "10.0.0.7", dst: "203.0.113.6", verdict: fwd, out: "tr", seenSrc: "10.0.0.7", seenDst: "203.0.113.6", via: otherEdge},
		{in: "web", src: "10.0.0.8", dst: "203.0.113.6", verdict: fwd, out: "tr", seenSrc: "10.0.0.8", seenDst: "203.0.113.6", via: theCentre},
	})
}

func TestCentre(t *testing.T) {
	check(t, centre(), []path{
		{in: "tr", src: "10.0.0.7", dst: outside, verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: outside, via: "203.0.113.1"},
		{in: "tr", src: "10.0.0.8", dst: outside, verdict: fwd, out: "ext", seenSrc: "203.0.113.8", seenDst: outside, via: "203.0.113.1"},
		{in: "tr", src: "10.0.0.8", dst: "203.0.113.6", verdict: fwd, out: "ext", seenSrc: "203.0.113.8", seenDst: "203.0.113.6"},
		{in: "tr", src: "10.0.0.5", dst: outside, verdict: dropped}, // its floating IP is at an edge
		{in: "ext", src: outside, dst: "203.0.113.8", verdict: fwd, out: "tr", seenSrc: outside, seenDst: "10.0.0.8", via: "169.254.64.1"},
		{in: "tr", src: "10.0.1.7", dst: "203.0.113.8", verdict: fwd, out: "tr", seenSrc: "203.0.113.2", seenDst: "10.0.0.8", via: "169.254.64.1"},
		{in: "tr", src: "10.0.0.7", dst: "10.0.1.77", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "10.0.1.77"},
		{in: "app", src: "10.0.1.77", dst: "10.0.0.7", verdict: fwd, out: "tr", seenSrc: "10.0.1.77", seenDst: "10.0.0.7", via: "169.254.64.1"},
		{in: "tr", src: "10.0.0.1", dst: "10.0.1.77", verdict: fwd, out: "app", seenSrc: "10.0.0.1", seenDst: "10.0.1.77"}, // another instance has the address too
		{in: "app", src: "10.0.0.1", dst: "10.0.0.77", verdict: dropped},
		{in: "tr", src: "2001:db8:0:1::5", dst: outside6, verdict: fwd, out: "ext", seenSrc: "2001:db8:0:1::5", seenDst: outside6, via: "fe80::1"},
	})
}

// What is answered to an own address does not leave, whoever has sent from it.
func TestEdgeDoesNotAnswerItself(t *testing.T) {
	for _, src := range []string{"169.254.64.1", "10.0.1.1", "203.0.113.5"} {
		got := edge().Trace(dataplane.Packet{In: "tr", Src: addr(src), Dst: addr("10.0.0.1"), Proto: dataplane.ICMP})
		require.Equal(t, dataplane.Local, got.Verdict, "%s", got)
		require.False(t, got.Answered, "%s", got)
	}
}

// The same of the transit's link-local address. That of another port is somebody else's there.
func TestInstancesDoNotAnswerTheirLinkLocalAddress(t *testing.T) {
	for _, test := range []struct {
		router   dataplane.Router
		src      string
		answered bool
	}{
		{edge(), linkLocalOf(edge().Transit.MAC), false},
		{edge(), linkLocalOf(edge().Ports[0].MAC), true},
		{edge(), "fe80::2", true},
		{centre(), linkLocalOf(centre().Transit.MAC), false},
		{centre(), "fe80::1", true},
	} {
		got := test.router.Trace(dataplane.Packet{In: "tr", Src: addr(test.src), Dst: addr("2001:db8:0:1::1"), Proto: dataplane.ICMP})
		require.Equal(t, dataplane.Local, got.Verdict, "%s", got)
		require.Equal(t, test.answered, got.Answered, "%s", got)
	}
	for src, oneWay := range map[string]bool{linkLocalOf(centre().Transit.MAC): true, "fe80::1": false} {
		got := centre().Trace(dataplane.Packet{In: "tr", Src: addr(src), Dst: addr("2001:db8:0:1::5"), Proto: dataplane.ICMP})
		require.Equal(t, dataplane.Forwarded, got.Verdict, "%s", got)
		require.Equal(t, oneWay, got.OneWay, "%s", got)
	}
}

// linkLocalOf is the link-local address that a port makes from its MAC.
func linkLocalOf(m dataplane.MAC) string {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}).String()
}

func TestEdgePortTo(t *testing.T) {
	m := dataplane.NewModel(edge())
	for a, want := range map[string]string{
		"10.0.0.5": "web", "10.0.0.77": "tr", "10.0.1.6": "tr", outside: "tr", "2001:db8:0:2::6": "tr", "203.0.113.6": "tr", "203.0.113.5": "",
	} {
		id, ok := m.PortTo(addr(a))
		require.True(t, ok, a)
		require.Equal(t, want, id, a)
	}
}

// invalidInstances are edges with one fault each.
var invalidInstances = map[string]struct {
	change func(*dataplane.Router)
	want   string
}{
	"anycast without a transit": {func(r *dataplane.Router) { r.Transit = nil; r.Gateway = nil; r.FloatingIPs = nil; r.Routes = nil }, "Ports[0].Anycast: needs a transit"},
	"anycast at the centre":     {func(r *dataplane.Router) { r.Transit.Centre = nil; r.Transit.External = nil }, "Ports[0].Anycast: needs a transit with a centre"},
	"a neighbour of elsewhere":  {func(r *dataplane.Router) { r.Ports[0].Anycast.Neighbours[0] = addr("10.0.1.5") }, "Ports[0].Anycast.Neighbours[0]: 10.0.1.5 is in no subnet of the port"},
	"a neighbour twice":         {func(r *dataplane.Router) { r.Ports[0].Anycast.Neighbours[0] = addr("10.0.0.7") }, "Ports[0].Anycast.Neighbours[1]: 10.0.0.7 is there twice"},
	"the port as a neighbour":   {func(r *dataplane.Router) { r.Ports[0].Anycast.Neighbours[0] = addr("10.0.0.1") }, "is the router's own address"},
	"broadcast as a neighbour":  {func(r *dataplane.Router) { r.Ports[0].Anycast.Neighbours[0] = addr("10.0.0.255") }, "is the broadcast address"},
	"anycast and outside":       {func(r *dataplane.Router) { r.Ports[0].Outside = true }, "Ports[0].Outside: is for internal ports that are not anycast"},
	"an anycast gateway":        {func(r *dataplane.Router) { r.Gateway.Anycast = &dataplane.Anycast{} }, "Gateway.Anycast: is for internal ports only"},
	"a public transit address":  {func(r *dataplane.Router) { r.Transit.Addrs[0] = prefix("10.77.0.1/24") }, "Transit.Addrs: must be one address in 169.254.0.0/16"},
	"a shared transit":          {func(r *dataplane.Router) { r.Transit.Network = r.Ports[0].Network }, "the transit needs one of its own"},
	"two centres":               {func(r *dataplane.Router) { r.Transit.Centre[1] = addr("169.254.64.98") }, "Transit.Centre[1]: 169.254.64.98 is a second one of its family"},
	"itself as the centre":      {func(r *dataplane.Router) { r.Transit.Centre[0] = addr("169.254.64.1") }, "Transit.Centre[0]: 169.254.64.1 is the router's own address"},
	"an instance elsewhere":     {func(r *dataplane.Router) { r.Transit.Routes[0].NextHop = addr("10.0.0.7") }, "Transit.Routes[0].NextHop: 10.0.0.7 is not an address on the transit"},
	"a route twice":             {func(r *dataplane.Router) { r.Transit.Routes[1].Dest = r.Transit.Routes[0].Dest }, "Transit.Routes[1].Dest: 10.0.1.6/32 is also Transit.Routes[0].Dest"},
	"a route of two families":   {func(r *dataplane.Router) { r.Transit.Routes[0].NextHop = addr("fe80::2") }, "Transit.Routes[0].NextHop: fe80::2 is not of the family of 10.0.1.6/32"},
	"a floating IP twice":       {func(r *dataplane.Router) { r.Transit.External[0].Dest = prefix("203.0.113.5/32") }, "203.0.113.5 is also a floating IP of this instance"},
	"fixed here and elsewhere":  {func(r *dataplane.Router) { r.Transit.Elsewhere[0] = addr("10.0.0.5") }, "Transit.Elsewhere[0]: 10.0.0.5 has a floating IP of this instance"},
	"a floating IP of a remote": {func(r *dataplane.Router) { r.FloatingIPs[0].Fixed = addr("10.0.1.6") }, "FloatingIPs[0].Fixed: 10.0.1.6 is not a neighbour of Ports[1], which is anycast"},
	"a remote next hop":         {func(r *dataplane.Router) { r.Routes[0].NextHop = addr("10.0.1.6") }, "Routes[0].NextHop: 10.0.1.6 is not a neighbour of Ports[1]"},
	"a next hop behind an edge": {func(r *dataplane.Router) {
		*r = centre()
		r.Transit.Routes = append(r.Transit.Routes, dataplane.Route{Dest: prefix("2001:db8:0:1::70/124"), NextHop: addr("fe80::1")})
		r.Routes = []dataplane.Route{{Dest: prefix("2001:db8:9::/48"), NextHop: addr("2001:db8:0:1::77")}}
	}, "Routes[0].NextHop: 2001:db8:0:1::77 is behind another instance: the next hop must be that of Transit.Routes[8]"},
	"SNAT without an address":   {func(r *dataplane.Router) { r.Gateway.SNAT = true }, "Gateway.SNAT: a gateway for floating IPs only"},
	"an address too many":       {func(r *dataplane.Router) { r.Gateway.Addrs = []netip.Prefix{prefix("203.0.113.3/24")} }, "Gateway.Addrs: a gateway for floating IPs only has none"},
	"no hairpin":                {func(r *dataplane.Router) { r.Gateway.Hairpin = netip.Addr{} }, "Gateway.Hairpin: is missing"},
	"hairpin of a full gateway": {func(r *dataplane.Router) { *r = threeTier(); r.Gateway.Hairpin = addr("203.0.113.9") }, "Gateway.Hairpin: is for a gateway for floating IPs only"},
	"IPv6 outside":              {func(r *dataplane.Router) { r.Gateway.NextHops[0] = addr("fe80::1") }, "Gateway.NextHops[0]: fe80::1 is of IPv6"},
}

func TestValidateNamesTheFaultOfAnInstance(t *testing.T) {
	for name, test := range invalidInstances {
		t.Run(name, func(t *testing.T) {
			r := edge()
			test.change(&r)
			require.ErrorContains(t, r.Validate(), test.want)
		})
	}
}
