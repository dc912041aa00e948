package lab_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
)

func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	needs.Root(t)
	l, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience(10*time.Second))
	t.Cleanup(cancel)
	return ctx
}

func port(network string, addrs ...string) dataplane.Port {
	p := dataplane.Port{Network: dataplane.Network{ID: network}}
	for _, a := range addrs {
		p.Addrs = append(p.Addrs, netip.MustParsePrefix(a))
	}
	return p
}

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// path makes a client and a server with two forwarding hops between them, and a narrow link between
// the hops.
func path(t *testing.T) (client, hop, server *lab.Host) {
	t.Helper()
	l := newLab(t)
	wiring := patch{host: l.HostNS}
	attach := func(name string, ports []dataplane.Port, local, nextHops []netip.Addr) *lab.Host {
		h, err := l.Attach(soon(t), wiring, lab.Spec{Name: name, Ports: ports, Local: local, NextHops: nextHops})
		require.NoError(t, err)
		return h
	}
	left, right := port("narrow", "10.0.9.1/24", "fd00:9::1/64"), port("narrow", "10.0.9.2/24", "fd00:9::2/64")
	left.MTU, right.MTU = 1300, 1300
	client = attach("client", []dataplane.Port{port("near", "10.0.0.2/24", "fd00::2/64")}, nil, addrs("10.0.0.1", "fd00::1"))
	hop = attach("hop", []dataplane.Port{port("near", "10.0.0.1/24", "fd00::1/64"), left}, nil, addrs("10.0.9.2", "fd00:9::2"))
	attach("hop2", []dataplane.Port{right, port("far", "10.0.1.1/24", "fd00:1::1/64")}, nil, addrs("10.0.9.1", "fd00:9::1"))
	server = attach("server", []dataplane.Port{port("far", "10.0.1.2/24", "fd00:1::2/64")}, addrs("192.0.2.7"), addrs("10.0.1.1", "fd00:1::1"))
	return client, hop, server
}

func TestConversations(t *testing.T) {
	client, _, server := path(t)
	s, err := server.Serve(80)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	ctx := soon(t)
	for _, dst := range addrs("10.0.1.2", "fd00:1::2") {
		for _, proto := range []dataplane.Proto{dataplane.TCP, dataplane.UDP, dataplane.ICMP} {
			c, err := client.Dial(ctx, proto, netip.AddrPort{}, netip.AddrPortFrom(dst, 80))
			require.NoError(t, err)
			defer c.Close()
			for range 3 {
				seen, err := c.Exchange(ctx, 10)
				require.NoError(t, err, "%s to %s", proto, dst)
				require.Equal(t, dst, seen.Dst.Addr())
				if proto != dataplane.ICMP {
					require.Equal(t, lab.Seen{Host: "server", Src: c.Local(), Dst: netip.AddrPortFrom(dst, 80)}, seen)
				}
			}
		}
	}
	require.Len(t, s.Requests(), 2*2*3)
	require.Empty(t, s.Requests())
}

