package bridge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/dump"
	"github.com/l3kit/l3kit/internal/nlmsg"
)

// sockets are rtnetlink sockets in one namespace. There are as many as calls at once: a request
// that removes a device waits for the kernel longer than one that makes a device, and must not hold
// it up.
type sockets struct {
	ns int // file descriptor

	mu     sync.Mutex
	idle   []*netlink.Conn
	closed bool
}

const (
	maxIdle    = 8
	messageLen = 64 << 10 // no datagram of the kernel's is longer: a listing comes in parts of 32 KiB
)

func dial(ns int) (*netlink.Conn, error) {
	return netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: ns, Strict: true, MessageBufferSize: messageLen})
}

// with lends a socket to fn. One that saw an error is not used again: there may be answers left in
// it.
func (s *sockets) with(fn func(*netlink.Conn) error) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return dataplane.ErrClosed
	}
	var c *netlink.Conn
	if n := len(s.idle); n > 0 {
		c, s.idle = s.idle[n-1], s.idle[:n-1]
	}
	s.mu.Unlock()
	if c == nil {
		var err error
		if c, err = dial(s.ns); err != nil {
			return fmt.Errorf("open rtnetlink socket: %w", err)
		}
	}
	if err := fn(c); err != nil {
		return errors.Join(err, c.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle) == maxIdle {
		return c.Close()
	}
	s.idle = append(s.idle, c)
	return nil
}

func (s *sockets) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for _, c := range s.idle {
		errs = append(errs, c.Close())
	}
	s.idle = nil
	return errors.Join(errs...)
}

// write has the kernel carry out messages in order, in one system call: a process that is killed
// has done all of them or none. The error is that of the first message that failed. Those behind it
// were tried too.
func (s *sockets) write(batch ...netlink.Message) error {
	return s.with(func(c *netlink.Conn) error { return write(c, batch...) })
}

func write(c *netlink.Conn, batch ...netlink.Message) error {
	if _, err := c.SendMessages(batch); err != nil {
		return err
	}
	for range batch {
		if _, err := c.Receive(); err != nil {
			return cause(err)
		}
	}
	return nil
}

// cause says what the kernel said, without the library's account of how it was asked.
func cause(err error) error {
	var op *netlink.OpError
	if !errors.As(err, &op) {
		return err
	}
	if op.Message != "" {
		return fmt.Errorf("%w (%s)", op.Err, op.Message)
	}
	return op.Err
}

func (s *sockets) read(m netlink.Message) (answer []netlink.Message, err error) {
	err = s.with(func(c *netlink.Conn) (err error) {
		answer, err = c.Execute(m)
		return cause(err)
	})
	return answer, err
}

// dump lists objects, completely.
func (s *sockets) dump(m netlink.Message) ([]netlink.Message, error) {
	m.Header.Flags |= netlink.Dump
	return dump.Complete(func() ([]netlink.Message, error) {
		answer, err := s.read(m)
		if err == nil {
			err = dump.Check(answer)
		}
		return answer, err
	})
}

// links lists the devices of the namespace.
func (s *sockets) links() ([]*link, error) {
	answer, err := s.dump(request(unix.RTM_GETLINK, 0, ifinfomsg(0, 0), func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_EXT_MASK, extMaskSkipStats)
	}))
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	links := make([]*link, len(answer))
	for i, m := range answer {
		if links[i], err = decode(m.Data); err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
	}
	return links, nil
}

// link reads the device with an index, in the namespace that has the ID nsid here. Without one it
// is unix.ENODEV, or unix.EINVAL for the ID.
func (s *sockets) link(nsid, index int) (*link, error) {
	answer, err := s.read(getLink(index, func(ae *netlink.AttributeEncoder) {
		if nsid != sameNS {
			ae.Int32(unix.IFLA_TARGET_NETNSID, int32(nsid))
		}
	}))
	return onlyLink(answer, err)
}

func getLink(index int, attrs encode) netlink.Message {
	return request(unix.RTM_GETLINK, 0, ifinfomsg(index, 0), func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_EXT_MASK, extMaskSkipStats)
		attrs(ae)
	})
}

func onlyLink(answer []netlink.Message, err error) (*link, error) {
	if err != nil {
		return nil, err
	}
	if len(answer) != 1 {
		return nil, fmt.Errorf("%d answers for one link", len(answer))
	}
	return decode(answer[0].Data)
}

// nsid returns the ID that the namespace open on fd has here, or noNS.
func (s *sockets) nsid(fd int) (int, error) {
	answer, err := s.read(request(unix.RTM_GETNSID, 0, make([]byte, 4), func(ae *netlink.AttributeEncoder) { // struct rtgenmsg, padded
		ae.Uint32(unix.NETNSA_FD, uint32(fd))
	}))
	if err != nil {
		return noNS, fmt.Errorf("read namespace ID: %w", err)
	}
	for _, m := range answer {
		if id := decodeNSID(m.Data); id >= 0 { // NETNSA_NSID_NOT_ASSIGNED is negative
			return id, nil
		}
	}
	return noNS, nil
}

func decodeNSID(payload []byte) int {
	for kind, v := range after(4, payload) {
		if kind == unix.NETNSA_NSID {
			return nlmsg.Int(v)
		}
	}
	return noNS
}

// floods lists the peers to which a VXLAN device floods.
func (s *sockets) floods(index int) (peers []netip.Addr, err error) {
	ndmsg := make([]byte, unix.SizeofNdMsg)
	ndmsg[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(ndmsg[4:], uint32(index))
	answer, err := s.dump(request(unix.RTM_GETNEIGH, 0, ndmsg, nil))
	if err != nil {
		return nil, fmt.Errorf("list forwarding entries: %w", err)
	}
	for _, m := range answer {
		if len(m.Data) < unix.SizeofNdMsg || nlmsg.Int(m.Data[4:8]) != index {
			continue
		}
		var mac, dst []byte
		for kind, v := range after(unix.SizeofNdMsg, m.Data) {
			switch kind {
			case unix.NDA_LLADDR:
				mac = v
			case unix.NDA_DST:
				dst = v
			}
		}
		if peer := nlmsg.Addr(dst); peer.IsValid() && bytes.Equal(mac, zeroMAC) {
			peers = append(peers, peer)
		}
	}
	return peers, nil
}

// address is an IP address of a device.
type address struct {
	netip.Prefix
	linkLocal bool // IPv6, and made by the kernel
}

func (s *sockets) addresses(index int) (all []address, err error) {
	ifaddrmsg := make([]byte, unix.SizeofIfAddrmsg)
	binary.NativeEndian.PutUint32(ifaddrmsg[4:], uint32(index))
	answer, err := s.dump(request(unix.RTM_GETADDR, 0, ifaddrmsg, nil))
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, m := range answer {
		if len(m.Data) < unix.SizeofIfAddrmsg || nlmsg.Int(m.Data[4:8]) != index {
			continue
		}
		var a address
		for kind, v := range after(unix.SizeofIfAddrmsg, m.Data) {
			if kind == unix.IFA_ADDRESS {
				a.Prefix = netip.PrefixFrom(nlmsg.Addr(v), int(m.Data[1]))
			}
		}
		a.linkLocal = m.Data[0] == unix.AF_INET6 && a.Addr().IsLinkLocalUnicast()
		all = append(all, a)
	}
	return all, nil
}
