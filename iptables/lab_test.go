package iptables_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
)

// town is a machine with two hosts in a subnet and one outside, and room for a router between them.
type town struct {
	lab            *lab.Lab
	web, db, world *lab.Host
}

const port = 7

// An answer is waited for so long where one is expected, and so long where there may be none.
const (
	long  = 10 * time.Second
	short = 700 * time.Millisecond
)

func newTown(t *testing.T) *town {
	t.Helper()
	needs.Root(t)
	l, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	wiring, err := bridge.New(bridge.Config{HostNS: l.HostNS})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, wiring.Close()) })
	host := func(name, network, addr string, routes ...dataplane.Route) *lab.Host {
		h, err := l.Attach(t.Context(), wiring, lab.Spec{
			Name:   name,
			Ports:  []dataplane.Port{{Network: dataplane.Network{ID: network}, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}, MTU: 1500}},
			Routes: routes,
		})
		require.NoError(t, err)
		s, err := h.Serve(port)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		return h
	}
	by := func(dest, hop string) dataplane.Route {
		return dataplane.Route{Dest: netip.MustParsePrefix(dest), NextHop: netip.MustParseAddr(hop)}
	}
	return &town{
		lab:   l,
		web:   host("web", "web", "10.0.1.10/24", by("0.0.0.0/0", "10.0.1.1")),
		db:    host("db", "web", "10.0.1.20/24", by("0.0.0.0/0", "10.0.1.1")),
		world: host("world", "public", "203.0.113.1/24", by("10.0.0.0/8", "203.0.113.2")),
	}
}

// router is the one for the town, with SNAT, and a floating IP for each of the hosts named.
func router(fixed ...string) dataplane.Router {
	p := func(id, network, addr string, mac byte) dataplane.Port {
		return dataplane.Port{
			ID: id, Network: dataplane.Network{ID: network}, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, mac},
			Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}, MTU: 1500,
		}
	}
	r := dataplane.Router{
		ID:    "r",
		Ports: []dataplane.Port{p("web", "web", "10.0.1.1/24", 1)},
		Gateway: &dataplane.Gateway{
			Port: p("ext", "public", "203.0.113.2/24", 2), NextHops: []netip.Addr{netip.MustParseAddr("203.0.113.1")}, SNAT: true,
		},
	}
	for _, f := range fixed {
		a := netip.MustParseAddr(f)
		b := a.As4()
		r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: f, Fixed: a, Addr: netip.AddrFrom4([4]byte{203, 0, 113, 100 + b[3]})})
	}
	return r
}

func (w *town) open(t *testing.T, f namespace.Firewall, replaces ...namespace.Firewall) *namespace.Dataplane {
	t.Helper()
	wiring, err := bridge.New(bridge.Config{HostNS: w.lab.HostNS})
	require.NoError(t, err)
	dp, err := namespace.New(namespace.Config{Wiring: wiring, Firewall: f, Replaces: replaces, HostNS: w.lab.HostNS, Dir: w.lab.Dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dp.Close()) })
	return dp
}

func firewalls() map[string]namespace.Firewall {
	return map[string]namespace.Firewall{
		"nftables": nftables.Firewall{},
		"nft":      &iptables.Firewall{Variant: iptables.NFT},
		"legacy":   &iptables.Firewall{Variant: iptables.Legacy},
	}
}

// seen is the source that an echo service at to sees of a host, as far as the protocol tells, and
// whether an answer came.
func seen(t *testing.T, h *lab.Host, proto dataplane.Proto, to string, patience time.Duration) (src netip.Addr, answered bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	at := netip.AddrPortFrom(netip.MustParseAddr(to), port)
	if proto == dataplane.ICMP {
		at = netip.AddrPortFrom(at.Addr(), 0)
	}
	c, err := h.Dial(ctx, proto, netip.AddrPort{}, at)
	if err != nil {
		return src, false
	}
	defer c.Close()
	s, err := c.Exchange(ctx, 100)
	return s.Src.Addr(), err == nil
}

