package bridge_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/frame"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
)

// Every test here ends with a look at all that was on the Ethernet between the hosts: no frame from
// or to an anycast MAC, in either direction (DISTRIBUTED.md D4).

func wait(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// carriers runs a test with each way in which a network crosses between hosts. Where the kernel has
// no VLAN devices, a port is refused and leaves no table behind.
func carriers(t *testing.T, test func(t *testing.T, s *site), list ...carrier) {
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, c)
			if c.network.Type == dataplane.NetworkVLAN && s.lacksVLAN() {
				n := s.node()
				err := n.Plug(wait(t), nameless(t), wiringtest.At("qr-leg", s.anycastPort("leg")))
				require.ErrorIs(t, err, dataplane.ErrUnsupported)
				require.Empty(t, n.table())
				return
			}
			test(t, s)
		})
	}
}

func (s *site) lacksVLAN() bool {
	ul := link(s.t, s.links, "ul")
	err := s.links.LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "probe", TxQLen: -1, ParentIndex: ul.Attrs().Index}, VlanId: 7})
	return errors.Is(err, unix.EOPNOTSUPP)
}

// A workload's gateway is the edge on its own host, and nothing that is from it, for it or about it
// leaves the host: neither in use nor flooded, nor while the edge's port is down (TRIED.md B). What
// workloads say to each other crosses as ever, and a host without an edge is served by the centre.
func TestAnycastStaysOnTheHost(t *testing.T) {
	carriers(t, func(t *testing.T, s *site) {
		n1, n2, n3, n4 := s.node(), s.node(), s.node(), s.node()
		e1, w1, e2, w2 := n1.edge(), n1.workload(11), n2.edge(), n2.workload(21)
		w3, centre := n3.workload(31), n4.withCentre()
		requireReaches(w3, w1, w1.addr())
		at1 := w1.capture()
		for _, f := range []func(*box) netip.Addr{(*box).addr, (*box).addr6} {
			gw := f(e1)
			requireReaches(w1, e1, gw)
			requireReaches(w2, e2, gw)
			requireReaches(w3, centre, gw)
			require.Equal(t, anycastMAC, w1.neighbour(gw))
			require.Equal(t, anycastMAC, w2.neighbour(gw))
			require.Equal(t, centreMAC, w3.neighbour(gw))
			requireReaches(w1, w2, f(w2))
			requireReaches(w2, w1, f(w1))
			requireReaches(w3, w1, f(w1))
		}
		require.Zero(t, at1.count(func(f frame.Frame) bool {
			n, asks := f.Neighbour()
			return asks && f.Src == w3.port.MAC && slices.Contains(s.gateway, n.Target)
		}), "others who ask for the gateway are served elsewhere")

		// What the port itself floods: an announcement, and a search for a host that is elsewhere.
		e1.send(arpFrame(arp.OperationRequest, anycastMAC, broadcast, gateway, gateway))
		e1.send(arpFrame(arp.OperationRequest, anycastMAC, broadcast, gateway, w2.addr()))

		// A bridge that does not know where a MAC is floods what is for it.
		require.NoError(t, e1.LinkSetDown(link(t, e1.Handle, e1.dev)))
		w1.send(frame.Carry(frame.Packet{Src: w1.addr(), Dst: netip.MustParseAddr("203.0.113.1"), Proto: unix.IPPROTO_UDP, SrcPort: 1, DstPort: 2}, w1.port.MAC, anycastMAC).Marshal())
		w1.send(arpFrame(arp.OperationRequest, w1.port.MAC, broadcast, w1.addr(), gateway))
		question, err := frame.Neighbour{Target: gateway6, Asker: w1.addr6()}.Marshal(w1.port.MAC, dataplane.MAC{})
		require.NoError(t, err)
		w1.send(question)
		requireReaches(w1, w2, w2.addr())

		require.NoError(t, e1.LinkSetUp(link(t, e1.Handle, e1.dev)))
		w1.forget()
		requireReaches(w1, e1, gateway)
	}, overVXLAN, overFlat, overExisting, overVLAN)
}

