package dataplane_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

// path is what a packet must experience: in by a port from src to dst; out by a port, as src to
// dst, to next hops.
type path struct {
	in, src, dst string
	verdict      dataplane.Verdict
	out          string
	seenSrc      string // what the receiver sees
	seenDst      string
	via          string // next hops with blanks between; empty: the destination itself
}

// check traces every path through a router with SNAT on, and with SNAT off.
func check(t *testing.T, r dataplane.Router, paths []path) {
	t.Helper()
	require.NoError(t, r.Validate())
	m := dataplane.NewModel(r)
	for _, want := range paths {
		p := dataplane.Packet{In: want.in, Src: addr(want.src), Dst: addr(want.dst), Proto: dataplane.TCP, SrcPort: 40000, DstPort: 80}
		got := m.Trace(p)
		require.Equal(t, want.verdict, got.Verdict, "%s", got)
		require.Equal(t, p, got.Packet)
		require.NotEmpty(t, got.Steps)
		if want.verdict != dataplane.Forwarded {
			require.Empty(t, got.Out, "%s", got)
			continue
		}
		via := strings.Fields(want.via)
		if len(via) == 0 {
			via = []string{want.seenDst}
		}
		require.Equal(t, want.out, got.Out, "%s", got)
		require.Equal(t, want.seenSrc, got.Src.String(), "%s", got)
		require.Equal(t, want.seenDst, got.Dst.String(), "%s", got)
		var hops []string
		for _, h := range got.NextHops {
			hops = append(hops, h.String())
		}
		require.Equal(t, via, hops, "%s", got)
	}
}

func snatOff(r dataplane.Router) dataplane.Router {
	r = r.Clone()
	r.Gateway.SNAT = false
	return r
}

const (
	fwd         = dataplane.Forwarded
	local       = dataplane.Local
	dropped     = dataplane.Dropped
	unreachable = dataplane.Unreachable

	outside  = "198.51.100.9"
	outside6 = "2001:db8:e::9"
)

func TestP1EastWestIsRoutedUnchanged(t *testing.T) {
	paths := []path{
		{in: "web", src: "10.0.0.7", dst: "10.0.1.7", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "10.0.1.7"},
		{in: "web", src: "10.0.0.5", dst: "10.0.1.6", verdict: fwd, out: "app", seenSrc: "10.0.0.5", seenDst: "10.0.1.6"}, // both have a floating IP
		{in: "app", src: "10.0.1.6", dst: "10.0.0.7", verdict: fwd, out: "web", seenSrc: "10.0.1.6", seenDst: "10.0.0.7"},
		{in: "app", src: "10.0.1.7", dst: "10.0.0.5", verdict: fwd, out: "web", seenSrc: "10.0.1.7", seenDst: "10.0.0.5"},
		{in: "app", src: "10.9.0.7", dst: "10.0.0.5", verdict: fwd, out: "web", seenSrc: "10.9.0.7", seenDst: "10.0.0.5"},
	}
	check(t, threeTier(), paths)
	check(t, snatOff(threeTier()), paths)
}

func TestP2SNAT(t *testing.T) {
	check(t, threeTier(), []path{
		{in: "web", src: "10.0.0.7", dst: outside, verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: outside, via: "203.0.113.1"},
		{in: "web", src: "10.0.0.7", dst: "203.0.113.77", verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: "203.0.113.77"},
	})
}

func TestP3SNATBehindAnExtraRoute(t *testing.T) {
	check(t, threeTier(), []path{
		{in: "app", src: "10.9.0.7", dst: outside, verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: outside, via: "203.0.113.1"},
	})
}

func TestP4WithoutSNATTheSourceStays(t *testing.T) {
	check(t, snatOff(threeTier()), []path{
		{in: "web", src: "10.0.0.7", dst: outside, verdict: fwd, out: "ext", seenSrc: "10.0.0.7", seenDst: outside, via: "203.0.113.1"},
		{in: "app", src: "10.9.0.7", dst: outside, verdict: fwd, out: "ext", seenSrc: "10.9.0.7", seenDst: outside, via: "203.0.113.1"},
	})
}

func TestP5FloatingIPBeforeSNAT(t *testing.T) {
	paths := []path{
		{in: "web", src: "10.0.0.5", dst: outside, verdict: fwd, out: "ext", seenSrc: "203.0.113.5", seenDst: outside, via: "203.0.113.1"},
		{in: "app", src: "10.0.1.6", dst: "203.0.113.77", verdict: fwd, out: "ext", seenSrc: "203.0.113.6", seenDst: "203.0.113.77"},
	}
	check(t, threeTier(), paths)
	check(t, snatOff(threeTier()), paths)
}

func TestP6FromOutsideToAFloatingIP(t *testing.T) {
	paths := []path{{in: "ext", src: outside, dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: outside, seenDst: "10.0.0.5"}}
	check(t, threeTier(), paths)
	check(t, snatOff(threeTier()), paths)
}