func TestNoAnswerAndRefusalAreTold(t *testing.T) {
	client, _, _ := path(t)
	c, err := client.Dial(soon(t), dataplane.UDP, netip.AddrPort{}, netip.MustParseAddrPort("10.0.1.2:81"))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Exchange(soon(t), 0)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c, err = client.Dial(soon(t), dataplane.ICMP, netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.77:0"))
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Exchange(ctx, 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAPathThatNarrowsTakesLargeTransfersAndTellsOfIt(t *testing.T) {
	client, _, server := path(t)
	s, err := server.Serve(80)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	for _, dst := range addrs("10.0.1.2", "fd00:1::2") {
		look, err := client.Capture("eth0")
		require.NoError(t, err)
		t.Cleanup(func() { look.Close() })
		c, err := client.Dial(soon(t), dataplane.TCP, netip.AddrPort{}, netip.AddrPortFrom(dst, 80))
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Exchange(soon(t), 200_000)
		require.NoError(t, err)
		packets, err := look.Packets()
		require.NoError(t, err)
		var told *lab.ICMPHeader
		for _, p := range packets {
			if p.ICMP != nil && p.ICMP.About != nil {
				told = p.ICMP
			}
		}
		require.NotNil(t, told, "the narrow hop says so")
		require.EqualValues(t, 1300, told.MTU)
		require.Equal(t, c.Local(), told.About.Src)
		require.Equal(t, netip.AddrPortFrom(dst, 80), told.About.Dst)
	}
}

func TestTimeToLiveEndsAtTheHop(t *testing.T) {
	client, _, _ := path(t)
	look, err := client.Capture("eth0")
	require.NoError(t, err)
	t.Cleanup(func() { look.Close() })
	for _, dst := range addrs("10.0.1.2", "fd00:1::2") {
		for _, proto := range []dataplane.Proto{dataplane.UDP, dataplane.ICMP} {
			c, err := client.Dial(soon(t), proto, netip.AddrPort{}, netip.AddrPortFrom(dst, 80))
			require.NoError(t, err)
			defer c.Close()
			require.NoError(t, c.SetTTL(1))
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			_, err = c.Exchange(ctx, 0)
			cancel()
			require.Error(t, err)
			packets, err := look.Packets()
			require.NoError(t, err)
			found := false
			for _, p := range packets {
				found = found || p.ICMP != nil && p.ICMP.About != nil && p.ICMP.About.Src == c.Local() && p.ICMP.About.Dst.Addr() == dst
			}
			require.True(t, found, "%s to %s: %v", proto, dst, packets)
		}
	}
}

func TestStreamCountsWhatIsLost(t *testing.T) {
	client, hop, server := path(t)
	s, err := server.Serve(80)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	forward := func(v string) {
		require.NoError(t, hop.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(v), 0) }))
	}
	stream, err := client.Stream(soon(t), netip.AddrPort{}, netip.MustParseAddrPort("10.0.1.2:80"), time.Millisecond)
	require.NoError(t, err)
	require.NoError(t, stream.Pause(soon(t), 50))
	flow := stream.Stop(soon(t))
	require.Zero(t, flow.Lost, flow)
	require.GreaterOrEqual(t, flow.Sent, 50)
	require.Len(t, flow.Sources, 1)

	stream, err = client.Stream(soon(t), netip.AddrPort{}, netip.MustParseAddrPort("10.0.1.2:80"), time.Millisecond)
	require.NoError(t, err)
	require.NoError(t, stream.Pause(soon(t), 5))
	forward("0")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, stream.Pause(short, 1000))
	forward("1")
	require.NoError(t, stream.Pause(soon(t), 5))
	short, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.NotZero(t, stream.Stop(short).Lost)
}

func TestWritesAreSeenAndTrafficIsNot(t *testing.T) {
	client, _, server := path(t)
	s, err := server.Serve(80)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	dir := t.TempDir()
	ns, err := netns.Create(dir, "x", "", nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		ns.Close()
		_ = netns.Remove(dir, "x")
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	})
	x := filepath.Join(dir, "x")
	writes, err := lab.Writes([]string{x, netnsPath(client)}, func() error {
		c, err := client.Dial(soon(t), dataplane.TCP, netip.AddrPort{}, netip.MustParseAddrPort("10.0.1.2:80"))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Exchange(soon(t), 0)
		return err
	})
	require.NoError(t, err)
	require.Empty(t, writes)

	for _, dev := range []string{"up", "down"} {
		writes, err = lab.Writes([]string{x}, func() error {
			return netns.Do(int(ns.Fd()), func() error { return ipLink("lo", dev == "up") })
		})
		require.NoError(t, err)
		require.NotEmpty(t, writes)
	}
}

func TestStateTellsConfigurationsApart(t *testing.T) {
	client, _, server := path(t)
	a, err := lab.State(netnsPath(client))
	require.NoError(t, err)
	again, err := lab.State(netnsPath(client))
	require.NoError(t, err)
	require.Equal(t, a, again)
	require.Contains(t, a, "eth0 10.0.0.2/24")
	require.Contains(t, a, "default")
	require.NoError(t, client.Do(func() error { return ipLink("lo", false) }))
	changed, err := lab.State(netnsPath(client))
	require.NoError(t, err)
	require.NotEqual(t, a, changed)
	other, err := lab.State(netnsPath(server))
	require.NoError(t, err)
	require.NotEqual(t, a, other)
}

func TestCloseLeavesNothing(t *testing.T) {
	l := newLab(t)
	ns, err := netns.Create(l.Dir, "left", "", nil)
	require.NoError(t, err)
	require.NoError(t, ns.Close())
	temp := filepath.Dir(l.Dir)
	require.NoError(t, l.Close())
	_, err = os.Stat(temp)
	require.ErrorIs(t, err, os.ErrNotExist)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), temp)
}
