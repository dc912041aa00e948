// Package monitor tells whether the kernel's links, addresses, routes or nftables rules have
// changed since somebody last looked, without asking for all of them. A [Poller] tells it to those
// who do not look.
//
// The kernel queues a notification on every subscribed rtnetlink socket before the system call that
// caused it returns (rtnetlink(7)). So whoever keeps a copy of kernel state may trust it after a
// [Monitor.Drain] that found nothing: nobody, in any process, has completed a change that the copy
// lacks. What the kernel itself defers is seen when it happens: the links of a namespace whose last
// user has gone, the carrier of a link.
//
// The subscriptions of vishvananda/netlink hand notifications on by a goroutine and a channel, and
// an empty channel proves nothing.
//
// A copy is kept so: [Open], then dump, then [Monitor.Drain] before each use. A change between Open
// and the dump is seen twice, which is harmless, because a notification carries the whole object
// and the queue ends with its latest state.
package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/nlmsg"
)

// ErrOverrun says that the kernel dropped notifications, because they came faster than they were
// drained: anything may have happened, and everything must be read again. The Monitor remains
// usable; what it reports next is later than the loss.
var ErrOverrun = errors.New("kernel notifications were lost")

// DefaultReadBuffer is how many bytes of undrained notifications a Monitor lets the kernel hold, by
// the kernel's own measure: about a thousand links or five thousand addresses. Nothing is set aside
// for it.
const DefaultReadBuffer = 4 << 20

// bufferLen holds the largest notification that is usual: those of links with many virtual
// functions are the longest.
const bufferLen = 32 << 10

// Monitor is a subscription to netlink groups in one namespace. Its methods may be called
// concurrently.
type Monitor struct {
	mu  sync.Mutex
	fd  int // -1 when closed
	buf []byte
}

// Open subscribes to groups (RTNLGRP_LINK and so on, of linux/rtnetlink.h) in the namespace that
// the file descriptor ns is open on, which is not needed afterwards. Every change that begins after
// Open returned will be seen.
func Open(ns int, groups ...uint32) (*Monitor, error) {
	m, err := open(ns, unix.NETLINK_ROUTE, bufferLen)
	if err == nil {
		err = m.subscribe(groups)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to kernel notifications: %w", err), m.Close())
	}
	return m, nil
}

// OpenRules subscribes to the new generations of the nftables ruleset: one notification for each
// transaction that anybody commits in the namespace, iptables-nft's included. Its cost is the
// writers': while somebody listens, the kernel describes each rule and each element that changes,
// which takes it about 2 µs each. What it describes is dropped before it is queued.
func OpenRules(ns int) (*Monitor, error) {
	const generationLen = 512 // far more than a number and the name of a process need
	m, err := open(ns, unix.NETLINK_NETFILTER, generationLen)
	if err == nil {
		err = m.keepType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN)
	}
	if err == nil {
		err = m.subscribe([]uint32{unix.NFNLGRP_NFTABLES})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to changes of nftables: %w", err), m.Close())
	}
	return m, nil
}

func open(ns, protocol, bufferSize int) (*Monitor, error) {
	m := &Monitor{fd: -1, buf: make([]byte, bufferSize)}
	return m, netns.Do(ns, func() (err error) {
		m.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
		return os.NewSyscallError("socket", err)
	})
}

func (m *Monitor) subscribe(groups []uint32) error {
	if err := m.SetReadBuffer(DefaultReadBuffer); err != nil {
		return err
	}
	at := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	var others []uint32 // those for which the address has no bit
	for _, g := range groups {
		if g > 32 {
			others = append(others, g)
			continue
		}
		at.Groups |= 1 << (g - 1)
	}
	if err := unix.Bind(m.fd, at); err != nil {
		return os.NewSyscallError("bind", err)
	}
	for _, g := range others {
		if err := unix.SetsockoptInt(m.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(g)); err != nil {
			return fmt.Errorf("join rtnetlink group %d: %w", g, err)
		}
	}
	return nil
}

