package monitor_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/monitor"
	"github.com/l3kit/l3kit/internal/netns"
)

// namespace makes a network namespace for the test, and a handle to change things in it.
func namespace(t testing.TB) (int, *netlink.Handle) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	dir := t.TempDir()
	f, err := netns.Create(dir, "ns", "", nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, f.Close())
		require.NoError(t, netns.Remove(dir, "ns"))
		require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) // Create made it a mount point
	})
	h, err := netlink.NewHandleAt(vnetns.NsHandle(f.Fd()), unix.NETLINK_ROUTE)
	require.NoError(t, err)
	t.Cleanup(h.Close)
	return int(f.Fd()), h
}

func open(t testing.TB, ns int, groups ...uint32) *monitor.Monitor {
	t.Helper()
	m, err := monitor.Open(ns, groups...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func bridge(name string) *netlink.Bridge {
	return &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}}
}

// A change is seen by the very next Drain, without waiting: that is what the whole package is for.
func TestDrainSeesCompletedChanges(t *testing.T) {
	ns, h := namespace(t)
	m := open(t, ns, unix.RTNLGRP_LINK)
	for i := range 100 {
		name := "br" + strconv.Itoa(i)
		require.NoError(t, h.LinkAdd(bridge(name)))
		require.Contains(t, names(t, m, unix.RTM_NEWLINK), name)
		require.Empty(t, names(t, m, unix.RTM_NEWLINK))

		link, err := h.LinkByName(name)
		require.NoError(t, err)
		require.Empty(t, names(t, m, unix.RTM_NEWLINK), "reading is not a change")
		require.NoError(t, h.LinkDel(link))
		require.Contains(t, names(t, m, unix.RTM_DELLINK), name)
	}
}

// names drains m and returns the names of the links in messages of one type.
func names(t testing.TB, m *monitor.Monitor, kind uint16) (names []string) {
	t.Helper()
	require.NoError(t, m.Drain(func(h unix.NlMsghdr, payload []byte) {
		if h.Type == kind {
			link, err := netlink.LinkDeserialize(&h, payload)
			require.NoError(t, err)
			names = append(names, link.Attrs().Name)
		}
	}))
	return names
}

func TestOnlyTheGroupsAskedFor(t *testing.T) {
	ns, h := namespace(t)
	m := open(t, ns, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
	require.NoError(t, h.LinkAdd(bridge("br")))
	link, err := h.LinkByName("br")
	require.NoError(t, err)
	require.NoError(t, m.Drain(func(h unix.NlMsghdr, _ []byte) { t.Errorf("message of type %d", h.Type) }))

	addr, err := netlink.ParseAddr("192.0.2.1/24")
	require.NoError(t, err)
	require.NoError(t, h.AddrAdd(link, addr))
	var types []uint16
	require.NoError(t, m.Drain(func(h unix.NlMsghdr, payload []byte) {
		require.Len(t, payload, int(h.Len)-unix.SizeofNlMsghdr)
		types = append(types, h.Type)
	}))
	require.Contains(t, types, uint16(unix.RTM_NEWADDR))
}

func TestOnlyItsNamespace(t *testing.T) {
	ns, _ := namespace(t)
	_, other := namespace(t)
	m := open(t, ns, unix.RTNLGRP_LINK)
	require.NoError(t, other.LinkAdd(bridge("br")))
	require.Empty(t, names(t, m, unix.RTM_NEWLINK))
}

// A loss is reported once, and what happens after the report is seen again.
func TestOverrun(t *testing.T) {
	ns, h := namespace(t)
	m := open(t, ns, unix.RTNLGRP_LINK)
	require.NoError(t, m.SetReadBuffer(16<<10))
	for i := range 100 {
		require.NoError(t, h.LinkAdd(bridge("br"+strconv.Itoa(i))))
	}
	require.ErrorIs(t, m.Drain(func(unix.NlMsghdr, []byte) {}), monitor.ErrOverrun)
	require.Empty(t, names(t, m, unix.RTM_NEWLINK), "an overrun leaves an empty queue")
	require.NoError(t, h.LinkAdd(bridge("later")))
	require.Contains(t, names(t, m, unix.RTM_NEWLINK), "later")
}

// A privileged neighbour may send to our socket; it must not be taken for the kernel.
func TestForgedMessagesAreIgnored(t *testing.T) {
	ns, _ := namespace(t)
	m := open(t, ns, unix.RTNLGRP_LINK)
	require.NoError(t, netns.Do(ns, func() error {
		s, err := nl.Subscribe(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer s.Close()
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		return unix.Sendto(s.GetFd(), req.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_LINK - 1)})
	}))
	require.NoError(t, m.Drain(func(h unix.NlMsghdr, _ []byte) { t.Errorf("forged message of type %d", h.Type) }))
}

func TestClose(t *testing.T) {
	ns, _ := namespace(t)
	m := open(t, ns, unix.RTNLGRP_LINK)
	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
	require.ErrorIs(t, m.Drain(func(unix.NlMsghdr, []byte) {}), os.ErrClosed)
}

func BenchmarkDrainEmpty(b *testing.B) {
	ns, _ := namespace(b)
	m := open(b, ns, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR)
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Drain(func(unix.NlMsghdr, []byte) {}); err != nil {
			b.Fatal(err)
		}
	}
}
