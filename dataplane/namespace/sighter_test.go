package namespace

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
	"github.com/l3kit/l3kit/internal/netns"
)

// sightingBench is a bench with an edge, on whose legs a test sends frames as a workload does.
type sightingBench struct {
	*bench
	t    *testing.T
	edge dataplane.Router
	seen chan dataplane.Sighting
	end  func() error
}

// workload is the MAC of whoever sends.
var workload = mac(77)

func newSightingBench(t *testing.T) *sightingBench {
	b := &sightingBench{bench: newBench(t), t: t, edge: threeLegs()}
	b.edge.Gateway, b.edge.FloatingIPs, b.edge.Routes = nil, nil, nil
	for i := range b.edge.Ports {
		b.edge.Ports[i].Anycast = &dataplane.Anycast{}
	}
	b.edge.Ports[0].Anycast.Neighbours = []netip.Addr{netip.MustParseAddr("10.0.1.5"), netip.MustParseAddr("fd00:1::5")}
	b.edge.Transit = &dataplane.Transit{
		Port:   dataplane.Port{ID: "tr", Network: dataplane.Network{ID: "net-tr"}, MAC: mac(21), MTU: 1500, Addrs: prefixes("169.254.64.1/18")},
		Centre: []netip.Addr{netip.MustParseAddr("169.254.64.99"), netip.MustParseAddr("fe80::99")},
	}
	b.apply(t, b.edge)
	b.in(t, "r1", func(h *netlink.Handle) {
		for leg, host := range map[string]string{"qr-web": "web", "qr-app": "app"} {
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host}, PeerName: host + "-peer"}
			require.NoError(t, h.LinkAdd(veth))
			bridge, err := h.LinkByName(leg)
			require.NoError(t, err)
			peer, err := h.LinkByName(host + "-peer")
			require.NoError(t, err)
			require.NoError(t, h.LinkSetMaster(peer, bridge))
			require.NoError(t, h.LinkSetUp(peer))
			require.NoError(t, h.LinkSetUp(veth))
		}
	})
	return b
}

// sight runs Sight, and waits until it sees.
func (b *sightingBench) sight() {
	ctx, cancel := context.WithCancel(b.t.Context())
	b.seen = make(chan dataplane.Sighting, 1000)
	ended := make(chan error, 1)
	go func() { ended <- b.Sight(ctx, func(s dataplane.Sighting) { b.seen <- s }) }()
	b.end = func() error { cancel(); return <-ended }
	b.await("app", "10.0.2.250")
}

// await has an address ask until it is seen, which none was that did before.
func (b *sightingBench) await(port, a string) {
	b.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for {
		b.ask(port, a)
		select {
		case s := <-b.seen:
			require.Equal(b.t, a, s.Addr.String())
			return
		case <-time.After(20 * time.Millisecond):
			require.Less(b.t, time.Now(), end, "%s is not seen", a)
		}
	}
}