func requireSeen(t *testing.T, want string, h *lab.Host, to string) {
	t.Helper()
	src, answered := seen(t, h, dataplane.UDP, to, long)
	require.True(t, answered, "%s from %s", to, h.Name)
	require.Equal(t, netip.MustParseAddr(want), src)
}

func requireAnswer(t *testing.T, proto dataplane.Proto, h *lab.Host, to string) {
	t.Helper()
	_, answered := seen(t, h, proto, to, long)
	require.True(t, answered, "%s to %s from %s", proto, to, h.Name)
}

// The same conversations give the same counts by every firewall: from outside, from inside, between
// floating IPs, with one's own, and none between fixed addresses; refused ones too, whose ICMP
// errors count.
func TestCountersAreThoseOfNftables(t *testing.T) {
	type counts map[netip.Addr]dataplane.Counters
	echoes, datagrams := map[string]counts{}, map[string]counts{}
	for name, f := range firewalls() {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			dp := w.open(t, f)
			r := router("10.0.1.10", "10.0.1.20")
			_, err := dp.Apply(t.Context(), r)
			require.NoError(t, err)
			requireAnswer(t, dataplane.ICMP, w.world, "203.0.113.2") // so that no packet is lost later, and sent again
			requireAnswer(t, dataplane.ICMP, w.web, "10.0.1.1")
			requireAnswer(t, dataplane.ICMP, w.db, "10.0.1.1")
			talk := func(proto dataplane.Proto) counts {
				for range 3 {
					requireAnswer(t, proto, w.world, "203.0.113.110") // from outside
					requireAnswer(t, proto, w.web, "203.0.113.1")     // to the outside
					requireAnswer(t, proto, w.web, "203.0.113.120")   // to another's floating IP
					requireAnswer(t, proto, w.db, "203.0.113.120")    // to its own floating IP
					requireAnswer(t, proto, w.db, "10.0.1.10")        // beside the router
				}
				got, err := dp.Counters(t.Context(), r.ID)
				require.NoError(t, err)
				return got
			}
			echoes[name] = talk(dataplane.ICMP)
			talk(dataplane.UDP)
			refused := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.110"), 9)
			c, err := w.world.Dial(t.Context(), dataplane.UDP, netip.AddrPort{}, refused)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			_, err = c.Exchange(ctx, 10)
			cancel()
			require.Error(t, err)
			require.NoError(t, c.Close())

			got, err := dp.Counters(t.Context(), r.ID)
			require.NoError(t, err)
			for _, addr := range []string{"203.0.113.110", "203.0.113.120"} {
				c := got[netip.MustParseAddr(addr)]
				require.NotZero(t, c.In.Packets*c.In.Bytes*c.Out.Packets*c.Out.Bytes, "%s: %+v", addr, c)
			}

			datagrams[name] = counts{}
			for addr, c := range got { // of the datagrams' lengths some are random
				c.In.Bytes, c.Out.Bytes = 0, 0
				datagrams[name][addr] = c
			}

			// A floating IP that moves keeps its counts; one that takes over its fixed address
			// begins at zero.
			moved := router("10.0.1.10", "10.0.1.20")
			moved.FloatingIPs[0].Fixed = netip.MustParseAddr("10.0.1.30")
			moved.FloatingIPs = append(moved.FloatingIPs, dataplane.FloatingIP{
				ID: "new", Addr: netip.MustParseAddr("203.0.113.200"), Fixed: netip.MustParseAddr("10.0.1.10"),
			})
			_, err = dp.Apply(t.Context(), moved)
			require.NoError(t, err)
			after, err := dp.Counters(t.Context(), r.ID)
			require.NoError(t, err)
			require.Equal(t, got[netip.MustParseAddr("203.0.113.110")], after[netip.MustParseAddr("203.0.113.110")])
			require.Zero(t, after[netip.MustParseAddr("203.0.113.200")])
		})
	}
	for _, name := range []string{"nft", "legacy"} {
		require.Equal(t, echoes["nftables"], echoes[name])
		require.Equal(t, datagrams["nftables"], datagrams[name])
	}
}

