package namespace

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	mdnetlink "github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	"github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// tracked is the connection tracking of a router's namespace.
type tracked struct {
	t    *testing.T
	ns   *os.File
	fill *conntrack.Conn
}

func (b *bench) tracked(t *testing.T, router string) *tracked {
	t.Helper()
	ns, err := netns.Open(filepath.Join(b.dir, dataplane.NamespaceName(router)))
	require.NoError(t, err)
	c, err := conntrack.Dial(&mdnetlink.Config{NetNS: int(ns.Fd())})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.NoError(t, ns.Close())
	})
	return &tracked{t, ns, c}
}

func (x *tracked) add(port uint16, src, dst, replySrc, replyDst string) {
	x.t.Helper()
	f := conntrack.NewFlow(unix.IPPROTO_UDP, 0, netip.MustParseAddr(src), netip.MustParseAddr(dst), port, 53, 3600, 0)
	f.TupleReply.IP = conntrack.IPTuple{SourceAddress: netip.MustParseAddr(replySrc), DestinationAddress: netip.MustParseAddr(replyDst)}
	require.NoError(x.t, x.fill.Create(f))
}

func (x *tracked) sources() (list []string) {
	x.t.Helper()
	flows, err := x.fill.Dump(nil)
	require.NoError(x.t, err)
	for _, f := range flows {
		list = append(list, f.TupleOrig.IP.SourceAddress.String())
	}
	return list
}

// carrier gives a loose device a neighbour, so that frames leave it.
func (b *bench) carrier(t *testing.T, router, dev string) {
	t.Helper()
	b.in(t, router, func(h *netlink.Handle) {
		bridge, err := h.LinkByName(dev)
		require.NoError(t, err)
		require.NoError(t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near", MasterIndex: bridge.Attrs().Index}, PeerName: "far"}))
		for _, name := range []string{"near", "far"} {
			l, err := h.LinkByName(name)
			require.NoError(t, err)
			require.NoError(t, h.LinkSetUp(l))
		}
		require.Eventually(t, func() bool {
			bridge, err = h.LinkByName(dev)
			return err == nil && bridge.Attrs().OperState == netlink.OperUp
		}, 10*time.Second, time.Millisecond)
	})
}

// sent returns a function that tells whether an address has been announced on a device.
func (x *tracked) sent(dev, addr string) func() bool {
	x.t.Helper()
	fd := -1
	require.NoError(x.t, netns.Do(int(x.ns.Fd()), func() (err error) {
		l, err := net.InterfaceByName(dev)
		require.NoError(x.t, err)
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		require.NoError(x.t, err)
		const all = unix.ETH_P_ALL&0xff<<8 | unix.ETH_P_ALL>>8 // in network order
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Index})
	}))
	x.t.Cleanup(func() { unix.Close(fd) })
	want := netip.MustParseAddr(addr).AsSlice()
	return func() bool {
		frame := make([]byte, 128)
		for {
			n, _, err := unix.Recvfrom(fd, frame, 0)
			if err != nil {
				return false
			}
			if n >= 42 && frame[12] == 0x08 && frame[13] == 0x06 && bytes.Equal(frame[28:32], want) { // ARP, its sender
				return true
			}
		}
	}
}

// The kernel has announced the address by the time that it ends the first connection.
func TestAnAddressIsAnnouncedBeforeConnectionsAreExamined(t *testing.T) {
	for name, longWay := range map[string]bool{"the short way": false, "the long way": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			r := threeLegs()
			b.apply(t, r)
			b.carrier(t, "r1", "qg-gw")
			b.apply(t, r)
			x := b.tracked(t, "r1")
			listener := b.tracked(t, "r1").fill
			events := make(chan conntrack.Event, 1)
			_, err := listener.Listen(events, 1, []netfilter.NetlinkGroup{netfilter.GroupCTDestroy})
			require.NoError(t, err)
			for i := range uint16(500) {
				x.add(2000+i, "10.0.1.77", "8.8.8.8", "8.8.8.8", "203.0.113.10")
			}
			x.add(1, "10.0.2.5", "8.8.8.8", "8.8.8.8", "203.0.113.10")
			announced := x.sent("qg-gw", "203.0.113.30")

			r.FloatingIPs = append(r.FloatingIPs, fip("f2", "203.0.113.30", "10.0.2.5"))
			if longWay {
				r.Routes = r.Routes[:3]
			}
			done := make(chan error, 1)
			go func() {
				_, err := b.Apply(t.Context(), r)
				done <- err
			}()
			select {
			case <-events:
				require.True(t, announced(), "the connection has ended first")
			case <-time.After(10 * time.Second):
				require.Fail(t, "no connection has ended")
			}
			require.NoError(t, <-done)
			others := slices.DeleteFunc(x.sources(), func(src string) bool { return src != "10.0.1.77" }) // older kernels also track what a new device says
			require.Len(t, others, 500)
			require.NotContains(t, x.sources(), "10.0.2.5")
		})
	}
}

