package bridge_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	mdnetlink "github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/frame"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/nfnetlink"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
)

// What the tests of anycast ports have in common: network A, a router's gateway on it, and the MAC
// of its centre.
var (
	anycastMAC = dataplane.MAC{0xfa, 0x16, 0x3e, 0x0a, 0x0a, 0x0a}
	centreMAC  = dataplane.MAC{0xfa, 0x16, 0x3e, 0xcc, 0x0a, 0x0a}
	gateway    = netip.MustParseAddr("10.0.1.1")
	gateway6   = netip.MustParseAddr("2001:db8:a::1")
	broadcast  = dataplane.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// site is several hosts on one Ethernet, on which every frame of every host is captured.
type site struct {
	t       *testing.T
	carrier carrier
	ul      namespace.NS // has the Ethernet
	links   *netlink.Handle
	nodes   []*node
	wires   []*wire
	sent    map[string]bool // frames that the test itself put on the Ethernet; they do not count
	gateway []netip.Addr    // of anycast ports
	anycast []dataplane.MAC
	last    sync.Once
}

// carrier is a way in which network A crosses between hosts.
type carrier struct {
	name    string
	network dataplane.Network
	device  string // for the physical network, on each host
}

var (
	overVXLAN    = carrier{"VXLAN", dataplane.Network{ID: "A", Type: dataplane.NetworkVXLAN, Segment: 100}, ""}
	overFlat     = carrier{"flat on an interface", dataplane.Network{ID: "A", Type: dataplane.NetworkFlat, Physical: "ext"}, "eth1"}
	overExisting = carrier{"flat on an existing bridge", dataplane.Network{ID: "A", Type: dataplane.NetworkFlat, Physical: "ext"}, "br-ex"}
	overVLAN     = carrier{"VLAN", dataplane.Network{ID: "A", Type: dataplane.NetworkVLAN, Physical: "ext", Segment: 100}, "eth1"}
)

func newSite(t *testing.T, c carrier) *site {
	t.Helper()
	needs.Root(t)
	s := &site{t: t, carrier: c, sent: map[string]bool{}, gateway: []netip.Addr{gateway, gateway6}, anycast: []dataplane.MAC{anycastMAC}}
	s.ul = nameless(t)
	s.links = links(t, s.ul)
	off := false
	require.NoError(t, s.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("ul"), MulticastSnooping: &off}))
	require.NoError(t, s.links.LinkSetUp(link(t, s.links, "ul")))
	return s
}

// node is a host of the site.
type node struct {
	*site
	number int
	ns     namespace.NS
	wire   string
	edges  int  // on this host
	centre bool // is on this host
	*bridge.Driver
	links *netlink.Handle
}

// node adds a host.
func (s *site) node() *node {
	s.t.Helper()
	n := &node{site: s, number: len(s.nodes) + 1, ns: nameless(s.t)}
	s.nodes = append(s.nodes, n)
	n.links = links(s.t, n.ns)
	n.wire = fmt.Sprintf("host%d", n.number)
	require.NoError(s.t, s.links.LinkAdd(&netlink.Veth{LinkAttrs: attrs(n.wire), PeerName: "eth1", PeerNamespace: netlink.NsFd(n.ns.FD)}))
	require.NoError(s.t, s.links.LinkSetMaster(link(s.t, s.links, n.wire), link(s.t, s.links, "ul")))
	require.NoError(s.t, s.links.LinkSetUp(link(s.t, s.links, n.wire)))
	quiet(s.t, n.ns)
	switch {
	case s.carrier.device == "br-ex":
		require.NoError(s.t, n.links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("br-ex")}))
		require.NoError(s.t, n.links.LinkSetMaster(link(s.t, n.links, "eth1"), link(s.t, n.links, "br-ex")))
		require.NoError(s.t, n.links.LinkSetUp(link(s.t, n.links, "br-ex")))
		require.NoError(s.t, n.links.LinkSetUp(link(s.t, n.links, "eth1")))
	case s.carrier.device == "":
		wiringtest.Up(s.t, n.ns, "eth1", n.tunnel().String()+"/24")
	}
	s.wires = append(s.wires, capture(s.t, s.ul, n.wire))
	n.Driver = n.process()
	s.t.Cleanup(func() { s.last.Do(s.check) }) // while all wires are there
	return n
}

