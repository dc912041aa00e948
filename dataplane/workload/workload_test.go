package workload_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/dataplane/workload"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/nftables"
	"github.com/l3kit/l3kit/ovs"
)

var patience = lab.Patience(30 * time.Second)

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// host is one of two that reach each other by an underlay. Each has the other as a tunnel peer.
type host struct {
	*testing.T
	*lab.Lab
	wiring namespace.InterfaceDriver
	names  func() []string // of what the wiring has made
}

var wirings = map[string]func(*testing.T) [2]*host{"bridge": bridged, "ovs": switched}

var tunnelAddrs = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}

func twoHosts(t *testing.T) (hosts [2]*host, under *lab.Underlay) {
	t.Helper()
	needs.Root(t)
	for i := range hosts {
		l, err := lab.New()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, l.Close()) })
		hosts[i] = &host{T: t, Lab: l}
	}
	under, err := hosts[0].NewUnderlay()
	require.NoError(t, err)
	return hosts, under
}

func bridged(t *testing.T) [2]*host {
	hosts, under := twoHosts(t)
	for i, h := range hosts {
		_, err := under.Connect(h.Lab, "tunnel0", netip.PrefixFrom(tunnelAddrs[i], 24))
		require.NoError(t, err)
		w, err := bridge.New(bridge.Config{HostNS: h.HostNS, VXLAN: bridge.VXLAN{Local: tunnelAddrs[i], Peers: tunnelAddrs}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, w.Close()) })
		h.wiring, h.names = w, h.links
	}
	return hosts
}

func switched(t *testing.T) [2]*host {
	needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
	hosts, under := twoHosts(t)
	for i, h := range hosts {
		s, err := h.Switch(soon(t))
		require.NoError(t, err)
		_, err = under.Join(soon(t), h.Lab, s, string(ovs.Netdev), netip.PrefixFrom(tunnelAddrs[i], 24))
		require.NoError(t, err)
		w, err := ovs.New(soon(t), ovs.Config{HostNS: h.HostNS, Endpoints: []string{s.Endpoint}, RunDir: s.RunDir, Datapath: ovs.Netdev,
			Tunnel: ovs.Tunnel{Local: tunnelAddrs[i], Peers: tunnelAddrs}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, w.Close()) })
		h.wiring, h.names = w, h.links
	}
	return hosts
}

// links are those of the host, but for the loopback device.
func (h *host) links() (names []string) {
	h.Helper()
	ns, err := netns.Open(h.HostNS)
	require.NoError(h, err)
	defer ns.Close()
	require.NoError(h, netns.Do(int(ns.Fd()), func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return err
	}))
	return names
}

// keptOpen is wiring that does not end with the dataplane.
type keptOpen struct{ namespace.InterfaceDriver }

func (keptOpen) Close() error { return nil }

var blue = dataplane.Network{ID: "blue", Type: dataplane.NetworkVXLAN, Segment: 77}

// route makes a router with a port on the network.
func (h *host) route() {
	h.Helper()
	d, err := nftables.New(namespace.Config{Wiring: keptOpen{h.wiring}, HostNS: h.HostNS, Dir: h.Dir})
	require.NoError(h, err)
	h.Cleanup(func() { require.NoError(h, d.Close()) })
	_, err = d.Apply(soon(h.T), dataplane.Router{ID: "r1", Ports: []dataplane.Port{{
		ID: "gw", Network: blue, MTU: 1400, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 1},
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("2001:db8::1/64")},
	}, {
		ID: "far", Network: dataplane.Network{ID: "far"}, MTU: 1400, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 9},
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("2001:db8:9::1/64")},
	}}})
	require.NoError(h, err)
}

func config(id string, n byte) workload.Config {
	return workload.Config{
		Port: dataplane.Port{ID: id, Network: blue, MTU: 1400, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, n}, Addrs: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", n)), netip.MustParsePrefix(fmt.Sprintf("2001:db8::%d/64", n)),
		}},
		NextHops: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")},
	}
}

// container is a namespace that nobody has prepared, as ip-netns makes it.
func (h *host) container(name string) (*lab.Host, namespace.NS) {
	h.Helper()
	ns, err := netns.Create(h.Dir, name, "", nil)
	require.NoError(h, err)
	h.Cleanup(func() { ns.Close() })
	inside, err := h.Enter(h.Dir + "/" + name)
	require.NoError(h, err)
	return inside, namespace.NS{FD: int(ns.Fd())}
}

