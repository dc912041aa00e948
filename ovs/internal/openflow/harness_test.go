package openflow_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/ovs/internal/openflow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is far more time than anything here needs.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// ovs is an Open vSwitch with a secure bridge br0, whose ports p1 and p2 have numbers 1 and 2.
type ovs struct {
	*lab.Switch
	host string
}

func newSwitch(t testing.TB) ovs {
	t.Helper()
	needs.Root(t)
	l, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	started, err := l.Switch(soon(t))
	require.NoError(t, err)
	s := ovs{started, l.HostNS}
	vsctl(t, s, "add-br br0 -- set bridge br0 datapath_type=netdev fail_mode=secure")
	for i := 1; i <= 2; i++ {
		vsctl(t, s, fmt.Sprintf("add-port br0 p%d -- set interface p%d type=internal ofport_request=%d", i, i, i))
	}
	return s
}

func vsctl(t testing.TB, s ovs, command string) {
	t.Helper()
	_, err := s.Vsctl(strings.Fields(command)...)
	require.NoError(t, err)
}

func ofctl(t testing.TB, s ovs, args ...string) string {
	t.Helper()
	out, err := s.Ofctl(args...)
	require.NoError(t, err)
	return out
}

func appctl(t testing.TB, s ovs, args ...string) {
	t.Helper()
	out, err := exec.Command("ovs-appctl", append([]string{"-t", filepath.Join(s.RunDir, "ovs-vswitchd.ctl")}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}

// send lets the bridge handle a frame, as if it had come in at port 1, and returns when that is
// done.
func send(t testing.TB, s ovs, vlan, source int) {
	t.Helper()
	ofctl(t, s, "packet-out", "br0", fmt.Sprintf("in_port=1,packet=%x,actions=resubmit(,0)", frame(vlan, source)))
}

func frame(vlan, source int) []byte {
	f := []byte{0x02, 0, 0, 0, 0, 0xff, 0x02, 0, 0, 0, 0, byte(source), 0x81, 0x00, byte(vlan >> 8), byte(vlan), 0x88, 0xb5}
	return append(f, make([]byte, 46)...)
}

// traffic sends frames into port 1 until stop is called: they take the way of real ones.
func traffic(t testing.TB, s ovs, vlans int) (sent *atomic.Int64, stop func()) {
	t.Helper()
	ns, err := netns.Open(s.host)
	require.NoError(t, err)
	defer ns.Close()
	fd, index := 0, 0
	require.NoError(t, netns.Do(int(ns.Fd()), func() error {
		link, err := netlink.LinkByName("p1")
		if err != nil {
			return err
		}
		index = link.Attrs().Index
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return errors.Join(err, netlink.LinkSetUp(link))
	}))
	sent = new(atomic.Int64)
	var wg sync.WaitGroup
	end := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
				if unix.Sendto(fd, frame(1+i%vlans, i), 0, &unix.SockaddrLinklayer{Ifindex: index}) == nil {
					sent.Add(1)
				}
			}
		}
	})
	return sent, func() {
		close(end)
		wg.Wait()
		unix.Close(fd)
	}
}

// owner is whose flows the tests' are.
const owner = "br-int"

// bridge opens br0 as a fresh process would, and counts how often it starts ovs-ofctl.
func bridge(t testing.TB, s ovs) (*openflow.Bridge, func() int) { return bridgeFor(t, s, owner) }

func bridgeFor(t testing.TB, s ovs, owner string) (*openflow.Bridge, func() int) {
	t.Helper()
	real, err := exec.LookPath("ovs-ofctl")
	require.NoError(t, err)
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho >>%s/runs\nexec %s \"$@\"\n", dir, real)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ovs-ofctl"), []byte(script), 0o755))
	path := os.Getenv("PATH")
	require.NoError(t, os.Setenv("PATH", dir+":"+path))
	b, err := openflow.Open(filepath.Join(s.RunDir, "br0.mgmt"), owner)
	require.NoError(t, os.Setenv("PATH", path))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b, func() int {
		runs, err := os.ReadFile(filepath.Join(dir, "runs"))
		if !os.IsNotExist(err) {
			require.NoError(t, err)
		}
		return len(runs)
	}
}

// requireSame says that the bridge has exactly these flows of ours.
func requireSame(t testing.TB, b *openflow.Bridge, flows []openflow.Flow) {
	t.Helper()
	add, remove, err := b.Plan(soon(t), flows)
	require.NoError(t, err)
	require.Empty(t, add)
	require.Empty(t, remove)
}

// told waits for news.
func told(t testing.TB, b *openflow.Bridge) {
	t.Helper()
	select {
	case <-b.Changed():
	case <-soon(t).Done():
		t.Fatal("nobody told")
	}
}

func untold(t testing.TB, b *openflow.Bridge) {
	t.Helper()
	select {
	case <-b.Changed():
		t.Fatal("news of nothing")
	default:
	}
}

var packets = regexp.MustCompile(`n_packets=(\d+)`)

// sum is how many packets the flows have counted that a dump selects.
func sum(t testing.TB, s ovs, flow string) (total int) {
	t.Helper()
	found := packets.FindAllStringSubmatch(ofctl(t, s, "dump-flows", "br0", flow), -1)
	require.NotEmpty(t, found, flow)
	for _, f := range found {
		n, err := strconv.Atoi(f[1])
		require.NoError(t, err)
		total += n
	}
	return total
}

// freeze stops ovs-vswitchd until the returned function lets it go on.
func freeze(t testing.TB, s ovs) (thaw func()) {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(s.RunDir, "br0.mgmt"))
	require.NoError(t, err)
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	var peer *unix.Ucred
	require.NoError(t, raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }))
	require.NoError(t, err)
	require.NoError(t, unix.Kill(int(peer.Pid), unix.SIGSTOP))
	return func() { require.NoError(t, unix.Kill(int(peer.Pid), unix.SIGCONT)) }
}