func (n *node) tunnel() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n.number)}) }

// process returns a driver as another process on the host would have it.
func (n *node) process() *bridge.Driver {
	n.t.Helper()
	c := bridge.Config{HostNS: fmt.Sprintf("/proc/self/fd/%d", n.ns.FD)}
	if n.carrier.device != "" {
		c.Physical = map[string]string{"ext": n.carrier.device}
	} else {
		c.VXLAN.Local = n.tunnel()
		for i := range byte(4) {
			c.VXLAN.Peers = append(c.VXLAN.Peers, netip.AddrFrom4([4]byte{192, 0, 2, i + 1}))
		}
	}
	d, err := bridge.New(c)
	require.NoError(n.t, err)
	n.t.Cleanup(func() { require.NoError(n.t, d.Close()) })
	return d
}

// uplink is the host's device towards the others, as the bridge sees it.
func (n *node) uplink() string {
	switch n.carrier.network.Type {
	case dataplane.NetworkVXLAN:
		return "vxlan-100"
	case dataplane.NetworkVLAN:
		return "eth1.100"
	}
	return "eth1"
}

// anycastPort is the router's port on network A of an edge, outsidePort that of its centre.
func (s *site) anycastPort(id string) dataplane.Port {
	return dataplane.Port{ID: id, Network: s.carrier.network, MAC: anycastMAC, MTU: wiringtest.MTU, Anycast: &dataplane.Anycast{}, Addrs: []netip.Prefix{
		netip.PrefixFrom(gateway, 24), netip.PrefixFrom(gateway6, 64)}}
}

func (s *site) outsidePort(id string) dataplane.Port {
	p := s.anycastPort(id)
	p.Anycast, p.Outside, p.MAC = nil, true, centreMAC
	return p
}

// box is a namespace with one device on network A.
type box struct {
	t    *testing.T
	ns   namespace.NS
	dev  string
	port dataplane.Port
	*netlink.Handle
}

func (n *node) box(router, dev string, p dataplane.Port) *box {
	n.t.Helper()
	b := &box{t: n.t, ns: nameless(n.t), dev: dev, port: p}
	b.ns.Router = router
	quiet(n.t, b.ns)
	b.Handle = links(n.t, b.ns)
	n.attach(b)
	return b
}

// attach plugs a box's port, gives the device its addresses and sets it up.
func (n *node) attach(b *box) {
	n.t.Helper()
	wiringtest.Plug(n.t, n, b.ns, b.dev, b.port)
	l := link(n.t, b.Handle, b.dev)
	for _, a := range b.port.Addrs {
		require.NoError(n.t, b.AddrReplace(l, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}))
	}
	require.NoError(n.t, b.AddrReplace(l, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(linkLocal(b.port.MAC), 64)), Flags: unix.IFA_F_NODAD}))
	require.NoError(n.t, b.LinkSetUp(l))
	require.NoError(n.t, n.Ready(wait(n.t), b.ns, wiringtest.At(b.dev, b.port)))
}

// edge makes the router's instance on a host, as far as network A knows of it.
func (n *node) edge() *box {
	n.t.Helper()
	n.edges++
	return n.box("edge", "qr-leg", n.anycastPort("leg"))
}

// withCentre makes its instance that does the rest.
func (n *node) withCentre() *box {
	n.t.Helper()
	n.centre = true
	return n.box("centre", "qr-centre", n.outsidePort("centre"))
}

// workload makes a workload, which has the gateway for its router.
func (n *node) workload(last byte) *box {
	n.t.Helper()
	id := fmt.Sprintf("w%d", last)
	p := wiringtest.PortOn(n.carrier.network, id, int(last))
	p.Addrs = []netip.Prefix{netip.PrefixFrom(addr4(last), 24), netip.PrefixFrom(addr6(last), 64)}
	b := n.box("", "eth0", p)
	for _, gw := range []netip.Addr{gateway, gateway6} {
		require.NoError(n.t, b.RouteAdd(&netlink.Route{LinkIndex: link(n.t, b.Handle, "eth0").Attrs().Index, Gw: gw.AsSlice()}))
	}
	return b
}

