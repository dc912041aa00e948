package server_test

import (
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/internal/frame"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/server"
	"github.com/l3kit/l3kit/l3/service"
)

// node is a host with an agent, on a kernel.
type node struct {
	t       *testing.T
	machine *lab.Lab
	host    *host.Host
}

func newNode(t *testing.T, s *server.Server, name, mode string) *node {
	m, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	h, err := host.Open(t.Context(), host.Config{
		HostNS: m.HostNS, Dir: m.Dir, Tunnel: host.Tunnel{Local: netip.MustParseAddr("192.0.2.1")},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.Close() })
	source, err := s.Login(name)
	require.NoError(t, err)
	a, err := agent.New(agent.Config{
		Host: name, Machine: name, Source: source, Dataplane: h, HeartbeatEvery: 200 * time.Millisecond, CheckEvery: -1,
		Capabilities: agent.Capabilities{Mode: mode}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	require.NoError(t, err)
	background(t, a.Run)
	return &node{t, m, h}
}

// workload attaches a port.
func (n *node) workload(p l3.Port, on l3.Subnet) *lab.Host {
	n.t.Helper()
	port := dataplane.Port{ID: p.ID, Network: dataplane.Network{ID: p.NetworkID}, MAC: p.MAC, MTU: 1400}
	for _, ip := range p.FixedIPs {
		port.Addrs = append(port.Addrs, netip.PrefixFrom(ip.IPAddress, on.CIDR.Bits()))
	}
	w, err := n.machine.Attach(n.t.Context(), n.host.Wiring, lab.Spec{Name: p.ID, Ports: []dataplane.Port{port}})
	require.NoError(n.t, err)
	return w
}

// leads says where a router's instance sends what is for an address: to another instance, or to the
// link of one of its legs.
func (n *node) leads(router string, a netip.Addr) (leg bool, other bool) {
	f, err := netns.Open(filepath.Join(n.machine.Dir, dataplane.NamespaceName(router)))
	if err != nil {
		return false, false // it is not there yet
	}
	defer f.Close()
	require.NoError(n.t, netns.Do(int(f.Fd()), func() error {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Dst: &net.IPNet{
			IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen()),
		}}, netlink.RT_FILTER_DST)
		for _, r := range routes {
			l, gone := netlink.LinkByIndex(r.LinkIndex)
			if gone != nil {
				continue
			}
			leg, other = l.Attrs().Name[:3] == "qr-", l.Attrs().Name[:3] == "qt-"
		}
		return err
	}))
	return leg, other
}

// announce has a workload say unasked that it has an address.
func announce(t *testing.T, w *lab.Host, from dataplane.MAC, a netip.Addr) {
	t.Helper()
	f := frame.Frame{Dst: dataplane.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, Src: from, Type: unix.ETH_P_ARP}
	if a.Is4() {
		p, err := arp.NewPacket(arp.OperationRequest, from[:], a, make(net.HardwareAddr, 6), a)
		require.NoError(t, err)
		f.Body, err = p.MarshalBinary()
		require.NoError(t, err)
	} else {
		to := netip.MustParseAddr("ff02::1")
		m, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
			Override: true, TargetAddress: a, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: from[:]}},
		}, a, to)
		require.NoError(t, err)
		f.Dst, f.Type = dataplane.MAC{0x33, 0x33, 0, 0, 0, 1}, unix.ETH_P_IPV6
		f.Body = frame.Packet{Src: a, Dst: to, Proto: unix.IPPROTO_ICMPV6, TTL: ndp.HopLimit}.Marshal()[:40]
		f.Body[4], f.Body[5] = 0, byte(len(m))
		f.Body = append(f.Body, m...)
	}
	require.NoError(t, w.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return unix.Sendto(fd, f.Marshal(), 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index})
	}))
}

// TestVirtualAddressesAreFollowed: a virtual address that announces itself on a host is routed
// there by all hosts; then it moves, and comes back.
func TestVirtualAddressesAreFollowed(t *testing.T) {
	needs.Root(t)
	s := open(t, server.Config{SegmentRanges: []service.SegmentRange{
		{Type: dataplane.NetworkLocal}, {Type: dataplane.NetworkVXLAN, First: 1, Last: 9},
	}})
	background(t, s.Run)
	require.Eventually(t, func() bool { return s.Ready(t.Context()) == nil }, patience, time.Millisecond)
	newNode(t, s, "nn", agent.ModeDVRSNAT)
	nodes := map[string]*node{"h1": newNode(t, s, "h1", agent.ModeDVR), "h2": newNode(t, s, "h2", agent.ModeDVR)}
	require.Eventually(t, func() bool {
		agents, err := s.Service().ListAgents(t.Context(), admin, l3.Query{})
		require.NoError(t, err)
		return len(agents) == 3
	}, patience, 10*time.Millisecond)

	routers, err := s.Service().CreateRouters(t.Context(), admin, l3.RouterSpec{Distributed: new(true)})
	require.NoError(t, err)
	router := routers[0].ID
	type sender struct {
		*lab.Host
		mac dataplane.MAC
	}
	workloads := map[string]map[string]sender{} // by subnet and host
	virtual := map[string]string{"10.0.1.0/24": "10.0.1.200", "fd00:1::/64": "fd00:1::200"}
	for cidr := range virtual {
		subnet := joined(t, s.Service(), router, cidr)
		workloads[cidr] = map[string]sender{}
		for name, n := range nodes {
			ports, err := s.Service().CreatePorts(t.Context(), admin, l3.PortSpec{NetworkID: &subnet.NetworkID, HostID: &name})
			require.NoError(t, err)
			workloads[cidr][name] = sender{n.workload(ports[0], subnet), ports[0].MAC}
		}
	}
	require.Eventually(t, active(t, s, router), patience, 10*time.Millisecond)
	for cidr, v := range virtual {
		a := netip.MustParseAddr(v)
		for _, at := range []string{"h1", "h2", "h1"} {
			other := map[string]string{"h1": "h2", "h2": "h1"}[at]
			begin := time.Now()
			announce(t, workloads[cidr][at].Host, workloads[cidr][at].mac, a)
			require.Eventually(t, func() bool {
				here, _ := nodes[at].leads(router, a)
				_, there := nodes[other].leads(router, a)
				return here && there
			}, patience, 5*time.Millisecond, "%s on %s", v, at)
			t.Logf("%s on %s: routed after %s", v, at, time.Since(begin).Round(time.Millisecond))
		}
	}
}

// joined makes a network with a subnet, and joins a router to it.
func joined(t *testing.T, svc *service.Service, router, cidr string) l3.Subnet {
	t.Helper()
	networks, err := svc.CreateNetworks(t.Context(), admin, l3.NetworkSpec{})
	require.NoError(t, err)
	subnets, err := svc.CreateSubnets(t.Context(), admin, l3.SubnetSpec{NetworkID: &networks[0].ID, CIDR: new(netip.MustParsePrefix(cidr))})
	require.NoError(t, err)
	_, err = svc.AddRouterInterface(t.Context(), admin, router, l3.InterfaceSpec{SubnetID: subnets[0].ID})
	require.NoError(t, err)
	return subnets[0]
}