func TestP7Hairpin(t *testing.T) {
	paths := []path{
		{in: "web", src: "10.0.0.7", dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: "203.0.113.2", seenDst: "10.0.0.5"}, // same subnet
		{in: "app", src: "10.0.1.7", dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: "203.0.113.2", seenDst: "10.0.0.5"}, // another
		{in: "app", src: "10.0.1.6", dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: "203.0.113.6", seenDst: "10.0.0.5"}, // client has one
		{in: "web", src: "10.0.0.5", dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: "203.0.113.5", seenDst: "10.0.0.5"}, // itself
		{in: "app", src: "10.9.0.7", dst: "203.0.113.6", verdict: fwd, out: "app", seenSrc: "203.0.113.2", seenDst: "10.0.1.6"}, // with P3
	}
	check(t, threeTier(), paths)
	check(t, snatOff(threeTier()), paths)
}

func TestP8FromTheRouterToAFloatingIP(t *testing.T) {
	for _, r := range []dataplane.Router{threeTier(), snatOff(threeTier())} {
		got := r.Trace(dataplane.Packet{Dst: addr("203.0.113.5"), Proto: dataplane.TCP, DstPort: 80})
		require.Equal(t, dataplane.Forwarded, got.Verdict, "%s", got)
		require.Equal(t, "web", got.Out)
		require.Equal(t, addr("10.0.0.5"), got.Dst)
		require.Equal(t, addr("203.0.113.5"), got.Src, "the kernel sends from a local destination to itself, before that is translated")
		check(t, r, []path{
			{src: "10.0.0.1", dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: "10.0.0.1", seenDst: "10.0.0.5"},
			{src: "10.0.1.1", dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: "10.0.1.1", seenDst: "10.0.0.5"},
		})
	}
}

func TestP9NoWayInButByFloatingIP(t *testing.T) {
	check(t, threeTier(), []path{
		{in: "ext", src: outside, dst: "10.0.0.5", verdict: dropped},
		{in: "ext", src: outside, dst: "10.0.0.7", verdict: dropped},
		{in: "ext", src: outside, dst: "10.9.0.7", verdict: dropped},
		{in: "ext", src: outside, dst: "198.18.0.1", verdict: dropped}, // back out of the gateway is forwarding too
	})
	check(t, snatOff(threeTier()), []path{
		{in: "ext", src: outside, dst: "10.0.0.5", verdict: fwd, out: "web", seenSrc: outside, seenDst: "10.0.0.5"},
		{in: "ext", src: outside, dst: "10.9.0.7", verdict: fwd, out: "app", seenSrc: outside, seenDst: "10.9.0.7", via: "10.0.1.9"},
	})
}

func TestP10OwnAddressesAnswerEcho(t *testing.T) {
	for _, r := range []dataplane.Router{threeTier(), snatOff(threeTier())} {
		m := dataplane.NewModel(r)
		for _, in := range []string{"web", "app", "ext", ""} {
			for _, own := range []string{"10.0.0.1", "10.0.1.1", "203.0.113.2", "2001:db8:0:1::1", "2001:db8:0:f::2"} {
				src := map[string][2]string{
					"web": {"10.0.0.7", "2001:db8:0:1::7"}, "app": {"10.9.0.7", "2001:db8:0:2::7"}, "ext": {outside, outside6}, "": {"0.0.0.0", "::"},
				}[in]
				p := dataplane.Packet{In: in, Src: addr(src[0]), Dst: addr(own), Proto: dataplane.ICMP, SrcPort: 7}
				if p.Dst.Is6() {
					p.Src = addr(src[1])
				}
				got := m.Trace(p)
				require.Equal(t, dataplane.Local, got.Verdict, "%s", got)
				require.True(t, got.Answered, "%s", got)
				require.Equal(t, p.Dst, got.Reply().Src)

				p.Proto = dataplane.TCP
				got = m.Trace(p)
				require.Equal(t, dataplane.Local, got.Verdict, "%s", got)
				require.False(t, got.Answered, "no service listens: %s", got)
			}
		}
		got := m.Trace(dataplane.Packet{In: "ext", Src: addr(outside), Dst: addr("203.0.113.5"), Proto: dataplane.ICMP})
		require.Equal(t, "10.0.0.5", got.Dst.String(), "the host answers for its floating IP: %s", got)
	}
	r := threeTier()
	r.Gateway.NextHops = nil
	got := r.Trace(dataplane.Packet{In: "ext", Src: addr(outside), Dst: addr("203.0.113.2"), Proto: dataplane.ICMP})
	require.Equal(t, dataplane.Local, got.Verdict)
	require.False(t, got.Answered, "there is no route back: %s", got)
}