func (b *sightingBench) send(port string, frames ...[]byte) {
	b.t.Helper()
	ns, err := netns.Open(filepath.Join(b.dir, dataplane.NamespaceName("r1")))
	require.NoError(b.t, err)
	defer ns.Close()
	require.NoError(b.t, netns.Do(int(ns.Fd()), func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		l, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// ask sends a question for another host's MAC from an address.
func (b *sightingBench) ask(port, a string) {
	b.t.Helper()
	n := frame.Neighbour{Asker: netip.MustParseAddr(a), Target: netip.MustParseAddr("10.0.1.66")}
	if n.Asker.Is6() {
		n.Target = netip.MustParseAddr("fd00:1::66")
	}
	f, err := n.Marshal(workload, dataplane.MAC{})
	require.NoError(b.t, err)
	b.send(port, f)
}

// answer sends an answer about an address, and announce says unasked who has it.
func (b *sightingBench) answer(port, a string) {
	b.t.Helper()
	n := frame.Neighbour{Answer: true, Target: netip.MustParseAddr(a), Asker: netip.MustParseAddr("10.0.1.1")}
	if n.Target.Is6() {
		n.Asker = netip.MustParseAddr("fd00:1::1")
	}
	f, err := n.Marshal(workload, b.edge.Ports[0].MAC)
	require.NoError(b.t, err)
	b.send(port, f)
}

func (b *sightingBench) announce(port, a string) {
	b.t.Helper()
	n := notice{mac: workload, addr: netip.MustParseAddr(a)}
	frames, err := n.frames()
	require.NoError(b.t, err)
	b.send(port, frames...)
}

// requireSeen says that exactly one sighting comes next, of that address.
func (b *sightingBench) requireSeen(port, a string) dataplane.Sighting {
	b.t.Helper()
	select {
	case s := <-b.seen:
		require.WithinDuration(b.t, time.Now(), s.At, time.Minute)
		require.Equal(b.t, dataplane.Sighting{Router: "r1", Port: port, Addr: netip.MustParseAddr(a), At: s.At}, s)
		return s
	case <-time.After(20 * time.Second):
		require.FailNow(b.t, "not seen", a)
		return dataplane.Sighting{}
	}
}

// requireNothing says that all that was sent has not been seen: what is sent next comes first.
func (b *sightingBench) requireNothing(marker string) {
	b.t.Helper()
	b.ask("web", marker)
	b.requireSeen("web", marker)
}

// neighbours has the addresses that the kernel knows MACs of.
func (b *sightingBench) neighbours() (all []string) {
	b.in(b.t, "r1", func(h *netlink.Handle) {
		list, err := h.NeighList(0, 0)
		require.NoError(b.t, err)
		for _, n := range list {
			if n.State&netlink.NUD_NOARP == 0 {
				all = append(all, n.IP.String())
			}
		}
	})
	return all
}

func TestAddressesAreSighted(t *testing.T) {
	b := newSightingBench(t)
	b.sight()
	for i, a := range []string{"10.0.1.100", "fd00:1::100"} {
		b.announce("web", a)
		b.requireSeen("web", a)
		b.announce("web", a)
		b.ask("web", a)
		b.requireNothing([]string{"10.0.1.201", "10.0.1.202"}[i])
	}
	b.ask("web", "10.0.1.101")
	b.requireSeen("web", "10.0.1.101")
	b.answer("web", "10.0.1.102")
	b.requireSeen("web", "10.0.1.102")
	b.ask("web", "fd00:1::101")
	b.requireSeen("web", "fd00:1::101")
	b.answer("web", "fd00:1::102")
	b.requireSeen("web", "fd00:1::102")
	b.announce("app", "10.0.2.100")
	b.requireSeen("app", "10.0.2.100")

	for _, a := range []string{"10.0.1.5", "10.0.1.1", "0.0.0.0", "10.0.2.5", "fd00:1::5", "fd00:1::1", "fe80::5", "::"} {
		b.ask("web", a)
		if a != "::" {
			b.answer("web", a)
			b.announce("web", a)
		}
	}
	b.requireNothing("10.0.1.203")
	require.NoError(t, b.end())
	require.Empty(t, b.seen)
}

// TestOnlyAnycastPortsAreSightedOn: a router that has none has no socket.
func TestOnlyAnycastPortsAreSightedOn(t *testing.T) {
	b := newSightingBench(t)
	b.sight()
	edge := b.edge.Clone()
	edge.Ports[0].Anycast = nil
	b.apply(t, edge)
	b.ask("web", "10.0.1.100")
	b.ask("app", "10.0.2.100")
	b.requireSeen("app", "10.0.2.100")

	central := threeLegs()
	b.apply(t, central)
	k, err := b.registry.take(t.Context(), "r1")
	require.NoError(t, err)
	require.Nil(t, k.site.lens)
	b.registry.leave(k)
	b.apply(t, b.edge)
	b.await("web", "10.0.1.110")
	require.NoError(t, b.end())
	b.sight() // anew
	b.await("web", "10.0.1.111")
	require.NoError(t, b.Dataplane.Close())
	require.ErrorIs(t, b.end(), dataplane.ErrClosed)
}

// TestTheNewestSightingWins: an address that comes back to its old host is told there, also when
// the host does not know yet that it had left. What the kernel knew of it is gone.
func TestTheNewestSightingWins(t *testing.T) {
	const virtual = "10.0.1.100"
	b := newSightingBench(t)
	b.sight()
	here, elsewhere := b.edge.Clone(), b.edge.Clone()
	here.Ports[0].Anycast.Neighbours = append(here.Ports[0].Anycast.Neighbours, netip.MustParseAddr(virtual))
	elsewhere.Transit.Routes = append(elsewhere.Transit.Routes, dataplane.Route{
		Dest: netip.MustParsePrefix(virtual + "/32"), NextHop: netip.MustParseAddr("169.254.64.2"),
	})
	b.ask("web", virtual)
	b.requireSeen("web", virtual)
	b.apply(t, here)
	b.ask("web", virtual)
	b.requireNothing("10.0.1.201")
	b.learn(virtual)
	b.apply(t, elsewhere)
	require.NotContains(t, b.neighbours(), virtual)
	b.requireNothing("10.0.1.202")
	b.announce("web", virtual)
	b.requireSeen("web", virtual) // within the time in which it is not told again otherwise

	b.apply(t, here)
	b.announce("web", virtual) // it was away, which this host has not been told
	before := time.Now()
	b.requireNothing("10.0.1.203")
	b.apply(t, elsewhere)
	came := b.requireSeen("web", virtual)
	require.False(t, came.At.After(before.Add(time.Second)), "it is told when that was")
	b.apply(t, here)
	b.apply(t, elsewhere)
	b.requireNothing("10.0.1.204")

	b.apply(t, here)
	b.announce("web", virtual)
	b.requireNothing("10.0.1.205")
	b.apply(t, elsewhere)
	b.requireSeen("web", virtual)
	b.announce("web", virtual) // which may be newer than its move
	b.requireSeen("web", virtual)
}

// learn has the kernel know the MAC of an address.
func (b *sightingBench) learn(a string) {
	b.in(b.t, "r1", func(h *netlink.Handle) {
		leg, err := h.LinkByName("qr-web")
		require.NoError(b.t, err)
		require.NoError(b.t, h.NeighSet(&netlink.Neigh{
			LinkIndex: leg.Attrs().Index, IP: netip.MustParseAddr(a).AsSlice(), HardwareAddr: workload[:], State: netlink.NUD_STALE,
		}))
	})
	require.Contains(b.t, b.neighbours(), a)
}

// TestWhatLeavesIsForgotten: the kernel forgets the MAC of an address that was seen here, though it
// was never a neighbour, when another host has it.
func TestWhatLeavesIsForgotten(t *testing.T) {
	const virtual = "10.0.1.100"
	b := newSightingBench(t)
	b.sight()
	b.ask("web", virtual)
	b.requireSeen("web", virtual)
	b.learn(virtual)
	edge := b.edge.Clone()
	edge.Transit.Routes = []dataplane.Route{{Dest: netip.MustParsePrefix(virtual + "/32"), NextHop: netip.MustParseAddr("169.254.64.2")}}
	b.apply(t, edge)
	require.NotContains(t, b.neighbours(), virtual)
	b.ask("web", virtual)
	b.requireSeen("web", virtual) // it may have come back
}

// TestSightingsOfAFlood: what is remembered of a router is bounded.
func TestSightingsOfAFlood(t *testing.T) {
	b := newSightingBench(t)
	b.edge.Ports[0].Addrs = prefixes("10.1.0.1/16")
	b.edge.Ports[0].Anycast.Neighbours = nil
	b.apply(t, b.edge)
	b.sight()
	go func() {
		for range b.seen { // as whoever sights must
		}
	}()
	k, err := b.registry.take(t.Context(), "r1")
	require.NoError(t, err)
	l := k.site.lens
	b.registry.leave(k)
	index := 0
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, leg := range l.legs {
		if leg.port == "web" {
			index = i
		}
	}
	for i := range 3 * maxSpotted {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		l.spot(index, addressClaim{a, true}, time.Now())
		require.LessOrEqual(t, len(l.spotted), maxSpotted)
	}
}