func addr4(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 1, last}) }
func addr6(last byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x0a, 15: last})
}

func (b *box) addr() netip.Addr  { return b.port.Addrs[0].Addr() }
func (b *box) addr6() netip.Addr { return b.port.Addrs[1].Addr() }

// requireReach sends datagrams from one box to an address of another until one arrives.
func requireReaches(from, to *box, a netip.Addr) {
	from.t.Helper()
	wiringtest.RequireReach(from.t, from.ns, to.ns, a.String())
}

// neighbour is the MAC that a box knows of an address; zero if it knows none.
func (b *box) neighbour(a netip.Addr) (mac dataplane.MAC) {
	b.t.Helper()
	family := netlink.FAMILY_V4
	if a.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := b.NeighList(link(b.t, b.Handle, b.dev).Attrs().Index, family)
	require.NoError(b.t, err)
	for _, n := range list {
		if ip, _ := netip.AddrFromSlice(n.IP); ip.Unmap() == a && len(n.HardwareAddr) == 6 && n.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) == 0 {
			mac = dataplane.MAC(n.HardwareAddr)
		}
	}
	return mac
}

// forget makes a box ask anew for all neighbours.
func (b *box) forget() {
	b.t.Helper()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := b.NeighList(link(b.t, b.Handle, b.dev).Attrs().Index, family)
		require.NoError(b.t, err)
		for _, n := range list {
			if err := b.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
				require.NoError(b.t, err)
			}
		}
	}
}

// learned is the device of the host at which the bridge believes a MAC to be; empty if it does not
// know.
func (n *node) learned(mac dataplane.MAC) (device string) {
	n.t.Helper()
	list, err := n.links.NeighList(0, unix.AF_BRIDGE)
	require.NoError(n.t, err)
	for _, e := range list {
		if bytes.Equal(e.HardwareAddr, mac[:]) && e.MasterIndex != 0 && e.State&unix.NUD_PERMANENT == 0 {
			l, err := n.links.LinkByIndex(e.LinkIndex)
			require.NoError(n.t, err)
			device = l.Attrs().Name
		}
	}
	return device
}

// wire is a capture on one device.
type wire struct {
	t    *testing.T
	name string
	fd   int
	mu   sync.Mutex
	seen []seen
}

// seen is a frame, and whether it left the host whose cable the wire is.
type seen struct {
	frame.Frame
	left bool
}

// capture keeps all that crosses a device, both ways.
func capture(t *testing.T, ns namespace.NS, device string) *wire {
	t.Helper()
	w := &wire{t: t, name: device, fd: rawSocket(t, ns, device, unix.SOCK_RAW)}
	t.Cleanup(func() { require.NoError(t, unix.Close(w.fd)) })
	return w
}

func (b *box) capture() *wire { b.t.Helper(); return capture(b.t, b.ns, b.dev) }

func rawSocket(t *testing.T, ns namespace.NS, device string, kind int) (fd int) {
	t.Helper()
	require.NoError(t, ns.Do(func() (err error) {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
			return err
		}
		all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index})
	}))
	return fd
}

// frames returns all frames so far; of a VXLAN network, those inside the tunnels.
func (w *wire) frames() []seen {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	buf := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(w.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(w.t, err)
		f, ok := frame.Parse(slices.Clone(buf[:n]))
		if ll, is := from.(*unix.SockaddrLinklayer); ok && is {
			w.seen = append(w.seen, seen{inner(f), ll.Pkttype != unix.PACKET_OUTGOING})
		}
	}
	stats, err := unix.GetsockoptTpacketStats(w.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	require.NoError(w.t, err)
	require.Zero(w.t, stats.Drops, "frames on %s were lost", w.name)
	return slices.Clone(w.seen)
}

// inner takes a frame out of its VXLAN tunnel, if it is in one.
func inner(f frame.Frame) frame.Frame {
	const ip, udp, vxlan, port = 20, 8, 8, 4789
	if f.Type == unix.ETH_P_IP && len(f.Body) > ip+udp+vxlan && f.Body[9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(f.Body[ip+2:]) == port {
		if in, ok := frame.Parse(f.Body[ip+udp+vxlan:]); ok {
			return in
		}
	}
	return f
}

// awaits waits for a frame.
func (w *wire) awaits(what string, is func(frame.Frame) bool) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.count(is) > 0 }, 20*time.Second, 5*time.Millisecond, "%s on %s", what, w.name)
}