func TestP11ExtraRoutes(t *testing.T) {
	r := threeTier()
	r.Routes = append(r.Routes,
		dataplane.Route{Dest: prefix("10.9.8.0/24"), NextHop: addr("10.0.1.10")},
		dataplane.Route{Dest: prefix("10.9.8.0/24"), NextHop: addr("10.0.1.11")},
		dataplane.Route{Dest: prefix("10.9.8.0/24"), NextHop: addr("10.0.0.12")},
		dataplane.Route{Dest: prefix("10.0.0.128/25"), NextHop: addr("10.0.1.12")},  // more specific than a connected subnet
		dataplane.Route{Dest: prefix("10.0.0.0/24"), NextHop: addr("10.0.1.13")},    // the same as a connected subnet
		dataplane.Route{Dest: prefix("203.0.113.2/32"), NextHop: addr("10.0.1.13")}, // own addresses come before everything
		dataplane.Route{Dest: prefix("198.51.100.0/24"), NextHop: addr("203.0.113.9")},
	)
	check(t, r, []path{
		{in: "web", src: "10.0.0.7", dst: "10.9.0.1", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "10.9.0.1", via: "10.0.1.9"},
		{in: "web", src: "10.0.0.7", dst: "10.9.8.1", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "10.9.8.1", via: "10.0.1.10 10.0.1.11"},
		{in: "web", src: "10.0.0.7", dst: "10.0.0.129", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "10.0.0.129", via: "10.0.1.12"},
		{in: "app", src: "10.0.1.7", dst: "10.0.0.7", verdict: fwd, out: "web", seenSrc: "10.0.1.7", seenDst: "10.0.0.7"},
		{in: "app", src: "10.0.1.7", dst: "203.0.113.2", verdict: local},
		{in: "web", src: "10.0.0.7", dst: outside, verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: outside, via: "203.0.113.9"},
		{in: "web", src: "10.0.0.7", dst: "192.0.2.1", verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: "192.0.2.1", via: "203.0.113.1"},
	})

	shared := dataplane.NewModel(r).Paths(dataplane.Packet{In: "web", Src: addr("10.0.0.7"), Dst: addr("10.9.8.1")})
	require.Len(t, shared, 2, "routes through two ports share the destination")
	require.Equal(t, "app", shared[0].Out)
	require.Equal(t, "web", shared[1].Out)
	require.Equal(t, []netip.Addr{addr("10.0.0.12")}, shared[1].NextHops)
	require.Contains(t, shared[0].String(), "leaves by port app to 10.0.1.10 or 10.0.1.11")
	require.Contains(t, shared[1].String(), "leaves by port web to 10.0.0.12")

	r.Routes = append(r.Routes, dataplane.Route{Dest: prefix("0.0.0.0/0"), NextHop: addr("10.0.1.14")})
	check(t, r, []path{ // before the gateway's default, and then nothing is translated
		{in: "web", src: "10.0.0.7", dst: "192.0.2.1", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "192.0.2.1", via: "10.0.1.14"},
	})
}

func TestP11NoRoute(t *testing.T) {
	r := threeTier()
	r.Gateway.NextHops = nil
	check(t, r, []path{
		{in: "web", src: "10.0.0.7", dst: outside, verdict: unreachable},
		{in: "web", src: "2001:db8:0:1::7", dst: outside6, verdict: unreachable},
		{in: "ext", src: "203.0.113.9", dst: outside, verdict: unreachable},
	})
}

func TestGatewayNextHopOnTheLink(t *testing.T) {
	r := threeTier()
	r.Gateway.NextHops = []netip.Addr{addr("192.0.2.1")}
	r.Routes = append(r.Routes, dataplane.Route{Dest: prefix("192.0.2.0/24"), NextHop: addr("10.0.1.9")})
	check(t, r, []path{
		{in: "web", src: "10.0.0.7", dst: outside, verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: outside, via: "192.0.2.1"},
		{in: "web", src: "10.0.0.7", dst: "192.0.2.1", verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: "192.0.2.1"},
		{in: "web", src: "10.0.0.7", dst: "192.0.2.2", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "192.0.2.2", via: "10.0.1.9"},
	})
}

func TestP12IPv6IsRoutedNeverTranslated(t *testing.T) {
	r := threeTier()
	r.Routes = append(r.Routes, dataplane.Route{Dest: prefix("2001:db8:9::/48"), NextHop: addr("2001:db8:0:2::9")})
	paths := []path{
		{in: "web", src: "2001:db8:0:1::7", dst: "2001:db8:0:2::7", verdict: fwd, out: "app", seenSrc: "2001:db8:0:1::7", seenDst: "2001:db8:0:2::7"},
		{in: "web", src: "2001:db8:0:1::7", dst: outside6, verdict: fwd, out: "ext", seenSrc: "2001:db8:0:1::7", seenDst: outside6, via: "fe80::1"},
		{in: "web", src: "2001:db8:0:1::7", dst: "2001:db8:9::7", verdict: fwd, out: "app", seenSrc: "2001:db8:0:1::7", seenDst: "2001:db8:9::7", via: "2001:db8:0:2::9"},
		{in: "ext", src: outside6, dst: "2001:db8:0:1::7", verdict: fwd, out: "web", seenSrc: outside6, seenDst: "2001:db8:0:1::7"}, // P9 is not for IPv6
	}
	check(t, r, paths)
	check(t, snatOff(r), paths)
}

func TestP13ICMPErrors(t *testing.T) {
	r := threeTier()
	tests := []struct {
		name, in, src, dst string
		from, seenFrom     string
	}{
		{"SNAT: from a router outside", "web", "10.0.0.7", outside, "192.0.2.33", "192.0.2.33"},
		{"floating IP going out", "web", "10.0.0.5", outside, "192.0.2.33", "192.0.2.33"},
		{"floating IP coming in: from the host", "ext", outside, "203.0.113.5", "10.0.0.5", "203.0.113.5"},
		{"floating IP coming in: from a router inside", "ext", outside, "203.0.113.5", "10.0.0.99", "203.0.113.5"},
		{"floating IP coming in: from this router", "ext", outside, "203.0.113.5", "203.0.113.2", "203.0.113.5"},
		{"hairpin", "app", "10.0.1.6", "203.0.113.5", "10.0.0.5", "203.0.113.5"},
		{"east-west", "web", "10.0.0.7", "10.0.1.7", "10.0.1.7", "10.0.1.7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := dataplane.Packet{In: tt.in, Src: addr(tt.src), Dst: addr(tt.dst), Proto: dataplane.UDP, SrcPort: 40000, DstPort: 9}
			got := r.Trace(p)
			require.Equal(t, dataplane.Forwarded, got.Verdict)
			e := got.ICMPError(addr(tt.from))
			require.Equal(t, tt.seenFrom, e.Src.String())
			require.Equal(t, p.Src, e.Dst, "it reaches the original sender")
			require.Equal(t, p, got.Packet, "and quotes its own words")
		})
	}
}