// SetReadBuffer sets how many bytes of undrained notifications the kernel may hold before it drops
// some (SO_RCVBUFFORCE of socket(7)). Without CAP_NET_ADMIN the system's limit applies
// (net.core.rmem_max), so that overruns come sooner.
func (m *Monitor) SetReadBuffer(bytes int) error {
	err := unix.SetsockoptInt(m.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes)
	if errors.Is(err, unix.EPERM) {
		err = unix.SetsockoptInt(m.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
	}
	return os.NewSyscallError("setsockopt", err)
}

// Ignore makes the kernel leave out what is none of the reader's business: addresses and routes
// that were written through the netlink socket of that port, as far as the kernel says so (for IPv6
// addresses it does not), and routes of the local table, which follow from addresses. It is for
// readers that write many themselves.
func (m *Monitor) Ignore(port uint32) error {
	return m.filter(
		load(unix.BPF_H, typeAt),
		equal(swap16(unix.RTM_NEWLINK), 9, 0), // keep
		equal(swap16(unix.RTM_DELLINK), 8, 0), // keep
		load(unix.BPF_W, portAt),
		equal(swap32(port), 5, 0), // drop
		load(unix.BPF_H, typeAt),
		equal(swap16(unix.RTM_NEWROUTE), 1, 0), // the table
		equal(swap16(unix.RTM_DELROUTE), 0, 3), // the table, or keep
		load(unix.BPF_B, tableAt),
		equal(unix.RT_TABLE_LOCAL, 0, 1), // drop, or keep
		end(drop),
		end(keep),
	)
}

// keepType makes the kernel leave out all messages but those of one type.
func (m *Monitor) keepType(t uint16) error {
	return m.filter(load(unix.BPF_H, typeAt), equal(swap16(t), 0, 1), end(keep), end(drop))
}

// Instructions of a filter, and what they are about.
const (
	typeAt, portAt, tableAt = 4, 12, unix.SizeofNlMsghdr + 4 // in struct nlmsghdr, and in the struct rtmsg behind it
	drop, keep              = 0, 0xffffffff
)

func load(size, at uint32) unix.SockFilter {
	return unix.SockFilter{Code: uint16(unix.BPF_LD | size | unix.BPF_ABS), K: at}
}

func equal(v uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: v, Jt: yes, Jf: no}
}

func end(v uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v} }

func (m *Monitor) filter(program ...unix.SockFilter) error {
	f := &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(m.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, f))
}

// A filter reads numbers as big-endian, and netlink has them as the machine does.
func swap32(v uint32) uint32 {
	return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, v))
}

func swap16(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}

// Drain calls fn for each notification since the last Drain, in the order of the changes, and
// returns when there are no more. It never blocks. payload follows the header, begins with the
// message's family header (struct ifinfomsg, ifaddrmsg, rtmsg), and is valid only until fn returns.
// fn must not call the Monitor.
//
// With [ErrOverrun] fn may have been called for some of the changes. With any error the queue is no
// proof of anything.
func (m *Monitor) Drain(fn func(h unix.NlMsghdr, payload []byte)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd < 0 {
		return os.ErrClosed
	}
	lost := false
	for {
		// MSG_TRUNC makes the kernel return the real length of a message that was longer than the
		// buffer.
		n, from, err := unix.Recvfrom(m.fd, m.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if lost {
				return ErrOverrun
			}
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS):
			// Until its queue is empty a socket that has overrun is sent nothing, and it says so
			// only once. So the loss ends, and a dump is worth making, when all that is left has
			// been read.
			lost = true
		case err != nil:
			return fmt.Errorf("receive kernel notifications: %w", err)
		case n > len(m.buf):
			m.buf = make([]byte, n)
			lost = true
		case !lost && fromKernel(from):
			if err := nlmsg.Walk(m.buf[:n], fn); err != nil {
				return err
			}
		}
	}
}

// fromKernel guards against privileged processes that address the socket themselves.
func fromKernel(from unix.Sockaddr) bool {
	sa, ok := from.(*unix.SockaddrNetlink)
	return ok && sa.Pid == 0
}

// Close ends the subscription. A second Close is fine.
func (m *Monitor) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fd < 0 {
		return nil
	}
	fd := m.fd
	m.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}