// The tool dies after any table, and cannot be started again to take back what it had done. Then
// each packet is treated as by the old router, or as by the new one, or dropped.
func TestEveryStateOnTheWayIsSafe(t *testing.T) {
	on := router("10.0.1.10")
	off := router("10.0.1.10")
	off.Gateway.SNAT = false
	without := router("10.0.1.10")
	without.FloatingIPs = nil
	talks := []struct {
		name string
		from func(*town) *lab.Host
		in   string
		src  string
		to   string
	}{
		{"out", func(w *town) *lab.Host { return w.db }, "web", "10.0.1.20", "203.0.113.1"},
		{"out by a floating IP", func(w *town) *lab.Host { return w.web }, "web", "10.0.1.10", "203.0.113.1"},
		{"in", func(w *town) *lab.Host { return w.world }, "ext", "203.0.113.1", "10.0.1.20"},
		{"hairpin", func(w *town) *lab.Host { return w.db }, "web", "10.0.1.20", "203.0.113.110"},
	}
	for variant, f := range firewalls() {
		if variant == "nftables" {
			continue
		}
		w := newTown(t)
		dp := w.open(t, f)
		for change, c := range map[string][2]dataplane.Router{"on to off": {on, off}, "off to on": {off, on}, "floating IP more": {without, on}} {
			for tables := range 4 {
				t.Run(variant+" "+change+" "+string(rune('0'+tables)), func(t *testing.T) {
					_, err := dp.Apply(t.Context(), c[0])
					require.NoError(t, err)
					ns, err := netns.Open(filepath.Join(w.lab.Dir, dataplane.NamespaceName("r")))
					require.NoError(t, err)
					defer ns.Close()
					rules, err := (&iptables.Firewall{Variant: iptables.Variant(variant)}).Open(namespace.NS{Router: "r", FD: int(ns.Fd())})
					require.NoError(t, err)
					defer rules.Close()
					iptables.CutAfter(t, iptables.Variant(variant), tables)
					_, err = rules.Apply(t.Context(), namespace.Change{Want: c[1]})
					require.ErrorContains(t, err, "cut")
					for _, talk := range talks {
						got, _ := seen(t, talk.from(w), dataplane.UDP, talk.to, short)
						allowed := []netip.Addr{{}}
						for _, r := range c {
							trace := r.Trace(dataplane.Packet{
								In: talk.in, Proto: dataplane.UDP,
								Src: netip.MustParseAddr(talk.src), SrcPort: 1000,
								Dst: netip.MustParseAddr(talk.to), DstPort: port,
							})
							if trace.Verdict == dataplane.Forwarded {
								allowed = append(allowed, trace.Src)
							}
						}
						require.Contains(t, allowed, got, "%s: not as the old router, nor as the new one", talk.name)
					}
				})
			}
		}
	}
}

