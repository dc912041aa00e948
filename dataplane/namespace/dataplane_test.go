package namespace

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

func TestApplyMakesWhatIsWanted(t *testing.T) {
	b := newBench(t)
	p := b.apply(t, threeLegs())
	t.Log(p)
	require.Equal(t, want(threeLegs()), b.observed(t, "r1"))

	p = b.apply(t, threeLegs())
	require.Empty(t, p.Steps, "nothing changed")
	b.reopen(t)
	p = b.apply(t, threeLegs())
	// the firewall of this test forgets with its process; everything else must be found as it is
	require.Len(t, p.Steps, 1)
	require.Equal(t, dataplane.KindRules, p.Steps[0].Kind)
}

func TestPlanOfANewRouterIsWhatApplyDoes(t *testing.T) {
	b := newBench(t)
	plan, err := b.Plan(t.Context(), threeLegs())
	require.NoError(t, err)
	routers, err := b.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, routers, "Plan touches nothing")
	require.Equal(t, plan, b.apply(t, threeLegs()))
	routers, err = b.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"r1"}, routers)
}

// variants are states any of which must lead to any other.
func variants() []dataplane.Router {
	edit := func(fns ...func(*dataplane.Router)) dataplane.Router {
		r := threeLegs()
		for _, fn := range fns {
			fn(&r)
		}
		return r
	}
	noGateway := func(r *dataplane.Router) {
		r.Gateway, r.FloatingIPs = nil, nil
	}
	return []dataplane.Router{
		threeLegs(),
		{ID: "r1"},
		edit(noGateway),
		edit(func(r *dataplane.Router) { r.Routes = r.Routes[:1] }),
		edit(func(r *dataplane.Router) { r.Routes[1].NextHop = netip.MustParseAddr("10.0.2.7") }),
		edit(func(r *dataplane.Router) { r.Routes[3].NextHop = netip.MustParseAddr("fd00:1::7") }),
		edit(func(r *dataplane.Router) { r.Routes = r.Routes[:4] }),
		edit(func(r *dataplane.Router) { r.Ports, r.Routes = r.Ports[:1], nil }),
		edit(func(r *dataplane.Router) { r.Ports[0].MTU, r.Ports[0].MAC = 1400, mac(9) }),
		edit(func(r *dataplane.Router) { r.Ports[1].Addrs = prefixes("10.0.2.254/24") }),
		edit(func(r *dataplane.Router) { r.Ports[1].Network.ID = "net-other" }),
		edit(func(r *dataplane.Router) { r.Ports[0].Network.ID, r.Ports[1].Network.ID = "net-else", "net-other" }), // both with hops of one route
		edit(func(r *dataplane.Router) { r.Gateway.ID, r.Gateway.MAC = "gw2", mac(7) }),
		edit(func(r *dataplane.Router) {
			r.Gateway.NextHops = []netip.Addr{netip.MustParseAddr("203.0.113.1")}
			r.Gateway.Addrs = prefixes("203.0.113.11/24")
		}),
		edit(func(r *dataplane.Router) {
			for i := range 300 {
				r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{
					ID: fmt.Sprint("n", i), Addr: netip.AddrFrom4([4]byte{203, 0, 112, byte(i)}).Next(), Fixed: netip.AddrFrom4([4]byte{10, 0, 1, byte(i%200 + 20)}),
				})
				if i == 150 {
					break
				}
			}
		}),
		edit(func(r *dataplane.Router) { r.FloatingIPs = nil }),

		// The gateway's own address looks like a floating IP's; the device must not be without an
		// address in between, or its routes are lost.
		edit(func(r *dataplane.Router) { r.Gateway.Addrs = prefixes("203.0.113.10/32") }),
		edit(func(r *dataplane.Router) { r.Gateway.Addrs = prefixes("192.0.2.10/32", "2001:db8::10/64") }),
		// The next hop's address becomes the gateway's own.
		edit(func(r *dataplane.Router) {
			r.Gateway.Addrs, r.Gateway.NextHops = prefixes("198.51.100.1/24"), []netip.Addr{netip.MustParseAddr("198.51.100.254")}
			r.FloatingIPs = nil
		}),
		// When the gateway goes, one hop of an IPv6 route goes, and an IPv4 route whole.
		edit(func(r *dataplane.Router) {
			for _, hop := range []string{"fd00:1::7", "2001:db8::7", "10.0.1.7", "203.0.113.7"} {
				dest := netip.MustParsePrefix("fd00:7::/64")
				if hop := netip.MustParseAddr(hop); hop.Is4() {
					dest = netip.MustParsePrefix("10.7.0.0/16")
				}
				r.Routes = append(r.Routes, dataplane.Route{Dest: dest, NextHop: netip.MustParseAddr(hop)})
			}
		}),
		// The way to a next hop's address is not the way to the next hop.
		edit(func(r *dataplane.Router) {
			r.Routes = append(r.Routes,
				dataplane.Route{Dest: netip.MustParsePrefix("10.0.2.9/32"), NextHop: netip.MustParseAddr("10.0.1.8")},
				dataplane.Route{Dest: netip.MustParsePrefix("fd00:1::8/128"), NextHop: netip.MustParseAddr("fd00:1::7")})
		}),
	}
}