// count counts frames.
func (w *wire) count(is func(frame.Frame) bool) (n int) {
	w.t.Helper()
	for _, f := range w.frames() {
		if is(f.Frame) {
			n++
		}
	}
	return n
}

// check asserts that since the beginning no anycast MAC was on any wire, and that no question who
// has an anycast port's address left a host that has such a port.
func (s *site) check() {
	s.t.Helper()
	total := 0
	for i, w := range s.wires {
		for _, f := range w.frames() {
			total++
			if s.sent[string(f.Marshal())] {
				continue
			}
			for _, mac := range s.anycast {
				require.NotEqual(s.t, mac, f.Src, "%s: %s", w.name, text(f.Frame))
				require.NotEqual(s.t, mac, f.Dst, "%s: %s", w.name, text(f.Frame))
			}
			n, asks := f.Neighbour()
			if f.left && asks && !n.Answer && s.nodes[i].edges > 0 && !s.nodes[i].centre {
				require.NotContains(s.t, s.gateway, n.Target, "%s: %s", w.name, text(f.Frame))
			}
		}
	}
	if len(s.nodes) > 1 {
		require.Positive(s.t, total, "nothing was captured at all")
	}
}

// inject puts a frame on the Ethernet, as a host without containment might send it to all others.
// On a VXLAN network the host is the one with the number from.
func (n *node) inject(f []byte) {
	n.t.Helper()
	n.sent[string(f)] = true
	fd := rawSocket(n.t, n.ns, n.uplink(), unix.SOCK_RAW)
	defer unix.Close(fd)
	_, err := unix.Write(fd, f)
	require.NoError(n.t, err)
}

// send has a box send a frame as it is.
func (b *box) send(f []byte) {
	b.t.Helper()
	fd := rawSocket(b.t, b.ns, b.dev, unix.SOCK_RAW)
	defer unix.Close(fd)
	_, err := unix.Write(fd, f)
	require.NoError(b.t, err)
}

func text(f frame.Frame) string {
	s := fmt.Sprintf("%s > %s type %#04x", f.Src, f.Dst, f.Type)
	var p arp.Packet
	if f.Type == unix.ETH_P_ARP && p.UnmarshalBinary(f.Body) == nil {
		return fmt.Sprintf("%s ARP %d %s %s", s, p.Operation, p.SenderIP, p.TargetIP)
	}
	if p, ok := frame.ParsePacket(f.Body); ok {
		s += " " + p.String()
	}
	return s
}

// arpFrame makes an ARP message.
func arpFrame(op arp.Operation, src, dst dataplane.MAC, spa, tpa netip.Addr) []byte {
	p, err := arp.NewPacket(op, net.HardwareAddr(src[:]), spa, make(net.HardwareAddr, 6), tpa)
	if err != nil {
		panic(err)
	}
	b, err := p.MarshalBinary()
	if err != nil {
		panic(err)
	}
	return frame.Frame{Dst: dst, Src: src, Type: unix.ETH_P_ARP, Body: b}.Marshal()
}

func isFrame(want []byte) func(frame.Frame) bool {
	return func(f frame.Frame) bool { return bytes.HasPrefix(f.Marshal(), want) }
}

// nft runs nft(8) on a host.
func (n *node) nft(args ...string) string {
	n.t.Helper()
	out, err := n.tryNFT(args...)
	require.NoError(n.t, err, out)
	return out
}

func (n *node) tryNFT(args ...string) (string, error) {
	var out []byte
	err := n.ns.Do(func() (err error) {
		out, err = exec.Command("nft", args...).CombinedOutput()
		return err
	})
	return string(out), err
}