// A bridge learns before it forwards, so frames that pretend to come from the anycast MAC have to
// be dropped before (TRIED.md A.9): else what workloads send to their gateway would go to the
// uplink.
func TestBridgeDoesNotLearnAnycastFromOutside(t *testing.T) {
	carriers(t, func(t *testing.T, s *site) {
		n1, n2, n3 := s.node(), s.node(), s.node()
		e1, w1, w2, w3 := n1.edge(), n1.workload(11), n2.workload(21), n3.workload(31)
		requireReaches(w1, e1, gateway)
		requireReaches(w2, w1, w1.addr())
		requireReaches(w2, w3, w3.addr())
		require.Equal(t, "tapleg", n1.learned(anycastMAC))
		require.NoError(t, e1.LinkSetDown(link(t, e1.Handle, e1.dev))) // so that the edge does not speak meanwhile
		n2.inject(arpFrame(arp.OperationRequest, anycastMAC, broadcast, gateway, addr4(99)))
		requireReaches(w2, w1, w1.addr())
		requireReaches(w2, w3, w3.addr())
		require.Equal(t, n3.uplink(), n3.learned(anycastMAC), "without an edge, a bridge learns it")
		require.Empty(t, n1.learned(anycastMAC))
		require.NoError(t, e1.LinkSetUp(link(t, e1.Handle, e1.dev)))
		requireReaches(w1, e1, gateway)

		// What a bridge had learned before an edge came, it forgets.
		edge := n3.nameless("edge")
		wiringtest.Plug(t, n3, edge, "qr-leg", s.anycastPort("leg"))
		require.Empty(t, n3.learned(anycastMAC))
	}, overVXLAN, overFlat)
}

// The centre looks for an unlisted workload with an ordinary ARP request, in which it is the
// gateway. Where the host has an edge, the request arrives as a probe without a sender's address
// (RFC 5227), so that the workload answers and keeps the anycast MAC for its gateway (TRIED.md
// A.1c and A.2).
func TestCentreFindsUnlistedWorkloads(t *testing.T) {
	carriers(t, func(t *testing.T, s *site) {
		n1, n2, n3 := s.node(), s.node(), s.node()
		e1, w1, w3, centre := n1.edge(), n1.workload(11), n3.workload(31), n2.withCentre()
		requireReaches(w1, e1, gateway)
		asks := func(who *box, from netip.Addr) func(frame.Frame) bool {
			return isFrame(arpFrame(arp.OperationRequest, centreMAC, broadcast, from, who.addr()))
		}
		at1, at3 := w1.capture(), w3.capture()
		requireReaches(centre, w1, w1.addr())
		requireReaches(centre, w3, w3.addr())
		require.Equal(t, w1.port.MAC, centre.neighbour(w1.addr()))
		at1.awaits("a probe", asks(w1, netip.IPv4Unspecified()))
		require.Zero(t, at1.count(asks(w1, gateway)))
		at3.awaits("an ordinary request, as the host has no edge", asks(w3, gateway))
		require.Equal(t, anycastMAC, w1.neighbour(gateway))
		require.Equal(t, centreMAC, w3.neighbour(gateway))
		requireReaches(w1, e1, gateway)
	}, overVXLAN, overFlat, overExisting)
}

