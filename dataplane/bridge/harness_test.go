package bridge_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
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
	t   testing.TB
	dir string
	ns  namespace.NS
	wiringtest.Namespaces
	*netlink.Handle
	changes bytes.Buffer // what drivers by Full have logged
}

func newHost(t testing.TB) *host {
	t.Helper()
	needs.Root(t)
	dir := t.TempDir()
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) }) // the first namespace makes it a mount point
	h := &host{t: t, dir: dir, Namespaces: wiringtest.NamespacesIn(t, dir)}
	h.ns = h.Workload("host")
	h.Handle = wiringtest.Links(t, h.ns)
	return h
}

// driver returns a Driver as a fresh process would have it.
func (h *host) driver(c bridge.Config) *bridge.Driver {
	h.t.Helper()
	c.HostNS = filepath.Join(h.dir, "host")
	d, err := bridge.New(c)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, d.Close()) })
	return d
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

// requireSilent fails the test if the host could speak through a device.
func (h *host) requireSilent(names ...string) {
	h.t.Helper()
	for _, name := range names {
		addrs, err := h.AddrList(h.link(name), netlink.FAMILY_ALL)
		require.NoError(h.t, err)
		require.Empty(h.t, addrs, "the host must not speak on %s", name)
	}
}

// setAddrGenMode sets the IPv6 address generation mode (IN6_ADDR_GEN_MODE_EUI64 is 0).
func (h *host) setAddrGenMode(name string, mode byte) error {
	index := h.link(name).Attrs().Index
	return netns.Do(h.ns.FD, func() error {
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
	m, err := monitor.Open(h.ns.FD, unix.RTNLGRP_LINK)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, m.Close()) })
	settings := func(l netlink.Link) string {
		a := l.Attrs()
		return fmt.Sprintf("%s %s master %d mtu %d %s up %v %q", a.Name, l.Type(), a.MasterIndex, a.MTU, a.HardwareAddr,
			a.RawFlags&unix.IFF_UP != 0, a.Alias)
	}
	last := map[int]string{}
	hd := wiringtest.Links(h.t, h.ns)
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