func TestP14RoutersWithTheSameAddressesNeverMeet(t *testing.T) {
	one, two := threeTier(), threeTier()
	two.ID = "r2"
	two.FloatingIPs[0].Addr = addr("203.0.113.7")
	check(t, one, []path{{in: "ext", src: outside, dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: outside, seenDst: "10.0.0.5"}})
	check(t, two, []path{
		{in: "ext", src: outside, dst: "203.0.113.7", verdict: fwd, out: "web", seenSrc: outside, seenDst: "10.0.0.5"},
		{in: "ext", src: outside, dst: "203.0.113.5", verdict: dropped}, // the other's
	})
}

func TestNonsenseIsNotForwarded(t *testing.T) {
	check(t, threeTier(), []path{
		{in: "nowhere", src: "10.0.0.7", dst: "10.0.1.7", verdict: dropped},
		{in: "web", src: "10.0.0.7", dst: "2001:db8:0:2::7", verdict: dropped},
		{in: "web", src: "0.0.0.0", dst: "10.0.1.7", verdict: dropped},
		{in: "web", src: "127.0.0.1", dst: "10.0.1.7", verdict: dropped},
		{in: "web", src: "224.0.0.9", dst: "10.0.1.7", verdict: dropped},
		{in: "web", src: "255.255.255.255", dst: "10.0.1.7", verdict: dropped},
		{in: "web", src: "10.0.0.1", dst: "10.0.1.7", verdict: dropped},    // own
		{in: "app", src: "203.0.113.2", dst: "10.0.0.7", verdict: dropped}, // own
		{in: "app", src: "203.0.113.5", dst: "10.0.0.7", verdict: dropped}, // own: a floating IP
		{in: "web", src: "10.0.0.1", dst: "203.0.113.5", verdict: dropped}, // own
		{in: "web", src: "10.0.0.7", dst: "10.0.1.255", verdict: dropped},  // directed broadcast
		{in: "web", src: "10.0.0.7", dst: "10.0.0.255", verdict: dropped},  // its own link's
		{in: "web", src: "10.0.0.7", dst: "255.255.255.255", verdict: dropped},
		{in: "web", src: "10.0.0.7", dst: "224.0.0.1", verdict: dropped},
		{in: "web", src: "10.0.0.7", dst: "127.0.0.1", verdict: dropped},
		{in: "web", src: "10.0.0.7", dst: "0.0.0.0", verdict: dropped},
		{in: "", src: "::", dst: "::ffff:10.0.1.7", verdict: dropped},
		{in: "web", src: "::", dst: "2001:db8:0:2::7", verdict: dropped},
		{in: "web", src: "::1", dst: "2001:db8:0:2::7", verdict: dropped},
		{in: "web", src: "2001:db8:0:1::7", dst: "::1", verdict: dropped},
		{in: "web", src: "2001:db8:0:1::7", dst: "ff0e::1", verdict: dropped},
		{in: "", dst: "fe80::7", src: "::", verdict: dropped},
		{in: "web", src: "fe80::7", dst: "2001:db8:0:2::7", verdict: unreachable},
		{in: "web", src: "2001:db8:0:1::7", dst: "2001:db8:0:2::", verdict: local},                                                    // the anycast address of routers
		{in: "web", src: "fe80::7", dst: "2001:db8:0:1::8", verdict: fwd, out: "web", seenSrc: "fe80::7", seenDst: "2001:db8:0:1::8"}, // the same link
		{in: "", src: "10.0.0.7", dst: "10.0.1.7", verdict: dropped},                                                                  // not its own
	})
	got := threeTier().Trace(dataplane.Packet{In: "web"})
	require.Equal(t, dataplane.Dropped, got.Verdict)
}

// The kernel does not check all that RFCs forbid, least of all on the way back to the link that a
// packet comes from.
func TestNonsenseIsForwarded(t *testing.T) {
	check(t, threeTier(), []path{
		{in: "web", src: "0.1.2.3", dst: "10.0.1.7", verdict: fwd, out: "app", seenSrc: "0.1.2.3", seenDst: "10.0.1.7"},
		{in: "web", src: "10.0.0.7", dst: "0.1.2.3", verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: "0.1.2.3", via: "203.0.113.1"},
		{in: "web", src: "::", dst: "2001:db8:0:1::8", verdict: fwd, out: "web", seenSrc: "::", seenDst: "2001:db8:0:1::8"},
		{in: "web", src: "2001:db8:0:1::7", dst: "::ffff:10.0.1.7", verdict: fwd, out: "ext", seenSrc: "2001:db8:0:1::7", seenDst: "::ffff:10.0.1.7", via: "fe80::1"},
	})
}