// announcements are all ways to say who has the gateway's addresses without being asked.
func announcements(t *testing.T, from dataplane.MAC, to *box) map[string][]byte {
	t.Helper()
	na, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{Override: true, Router: true, TargetAddress: gateway6, Options: []ndp.Option{
		&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: net.HardwareAddr(from[:])}}}, gateway6, allNodes)
	require.NoError(t, err)
	ns, err := frame.Neighbour{Target: to.addr6(), Asker: gateway6}.Marshal(from, dataplane.MAC{})
	require.NoError(t, err)
	return map[string][]byte{
		"gratuitous ARP request":                         arpFrame(arp.OperationRequest, from, broadcast, gateway, gateway),
		"gratuitous ARP reply":                           arpFrame(arp.OperationReply, from, broadcast, gateway, gateway),
		"ARP reply to one":                               arpFrame(arp.OperationReply, from, to.port.MAC, gateway, to.addr()),
		"unsolicited neighbour advertisement":            icmp6Frame(from, gateway6, allNodes, na),
		"neighbour solicitation from the global address": ns,
	}
}

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// icmp6Frame carries an ICMPv6 message to a group.
func icmp6Frame(from dataplane.MAC, src, group netip.Addr, message []byte) []byte {
	g := group.As16()
	ip := make([]byte, 40, 40+len(message))
	ip[0], ip[5], ip[6], ip[7] = 6<<4, byte(len(message)), unix.IPPROTO_ICMPV6, ndp.HopLimit
	s := src.As16()
	copy(ip[8:], s[:])
	copy(ip[24:], g[:])
	return frame.Frame{Dst: dataplane.MAC{0x33, 0x33, g[12], g[13], g[14], g[15]}, Src: from, Type: unix.ETH_P_IPV6, Body: append(ip, message...)}.Marshal()
}

// What the centre says about the gateway without being asked, as after its start or a failover,
// does not reach a workload whose gateway is an edge, and does reach one on a host without an edge
// (TRIED.md A.1b).
func TestCentreDoesNotSpeakToWorkloadsOfAnEdge(t *testing.T) {
	carriers(t, func(t *testing.T, s *site) {
		n1, n2, n3 := s.node(), s.node(), s.node()
		e1, w1, w3, centre := n1.edge(), n1.workload(11), n3.workload(31), n2.withCentre()
		requireReaches(w1, e1, gateway)
		requireReaches(w1, e1, gateway6)
		requireReaches(w3, centre, gateway)
		requireReaches(centre, w1, w1.addr())
		for _, to := range []*box{w1, w3} {
			wire := to.capture()
			last := arpFrame(arp.OperationRequest, centreMAC, broadcast, addr4(98), addr4(99)) // nothing about the gateway
			said := announcements(t, centreMAC, to)
			for _, f := range said {
				centre.send(f)
			}
			centre.send(last)
			wire.awaits("the last frame", isFrame(last))
			for what, f := range said {
				if to == w1 {
					require.Zero(t, wire.count(isFrame(f)), what)
				} else {
					require.Equal(t, 1, wire.count(isFrame(f)), what)
				}
			}
		}
		require.Equal(t, anycastMAC, w1.neighbour(gateway))
		require.Equal(t, anycastMAC, w1.neighbour(gateway6))
	}, overVXLAN, overFlat, overExisting)
}

// An edge takes an ARP or neighbour message of an unlisted neighbour for a sighting of it on this
// host. So nothing that is flooded comes to it from other hosts (TRIED.md A.1a); the workloads do
// see it.
func TestNothingFloodedReachesALeg(t *testing.T) {
	carriers(t, func(t *testing.T, s *site) {
		n1, n2 := s.node(), s.node()
		e1, w1, e2, w2 := n1.edge(), n1.workload(11), n2.edge(), n2.workload(21)
		requireReaches(w2, w1, w1.addr()) // the cables are up
		leg1, leg2, at1 := e1.capture(), e2.capture(), w1.capture()
		vip := addr4(100)
		na, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{Override: true, TargetAddress: addr6(100)}, addr6(100), allNodes)
		require.NoError(t, err)
		unknown := dataplane.MAC{2, 0, 0, 0, 0, 99}
		packet := frame.Packet{Src: w2.addr(), Dst: netip.MustParseAddr("10.0.1.255"), Proto: unix.IPPROTO_UDP, SrcPort: 1, DstPort: 2}
		flooded := map[string][]byte{
			"gratuitous ARP":                      arpFrame(arp.OperationRequest, w2.port.MAC, broadcast, vip, vip),
			"ARP request":                         arpFrame(arp.OperationRequest, w2.port.MAC, broadcast, w2.addr(), addr4(101)),
			"unsolicited neighbour advertisement": icmp6Frame(w2.port.MAC, addr6(100), allNodes, na),
			"broadcast":                           frame.Carry(packet, w2.port.MAC, broadcast).Marshal(),
			"to an unknown MAC":                   frame.Carry(packet, w2.port.MAC, unknown).Marshal(),
		}
		for what, f := range flooded {
			w2.send(f)
			at1.awaits(what, isFrame(f))
			leg2.awaits(what, isFrame(f)) // of its own host it hears
		}
		last := arpFrame(arp.OperationRequest, w1.port.MAC, broadcast, vip, vip)
		w1.send(last)
		leg1.awaits("the last frame, of its own host", isFrame(last))
		for what, f := range flooded {
			require.Zero(t, leg1.count(isFrame(f)), what)
		}
	}, overVXLAN, overFlat, overExisting)
}

