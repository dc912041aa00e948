package namespace

import (
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/monitor"
	"github.com/l3kit/l3kit/internal/netns"
)

// crossed are routers of which each is valid, and has an IPv6 route that leads away from the next
// hop of a route of another one.
func crossed() []dataplane.Router {
	legs := func(routes ...[2]string) dataplane.Router {
		r := threeLegs()
		r.Ports[1].Addrs = prefixes("10.0.2.1/24", "fd00:2::1/64")
		for _, x := range routes {
			r.Routes = append(r.Routes, dataplane.Route{Dest: netip.MustParsePrefix(x[0]), NextHop: netip.MustParseAddr(x[1])})
		}
		return r
	}
	return []dataplane.Router{
		legs([2]string{"fd00:1::f0/128", "fd00:2::9"}),
		legs([2]string{"fd00:9::/64", "fd00:1::f0"}),
		legs([2]string{"fd00:9::/64", "fd00:1::f0"}, [2]string{"fd00:2::f0/124", "fd00:1::9"}),
		legs([2]string{"fd00:9::/64", "fd00:2::f0"}, [2]string{"fd00:1::f0/124", "fd00:2::9"}),
		legs([2]string{"fd00:2::f0/124", "fd00:1::f1"}),
		legs([2]string{"fd00:1::f0/124", "fd00:2::f1"}),
	}
}

func TestARouteMakesWayForTheNextHopOfAnother(t *testing.T) {
	for i, from := range crossed() {
		for j, to := range crossed() {
			b := newBench(t)
			require.NoError(t, to.Validate())
			b.apply(t, from)
			b.apply(t, to)
			require.Equal(t, want(to), b.observed(t, "r1"), "from %d to %d", i, j)
		}
	}
}

// What Validate refuses is what the kernel refuses, and nothing else.
func TestTheKernelRefusesWhatValidateRefuses(t *testing.T) {
	r := crossed()[1]
	r.Routes = append(r.Routes, dataplane.Route{Dest: netip.MustParsePrefix("fd00:1::f0/128"), NextHop: netip.MustParseAddr("fd00:2::9")})
	var faults dataplane.Faults
	require.ErrorAs(t, r.Validate(), &faults)
	require.Equal(t, "Routes[6].Dest", faults[0].Path)

	b := newBench(t)
	b.apply(t, crossed()[0])
	before := b.observed(t, "r1")
	l := &long{site: b.registry.all["r1"].site, cfg: b.cfg, router: r}
	require.NoError(t, l.plan(t.Context()))
	require.ErrorIs(t, run(t.Context(), l.actions), unix.EINVAL)
	require.Equal(t, before, b.observed(t, "r1"), "what had been done is taken back")
}

func TestARouteThatAnothersRouteForbidsIsTakenBack(t *testing.T) {
	b := newBench(t)
	before := crossed()[4]
	b.apply(t, before)
	b.in(t, "r1", func(h *netlink.Handle) {
		app, err := h.LinkByName("qr-app")
		require.NoError(t, err)
		require.NoError(t, h.RouteAdd(&netlink.Route{Dst: ipnet("fd00:1::f0/128"), LinkIndex: app.Attrs().Index, Protocol: 186}), "a BGP daemon's")
	})
	_, err := b.Apply(t.Context(), crossed()[1])
	require.ErrorIs(t, err, unix.EINVAL)
	require.ErrorContains(t, err, "add route fd00:9::/64 via fd00:1::f0 dev qr-web")
	require.NotContains(t, err.Error(), "take back")
	require.Equal(t, want(before), b.observed(t, "r1"))
}

// onLink has its default next hop outside of its subnets.
func onLink(gateway string) dataplane.Router {
	r := threeLegs()
	r.Gateway.SNAT = false
	r.Gateway.Addrs = prefixes(gateway, "2001:db8::10/64")
	return r
}

func TestTheRoutersOwnPacketsNeverHaveAFloatingIP(t *testing.T) {
	b := newBench(t)
	for _, gateway := range []string{"203.0.113.10/24", "203.0.113.11/24", "192.0.2.10/32", "203.0.113.10/24"} {
		r := onLink(gateway)
		b.apply(t, r)
		require.Equal(t, want(r), b.observed(t, "r1"))
		b.in(t, "r1", func(h *netlink.Handle) {
			for _, dst := range []string{"192.0.2.99", "198.51.100.1"} {
				routes, err := h.RouteGet(netip.MustParseAddr(dst).AsSlice())
				require.NoError(t, err)
				require.Equal(t, netip.MustParsePrefix(gateway).Addr(), addr(routes[0].Src), "towards %s", dst)
			}
		})
	}
	resized := onLink("203.0.113.10/32")
	require.NotContains(t, b.apply(t, resized).String(), "~ route", "the address stays")
	require.Equal(t, want(resized), b.observed(t, "r1"))
	none := onLink("203.0.113.10/24")
	none.Gateway.NextHops = nil
	b.apply(t, none)
	require.Equal(t, want(none), b.observed(t, "r1"))
}

func TestADefaultRouteStaysWhileItsSourceChanges(t *testing.T) {
	b := newBench(t)
	b.apply(t, onLink("203.0.113.10/24"))
	f, err := netns.Open(filepath.Join(b.dir, dataplane.NamespaceName("r1")))
	require.NoError(t, err)
	defer f.Close()
	m, err := monitor.Open(int(f.Fd()), unix.RTNLGRP_IPV4_ROUTE)
	require.NoError(t, err)
	defer m.Close()

	b.apply(t, onLink("203.0.113.11/24"))
	replaced := false
	require.NoError(t, m.Drain(func(h unix.NlMsghdr, payload []byte) {
		msg := nl.DeserializeRtMsg(payload)
		if msg.Table == unix.RT_TABLE_MAIN && msg.Dst_len == 0 {
			require.EqualValues(t, unix.RTM_NEWROUTE, h.Type)
			replaced = true
		}
	}))
	require.True(t, replaced)
}