func TestP17SpoofedSourcesAreDropped(t *testing.T) {
	for _, r := range []dataplane.Router{threeTier(), snatOff(threeTier())} {
		var paths []path
		for _, dst := range []string{"203.0.113.5", "203.0.113.2", "10.0.1.7", "10.0.0.1", outside} { // a floating IP, the router itself, and others
			for _, src := range []string{"10.0.0.5", "10.0.0.7", "10.0.1.9", "10.0.0.1", "203.0.113.2", "203.0.113.5"} {
				paths = append(paths, path{in: "ext", src: src, dst: dst, verdict: dropped})
			}
			for _, own := range []string{"10.0.0.1", "10.0.1.1", "203.0.113.2", "203.0.113.5"} {
				paths = append(paths, path{in: "app", src: own, dst: dst, verdict: dropped})
			}
		}
		for _, dst := range []string{"2001:db8:0:1::7", "2001:db8:0:1::1", "2001:db8:0:f::2", outside6} {
			for _, src := range []string{"2001:db8:0:1::7", "2001:db8:0:2::7", "2001:db8:0:1::1", "2001:db8:0:f::2", "fe80::f816:3eff:fe00:1"} {
				paths = append(paths, path{in: "ext", src: src, dst: dst, verdict: dropped})
			}
			for _, own := range []string{"2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:f::2", "fe80::f816:3eff:fe00:3"} {
				paths = append(paths, path{in: "app", src: own, dst: dst, verdict: dropped})
			}
		}
		check(t, r, append(paths,
			path{in: "app", src: "10.0.0.7", dst: "10.0.1.7", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "10.0.1.7"}, // a workload with two ports
			path{in: "app", src: "2001:db8:0:1::7", dst: "2001:db8:0:2::7", verdict: fwd, out: "app",
				seenSrc: "2001:db8:0:1::7", seenDst: "2001:db8:0:2::7"},
			path{in: "ext", src: "10.9.0.7", dst: "203.0.113.5", verdict: fwd, out: "web", seenSrc: "10.9.0.7", seenDst: "10.0.0.5"}, // behind a route, in no subnet
		))
	}
}

func TestP18LinkLocalIsRefused(t *testing.T) {
	r := threeTier()
	r.Routes = append(r.Routes, dataplane.Route{Dest: prefix("169.254.169.254/32"), NextHop: addr("10.0.1.9")})
	for _, r := range []dataplane.Router{r, snatOff(r)} {
		var paths []path
		for _, dst := range []string{"169.254.169.254", "169.254.0.0", "169.254.255.255"} {
			paths = append(paths, path{in: "web", src: "10.0.0.7", dst: dst, verdict: local},
				path{in: "web", src: "10.0.0.5", dst: dst, verdict: local},
				path{in: "ext", src: outside, dst: dst, verdict: dropped})
		}
		check(t, r, append(paths,
			path{in: "web", src: "2001:db8:0:1::7", dst: "fe80::a9fe:a9fe", verdict: local},
			path{in: "web", src: "fe80::7", dst: "fe80::a9fe:a9fe", verdict: local},
			path{in: "ext", src: outside6, dst: "fe80::7", verdict: dropped},
			path{in: "web", src: "2001:db8:0:1::7", dst: "fe80:1::7", verdict: unreachable},
			path{in: "web", src: "10.0.0.7", dst: "169.253.0.1", verdict: fwd, out: "ext", via: "203.0.113.1", seenDst: "169.253.0.1",
				seenSrc: map[bool]string{true: "203.0.113.2", false: "10.0.0.7"}[r.Gateway.SNAT]},
			path{src: "10.0.1.1", dst: "169.254.169.254", verdict: fwd, out: "app", via: "10.0.1.9", // the router's own packets are not forwarded
				seenSrc: "10.0.1.1", seenDst: "169.254.169.254"},
		))
		got := r.Trace(dataplane.Packet{In: "web", Src: addr("10.0.0.7"), Dst: addr("169.254.169.254"), Proto: dataplane.ICMP})
		require.False(t, got.Answered, "%s", got)
		require.False(t, got.Dst.IsValid(), "nobody receives it: %s", got)
	}
	r.Gateway, r.FloatingIPs, r.Routes = nil, nil, nil
	check(t, r, []path{{in: "web", src: "10.0.0.7", dst: "169.254.169.254", verdict: unreachable}})
	r.Ports[0].Addrs = r.Ports[0].Addrs[:1]
	check(t, r, []path{{in: "web", src: "2001:db8:0:1::7", dst: "fe80::7", verdict: unreachable}}) // the port speaks no IPv6
}

func TestP19AnswersThatWouldLeaveUntranslated(t *testing.T) {
	oneWay := func(r dataplane.Router, in, src, dst string) bool {
		got := r.Trace(dataplane.Packet{In: in, Src: addr(src), Dst: addr(dst), Proto: dataplane.UDP})
		require.Equal(t, dataplane.Forwarded, got.Verdict, "%s", got)
		require.Equal(t, got.OneWay, strings.Contains(got.String(), "no answer gets back"), "%s", got)
		return got.OneWay
	}
	r := threeTier()
	require.True(t, oneWay(r, "web", "192.0.2.7", "10.0.1.7"), "a source without a route inside")
	require.True(t, oneWay(r, "web", "192.0.2.7", "10.9.0.7"), "the answer comes from behind an extra route")
	require.False(t, oneWay(snatOff(r), "web", "192.0.2.7", "10.0.1.7"))
	require.True(t, oneWay(r, "web", "192.0.2.7", outside), "the answer is translated back, and would leave by where it came from")
	require.False(t, oneWay(r, "web", "192.0.2.7", "203.0.113.5"), "translated")
	require.False(t, oneWay(r, "ext", outside, "203.0.113.5"), "translated")
	require.False(t, oneWay(r, "web", "10.0.0.7", "10.0.1.7"))
	require.False(t, oneWay(r, "web", "10.9.0.7", "10.0.1.7"), "by another port than its own")
	require.False(t, oneWay(r, "web", outside6, "2001:db8:0:2::7"), "IPv6 is not translated")

	r.Routes = append(r.Routes, dataplane.Route{Dest: prefix("10.0.0.8/32"), NextHop: addr("203.0.113.9")})
	require.True(t, oneWay(r, "app", "10.0.1.7", "10.0.0.8"), "the answer comes from outside with an internal source (P17)")
	require.True(t, oneWay(snatOff(r), "app", "10.0.1.7", "10.0.0.8"))
}