// A host may have both an edge and the centre. Then the centre's port counts as one on another host
// (TRIED.md A.8): the host's workloads have the edge for their gateway, one that comes from
// elsewhere with the anycast MAC in its table as well; the centre finds them all; and workloads on
// hosts without an edge have the centre for theirs.
func TestCentreBesideAnEdge(t *testing.T) {
	orders := map[string]func(n *node) (edge, centre *box){
		"edge first":   func(n *node) (*box, *box) { e := n.edge(); return e, n.withCentre() },
		"centre first": func(n *node) (*box, *box) { c := n.withCentre(); return n.edge(), c },
	}
	for order, make := range orders {
		t.Run(order, func(t *testing.T) {
			carriers(t, func(t *testing.T, s *site) { centreBesideAnEdge(t, s, make) }, overVXLAN, overFlat)
		})
	}
}

func centreBesideAnEdge(t *testing.T, s *site, make func(n *node) (edge, centre *box)) {
	n1, n2, n3 := s.node(), s.node(), s.node()
	e1, centre := make(n1)
	w1, e2, w2, w3 := n1.workload(11), n2.edge(), n2.workload(21), n3.workload(31)
	atCentre, at1 := centre.capture(), w1.capture()
	requireReaches(w1, e1, gateway)
	requireReaches(w1, e1, gateway6)
	requireReaches(w2, e2, gateway)
	requireReaches(w3, centre, gateway)
	requireReaches(w3, centre, gateway6)
	for _, w := range []*box{w1, w2, w3} {
		requireReaches(centre, w, w.addr())
	}

	// A workload moves in, in the midst of what it was doing.
	require.NoError(t, n2.Unplug(wait(t), w2.ns, "eth0"))
	moved := n1.workload(21)
	require.NoError(t, moved.NeighSet(&netlink.Neigh{LinkIndex: link(t, moved.Handle, "eth0").Attrs().Index,
		IP: gateway.AsSlice(), HardwareAddr: anycastMAC[:], State: unix.NUD_REACHABLE}))
	requireReaches(moved, e1, gateway)
	require.Equal(t, anycastMAC, moved.neighbour(gateway))
	requireReaches(centre, moved, moved.addr())

	last := arpFrame(arp.OperationRequest, centreMAC, broadcast, addr4(98), addr4(99))
	ra := routerAdvertisement(t, centreMAC)
	at3 := w3.capture()
	for what, f := range announcements(t, centreMAC, w1) {
		centre.send(f)
		centre.send(ra)
		centre.send(last)
		at1.awaits("the last frame", isFrame(last))
		require.Zero(t, at1.count(isFrame(f)), what)
		require.Zero(t, at1.count(isFrame(ra)), "router advertisement")
		if what != "ARP reply to one" {
			at3.awaits(what, isFrame(f))
		}
	}
	at3.awaits("router advertisement", isFrame(ra))
	require.Equal(t, anycastMAC, w1.neighbour(gateway))
	require.Equal(t, anycastMAC, w1.neighbour(gateway6))
	e1.send(arpFrame(arp.OperationRequest, anycastMAC, broadcast, gateway, gateway))
	e1.send(arpFrame(arp.OperationRequest, anycastMAC, centreMAC, gateway, gateway))
	w1.send(last)
	requireReaches(w1, e1, gateway)
	require.Zero(t, atCentre.count(func(f frame.Frame) bool { return f.Src == anycastMAC || f.Dst == anycastMAC }), "to the centre's port the edge is elsewhere")
}

