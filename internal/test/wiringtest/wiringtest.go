// Package wiringtest is what tests of both wirings do with the devices that were plugged.
package wiringtest

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/netns"
)

// MTU is that of ports by PortOn.
const MTU = 1450

// PortOn makes a port; n tells its MAC from others'.
func PortOn(network dataplane.Network, id string, n int) dataplane.Port {
	mac := dataplane.MAC{0xfa, 0x16, 0x3e, 0, byte(n >> 8), byte(n)}
	return dataplane.Port{ID: id, Network: network, MTU: MTU, MAC: mac}
}

// LocalPort makes a port on a network that does not leave the host.
func LocalPort(network, id string, n int) dataplane.Port { return PortOn(Local(network), id, n) }

// Local is a network that does not leave the host.
func Local(id string) dataplane.Network {
	return dataplane.Network{ID: id, Type: dataplane.NetworkLocal}
}

// Net is a network with the ID "n".
func Net(kind dataplane.NetworkType, physical string, segment uint32) dataplane.Network {
	return dataplane.Network{ID: "n", Type: kind, Physical: physical, Segment: segment}
}

// Flat is a network on the physical network "ext".
func Flat(id string) dataplane.Network {
	return dataplane.Network{ID: id, Type: dataplane.NetworkFlat, Physical: "ext"}
}

// VXLAN is a network in tunnels.
func VXLAN(id string, vni uint32) dataplane.Network {
	return dataplane.Network{ID: id, Type: dataplane.NetworkVXLAN, Segment: vni}
}

// At is a device that is to be a port.
func At(dev string, p dataplane.Port) namespace.Attachment {
	return namespace.Attachment{Device: dev, Port: p}
}

// Namespaces makes namespaces of routers and workloads, in one directory.
type Namespaces struct {
	t   testing.TB
	dir string
}

// NamespacesIn makes them in dir.
func NamespacesIn(t testing.TB, dir string) Namespaces { return Namespaces{t, dir} }

// Router makes a router's namespace.
func (n Namespaces) Router(id string) namespace.NS { return n.Namespace(id, id) }

// Workload makes that of something else.
func (n Namespaces) Workload(id string) namespace.NS { return n.Namespace("", id) }

// Namespace makes one with a name, for a router, or with an empty router for a workload.
func (n Namespaces) Namespace(router, name string) namespace.NS {
	n.t.Helper()
	f, err := netns.Create(n.dir, name, "", nil)
	require.NoError(n.t, err)
	n.t.Cleanup(func() {
		require.NoError(n.t, f.Close())
		require.NoError(n.t, netns.Remove(n.dir, name))
	})
	return namespace.NS{Router: router, FD: int(f.Fd())}
}

// Links returns a handle in a namespace.
func Links(t testing.TB, ns namespace.NS) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(vnetns.NsHandle(ns.FD), unix.NETLINK_ROUTE)
	require.NoError(t, err)
	t.Cleanup(h.Close)
	return h
}

// Soon is a context for what takes a moment; it ends long after that.
func Soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// InParallel calls fn for each number below n, all at once.
func InParallel(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

// Plug plugs a port. After that, Plan finds nothing to do.
func Plug(t testing.TB, d namespace.InterfaceDriver, ns namespace.NS, dev string, p dataplane.Port) {
	t.Helper()
	require.NoError(t, d.Plug(Soon(t), ns, At(dev, p)))
	require.Empty(t, Plan(t, d, ns, dev, p), "a port that was plugged is plugged")
}

// Plan returns the steps to a port as text.
func Plan(t testing.TB, d namespace.InterfaceDriver, ns namespace.NS, dev string, p dataplane.Port) []string {
	t.Helper()
	plans, err := d.Plan(t.Context(), ns, At(dev, p))
	require.NoError(t, err)
	lines := []string{}
	for _, s := range slices.Concat(plans...) {
		lines = append(lines, s.String())
	}
	return lines
}

// Up gives a device an address and sets it up.
func Up(t testing.TB, ns namespace.NS, dev, addr string) {
	t.Helper()
	require.NoError(t, netdev.In(ns.FD, func(h *netlink.Handle) error {
		l, err := h.LinkByName(dev)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		if err := h.AddrReplace(l, a); err != nil {
			return err
		}
		return h.LinkSetUp(l)
	}))
}

// reach sends datagrams from one namespace to an address in another until one arrives, or gives up.
func reach(t testing.TB, from, to namespace.NS, addr string, within time.Duration) bool {
	t.Helper()
	var in *net.UDPConn
	require.NoError(t, to.Do(func() (err error) {
		in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0)))
		return err
	}))
	defer in.Close()
	var out *net.UDPConn
	require.NoError(t, from.Do(func() (err error) {
		out, err = net.DialUDP("udp", nil, in.LocalAddr().(*net.UDPAddr))
		return err
	}))
	defer out.Close()

	buf := make([]byte, 64)
	for end := time.Now().Add(within); time.Now().Before(end); {
		_, _ = out.Write([]byte("hello")) // an error is about an earlier one
		require.NoError(t, in.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		if n, err := in.Read(buf); err == nil && string(buf[:n]) == "hello" {
			return true
		}
	}
	return false
}

// RequireReach fails the test unless packets pass from one namespace to an address in another.
func RequireReach(t testing.TB, from, to namespace.NS, addr string) {
	t.Helper()
	require.True(t, reach(t, from, to, addr, 20*time.Second), "no packet arrived at %s", addr)
}

// RequireNoReach fails the test if packets pass from one namespace to an address in another.
func RequireNoReach(t testing.TB, from, to namespace.NS, addr string) {
	t.Helper()
	require.False(t, reach(t, from, to, addr, 300*time.Millisecond), "a packet arrived at %s", addr)
}