func TestP21SubnetsOfTheExternalNetworkAreOnLink(t *testing.T) {
	r := threeTier()
	r.Gateway.OnLink = []netip.Prefix{prefix("203.0.113.0/24"), prefix("203.0.114.0/24"), prefix("2001:db8:1::/64")}
	r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: "second", Addr: addr("203.0.114.8"), Fixed: addr("10.0.0.8")})
	r.Routes = append(r.Routes,
		dataplane.Route{Dest: prefix("203.0.114.0/24"), NextHop: addr("10.0.1.9")},   // a connected subnet wins
		dataplane.Route{Dest: prefix("203.0.114.128/25"), NextHop: addr("10.0.1.9")}, // a longer prefix wins
		dataplane.Route{Dest: prefix("198.18.0.0/24"), NextHop: addr("203.0.114.9")})
	check(t, r, []path{
		{in: "web", src: "10.0.0.7", dst: "203.0.114.7", verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: "203.0.114.7"},
		{in: "web", src: "10.0.0.8", dst: "203.0.114.7", verdict: fwd, out: "ext", seenSrc: "203.0.114.8", seenDst: "203.0.114.7"},
		{in: "web", src: "10.0.0.7", dst: "203.0.114.129", verdict: fwd, out: "app", seenSrc: "10.0.0.7", seenDst: "203.0.114.129", via: "10.0.1.9"},
		{in: "web", src: "10.0.0.7", dst: "198.18.0.1", verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: "198.18.0.1", via: "203.0.114.9"},
		{in: "ext", src: "203.0.114.7", dst: "203.0.114.8", verdict: fwd, out: "web", seenSrc: "203.0.114.7", seenDst: "10.0.0.8"},
		{in: "ext", src: "203.0.114.7", dst: "10.0.0.8", verdict: dropped},
		{in: "web", src: "2001:db8:0:1::7", dst: "2001:db8:1::7", verdict: fwd, out: "ext", seenSrc: "2001:db8:0:1::7", seenDst: "2001:db8:1::7"},
	})
	got := r.Trace(dataplane.Packet{Dst: addr("203.0.114.7"), Proto: dataplane.ICMP})
	require.Equal(t, "203.0.113.2", got.Src.String(), "the router itself sends from the gateway's first address: %s", got)
}

func TestTheRouterChoosesItsSource(t *testing.T) {
	r := threeTier()
	r.Ports[1].Addrs = append(r.Ports[1].Addrs, prefix("10.0.2.1/24"), prefix("fd00:2::1/64"))
	tests := []struct{ dst, src string }{
		{"10.0.0.7", "10.0.0.1"},
		{"10.0.2.7", "10.0.2.1"},
		{"10.9.0.1", "10.0.1.1"}, // the next hop's subnet
		{outside, "203.0.113.2"},
		{"127.0.0.1", "127.0.0.1"},
		{"10.0.1.1", "10.0.1.1"},
		{"2001:db8:0:2::7", "2001:db8:0:2::1"},
		{"fd00:2::7", "fd00:2::1"},
		{outside6, "2001:db8:0:f::2"},
		{"2001:db8:0:1::1", "2001:db8:0:1::1"},
	}
	for _, tt := range tests {
		for _, src := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			if dst := addr(tt.dst); !src.IsValid() || src.Is4() == dst.Is4() {
				got := r.Trace(dataplane.Packet{Src: src, Dst: dst, Proto: dataplane.ICMP})
				require.Equal(t, tt.src, got.Packet.Src.String(), "%s", got)
				require.Equal(t, tt.src, got.Src.String(), "%s", got)
			}
		}
	}
	r.Ports, r.FloatingIPs, r.Routes, r.Gateway.Addrs, r.Gateway.NextHops = nil, nil, nil, nil, []netip.Addr{addr("fe80::1")}
	got := r.Trace(dataplane.Packet{Dst: addr(outside6)})
	require.Equal(t, "fe80::f816:3eff:fe00:3", got.Src.String(), "%s", got)
}

