package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/nlmsg"
)

// Conn asks the kernel about the connections of one namespace. Calls are made one at a time.
type Conn struct {
	kernel *Kernel
	ns     int // file descriptor
	fd     int
	seq    uint32
	buf    []byte
}

const (
	partLen = 64 << 10 // the kernel lists in parts of at most 32 KiB
	batch   = 64       // requests in one system call; the answers to that many fit into any receive buffer
)

// Open opens a socket in the namespace that ns is open on.
func (k *Kernel) Open(ns int) (*Conn, error) {
	c := &Conn{kernel: k, ns: ns, fd: -1, buf: make([]byte, partLen)}
	return c, c.open()
}

func (c *Conn) open() error {
	return netns.Do(c.ns, func() (err error) {
		c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			c.fd = -1
			return os.NewSyscallError("socket", err)
		}
		return os.NewSyscallError("bind", unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	})
}

// Close closes the socket.
func (c *Conn) Close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

// List returns the connections that a filter matches and pick wants. A kernel before 5.8 lists all,
// and the filter is applied here. pick may be called more than once for one connection.
func (c *Conn) List(ctx context.Context, f Filter, pick func(*Connection) bool) (list []Connection, err error) {
	err = c.insist(ctx, func() error {
		list = nil
		return c.request(ctx, msgGet, unix.NLM_F_DUMP, f.attributes(), func(payload []byte) {
			found := decode(payload)
			if f.Matches(&found) && pick(&found) {
				found.keep()
				list = append(list, found)
			}
		})
	})
	return list, err
}

// End ends connections that were listed. One that has ended by itself is fine.
func (c *Conn) End(ctx context.Context, list []Connection) error {
	for some := range slices.Chunk(list, batch) {
		err := c.insist(ctx, func() error { return c.delete(some) })
		if err != nil {
			return err
		}
	}
	return nil
}

// EndMatching ends all connections that a filter matches, which must not be the zero Filter. A
// kernel that cannot delete by filter (before 6.10) lists them first.
func (c *Conn) EndMatching(ctx context.Context, f Filter) error {
	if f == (Filter{}) {
		return errors.New("end connections: the filter matches all")
	}
	if !c.kernel.cannotEnd.Load() {
		err := c.insist(ctx, func() error {
			return c.request(ctx, msgDelete, unix.NLM_F_ACK, f.attributes(), nil)
		})
		// A kernel that does not know filters here takes the tuple for an incomplete key, and
		// deletes nothing.
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
		c.kernel.cannotEnd.Store(true)
	}
	list, err := c.List(ctx, f, func(*Connection) bool { return true })
	if err != nil {
		return err
	}
	return c.End(ctx, list)
}

// errInterrupted says that a listing may lack something, because the table changed while it was
// read.
var errInterrupted = errors.New("the listing was interrupted")

const attempts = 8

// insist tries again what failed because the kernel was short of memory or busy. Each attempt has a
// socket of its own: there may be answers left in the one before.
func (c *Conn) insist(ctx context.Context, try func() error) (err error) {
	pause := backoff.Backoff{Pause: 2 * time.Millisecond, Longest: time.Second}
	for i := range attempts {
		if i > 0 {
			if pause.Wait(ctx) != nil {
				return errors.Join(err, ctx.Err())
			}
		}
		if c.fd < 0 {
			if err = c.open(); err != nil {
				continue
			}
		}
		if err = try(); err == nil {
			return nil
		}
		if !passing(err) {
			return err
		}
		_ = c.Close() // the error that counts is the other one
	}
	return fmt.Errorf("gave up after %d attempts: %w", attempts, err)
}

// passing reports whether an error may be gone by the next attempt.
func passing(err error) bool {
	for _, e := range []error{errInterrupted, unix.EAGAIN, unix.EBUSY, unix.EINTR, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// request sends one request and calls see for each entry in the answer, whose payload is valid
// until see returns.
func (c *Conn) request(ctx context.Context, kind uint16, flags int, attrs []byte, see func(payload []byte)) error {
	c.seq++
	if err := c.send(c.message(nil, kind, flags, attrs)); err != nil {
		return err
	}
	interrupted := false
	for {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, c.Close()) // with what has not been read
		}
		end, err := c.receive(func(h unix.NlMsghdr, payload []byte) {
			interrupted = interrupted || h.Flags&unix.NLM_F_DUMP_INTR != 0
			if see != nil && h.Type == unix.NFNL_SUBSYS_CTNETLINK<<8 && len(payload) >= nfgenmsg {
				see(payload[nfgenmsg:])
			}
		})
		switch {
		case err != nil:
			return err
		case end && interrupted:
			return errInterrupted
		case end:
			return nil
		}
	}
}

// delete ends connections by their keys, with one system call.
func (c *Conn) delete(list []Connection) error {
	var b []byte
	for i := range list {
		c.seq++
		b = c.message(b, msgDelete, unix.NLM_F_ACK, list[i].key)
	}
	if err := c.send(b); err != nil {
		return err
	}
	var failed error
	for answered := 0; answered < len(list); {
		end, err := c.receive(nil)
		if err != nil && !isRefusal(err) {
			return err
		}
		if err != nil && !errors.Is(err, unix.ENOENT) && failed == nil {
			failed = err
		}
		if end || err != nil {
			answered++
		}
	}
	return failed
}

const nfgenmsg = 4 // the length of struct nfgenmsg

func (c *Conn) message(b []byte, kind uint16, flags int, attrs []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+nfgenmsg+len(attrs)))
	b = binary.NativeEndian.AppendUint16(b, unix.NFNL_SUBSYS_CTNETLINK<<8|kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|uint16(flags))
	b = binary.NativeEndian.AppendUint32(b, c.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, unix.AF_INET, 0, 0, 0)
	return append(b, attrs...)
}

func (c *Conn) send(b []byte) error {
	return os.NewSyscallError("sendto", unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// refusal is the kernel's answer to a request that it did not carry out.
type refusal struct{ unix.Errno }

func (r refusal) Unwrap() error { return r.Errno }

func isRefusal(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// receive reads one datagram, calls see for its messages, and reports whether it ends an answer.
func (c *Conn) receive(see func(unix.NlMsghdr, []byte)) (end bool, err error) {
	n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
	for errors.Is(err, unix.EINTR) {
		n, _, err = unix.Recvfrom(c.fd, c.buf, 0)
	}
	if err != nil {
		return false, os.NewSyscallError("recvfrom", err)
	}
	var refused error
	err = nlmsg.Walk(c.buf[:n], func(h unix.NlMsghdr, payload []byte) {
		if h.Type == unix.NLMSG_ERROR || h.Type == unix.NLMSG_DONE {
			end = true
			if errno := nlmsg.Errno(payload); errno != 0 && refused == nil {
				refused = refusal{errno}
			}
			payload = nil // DumpInterrupted may be on the last message alone
		}
		if see != nil {
			see(h, payload)
		}
	})
	if err != nil {
		return false, err
	}
	return end, refused
}