func TestAnyStateLeadsToAnyOther(t *testing.T) {
	b := newBench(t)
	states := variants()
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 8 * len(states) {
		r := states[i%len(states)]
		if i >= len(states) {
			r = states[rng.IntN(len(states))]
		}
		require.NoError(t, r.Validate())
		plan, err := b.Plan(t.Context(), r)
		require.NoError(t, err)
		done := b.apply(t, r)
		require.Equal(t, plan, done, "seed %d, step %d", seed, i)
		require.Equal(t, want(r), b.observed(t, "r1"), "seed %d, step %d:\n%s", seed, i, done)
		require.Empty(t, b.apply(t, r).Steps, "seed %d, step %d", seed, i)
	}
}

func TestFailureTakesBackWhatWasDone(t *testing.T) {
	boom := errors.New("boom")
	for i, r := range variants() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			b := newBench(t)
			b.apply(t, threeLegs())
			before := b.observed(t, "r1")
			b.firewall.fail = boom
			p, err := b.Apply(t.Context(), r)
			if err == nil { // the firewall had nothing to do
				require.Equal(t, want(r), b.observed(t, "r1"))
				return
			}
			require.ErrorIs(t, err, boom)
			require.NotEmpty(t, p.Steps)
			require.Equal(t, before, b.observed(t, "r1"))
			b.firewall.fail = nil
			b.apply(t, r)
			require.Equal(t, want(r), b.observed(t, "r1"))
		})
	}
}

// Wiring that waits for somebody is to wait once.
func TestPortsArePluggedInOneGo(t *testing.T) {
	b := newBench(t)
	b.apply(t, threeLegs())
	require.Equal(t, 1, b.wiring.plugs)
	r := threeLegs()
	r.Ports[0].Network.ID, r.Ports[1].Network.ID, r.Gateway.Network.ID, r.Gateway.MTU = "net-x", "net-y", "net-z", 1400
	b.apply(t, r)
	require.Equal(t, 2, b.wiring.plugs)
	b.apply(t, r)
	require.Equal(t, 2, b.wiring.plugs)
}