func TestEachNextHopMayHaveASourceOfItsOwn(t *testing.T) {
	r := threeTier()
	r.Ports[1].Addrs = append(r.Ports[1].Addrs, prefix("10.0.2.1/24"))
	r.Routes = []dataplane.Route{{Dest: prefix("10.9.0.0/16"), NextHop: addr("10.0.1.9")}, {Dest: prefix("10.9.0.0/16"), NextHop: addr("10.0.2.9")}}
	paths := dataplane.NewModel(r).Paths(dataplane.Packet{Dst: addr("10.9.0.1")})
	require.Len(t, paths, 2)
	require.Equal(t, "10.0.1.1", paths[0].Src.String())
	require.Equal(t, []netip.Addr{addr("10.0.1.9")}, paths[0].NextHops)
	require.Equal(t, "10.0.2.1", paths[1].Src.String())
	require.Len(t, dataplane.NewModel(r).Paths(dataplane.Packet{Src: addr("10.0.1.1"), Dst: addr("10.9.0.1")}), 1)
}

func TestTheRoutersOwnPacketsLeaveTranslated(t *testing.T) {
	paths := []path{{src: "203.0.113.2", dst: outside, verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: outside, via: "203.0.113.1"}}
	check(t, snatOff(threeTier()), paths)
	check(t, threeTier(), append(paths,
		path{src: "10.0.0.1", dst: outside, verdict: fwd, out: "ext", seenSrc: "203.0.113.2", seenDst: outside, via: "203.0.113.1"}))
}

func TestPortTo(t *testing.T) {
	m := dataplane.NewModel(threeTier())
	for a, want := range map[string]string{"10.0.0.7": "web", "10.9.0.7": "app", outside: "ext", outside6: "ext", "10.0.0.1": "", "203.0.113.5": ""} {
		id, ok := m.PortTo(addr(a))
		require.True(t, ok, a)
		require.Equal(t, want, id, a)
	}
	_, ok := dataplane.NewModel(dataplane.Router{}).PortTo(addr(outside))
	require.False(t, ok)
}

func TestTraceReads(t *testing.T) {
	got := threeTier().Trace(dataplane.Packet{In: "app", Src: addr("10.0.1.7"), Dst: addr("203.0.113.5"), Proto: dataplane.TCP, SrcPort: 40000, DstPort: 80})
	require.Equal(t, strings.TrimSpace(`
tcp 10.0.1.7:40000 → 203.0.113.5:80: forwarded by web to 10.0.0.5, as 203.0.113.2 → 10.0.0.5
  ingress      arrives by port app
  translation  203.0.113.5 is a floating IP of 10.0.0.5
  routing      10.0.0.5 is in 10.0.0.0/24, connected by port web
  translation  hairpin: 10.0.1.7 shows the gateway address 203.0.113.2, so that the answer comes back here
  egress       leaves by port web to 10.0.0.5
`), got.String())

	text, err := json.Marshal(got)
	require.NoError(t, err)
	var back dataplane.Trace
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, got, back)
	require.Contains(t, string(text), `"packet":{"in":"app","src":"10.0.1.7","dst":"203.0.113.5","proto":"tcp","src_port":40000,"dst_port":80}`)
}

// What must hold of every packet through every router.
func TestModelProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genRouter().Draw(t, "router")
		m := dataplane.NewModel(r)
		for _, p := range rapid.SliceOfN(genPacket(r), 50, 100).Draw(t, "packets") {
			for _, got := range m.Paths(p) {
				checkProperties(t, r, m, got)
			}
		}
	})
}

func checkProperties(t *rapid.T, r dataplane.Router, m *dataplane.Model, got dataplane.Trace) {
	p := got.Packet
	require.NotEmpty(t, got.Verdict)
	require.NotEmpty(t, got.Steps)
	if got.Verdict != dataplane.Forwarded {
		require.Empty(t, got.Out)
		require.Empty(t, got.NextHops)
		require.True(t, !got.Answered || got.Verdict == dataplane.Local)
		return
	}
	require.NotEmpty(t, got.NextHops)
	require.False(t, p.In != "" && p.Dst.IsLinkLocalUnicast(), "P18: %s", got)
	reply := got.Reply()
	require.Equal(t, [2]netip.Addr{p.Dst, p.Src}, [2]netip.Addr{reply.Src, reply.Dst}, "the answer comes from where the sender wrote to")

	checkInstance(t, r, got)

	isGateway := func(id string) bool { return r.Gateway != nil && id == r.Gateway.ID }
	inside := p.In != "" && !isGateway(p.In) && !isGateway(got.Out)
	toFIP, fromFixed := netip.Addr{}, netip.Addr{}
	for _, f := range r.FloatingIPs {
		if f.Addr == p.Dst {
			toFIP = f.Fixed
		}
		if f.Fixed == p.Src {
			fromFixed = f.Addr
		}
	}
	if p.Dst.Is6() {
		require.Equal(t, [2]netip.Addr{p.Src, p.Dst}, [2]netip.Addr{got.Src, got.Dst}, "P12: %s", got)
		return
	}
	if leftToCentre(r, p) {
		require.Equal(t, [2]netip.Addr{p.Src, p.Dst}, [2]netip.Addr{got.Src, got.Dst}, "%s", got)
		return
	}
	toPort := p.DstPort
	for _, f := range r.PortForwardings {
		if f.Addr == p.Dst && f.Proto == p.Proto && f.Ports.Contains(p.DstPort) {
			toFIP, toPort = f.Fixed, f.FixedPort(p.DstPort)
		}
	}
	if toFIP.IsValid() {
		require.Equal(t, toFIP, got.Dst, "%s", got)
	} else {
		require.Equal(t, p.Dst, got.Dst, "%s", got)
	}
	require.Equal(t, toPort, got.DstPort, "P23: %s", got)
	switch {
	case isGateway(got.Out) && fromFixed.IsValid():
		require.Equal(t, fromFixed, got.Src, "P5: %s", got)
	case isGateway(got.Out) && r.Gateway.SNAT:
		require.Equal(t, r.Gateway.SNATAddr(), got.Src, "P2: %s", got)
	case isGateway(got.Out) && atAnother(r, p.Dst):
		require.Equal(t, r.Gateway.HairpinAddr(), got.Src, "P7: %s", got)
	case inside && toFIP.IsValid() && r.Gateway.FloatingIPsOnly && !fromFixed.IsValid():
		// P7: the router's connection knows the answer, whoever holds the address.
		require.Equal(t, r.Gateway.Hairpin, got.Src, "%s", got)
	case inside && toFIP.IsValid():
		// P7: the answer goes to an address that the router itself holds, so that it comes back
		// here.
		id, ok := m.PortTo(got.Src)
		require.True(t, ok && id == "", "%s", got)
	default:
		require.Equal(t, p.Src, got.Src, "P1, P4, P6: %s", got)
	}
	if isGateway(p.In) {
		require.False(t, holds(r, p.Src), "P17: %s", got)
	}
	if p.Src.Is4() && r.Gateway.Guarded() && got.Src == p.Src && got.Dst == p.Dst && !isGateway(got.Out) && p.In != "" {
		way, ok := m.PortTo(p.Src)
		require.True(t, !ok || !isGateway(way) || got.OneWay || len(m.Paths(dataplane.Packet{Dst: p.Src})) > 1, "P19: %s", got)
	}
	if isGateway(p.In) && r.Gateway.Guarded() {
		require.True(t, toFIP.IsValid(), "P9: %s", got)
	}
	if isGateway(got.Out) && r.Gateway.Guarded() {
		require.False(t, holds(r, got.Src), "a private address is shown outside: %s", got)
	}
}

