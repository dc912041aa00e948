package monitor_test

import (
	"net"
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
	"github.com/l3kit/l3kit/internal/test/needs"
)

// namespace makes a network namespace for the test, and a handle to change things in it.
func namespace(t testing.TB) (int, *netlink.Handle) {
	t.Helper()
	needs.Root(t)
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

func TestIgnoreLeavesOutOwnAddressesAndLocalRoutes(t *testing.T) {
	ns, h := namespace(t)
	require.NoError(t, h.LinkAdd(bridge("br0")))
	l, err := h.LinkByName("br0")
	require.NoError(t, err)
	require.NoError(t, h.LinkSetUp(l))
	own := socket(t, ns)
	m := open(t, ns, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE)
	require.NoError(t, m.Ignore(own.port))
	kinds := func() (list []uint16) {
		require.NoError(t, m.Drain(func(h unix.NlMsghdr, payload []byte) {
			if h.Type == unix.RTM_NEWROUTE || h.Type == unix.RTM_DELROUTE {
				require.NotEqual(t, uint8(unix.RT_TABLE_LOCAL), nl.DeserializeRtMsg(payload).Table)
			}
			list = append(list, h.Type)
		}))
		return list
	}
	own.address(unix.RTM_NEWADDR, l.Attrs().Index, "192.0.2.1", 32)
	require.Empty(t, kinds(), "a host address makes routes in the local table alone")
	own.address(unix.RTM_NEWADDR, l.Attrs().Index, "198.51.100.1", 24)
	require.Equal(t, []uint16{unix.RTM_NEWROUTE}, kinds(), "the kernel's route to the subnet is not written by us")

	a, err := netlink.ParseAddr("192.0.2.1/32")
	require.NoError(t, err)
	require.NoError(t, h.AddrDel(l, a))
	require.Equal(t, []uint16{unix.RTM_DELADDR}, kinds(), "somebody else's change is told")
	own.link(l.Attrs().Index)
	require.Contains(t, kinds(), uint16(unix.RTM_NEWLINK), "links are told, whoever sets them")
}

// ownSocket is a netlink socket whose port is known.
type ownSocket struct {
	t    *testing.T
	fd   int
	port uint32
}

func socket(t *testing.T, ns int) ownSocket {
	s := ownSocket{t: t}
	require.NoError(t, netns.Do(ns, func() (err error) {
		s.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		return err
	}))
	t.Cleanup(func() { require.NoError(t, unix.Close(s.fd)) })
	require.NoError(t, unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	sa, err := unix.Getsockname(s.fd)
	require.NoError(t, err)
	s.port = sa.(*unix.SockaddrNetlink).Pid
	return s
}

func (s ownSocket) address(kind, index int, addr string, bits uint8) {
	r := nl.NewNetlinkRequest(kind, unix.NLM_F_CREATE)
	msg := nl.NewIfAddrmsg(unix.AF_INET)
	msg.Index, msg.Prefixlen = uint32(index), bits
	r.AddData(msg)
	r.AddData(nl.NewRtAttr(unix.IFA_LOCAL, net.ParseIP(addr).To4()))
	s.send(r)
}

// link takes a link down.
func (s ownSocket) link(index int) {
	r := nl.NewNetlinkRequest(unix.RTM_NEWLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index, msg.Change = int32(index), unix.IFF_UP
	r.AddData(msg)
	s.send(r)
}

func (s ownSocket) send(r *nl.NetlinkRequest) {
	r.Flags |= unix.NLM_F_ACK
	r.Pid = s.port
	require.NoError(s.t, unix.Sendto(s.fd, r.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s.fd, answer, 0)
	require.NoError(s.t, err)
	require.Equal(s.t, uint32(0), nl.NativeEndian().Uint32(answer[unix.SizeofNlMsghdr:n]), "the kernel refuses")
}