func routerAdvertisement(t *testing.T, from dataplane.MAC) []byte {
	t.Helper()
	ra, err := ndp.MarshalMessageChecksum(&ndp.RouterAdvertisement{RouterLifetime: time.Hour, Options: []ndp.Option{
		&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr(from[:])}}}, linkLocal(from), allNodes)
	require.NoError(t, err)
	return icmp6Frame(from, linkLocal(from), allNodes, ra)
}

// Neighbour discovery crosses between hosts as far as it is about workloads, and stays on the host
// where it is about the gateway: solicitations, advertisements, duplicate address detection, and
// router discovery (TRIED.md B). The centre finds a workload that something else sends to; asking
// from the gateway's own address, which would teach the workload the centre's MAC, it does not.
func TestNeighbourDiscovery(t *testing.T) {
	carriers(t, func(t *testing.T, s *site) {
		n1, n2, n3 := s.node(), s.node(), s.node()
		e1, w1, e2, w2, centre := n1.edge(), n1.workload(11), n2.edge(), n2.workload(21), n3.withCentre()
		requireReaches(w1, e1, gateway6)
		requireReaches(w2, e2, gateway6)
		requireReaches(w1, w2, w2.addr6())
		require.Equal(t, w2.port.MAC, w1.neighbour(w2.addr6()))

		// The centre forwards.
		elsewhere := netip.MustParseAddr("2001:db8:c::1")
		lo := link(t, centre.Handle, "lo")
		require.NoError(t, centre.LinkSetUp(lo))
		require.NoError(t, centre.AddrAdd(lo, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(elsewhere, 128)), Flags: unix.IFA_F_NODAD}))
		requireReachFrom(centre, elsewhere, w1, w1.addr6())
		require.Equal(t, w1.port.MAC, centre.neighbour(w1.addr6()))
		require.Equal(t, anycastMAC, w1.neighbour(gateway6))

		// Duplicates are found, of another host's workload and of the gateway.
		for _, a := range []netip.Addr{w2.addr6(), gateway6} {
			require.NoError(t, w1.AddrAdd(link(t, w1.Handle, "eth0"), &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, 64))}))
			require.Eventually(t, func() bool { return w1.flags(a)&unix.IFA_F_DADFAILED != 0 }, 20*time.Second, 5*time.Millisecond, "%s is not found to be there already", a)
		}

		// Who asks for routers asks the edge, and its advertisements are for this host.
		rs, err := ndp.MarshalMessageChecksum(&ndp.RouterSolicitation{}, linkLocal(w1.port.MAC), allRouters)
		require.NoError(t, err)
		solicitation, ra := icmp6Frame(w1.port.MAC, linkLocal(w1.port.MAC), allRouters, rs), routerAdvertisement(t, anycastMAC)
		leg, at1, at2 := e1.capture(), w1.capture(), w2.capture()
		w1.send(solicitation)
		leg.awaits("router solicitation", isFrame(solicitation))
		e1.send(ra)
		at1.awaits("router advertisement", isFrame(ra))
		last := arpFrame(arp.OperationRequest, w1.port.MAC, broadcast, w1.addr(), addr4(99))
		w1.send(last)
		at2.awaits("the last frame", isFrame(last))
		require.Zero(t, at2.count(isFrame(solicitation)))
		require.Zero(t, at2.count(isFrame(ra)))
	}, overVXLAN, overFlat)
}

// flags returns the flags of an address of a box.
func (b *box) flags(a netip.Addr) int {
	b.t.Helper()
	list, err := b.AddrList(link(b.t, b.Handle, b.dev), netlink.FAMILY_V6)
	require.NoError(b.t, err)
	for _, l := range list {
		if ip, _ := netip.AddrFromSlice(l.IP); ip == a {
			return l.Flags
		}
	}
	return 0
}