// TestAttach: a host with nothing but a workload is reached from the host with the router, through
// the tunnel, and afterwards nothing is left of it.
func TestAttach(t *testing.T) {
	for name, make := range wirings {
		t.Run(name, func(t *testing.T) {
			hosts := make(t)
			here := hosts[1]
			hosts[0].route()
			before := here.names()
			inside, ns := here.container("vm1")
			c := config("11111111-port", 5)
			for range 2 { // the second time it changes nothing
				require.NoError(t, workload.Attach(soon(t), here.wiring, ns, "eth0", c))
			}
			for _, to := range []string{"10.0.0.1", "10.9.0.1", "2001:db8::1", "2001:db8:9::1"} {
				require.NoError(t, inside.Ping(t.Context(), to))
			}
			device, err := workload.Device(ns, c.Port.ID)
			require.NoError(t, err)
			require.Equal(t, "eth0", device)
			require.NoError(t, workload.Detach(soon(t), here.wiring, ns, "eth0"))
			require.NoError(t, workload.Detach(soon(t), here.wiring, ns, "eth0"))
			device, err = workload.Device(ns, c.Port.ID)
			require.NoError(t, err)
			require.Empty(t, device)
			if name == "bridge" { // the bridges of Open vSwitch stay
				require.ElementsMatch(t, before, here.names())
			}
			require.NotContains(t, here.names(), "tap11111111-po")

			// A device that somebody else made stays.
			require.NoError(t, ns.Do(func() error {
				return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "other"})
			}))
			require.ErrorIs(t, workload.Attach(soon(t), here.wiring, ns, "eth0", c), dataplane.ErrForeign)
			require.ErrorIs(t, workload.Detach(soon(t), here.wiring, ns, "eth0"), dataplane.ErrForeign)
		})
	}
}

// TestAttachKeepsRoutes: a second port of a namespace takes no route over that it has, whatever its
// metric, and what was there before is there when the port has been detached.
func TestAttachKeepsRoutes(t *testing.T) {
	h := bridged(t)[0]
	_, ns := h.container("vm1")
	routes := func() (all []string) {
		require.NoError(t, ns.Do(func() error {
			for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
				found, err := netlink.RouteList(nil, family)
				if err != nil {
					return err
				}
				for _, r := range found {
					if r.Gw != nil {
						all = append(all, fmt.Sprint(r.Dst, r.Gw, r.LinkIndex, r.Priority))
					}
				}
			}
			return nil
		}))
		return all
	}
	hops := func(device string) []netip.Addr {
		all, err := workload.NextHops(ns, device)
		require.NoError(t, err)
		return all
	}
	first, second := config("11111111-port", 5), config("22222222-port", 6)
	first.Routes = []dataplane.Route{{Dest: netip.MustParsePrefix("10.8.0.0/24"), NextHop: netip.MustParseAddr("10.0.0.1")}}
	require.NoError(t, workload.Attach(soon(t), h.wiring, ns, "eth0", first))
	require.Equal(t, first.NextHops, hops("eth0"))
	require.NoError(t, ns.Do(func() error { // as a DHCP client has it
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		r := &netlink.Route{LinkIndex: l.Attrs().Index, Gw: netip.MustParseAddr("10.0.0.1").AsSlice(), Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}}
		if err := netlink.RouteDel(r); err != nil {
			return err
		}
		r.Priority = 100
		return netlink.RouteAdd(r)
	}))
	before := routes()
	require.Len(t, before, 3)

	second.Routes = first.Routes
	second.Port.Network = dataplane.Network{ID: "green", Type: dataplane.NetworkVXLAN, Segment: 78}
	second.Port.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.1.6/24"), netip.MustParsePrefix("2001:db8:1::6/64")}
	second.NextHops = []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("2001:db8:1::1")}
	for range 2 {
		require.NoError(t, workload.Attach(soon(t), h.wiring, ns, "eth1", second))
		require.ElementsMatch(t, before, routes())
		require.Empty(t, hops("eth1"))
	}
	require.NoError(t, workload.Detach(soon(t), h.wiring, ns, "eth1"))
	require.ElementsMatch(t, before, routes())
}

// TestAttachLeavesNothing: what was begun is taken back when a route cannot be added.
func TestAttachLeavesNothing(t *testing.T) {
	hosts := bridged(t)
	h := hosts[0]
	before := h.names()
	_, ns := h.container("vm1")
	c := config("11111111-port", 5)
	c.Routes = []dataplane.Route{{Dest: netip.MustParsePrefix("10.8.0.0/24"), NextHop: netip.MustParseAddr("127.0.0.1")}}
	err := workload.Attach(soon(t), h.wiring, ns, "eth0", c)
	require.ErrorContains(t, err, "add route 10.8.0.0/24 via 127.0.0.1")
	require.ElementsMatch(t, before, h.names())
}