func TestFailedFirstApplyLeavesNothing(t *testing.T) {
	b := newBench(t)
	boom := errors.New("boom")
	b.wiring.fail = boom
	_, err := b.Apply(t.Context(), threeLegs())
	require.ErrorIs(t, err, boom)
	entries, err := os.ReadDir(b.dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestWhatOthersBreakIsNamedAndMended(t *testing.T) {
	dev := dataplane.GatewayDevice("gw")
	damages := map[string]struct {
		do    func(h *netlink.Handle, l netlink.Link) error
		named string
	}{
		"link down":    {func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetDown(l) }, "~ link qg-gw: up, was down"},
		"link deleted": {func(h *netlink.Handle, l netlink.Link) error { return h.LinkDel(l) }, "+ wiring qg-gw"},
		"mtu":          {func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, 1300) }, "~ link qg-gw: MTU 1500, was 1300"},
		"mac": {func(h *netlink.Handle, l netlink.Link) error {
			return h.LinkSetHardwareAddr(l, net.HardwareAddr{2, 0, 0, 0, 0, 9})
		}, "~ link qg-gw: MAC"},
		"address gone":  {func(h *netlink.Handle, l netlink.Link) error { return h.AddrDel(l, mustAddr("203.0.113.20/32")) }, "+ address qg-gw 203.0.113.20/32"},
		"v6 gone":       {func(h *netlink.Handle, l netlink.Link) error { return h.AddrDel(l, mustAddr("2001:db8::10/64")) }, "+ address qg-gw 2001:db8::10/64"},
		"address added": {func(h *netlink.Handle, l netlink.Link) error { return h.AddrAdd(l, mustAddr("203.0.113.99/32")) }, "- address qg-gw 203.0.113.99/32"},
		"route gone": {func(h *netlink.Handle, l netlink.Link) error {
			return h.RouteDel(&netlink.Route{Dst: ipnet("10.9.0.0/16")})
		}, "+ route 10.9.0.0/16"},
		"route added": {func(h *netlink.Handle, l netlink.Link) error {
			return h.RouteAdd(&netlink.Route{Dst: ipnet("10.7.0.0/16"), LinkIndex: l.Attrs().Index})
		}, "- route 10.7.0.0/16"},
		"default broken": {func(h *netlink.Handle, l netlink.Link) error {
			return h.RouteDel(&netlink.Route{Dst: ipnet("0.0.0.0/0")})
		}, "+ route default (IPv4)"},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.apply(t, threeLegs())
			require.Empty(t, b.apply(t, threeLegs()).Steps)
			b.in(t, "r1", func(h *netlink.Handle) {
				l, err := h.LinkByName(dev)
				require.NoError(t, err)
				require.NoError(t, damage.do(h, l))
			})
			p, err := b.Plan(t.Context(), threeLegs())
			require.NoError(t, err)
			require.Contains(t, p.String(), damage.named)
			b.apply(t, threeLegs())
			require.Equal(t, want(threeLegs()), b.observed(t, "r1"))
			require.Empty(t, b.apply(t, threeLegs()).Steps)
		})
	}
}

func TestASysctlThatOthersChangeIsNamedAndMended(t *testing.T) {
	for _, c := range sysctls {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.apply(t, threeLegs())
			require.Empty(t, b.apply(t, threeLegs()).Steps)
			f, err := netns.Open(filepath.Join(b.dir, dataplane.NamespaceName("r1")))
			require.NoError(t, err)
			defer f.Close()
			if _, err := os.Stat(c.path()); optional(c) && os.IsNotExist(err) {
				return // on this kernel nobody can change it
			}
			other := map[string]string{"0": "1", "1": "0", "2": "0"}[c.value]
			require.NoError(t, netns.Do(int(f.Fd()), func() error { return os.WriteFile(c.path(), []byte(other), 0) }))
			r := threeLegs()
			if c == generateMode {
				require.Empty(t, b.apply(t, r).Steps, "it is of no importance to the devices that are there")
				r.Ports = append(r.Ports, dataplane.Port{ID: "db", Network: dataplane.Network{ID: "net-db"}, MAC: mac(4), MTU: 1500, Addrs: prefixes("10.0.3.1/24")})
			}
			p := b.apply(t, r)
			require.Contains(t, p.String(), "~ sysctl "+c.dotted()+": "+c.value+", was "+other)
			require.NoError(t, netns.Do(int(f.Fd()), func() error {
				differ, err := readSysctls(sysctls, none)
				require.Empty(t, differ)
				return err
			}))
		})
	}
}

func TestWhatIsNotOursStays(t *testing.T) {
	b := newBench(t)
	b.apply(t, threeLegs())
	b.in(t, "r1", func(h *netlink.Handle) {
		require.NoError(t, h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "mine0"}}))
		l, err := h.LinkByName("mine0")
		require.NoError(t, err)
		require.NoError(t, h.LinkSetUp(l))
		require.NoError(t, h.AddrAdd(l, mustAddr("192.0.2.1/24")))
		gw, err := h.LinkByName("qg-gw")
		require.NoError(t, err)
		require.NoError(t, h.RouteAdd(&netlink.Route{Dst: ipnet("10.6.0.0/16"), LinkIndex: gw.Attrs().Index, Protocol: 186}), "a BGP daemon's")
	})
	require.Empty(t, b.apply(t, threeLegs()).Steps)
}

