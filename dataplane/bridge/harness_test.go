package bridge_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/monitor"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a network namespace that plays the host, with the namespaces of its routers and
// workloads.
type host struct {
	t    testing.TB
	dir  string
	path string
	ns   *os.File
	*netlink.Handle
}

func newHost(t testing.TB) *host {
	t.Helper()
	needs.Root(t)
	h := &host{t: t, dir: t.TempDir()}
	h.ns = h.create("host", nil)
	h.path = filepath.Join(h.dir, "host")
	t.Cleanup(func() { require.NoError(t, unix.Unmount(h.dir, unix.MNT_DETACH)) }) // Create made it a mount point
	t.Cleanup(func() { h.removeNS("host", h.ns) })
	h.Handle = handle(t, h.ns)
	return h
}

func (h *host) create(name string, prepare func() error) *os.File {
	h.t.Helper()
	f, err := netns.Create(h.dir, name, "", prepare)
	require.NoError(h.t, err)
	return f
}

func (h *host) removeNS(name string, f *os.File) {
	require.NoError(h.t, f.Close())
	require.NoError(h.t, netns.Remove(h.dir, name))
}

func handle(t testing.TB, ns *os.File) *netlink.Handle {
	t.Helper()
	hd, err := netlink.NewHandleAt(vnetns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	require.NoError(t, err)
	t.Cleanup(hd.Close)
	return hd
}

// driver returns a Driver as a fresh process would have it.
func (h *host) driver(c bridge.Config) *bridge.Driver {
	h.t.Helper()
	c.HostNS = h.path
	d, err := bridge.New(c)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, d.Close()) })
	return d
}

// router makes a router's namespace; workload that of something else.
func (h *host) router(id string) namespace.NS   { return h.namespace(id, id) }
func (h *host) workload(id string) namespace.NS { return h.namespace("", id) }

func (h *host) namespace(router, name string) namespace.NS {
	h.t.Helper()
	return wiringtest.Namespace(h.t, h.dir, router, name)
}

// suiteHost is a host for the tests that both kinds of wiring have.
type suiteHost struct{ *host }

func (h suiteHost) Driver() namespace.InterfaceDriver { return h.driver(bridge.Config{}) }
func (h suiteHost) Router(id string) namespace.NS     { return h.router(id) }
func (h suiteHost) Workload(id string) namespace.NS   { return h.workload(id) }
func (h suiteHost) Ports() []string                   { return h.links() }

func TestWiring(t *testing.T) {
	wiringtest.Run(t, func(t testing.TB) wiringtest.Host { return suiteHost{newHost(t)} })
}

// links returns what the host has, as text: name, kind, bridge, alias.
func (h *host) links() (all []string) {
	h.t.Helper()
	links, err := h.LinkList()
	require.NoError(h.t, err)
	// Kernels before 6.7 list devices by a hash of their indexes.
	slices.SortFunc(links, func(a, b netlink.Link) int { return a.Attrs().Index - b.Attrs().Index })
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range links {
		if a := l.Attrs(); a.Name != "lo" {
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", a.Name, l.Type(), names[a.MasterIndex], a.Alias)))
		}
	}
	return all
}

func (h *host) link(name string) netlink.Link {
	h.t.Helper()
	l, err := h.LinkByName(name)
	require.NoError(h.t, err, name)
	return l
}

// setAddrGenMode sets the IPv6 address generation mode (IN6_ADDR_GEN_MODE_EUI64 is 0).
func (h *host) setAddrGenMode(name string, mode byte) error {
	index := h.link(name).Attrs().Index
	return netns.Do(int(h.ns.Fd()), func() error {
		req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index = int32(index)
		req.AddData(msg)
		families := nl.NewRtAttr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, nil)
		families.AddRtAttr(unix.AF_INET6|unix.NLA_F_NESTED, nil).AddRtAttr(unix.IFLA_INET6_ADDR_GEN_MODE, []byte{mode})
		req.AddData(families)
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
}

// watch returns a function that says what somebody has changed about links since it was last
// called. The kernel itself tells of carriers that come and go, when it pleases: a message in which
// nothing is new that one could have set does not count.
func (h *host) watch() func() []string {
	h.t.Helper()
	m, err := monitor.Open(int(h.ns.Fd()), unix.RTNLGRP_LINK)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, m.Close()) })
	settings := func(l netlink.Link) string {
		a := l.Attrs()
		return fmt.Sprintf("%s %s master %d mtu %d %s up %v %q", a.Name, l.Type(), a.MasterIndex, a.MTU, a.HardwareAddr,
			a.RawFlags&unix.IFF_UP != 0, a.Alias)
	}
	last := map[int]string{}
	hd := handle(h.t, h.ns)
	links, err := hd.LinkList()
	require.NoError(h.t, err)
	for _, l := range links {
		last[l.Attrs().Index] = settings(l)
	}
	return func() (events []string) {
		require.NoError(h.t, m.Drain(func(hdr unix.NlMsghdr, payload []byte) {
			if payload[0] != unix.AF_UNSPEC {
				return // a bridge's account of its ports; they speak for themselves
			}
			l, err := netlink.LinkDeserialize(&hdr, payload)
			require.NoError(h.t, err)
			if now := settings(l); hdr.Type != unix.RTM_NEWLINK || last[l.Attrs().Index] != now {
				events = append(events, fmt.Sprintf("type %d: %s", hdr.Type, now))
				last[l.Attrs().Index] = now
			}
		}))
		return events
	}
}

const mtu = wiringtest.MTU

var (
	portOn         = wiringtest.PortOn
	local          = wiringtest.Local
	at             = wiringtest.At
	plug           = wiringtest.Plug
	plan           = wiringtest.Plan
	up             = wiringtest.Up
	requireReach   = wiringtest.RequireReach
	requireNoReach = wiringtest.RequireNoReach
)

// dup gives a namespace a file of its own.
func dup(t testing.TB, fd int) *os.File {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "namespace")
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}