// TestAttachTap: who opens the tap device is on the network.
func TestAttachTap(t *testing.T) {
	for name, make := range wirings {
		t.Run(name, func(t *testing.T) {
			hosts := make(t)
			here := hosts[1]
			hosts[0].route()
			before := here.names()
			file, err := netns.Open(here.HostNS)
			require.NoError(t, err)
			t.Cleanup(func() { file.Close() })
			ns := namespace.NS{FD: int(file.Fd())}
			p := config("22222222-port", 6).Port
			var tap string
			for range 2 {
				tap, err = workload.AttachTap(soon(t), here.wiring, ns, p)
				require.NoError(t, err)
			}
			require.Equal(t, "vm-22222222-po", tap)
			machine := openTap(t, ns, tap)
			machine.arp(t, p.MAC, netip.MustParseAddr("10.0.0.6"), netip.MustParseAddr("10.0.0.1"), dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 1})
			for range 2 { // also while the virtual machine runs
				_, err = workload.AttachTap(soon(t), here.wiring, ns, p)
				require.NoError(t, err)
			}
			require.NoError(t, machine.Close())
			device, err := workload.Device(ns, p.ID)
			require.NoError(t, err)
			require.Equal(t, tap, device)
			for range 2 {
				require.NoError(t, workload.DetachTap(soon(t), here.wiring, ns, p.ID))
			}
			if name == "bridge" {
				require.ElementsMatch(t, before, here.names())
			}
			require.NotContains(t, here.names(), tap)
		})
	}
}

// vm is a virtual machine as far as the host can see: a process that has a tap device open.
type vm struct{ *os.File }

func openTap(t *testing.T, ns namespace.NS, name string) (m vm) {
	t.Helper()
	require.NoError(t, ns.Do(func() error { // the file is of the namespace in which it is opened
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		r, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
			return err
		}
		m.File = os.NewFile(uintptr(fd), name) // which can be polled only now
		return nil
	}))
	return m
}

// arp asks for the address of a neighbour until it answers.
func (m vm) arp(t *testing.T, mac dataplane.MAC, from, to netip.Addr, want dataplane.MAC) {
	t.Helper()
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac[:]...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // ARP: Ethernet, IPv4, request (RFC 826)
	f = append(append(append(f, mac[:]...), from.AsSlice()...), 0, 0, 0, 0, 0, 0)
	f = append(f, to.AsSlice()...)
	deadline := time.Now().Add(patience)
	buffer := make([]byte, 2000)
	for time.Now().Before(deadline) {
		_, err := m.Write(f)
		require.NoError(t, err)
		require.NoError(t, m.SetReadDeadline(time.Now().Add(500*time.Millisecond)))
		for {
			n, err := m.Read(buffer)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			require.NoError(t, err)
			answer := buffer[:n]
			if n >= 42 && answer[12] == 0x08 && answer[13] == 0x06 && answer[21] == 2 && netip.AddrFrom4([4]byte(answer[28:32])) == to {
				require.Equal(t, want, dataplane.MAC(answer[22:28]))
				require.Equal(t, mac, dataplane.MAC(answer[0:6]), "it is addressed to the virtual machine")
				return
			}
		}
	}
	t.Fatal("no answer")
}

// TestDeviceAmidChanges: a listing that is interrupted, because links of the namespace change
// meanwhile, is repeated.
func TestDeviceAmidChanges(t *testing.T) {
	needs.Root(t)
	l, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	ns, err := netns.Open(l.HostNS)
	require.NoError(t, err)
	defer ns.Close()
	handle, err := netlink.NewHandleAt(vnetns.NsHandle(ns.Fd()))
	require.NoError(t, err)
	defer handle.Close()
	for i := range 100 { // more than one message of the kernel lists
		require.NoError(t, handle.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("stays%d", i)}, PeerName: fmt.Sprintf("far%d", i)}))
	}
	ctx, stop := context.WithCancel(t.Context())
	changed := make(chan error, 1)
	go func() {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "comes"}, PeerName: "goes"}
		var err error
		for ctx.Err() == nil && err == nil {
			err = errors.Join(handle.LinkAdd(pair), handle.LinkDel(pair))
		}
		changed <- err
	}()
	for range 200 {
		name, err := workload.Device(namespace.NS{FD: int(ns.Fd())}, "nobody's")
		if err != nil || name != "" {
			require.NoError(t, err)
			require.Empty(t, name)
		}
	}
	stop()
	require.NoError(t, <-changed)
}
