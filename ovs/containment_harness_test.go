package ovs_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// frame is an Ethernet frame without its VLAN tag, or one from a VXLAN tunnel.
type frame struct {
	dst, src dataplane.MAC
	kind     uint16 // EtherType
	payload  []byte
}

const (
	arpKind   = 0x0806
	fenceKind = 0x88b5 // IEEE 802: local experimental EtherType 1
	vxlanUDP  = 4789
)

func parseFrame(b []byte) (f frame, ok bool) {
	if len(b) < 14 {
		return f, false
	}
	f = frame{dst: dataplane.MAC(b), src: dataplane.MAC(b[6:]), kind: binary.BigEndian.Uint16(b[12:]), payload: b[14:]}
	if f.kind == unix.ETH_P_8021Q && len(b) >= 18 {
		f.kind, f.payload = binary.BigEndian.Uint16(b[16:]), b[18:]
	}
	if p := f.payload; f.kind == unix.ETH_P_IP && len(p) > 36 && p[9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(p[22:]) == vxlanUDP {
		return parseFrame(p[36:])
	}
	return f, true
}

// arp is what an ARP packet says.
type arp struct {
	op       uint16
	sha      dataplane.MAC
	spa, tpa netip.Addr
}

func (f frame) arp() (a arp, ok bool) {
	if f.kind != arpKind || len(f.payload) < 28 {
		return a, false
	}
	p := f.payload
	return arp{
		op: binary.BigEndian.Uint16(p[6:]), sha: dataplane.MAC(p[8:]), spa: netip.AddrFrom4([4]byte(p[14:])), tpa: netip.AddrFrom4([4]byte(p[24:])),
	}, true
}

// ndp returns the type and target of a neighbour solicitation or advertisement.
func (f frame) ndp() (kind uint8, src, target netip.Addr) {
	p := f.payload
	if f.kind != unix.ETH_P_IPV6 || len(p) < 64 || p[6] != unix.IPPROTO_ICMPV6 || p[40] != 135 && p[40] != 136 {
		return 0, src, target
	}
	return p[40], netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[48:]))
}

func (f frame) String() string {
	s := fmt.Sprintf("%s > %s %#04x", f.src, f.dst, f.kind)
	if a, ok := f.arp(); ok {
		s += fmt.Sprintf(" ARP %d %s (%s) for %s", a.op, a.spa, a.sha, a.tpa)
	}
	if kind, src, target := f.ndp(); kind != 0 {
		s += fmt.Sprintf(" NDP %d from %s about %s", kind, src, target)
	}
	return s
}

func (f frame) bytes() []byte {
	b := slices.Concat(f.dst[:], f.src[:], []byte{byte(f.kind >> 8), byte(f.kind)}, f.payload)
	return append(b, make([]byte, max(0, 60-len(b)))...)
}

var everybody = dataplane.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arpFrame makes an ARP packet, in a frame from its sender.
func arpFrame(dst dataplane.MAC, op byte, sha dataplane.MAC, spa string, tha dataplane.MAC, tpa string) frame {
	s, t := addr(spa).As4(), addr(tpa).As4()
	return frame{dst, sha, arpKind, slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, op}, sha[:], s[:], tha[:], t[:])}
}

// announcement makes an unsolicited neighbour advertisement, which overrides what is known (RFC
// 4861, 4.4).
func announcement(from dataplane.MAC, address string) frame {
	src, all := addr(address).As16(), netip.MustParseAddr("ff02::1").As16()
	body := slices.Concat([]byte{136, 0, 0, 0, 0x20 | 0x80, 0, 0, 0}, src[:], []byte{2, 1}, from[:])
	sum := uint32(len(body)) + unix.IPPROTO_ICMPV6
	for _, part := range [][]byte{src[:], all[:], body} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(body[2:], ^uint16(sum))
	header := []byte{0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, 255}
	return frame{dataplane.MAC{0x33, 0x33, 0, 0, 0, 1}, from, unix.ETH_P_IPV6, slices.Concat(header, src[:], all[:], body)}
}