// table is nft's account of the table; empty if there is none.
func (n *node) table() string {
	n.t.Helper()
	out, err := n.tryNFT("list", "table", "bridge", "l3kit_anycast")
	if err != nil {
		require.Contains(n.t, out, "No such file or directory")
		return ""
	}
	return out
}

func nameless(t testing.TB) namespace.NS {
	t.Helper()
	f, err := netns.New(nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return namespace.NS{FD: int(f.Fd())}
}

func links(t testing.TB, ns namespace.NS) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(vnetns.NsHandle(ns.FD), unix.NETLINK_ROUTE)
	require.NoError(t, err)
	t.Cleanup(h.Close)
	return h
}

func link(t testing.TB, h *netlink.Handle, name string) netlink.Link {
	t.Helper()
	l, err := h.LinkByName(name)
	require.NoError(t, err, name)
	return l
}

func attrs(name string) netlink.LinkAttrs { return netlink.LinkAttrs{Name: name, TxQLen: -1} }

// quiet keeps a namespace's devices from taking part in IPv6 by themselves.
func quiet(t testing.TB, ns namespace.NS) {
	t.Helper()
	require.NoError(t, ns.Do(func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv6/conf/default/addr_gen_mode", []byte("1"), 0),
			os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_ra", []byte("0"), 0))
	}))
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func linkLocal(m dataplane.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// nameless makes a router's namespace without a device.
func (n *node) nameless(router string) namespace.NS {
	n.t.Helper()
	ns := nameless(n.t)
	ns.Router = router
	return ns
}

// announce says by ARP who a box is, whatever MAC it has now.
func (b *box) announce() {
	b.t.Helper()
	l, err := b.LinkByName(b.dev)
	require.NoError(b.t, err)
	a := b.addr()
	b.send(arpFrame(arp.OperationRequest, dataplane.MAC(l.Attrs().HardwareAddr), broadcast, a, a))
}

// speak sends a frame from the MAC that the box's device has in that moment.
func (b *box) speak() {
	b.t.Helper()
	l, err := b.LinkByName(b.dev)
	require.NoError(b.t, err)
	fd := rawSocket(b.t, b.ns, b.dev, unix.SOCK_DGRAM)
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index, Protocol: unix.ETH_P_LOOPBACK, Halen: 6}
	copy(to.Addr[:], broadcast[:])
	require.NoError(b.t, unix.Sendto(fd, make([]byte, 46), 0, to))
}

func fromMAC(mac dataplane.MAC) func(frame.Frame) bool {
	return func(f frame.Frame) bool { return f.Src == mac }
}

type unixHeader = unix.NlMsghdr

// own makes a table in the bridge family that belongs to a socket, until release is called.
func (n *node) own(table string) (release func()) {
	n.t.Helper()
	const ownerFlag = 2 // NFT_TABLE_F_OWNER of linux/netfilter/nf_tables.h
	c := nfnetlink.Conn{NS: n.ns.FD}
	m, err := nfnetlink.Message(unix.NFPROTO_BRIDGE, unix.NFT_MSG_NEWTABLE, mdnetlink.Create, func(ae *mdnetlink.AttributeEncoder) {
		ae.String(unix.NFTA_TABLE_NAME, table)
		ae.Uint32(unix.NFTA_TABLE_FLAGS, ownerFlag)
	})
	require.NoError(n.t, err)
	_, err = c.Transact([]mdnetlink.Message{m}, 0)
	require.NoError(n.t, err)
	return func() { require.NoError(n.t, c.Close()) }
}

// crowd fills a bridge with ports.
func (n *node) crowd(name string, ports int) {
	n.t.Helper()
	master := link(n.t, n.links, name)
	for i := range ports {
		v := &netlink.Veth{LinkAttrs: attrs(fmt.Sprintf("c%d-%d", ports, i)), PeerName: fmt.Sprintf("d%d-%d", ports, i)}
		v.MasterIndex = master.Attrs().Index
		require.NoError(n.t, n.links.LinkAdd(v))
	}
}

func (n *node) bridgeOf(device string) string {
	n.t.Helper()
	master, err := n.links.LinkByIndex(link(n.t, n.links, device).Attrs().MasterIndex)
	require.NoError(n.t, err)
	return master.Attrs().Name
}