// checkInstance checks what must hold of packets that an instance of a distributed router forwards.
func checkInstance(t *rapid.T, r dataplane.Router, got dataplane.Trace) {
	p, tr := got.Packet, r.Transit
	if tr == nil {
		return
	}
	edge := len(tr.Centre) > 0
	for _, port := range r.Ports {
		if port.ID == got.Out && port.Anycast != nil && !got.NextHops[0].IsLinkLocalUnicast() {
			require.Subset(t, port.Anycast.Neighbours, got.NextHops, "only neighbours are on the link: %s", got)
		}
	}
	if got.Out == tr.ID {
		require.False(t, edge && p.In == tr.ID, "nothing goes round between instances: %s", got)
		for _, hop := range got.NextHops {
			require.True(t, hop.IsLinkLocalUnicast(), "on the transit are instances alone: %s", got)
		}
	}
	if leftToCentre(r, p) {
		require.Equal(t, []netip.Addr{tr.Centre[0]}, got.NextHops, "%s", got)
	}
	g := r.Gateway
	if g == nil || p.In != g.ID && got.Out != g.ID {
		return
	}
	if edge {
		require.True(t, p.Dst.Is4(), "IPv6 passes the centre: %s", got)
	}
	if edge && got.Out == g.ID {
		require.True(t, slices.ContainsFunc(r.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Addr == got.Src }), "%s", got)
	}
	if !edge && got.Out == g.ID && p.Dst.Is4() {
		require.NotContains(t, tr.Elsewhere, p.Src, "its floating IP is at an edge: %s", got)
	}
}

// leftToCentre says that an edge leaves the translation of a packet's source to the centre.
func leftToCentre(r dataplane.Router, p dataplane.Packet) bool {
	tr := r.Transit
	if tr == nil || len(tr.Centre) == 0 || p.In == "" || p.In == tr.ID || r.Gateway != nil && p.In == r.Gateway.ID || !slices.Contains(tr.Elsewhere, p.Src) {
		return false
	}
	return slices.ContainsFunc(r.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Addr == p.Dst }) || atAnother(r, p.Dst)
}

// atAnother says that another instance has an external address of the router.
func atAnother(r dataplane.Router, a netip.Addr) bool {
	return r.Transit != nil && slices.ContainsFunc(r.Transit.External, func(x dataplane.Route) bool { return x.Dest.IsSingleIP() && x.Dest.Addr() == a })
}

// holds says that an address is in an internal subnet, of this instance or of another.
func holds(r dataplane.Router, a netip.Addr) bool {
	if r.Transit != nil && slices.ContainsFunc(r.Transit.Routes, func(r dataplane.Route) bool { return r.Dest.Contains(a) }) {
		return true
	}
	for _, port := range r.Ports {
		for _, p := range port.Addrs {
			if p.Contains(a) {
				return true
			}
		}
	}
	return false
}

func TestModelMayBeUsedConcurrently(t *testing.T) {
	m := dataplane.NewModel(threeTier())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				_ = m.Trace(dataplane.Packet{In: "web", Src: addr("10.0.0.7"), Dst: addr(outside)}).String()
			}
		})
	}
	wg.Wait()
}

func BenchmarkTrace(b *testing.B) {
	m := dataplane.NewModel(manyFIPs(10_000))
	p := dataplane.Packet{In: "ext", Src: addr(outside), Dst: addr("198.18.1.1"), Proto: dataplane.TCP}
	for b.Loop() {
		m.Trace(p)
	}
}