// With so many connections that the kernel needs long to walk them, those to an address from before
// it was a floating IP end a moment later.
func TestAmidManyConnectionsAnAddressTakenOverIsForgottenSoon(t *testing.T) {
	b := newBench(t)
	r := threeLegs()
	b.apply(t, r)
	b.apply(t, r)
	x := b.tracked(t, "r1")
	for i := range uint16(large) {
		x.add(2000+i, "10.0.1.77", "8.8.8.8", "8.8.8.8", "203.0.113.10")
	}
	x.add(1, "10.0.1.6", "203.0.113.30", "203.0.113.30", "203.0.113.10")
	x.add(2, "10.0.2.5", "8.8.4.4", "8.8.4.4", "203.0.113.10")
	r.FloatingIPs = append(r.FloatingIPs, fip("f2", "203.0.113.30", "10.0.2.5"))
	b.apply(t, r)
	require.NotContains(t, x.sources(), "10.0.2.5", "what is not rare has ended by now")
	require.Eventually(t, func() bool { return !slices.Contains(x.sources(), "10.0.1.6") }, 30*time.Second, 10*time.Millisecond)
	require.Len(t, slices.DeleteFunc(x.sources(), func(src string) bool { return src != "10.0.1.77" }), large)
}

// A host that comes to an edge, or is translated elsewhere from now on, loses the connections that
// take another way. Those that somebody else has stay, also when all are examined: what comes in by
// a floating IP, and what a host sends that is on the link without being listed.
func TestAnEdgeEndsTheConnectionsThatItWouldCarryOtherwise(t *testing.T) {
	for name, longWay := range map[string]bool{"the short way": false, "the long way": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			r := anEdge()
			r.Transit.Elsewhere = nil
			b.apply(t, r)
			b.apply(t, r)
			x := b.tracked(t, "r1")
			x.add(1, "8.8.8.8", "203.0.113.20", "10.0.1.5", "8.8.8.8")
			x.add(2, "10.0.1.5", "8.8.4.4", "8.8.4.4", "203.0.113.20")
			x.add(3, "10.0.1.77", "10.0.2.7", "10.0.2.7", "10.0.1.77")
			x.add(4, "10.0.1.6", "10.0.2.7", "10.0.2.7", "10.0.1.6")
			x.add(5, "10.0.1.6", "203.0.113.20", "10.0.1.5", "203.0.113.10")
			x.add(6, "10.0.3.7", "10.0.1.8", "10.0.1.8", "10.0.3.7")
			kept := x.ports()
			if longWay {
				b.reopen(t)
				b.apply(t, r)
			}
			require.Equal(t, kept, x.ports())

			if longWay {
				b.reopen(t)
			}
			r = r.Clone()
			r.Transit.Elsewhere = addrs("10.0.1.6")
			b.firewall.changes = nil
			p := b.apply(t, r)
			require.Contains(t, p.String(), "- connections 1")
			require.Equal(t, longWay, b.firewall.changes[0].Since == nil)
			require.Equal(t, []uint16{1, 2, 3, 4, 6}, x.ports(), "its hairpin would lead to the centre")

			r = r.Clone()
			r.Ports[0].Anycast.Neighbours = slices.DeleteFunc(r.Ports[0].Anycast.Neighbours, func(a netip.Addr) bool { return a.String() == "10.0.1.8" })
			r.Routes = slices.DeleteFunc(r.Routes, func(x dataplane.Route) bool { return x.NextHop.String() == "10.0.1.8" })
			b.apply(t, r)
			require.Equal(t, []uint16{1, 2, 3, 4}, x.ports(), "it would come by the transit, and return to it")
			require.Empty(t, b.apply(t, r).Steps)
		})
	}
}

// ports lists the source ports of the connections that the tests made.
func (x *tracked) ports() (list []uint16) {
	x.t.Helper()
	flows, err := x.fill.Dump(nil)
	require.NoError(x.t, err)
	for _, f := range flows {
		if p := f.TupleOrig.Proto; p.DestinationPort == 53 {
			list = append(list, p.SourcePort)
		}
	}
	slices.Sort(list)
	return list
}
