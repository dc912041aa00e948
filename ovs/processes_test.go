package ovs_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// Two processes write the flows of the same bridges, while ports and peers come and go: none fails,
// and the flows are those of the last change.
func TestTwoProcessesWriteFlows(t *testing.T) {
	h, c := containing(t)
	drivers := []*ovs.Driver{h.driver(c), h.driver(c)}
	nss := []namespace.NS{h.Router("r0"), h.Router("r1")}
	ports := func(i int) []namespace.Attachment {
		leg := legPort(fmt.Sprintf("leg%d", i), wiringtest.VXLAN("net", 77))
		leg.MAC[5] = byte(i)
		return []namespace.Attachment{
			wiringtest.At("qr-leg", leg),
			wiringtest.At("qr-own", wiringtest.PortOn(wiringtest.VXLAN(fmt.Sprintf("own%d", i), uint32(80+i)), fmt.Sprintf("own%d", i), 2+i)),
			wiringtest.At("qr-tag", wiringtest.PortOn(vlanOf(fmt.Sprintf("tag%d", i), uint32(7+i)), fmt.Sprintf("tag%d", i), 4+i)),
		}
	}
	both := func(fn func(i int) error) {
		t.Helper()
		errs := make([]error, 2)
		wiringtest.InParallel(2, func(i int) { errs[i] = fn(i) })
		require.NoError(t, errs[0])
		require.NoError(t, errs[1])
	}
	plug := func(i int) error { return drivers[i].Plug(wiringtest.Soon(t), nss[i], ports(i)...) }
	release := func(i int) error { return drivers[i].Release(wiringtest.Soon(t), nss[i].Router) }

	both(plug)
	both(release)
	setPeers := func(last int) {
		t.Helper()
		both(func(i int) error {
			return drivers[i].SetPeers(wiringtest.Soon(t), addrs(fmt.Sprintf("192.0.2.%d", last), "192.0.2.77"))
		})
	}
	setPeers(2)
	empty := len(h.allFlows())
	for round := range 5 {
		both(plug)
		for i, d := range drivers {
			for _, p := range ports(i) {
				require.Empty(t, wiringtest.Plan(t, d, nss[i], p.Device, p.Port))
				require.Empty(t, wiringtest.Plan(t, drivers[1-i], nss[i], p.Device, p.Port))
			}
		}
		setPeers(3 + round)
		require.Empty(t, wiringtest.Plan(t, drivers[round%2], nss[0], "qr-leg", ports(0)[0].Port))
		both(func(i int) error { // the last port of a network goes while another network gets its first
			if i == round%2 {
				return release(i)
			}
			return drivers[i].Plug(wiringtest.Soon(t), nss[i], wiringtest.At("qr-more", wiringtest.PortOn(wiringtest.VXLAN("more", 90), "more", 8)))
		})
		stays := 1 - round%2
		require.Empty(t, wiringtest.Plan(t, drivers[round%2], nss[stays], "qr-leg", ports(stays)[0].Port))
		both(release)
		require.Len(t, h.allFlows(), empty)
		require.Empty(t, h.protected())
	}
}

// releaserVariable tells a copy of the test's process what it is to release, and where.
const releaserVariable = "OVS_TEST_RELEASER"

// release releases a router.
func release(t *testing.T, site string) {
	words := strings.Fields(site)
	d, err := ovs.New(t.Context(), ovs.Config{
		HostNS: words[0], Endpoints: []string{words[1]}, RunDir: words[2], Datapath: ovs.Netdev, Physical: map[string]string{"ext": "br-ex"},
	})
	require.NoError(t, err)
	require.NoError(t, d.Release(t.Context(), words[3]))
}

// A process is killed while its ovs-ofctl removes the flows of a network that has lost its last
// port. Another one, which plugs the next port of that network, has the last word.
func TestProcessIsKilledWhileItWritesFlows(t *testing.T) {
	if site := os.Getenv(releaserVariable); site != "" {
		release(t, site)
		return
	}
	h := newHost(t)
	router, next := h.Router("r1"), h.Router("r2")
	network := vlanOf("net", 7)
	h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	c := ovs.Config{Physical: map[string]string{"ext": "br-ex"}}
	d := h.driver(c)
	wiringtest.Plug(t, d, router, "qr-port", wiringtest.PortOn(network, "port", 1))
	flows := func() string { return fmt.Sprint(h.flows("br-ex"), h.flows("br-int")) }
	want := flows()

	dir := t.TempDir()
	mark := func(name string) string { return filepath.Join(dir, name) }
	exists := func(name string) func() bool {
		return func() bool {
			_, err := os.Stat(mark(name))
			return err == nil
		}
	}
	tool, err := exec.LookPath("ovs-ofctl")
	require.NoError(t, err)
	script := fmt.Sprintf(`#!/bin/sh
cd %s
case "$*" in
*add-flows*) : >begun; until [ -e go ]; do sleep 0.01; done; %s "$@"; : >ended;;
*) exec %s "$@";;
esac
`, dir, tool, tool)
	require.NoError(t, os.WriteFile(mark("ovs-ofctl"), []byte(script), 0o755))
	killed := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	killed.Stdout, killed.Stderr = os.Stdout, os.Stderr
	killed.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"),
		releaserVariable+"="+strings.Join([]string{h.HostNS, h.Endpoint, h.RunDir, "r1"}, " "))
	require.NoError(t, killed.Start())
	kill := func() {
		_ = killed.Process.Kill()
		_ = killed.Wait()
	}
	goOn := func() {
		kill()
		require.NoError(t, os.WriteFile(mark("go"), nil, 0o644))
		require.Eventually(t, exists("ended"), time.Minute, time.Millisecond)
	}
	defer goOn()
	require.Eventually(t, exists("begun"), time.Minute, time.Millisecond)

	plugged := make(chan error, 1)
	go func() {
		plugged <- d.Plug(wiringtest.Soon(t), next, wiringtest.At("qr-next", wiringtest.PortOn(network, "next", 2)))
	}()
	require.Eventually(t, func() bool { return strings.Contains(h.do("list-ports br-int"), "tapnext") }, time.Minute, time.Millisecond)
	kill()
	select {
	case err = <-plugged: // then it has not waited
	case <-time.After(100 * time.Millisecond):
		goOn()
		err = <-plugged
	}
	require.NoError(t, err)
	require.NoError(t, d.Close()) // else it would mend in the background what the other process still does
	goOn()
	require.Equal(t, want, flows(), "the network has the VLAN that it had")
}

// A process that is stopped while it may write makes others wait no longer than their contexts;
// what they could not write comes afterwards.
func TestWriterThatHangs(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.2")}})
	router := h.Router("r1")
	wiringtest.Plug(t, d, router, "qr-port", wiringtest.PortOn(wiringtest.VXLAN("net", 77), "port", 1))
	state := func() string { return fmt.Sprint(h.flows("br-int"), h.flows("br-tun")) }
	before := state()
	more := wiringtest.PortOn(wiringtest.VXLAN("more", 78), "more", 2)
	wiringtest.Plug(t, d, router, "qr-more", more)
	require.NotEqual(t, before, state())

	lock, err := os.Open(h.RunDir)
	require.NoError(t, err)
	defer lock.Close()
	require.NoError(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err = d.Unplug(ctx, router, "qr-more")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, h.RunDir)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, d.SetEntries(ctx, nil), h.RunDir, "while the background waits")
	require.NotEqual(t, before, state())
	require.NoError(t, lock.Close())
	require.Eventually(t, func() bool { return before == state() }, time.Minute, 20*time.Millisecond)
}