func TestAForeignNamespaceIsNotTouched(t *testing.T) {
	b := newBench(t)
	f, err := netns.Create(b.dir, dataplane.NamespaceName("r1"), "", nil)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	id, err := netns.Identify(filepath.Join(b.dir, dataplane.NamespaceName("r1")))
	require.NoError(t, err)

	_, err = b.Apply(t.Context(), threeLegs())
	require.ErrorIs(t, err, dataplane.ErrForeign)
	_, err = b.Plan(t.Context(), threeLegs())
	require.ErrorIs(t, err, dataplane.ErrForeign)
	routers, err := b.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, routers)
	require.NoError(t, b.Delete(t.Context(), "r1"))
	again, err := netns.Identify(filepath.Join(b.dir, dataplane.NamespaceName("r1")))
	require.NoError(t, err)
	require.Equal(t, id, again)
	require.NoError(t, netns.Remove(b.dir, dataplane.NamespaceName("r1")))
}

func TestANameThatADyingProcessLeftIsFoundAndUsed(t *testing.T) {
	b := newBench(t)
	require.NoError(t, os.MkdirAll(b.dir, 0o755))
	path := filepath.Join(b.dir, dataplane.NamespaceName("r1"))
	require.NoError(t, os.WriteFile(path, []byte(mark("r1")), 0o444))
	routers, err := b.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"r1"}, routers)
	require.NoError(t, b.Delete(t.Context(), "r1"))
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, []byte(mark("r1")), 0o444))
	b.apply(t, threeLegs())
	require.Equal(t, want(threeLegs()), b.observed(t, "r1"))
}

func TestANamespaceDeletedByHandIsMadeAnew(t *testing.T) {
	b := newBench(t)
	b.apply(t, threeLegs())
	require.NoError(t, netns.Remove(b.dir, dataplane.NamespaceName("r1")))
	b.apply(t, threeLegs())
	require.Equal(t, want(threeLegs()), b.observed(t, "r1"))
}

func TestTheShortWayTellsTheFirewallTheDifference(t *testing.T) {
	b := newBench(t)
	r := threeLegs()
	b.apply(t, r)
	r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{
		ID: "f2", Addr: netip.MustParseAddr("203.0.113.21"), Fixed: netip.MustParseAddr("10.0.1.6"),
	})
	b.apply(t, r)
	last := b.firewall.changes[len(b.firewall.changes)-1]
	require.NotNil(t, last.Since, "the first difference after a new router takes the short way")
	require.Equal(t, &Delta{Added: r.FloatingIPs[1:]}, last.Since)
	require.Equal(t, want(r), b.observed(t, "r1"))

	r.FloatingIPs[1].ID = "f1" // used already
	_, err := b.Apply(t.Context(), r)
	require.ErrorIs(t, err, dataplane.ErrInvalid)
}

func mustAddr(s string) *netlink.Addr {
	a, err := netlink.ParseAddr(s)
	if err != nil {
		panic(err)
	}
	return a
}

func ipnet(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

// Ready asks wiring and the firewall, and needs no router.
func TestReady(t *testing.T) {
	b := newBench(t)
	require.NoError(t, b.Ready(t.Context()))
	require.NoDirExists(t, b.dir)
	b.firewall.lacks = dataplane.ErrUnsupported
	require.ErrorIs(t, b.Ready(t.Context()), dataplane.ErrUnsupported)
	b.firewall.lacks = nil
	b.Dataplane.cfg.Wiring = deafWiring{b.wiring}
	require.ErrorIs(t, b.Ready(t.Context()), dataplane.ErrDaemon)
}

// deafWiring waits for a daemon that has gone.
type deafWiring struct{ *looseWiring }

func (deafWiring) Check(context.Context) error { return dataplane.ErrDaemon }