// tap sends frames by a device, and sees all that pass it.
type tap struct {
	t    testing.TB
	name string
	fd   int
	seen []frame // those that came in
	sent []frame // those that went out
}

func newTap(t testing.TB, ns int, device, name string) *tap {
	t.Helper()
	d := &tap{t: t, name: name, fd: -1}
	require.NoError(t, netns.Do(ns, func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		if d.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
			return err
		}
		if err := unix.Bind(d.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: dev.Index}); err != nil { // ETH_P_ALL, in network order
			return err
		}
		return unix.SetsockoptPacketMreq(d.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
			&unix.PacketMreq{Ifindex: int32(dev.Index), Type: unix.PACKET_MR_PROMISC})
	}))
	t.Cleanup(func() { unix.Close(d.fd) })
	return d
}

// look reads what has passed.
func (d *tap) look() {
	d.t.Helper()
	buf := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(d.fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		require.NoError(d.t, err)
		f, ok := parseFrame(slices.Clone(buf[:n]))
		if ll, is := from.(*unix.SockaddrLinklayer); !ok || !is {
			continue
		} else if ll.Pkttype == unix.PACKET_OUTGOING {
			d.sent = append(d.sent, f)
		} else {
			d.seen = append(d.seen, f)
		}
	}
	stats, err := unix.GetsockoptTpacketStats(d.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	require.NoError(d.t, err)
	require.Zero(d.t, stats.Drops, "frames were lost")
}

func (d *tap) send(frames ...frame) {
	d.t.Helper()
	for _, f := range frames {
		_, err := unix.Write(d.fd, f.bytes())
		require.NoError(d.t, err)
	}
}

// sees waits for a frame that comes in.
func (d *tap) sees(is func(frame) bool, what string) {
	d.t.Helper()
	require.Eventually(d.t, func() bool {
		d.look()
		return slices.ContainsFunc(d.seen, is)
	}, 20*time.Second, 2*time.Millisecond, "%s does not see %s", d.name, what)
}

var fences uint32

// fence sends a broadcast, and waits until others have seen it: then they have seen what was sent
// before it by the same way.
func (d *tap) fence(others ...*tap) {
	d.t.Helper()
	fences++
	token := binary.BigEndian.AppendUint32([]byte("fence"), fences)
	mac := dataplane.MAC{2, 0xfe, 0xce, 0, 0, 1}
	d.send(frame{everybody, mac, fenceKind, token})
	for _, o := range others {
		o.sees(func(f frame) bool { return f.kind == fenceKind && string(f.payload[:len(token)]) == string(token) }, "the fence")
	}
}

// neither requires that of the frames that came in none is so.
func (d *tap) neither(is func(frame) bool, what string) {
	d.t.Helper()
	d.look()
	for _, f := range d.seen {
		require.False(d.t, is(f), "%s has seen %s: %s", d.name, what, f)
	}
}

// party is whoever is on the tenant network: a workload, an edge's leg or the centre's.
type party struct {
	*tap
	node  *node
	ns    int
	mac   dataplane.MAC
	host  *lab.Host // of a workload
	addrs []string

	source6 string // of packets that finds sends; empty: the kernel's choice
}

const (
	gateway4, gateway6 = "10.0.1.1", "2001:db8:a::1"
	probeSource6       = "2001:db8:ffff::1" // of somebody whose packets the centre forwards
)

var (
	anycastMAC = dataplane.MAC{0xfa, 0x16, 0x3e, 0x0a, 0x0a, 0x0a}
	centreMAC  = dataplane.MAC{0xfa, 0x16, 0x3e, 0xce, 0x0a, 0x0a}
)

func legPort(id string, network dataplane.Network) dataplane.Port {
	return dataplane.Port{
		ID: id, Network: network, MAC: anycastMAC, MTU: 1400, Anycast: &dataplane.Anycast{},
		Addrs: []netip.Prefix{netip.MustParsePrefix(gateway4 + "/24"), netip.MustParsePrefix(gateway6 + "/64")},
	}
}

func centrePort(id string, network dataplane.Network) dataplane.Port {
	p := legPort(id, network)
	p.MAC, p.Anycast, p.Outside = centreMAC, nil, true
	return p
}

// resident plugs a router's port, and gives it its addresses.
func (nd *node) resident(router string, p dataplane.Port) *party {
	nd.t.Helper()
	ns := nd.Router(router)
	wiringtest.Plug(nd.t, nd.driver, ns, "qr-"+p.ID, p)
	require.NoError(nd.t, ns.Do(func() error {
		for name, value := range map[string]string{"conf/default/accept_dad": "0", "conf/all/accept_dad": "0", "conf/qr-" + p.ID + "/accept_dad": "0"} {
			if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6", name), []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	}))
	n := wiringtest.Links(nd.t, ns)
	lo, err := n.LinkByName("lo")
	require.NoError(nd.t, err)
	require.NoError(nd.t, n.LinkSetUp(lo))
	if p.Outside {
		a, err := netlink.ParseAddr(probeSource6 + "/128")
		require.NoError(nd.t, err)
		a.Flags = unix.IFA_F_NODAD
		require.NoError(nd.t, n.AddrAdd(lo, a))
	}
	l, err := n.LinkByName("qr-" + p.ID)
	require.NoError(nd.t, err)
	for _, addr := range p.Addrs {
		a, err := netlink.ParseAddr(addr.String())
		require.NoError(nd.t, err)
		if addr.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		require.NoError(nd.t, n.AddrAdd(l, a))
	}
	require.NoError(nd.t, n.LinkSetUp(l))
	require.NoError(nd.t, nd.driver.Ready(wiringtest.Soon(nd.t), ns, wiringtest.At("qr-"+p.ID, p)))
	resident := &party{tap: newTap(nd.t, ns.FD, "qr-"+p.ID, router+" on "+nd.addr.String()), node: nd, ns: ns.FD, mac: p.MAC}
	if p.Outside {
		resident.source6 = probeSource6
	}
	return resident
}

// tenant is a workload of the network, with last byte n.
func (nd *node) tenant(network dataplane.Network, n byte) *party {
	nd.t.Helper()
	name := fmt.Sprintf("vm%d", n)
	p := &party{node: nd, mac: dataplane.MAC{0xfa, 0x16, 0x3e, 1, 1, n}, addrs: []string{fmt.Sprintf("10.0.1.%d", n), fmt.Sprintf("2001:db8:a::%d", n)}}
	w, err := nd.Attach(wiringtest.Soon(nd.t), nd.driver, lab.Spec{
		Name: name, NextHops: addrs(gateway4, gateway6),
		Ports: []dataplane.Port{{
			Network: network, MTU: 1400, MAC: p.mac,
			Addrs: []netip.Prefix{netip.MustParsePrefix(p.addrs[0] + "/24"), netip.MustParsePrefix(p.addrs[1] + "/64")},
		}},
	})
	require.NoError(nd.t, err)
	p.host, p.ns = w, w.FD()
	p.tap = newTap(nd.t, w.FD(), "eth0", name)
	return p
}

// neighbour returns the MAC that an address has to a party; zero: none.
func (p *party) neighbour(address string) (mac dataplane.MAC) {
	p.t.Helper()
	list, err := wiringtest.Links(p.t, namespace.NS{FD: p.ns}).NeighList(0, netlink.FAMILY_ALL)
	require.NoError(p.t, err)
	for _, n := range list {
		if a, _ := netip.AddrFromSlice(n.IP); a.Unmap() == addr(address) && len(n.HardwareAddr) == 6 && n.State&unix.NUD_FAILED == 0 {
			mac = dataplane.MAC(n.HardwareAddr)
		}
	}
	return mac
}

// pings asks the gateway for an echo, by IPv4 and IPv6, and says whom it takes for it.
func (p *party) pings() map[string]dataplane.MAC {
	p.t.Helper()
	taken := map[string]dataplane.MAC{}
	for _, gateway := range []string{gateway4, gateway6} {
		_, err := ask(wiringtest.Soon(p.t), p.host, dataplane.ICMP, gateway)
		require.NoError(p.t, err, "%s asks %s", p.name, gateway)
		taken[gateway] = p.neighbour(gateway)
	}
	return taken
}

// forgets has a party look for its neighbours anew.
func (p *party) forgets() {
	p.t.Helper()
	n := wiringtest.Links(p.t, namespace.NS{FD: p.ns})
	list, err := n.NeighList(0, netlink.FAMILY_ALL)
	require.NoError(p.t, err)
	for _, neighbour := range list {
		if err := n.NeighDel(&neighbour); !errors.Is(err, unix.ENOENT) {
			require.NoError(p.t, err)
		}
	}
}

// finds has a router look for a workload, as it does to forward a packet to it.
func (p *party) finds(w *party) {
	p.t.Helper()
	for i, to := range w.addrs {
		from := []string{"", p.source6}[i]
		require.NoError(p.t, netns.Do(p.ns, func() error {
			d := net.Dialer{}
			if from != "" {
				d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr(from), 0))
			}
			c, err := d.DialContext(context.Background(), "udp", netip.AddrPortFrom(addr(to), 9).String())
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("to " + to))
			return err
		}))
		require.Eventually(p.t, func() bool { return p.neighbour(to) == w.mac }, time.Minute, 5*time.Millisecond, "%s does not find %s", p.name, to)
		w.sees(func(f frame) bool { return f.src == p.mac && f.dst == w.mac && f.kind != arpKind }, "the packet of "+p.name)
	}
}

// asksInVain has a router ask for an address that is on none of its host's ports.
func (p *party) asksInVain(address string) {
	p.t.Helper()
	require.NoError(p.t, netns.Do(p.ns, func() error {
		c, err := net.Dial("udp", netip.AddrPortFrom(addr(address), 9).String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("in vain"))
		return err
	}))
}

// wired makes hosts that share networks of a type: VXLAN by tunnels, others by a physical bridge.
// The taps are the hosts' cables, as seen from outside.
func wired(t *testing.T, kind dataplane.NetworkType, n int) (list []*node, cables []*tap, network dataplane.Network) {
	t.Helper()
	network = dataplane.Network{ID: "net", Type: kind, Segment: 77}
	var ethernet *lab.Underlay
	if kind == dataplane.NetworkVXLAN {
		ethernet, list = nodes(t, n)
		acquaint(t, list...)
	} else {
		network.Physical = "wire"
		if kind == dataplane.NetworkFlat {
			network.Segment = 0
		}
		for i := range n {
			list = append(list, &node{host: newHost(t), addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)})})
		}
		var err error
		ethernet, err = list[0].NewEthernet("wire")
		require.NoError(t, err)
		for _, nd := range list {
			nd.cable, err = ethernet.Connect(nd.Lab, "wire0")
			require.NoError(t, err)
			nd.do("add-br br-wire -- set bridge br-wire datapath_type=" + string(datapath()) + " -- add-port br-wire wire0")
			nd.driver, err = ovs.New(wiringtest.Soon(t), ovs.Config{
				HostNS: nd.HostNS, Endpoints: []string{nd.Endpoint}, RunDir: nd.RunDir, Datapath: datapath(), Physical: map[string]string{"wire": "br-wire"},
			})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, nd.driver.Close()) })
		}
	}
	for _, nd := range list {
		cables = append(cables, newTap(t, ethernet.FD(), nd.cable, "cable of "+nd.addr.String()))
	}
	return list, cables, network
}

// appctl runs a command of ovs-vswitchd.
func (nd *node) appctl(words ...string) {
	nd.t.Helper()
	sockets, err := filepath.Glob(filepath.Join(nd.RunDir, "ovs-vswitchd*.ctl"))
	require.NoError(nd.t, err)
	require.Len(nd.t, sockets, 1)
	out, err := exec.CommandContext(wiringtest.Soon(nd.t), "ovs-appctl", append([]string{"-t", sockets[0]}, words...)...).CombinedOutput()
	require.NoError(nd.t, err, "%s", out)
}