// From every firewall to every other, while datagrams flow by SNAT, to a floating IP and by a
// hairpin: none is lost.
func TestTakeOver(t *testing.T) {
	for from, old := range firewalls() {
		for to, f := range firewalls() {
			if from == to {
				continue
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				w := newTown(t)
				r := router("10.0.1.10")
				_, err := w.open(t, old).Apply(t.Context(), r)
				require.NoError(t, err)
				var streams []*lab.Stream
				for _, talk := range []struct {
					h  *lab.Host
					to string
				}{{w.db, "203.0.113.1"}, {w.world, "203.0.113.110"}, {w.db, "203.0.113.110"}} {
					s, err := talk.h.Stream(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(netip.MustParseAddr(talk.to), port), 2*time.Millisecond)
					require.NoError(t, err)
					streams = append(streams, s)
				}
				dp := w.open(t, f, nftables.Firewall{})
				if to == "nftables" {
					dp = w.open(t, f, &iptables.Firewall{})
				}
				_, err = dp.Apply(t.Context(), r)
				require.NoError(t, err)
				plan, err := dp.Plan(t.Context(), r)
				require.NoError(t, err)
				require.Empty(t, plan.Steps)
				for _, s := range streams {
					require.NoError(t, s.Pause(t.Context(), 20))
					flow := s.Stop(t.Context())
					require.Zero(t, flow.Lost, "%v", flow)
				}
				requireSeen(t, "203.0.113.2", w.db, "203.0.113.1")
				requireSeen(t, "203.0.113.1", w.world, "203.0.113.110")
			})
		}
	}
}

// What an earlier version wrote, which testdata/earlier has, is brought up to date by a process
// that starts over it, while datagrams flow: none is lost, and floating IPs go on counting.
func TestUpgrade(t *testing.T) {
	for name, f := range firewalls() {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			r := router("10.0.1.10")
			_, err := w.open(t, f).Apply(t.Context(), r)
			require.NoError(t, err)
			w.downgrade(t, name)
			var streams []*lab.Stream
			for _, talk := range []struct {
				h  *lab.Host
				to string
			}{{w.db, "203.0.113.1"}, {w.web, "203.0.113.1"}, {w.world, "203.0.113.110"}, {w.db, "203.0.113.110"}} {
				s, err := talk.h.Stream(t.Context(), netip.AddrPort{}, netip.AddrPortFrom(netip.MustParseAddr(talk.to), port), 2*time.Millisecond)
				require.NoError(t, err)
				require.NoError(t, s.Pause(t.Context(), 5))
				streams = append(streams, s)
			}
			dp := w.open(t, f)
			before, err := dp.Counters(t.Context(), r.ID)
			require.NoError(t, err)
			plan, err := dp.Apply(t.Context(), r)
			require.NoError(t, err)
			require.NotEmpty(t, plan.Steps, "there was nothing to upgrade")
			require.False(t, plan.Disturbs(), "%s", plan)
			plan, err = dp.Plan(t.Context(), r)
			require.NoError(t, err)
			require.Empty(t, plan.Steps)
			for _, s := range streams {
				require.NoError(t, s.Pause(t.Context(), 20))
				flow := s.Stop(t.Context())
				require.Zero(t, flow.Lost, "%v", flow)
			}
			after, err := dp.Counters(t.Context(), r.ID)
			require.NoError(t, err)
			a := netip.MustParseAddr("203.0.113.110")
			require.NotZero(t, before[a].In.Packets*before[a].Out.Packets)
			require.Greater(t, after[a].In.Packets, before[a].In.Packets)
			require.GreaterOrEqual(t, after[a].Out.Packets, before[a].Out.Packets)
		})
	}
}

// downgrade replaces a router's rules by those of an earlier version. With nftables, sets stay as
// they are: both versions have them.
func (w *town) downgrade(t *testing.T, firewall string) {
	t.Helper()
	tool, file := []string{"iptables-" + firewall + "-restore"}, "town.rules"
	if firewall == "nftables" {
		tool, file = []string{"nft", "-f", "-"}, "town.nft"
	}
	script, err := os.ReadFile(filepath.Join("testdata", "earlier", file))
	require.NoError(t, err)
	ns, err := netns.Open(filepath.Join(w.lab.Dir, dataplane.NamespaceName("r")))
	require.NoError(t, err)
	defer ns.Close()
	require.NoError(t, netns.Do(int(ns.Fd()), func() error {
		c := exec.Command(tool[0], tool[1:]...)
		c.Stdin = bytes.NewReader(script)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", tool[0], err, out)
		}
		return nil
	}))
}