// requireReachFrom is requireReaches with a source of the sender's choice.
func requireReachFrom(from *box, src netip.Addr, to *box, dst netip.Addr) {
	from.t.Helper()
	var in, out *net.UDPConn
	require.NoError(from.t, to.ns.Do(func() (err error) {
		in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, 0)))
		return err
	}))
	defer in.Close()
	require.NoError(from.t, from.ns.Do(func() (err error) {
		out, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(src, 0)), in.LocalAddr().(*net.UDPAddr))
		return err
	}))
	defer out.Close()
	require.Eventually(from.t, func() bool {
		_, _ = out.Write([]byte("hello")) // an error is about an earlier one
		if in.SetReadDeadline(time.Now().Add(50*time.Millisecond)) != nil {
			return false
		}
		n, _ := in.Read(make([]byte, 8))
		return n > 0
	}, 20*time.Second, time.Millisecond, "no packet from %s arrived at %s", src, dst)
}

// Two routers have a port each on one network, on two hosts: both MACs stay, each router is reached
// on the host, also by the other one, and one may go without the other (D12).
func TestTwoRoutersOnOneNetwork(t *testing.T) {
	carriers(t, func(t *testing.T, s *site) {
		n1, n2 := s.node(), s.node()
		other := s.anycastPort("other")
		other.MAC[5]++
		other.Addrs = []netip.Prefix{netip.PrefixFrom(addr4(2), 24), netip.PrefixFrom(addr6(2), 64)}
		s.gateway, s.anycast = append(s.gateway, addr4(2), addr6(2)), append(s.anycast, other.MAC)
		w1 := n1.workload(11)
		e1, o1 := n1.edge(), n1.box("other", "qr-other", other)
		n2.edge()
		n2.box("other", "qr-other", other)
		w2 := n2.workload(21)
		for _, e := range []*box{e1, o1} {
			requireReaches(w1, e, e.addr())
			requireReaches(w1, e, e.addr6())
		}
		requireReaches(e1, o1, o1.addr())
		requireReaches(o1, e1, e1.addr6())
		requireReaches(w1, w2, w2.addr())

		require.NoError(t, n1.Release(wait(t), "edge"))
		require.NotContains(t, n1.table(), anycastMAC.String())
		require.Contains(t, n1.table(), other.MAC.String())
		w1.forget()
		requireReaches(w1, o1, o1.addr())
		s.gateway, s.anycast = s.gateway[2:], s.anycast[1:] // what is not there may be asked for
	}, overVXLAN, overExisting)
}

// On a network with more ports than a bridge takes, a workload in an overflow bridge has the edge
// for its gateway like the others, and a port of the router is in the first bridge, where the
// uplink is, however full that is of workloads.
func TestAnycastBesideOverflowBridge(t *testing.T) {
	s := newSite(t, overVXLAN)
	n1, n2 := s.node(), s.node()
	w1 := n1.workload(11)
	n1.crowd("brqA", 988-2) // all places that ordinary ports get
	w2 := n1.workload(12)
	require.Equal(t, "broA1", n1.bridgeOf("tapw12"))
	e1, e2, w3 := n1.edge(), n2.edge(), n2.workload(21)
	require.Equal(t, "brqA", n1.bridgeOf("tapleg"))
	leg := e1.capture()
	for _, w := range []*box{w1, w2} {
		requireReaches(w, e1, gateway)
		require.Equal(t, anycastMAC, w.neighbour(gateway))
		requireReaches(w3, w, w.addr())
	}
	requireReaches(w3, e2, gateway)
	w3.announce()
	requireReaches(w2, e1, gateway)
	require.Zero(t, leg.count(fromMAC(w3.port.MAC)))

	n1.crowd("brqA", 33) // with the trunk, and the edge's port in the place of another, all there are
	_, err := n1.Plan(t.Context(), n1.nameless("other"), wiringtest.At("qr-other", s.outsidePort("other")))
	require.ErrorIs(t, err, dataplane.ErrExhausted)
	require.Empty(t, wiringtest.Plan(t, n1, e1.ns, e1.dev, e1.port))
}
