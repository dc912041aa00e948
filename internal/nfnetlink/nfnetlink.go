// Package nfnetlink is a connection to the nf_tables of one network namespace.
//
// It exists beside github.com/google/nftables for what the Conn of that cannot do: make the kernel
// refuse a transaction if anybody has written since we looked (NFNL_BATCH_GENID), say which message
// of a refused transaction was at fault, and list objects with all their attributes. The library
// skips expressions that it does not know and what a set gives to its elements, so that a foreign
// rule could pass for one of ours.
package nfnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/dump"
	"github.com/l3kit/l3kit/internal/failure"
)

// ReceiveBuffer is the size of the longest datagram that a Conn can receive. The kernel fills no
// longer one when it lists something, but it sends a message that it refuses back whole.
const ReceiveBuffer = 32 << 10

const (
	receiveQueue = 4 << 20 // for the replies to a transaction of which many messages fail
	sendBuffer   = 256 << 10
	header       = 4 // the length of struct nfgenmsg
)

// Conn is the connection. Only NS has to be set. It is not safe for concurrent use.
type Conn struct {
	NS     int           // file descriptor; 0 stands for the calling thread's namespace
	Socket *netlink.Conn // nil until Open, and after an error that may have left something unread
	Room   int           // size of the socket's send buffer
}

// Open opens the socket, which the other methods do by themselves. A second Open does nothing.
func (c *Conn) Open() error {
	if c.Socket != nil {
		return nil
	}
	cfg := &netlink.Config{NetNS: c.NS, MessageBufferSize: ReceiveBuffer}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, cfg)
	if err != nil {
		return explain(err)
	}
	// None is needed: without the first errors say less, without the second a transaction that
	// fails may fail with "no buffer space", and one that finds no room in the third says so.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	_ = conn.SetReadBuffer(receiveQueue)
	_ = conn.SetWriteBuffer(sendBuffer)
	c.Socket, c.Room = conn, sendBuffer
	return nil
}

// Close closes the socket. A second Close is fine.
func (c *Conn) Close() error {
	if c.Socket == nil {
		return nil
	}
	err := c.Socket.Close()
	c.Socket = nil
	return err
}

// Fill writes the attributes of a request. Numbers are in network byte order.
type Fill = func(*netlink.AttributeEncoder)

// Decode reads the attributes of an object.
type Decode = func(*netlink.AttributeDecoder) error

// Ask sends a request, and calls decode, unless that is nil, with the attributes of each object in
// the answer. A listing that was interrupted is repeated before decode is called.
func (c *Conn) Ask(family byte, kind uint16, flags netlink.HeaderFlags, fill Fill, decode Decode) error {
	m, err := Message(family, kind, flags, fill)
	if err != nil {
		return err
	}
	if err := c.Open(); err != nil {
		return err
	}
	answers, err := dump.Complete(func() ([]netlink.Message, error) {
		answers, err := c.Socket.Execute(m)
		if err == nil {
			err = dump.Check(answers)
		}
		return answers, err
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return err
	case errors.Is(err, unix.EINVAL): // nfnetlink has no such subsystem
		err = fmt.Errorf("%w: the kernel has no nf_tables (CONFIG_NF_TABLES): %w", dataplane.ErrUnsupported, err)
	}
	if err != nil {
		return errors.Join(explain(err), c.Close())
	}
	if decode == nil {
		return nil
	}
	for _, m := range answers {
		if len(m.Data) < header {
			return errors.New("short answer from nf_tables")
		}
		ad, err := netlink.NewAttributeDecoder(m.Data[header:])
		if err != nil {
			return err
		}
		ad.ByteOrder = binary.BigEndian
		if err := errors.Join(decode(ad), ad.Err()); err != nil {
			return err
		}
	}
	return nil
}

// Generation returns a number that every change to any table of the namespace advances by one,
// whoever makes it. It is never 0.
func (c *Conn) Generation() (generation uint32, err error) {
	err = c.Ask(unix.NFPROTO_IPV4, unix.NFT_MSG_GETGEN, 0, nil, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				generation = ad.Uint32()
			}
		}
		return nil
	})
	if err == nil && generation == 0 {
		err = errors.New("the kernel's answer has none")
	}
	return generation, failure.Of("read generation", "of nf_tables", err)
}

// Transact carries out messages at one instant, or none of them. Unless generation is 0, the kernel
// refuses them with [unix.ERESTART] if the namespace is at another one. On error, refused is the
// place in messages of the one that the kernel refused, or -1 if that is not known.
func (c *Conn) Transact(messages []netlink.Message, generation uint32) (refused int, err error) {
	begin := mark(unix.NFNL_MSG_BATCH_BEGIN)
	if generation != 0 {
		attrs, err := encode(func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.NFNL_BATCH_GENID, generation) })
		if err != nil {
			return -1, err
		}
		begin.Data = append(begin.Data, attrs...)
	}
	all := slices.Concat([]netlink.Message{begin}, messages, []netlink.Message{mark(unix.NFNL_MSG_BATCH_END)})
	// Failures are reported unasked, in order, so nothing comes after this answer.
	all[len(messages)].Header.Flags |= netlink.Acknowledge
	if err := c.Open(); err != nil {
		return -1, err
	}
	sent, err := c.exchange(all)
	if err == nil {
		return -1, nil
	}
	refused = -1
	if op := (*netlink.OpError)(nil); errors.As(err, &op) && op.Sequence != 0 {
		at := slices.IndexFunc(sent, func(m netlink.Message) bool { return m.Header.Sequence == op.Sequence })
		if at > 0 && at <= len(messages) {
			refused = at - 1
		}
	}
	return refused, errors.Join(explain(err), c.Close())
}

// exchange sends a transaction and waits for the answer. It returns the messages as they were sent,
// with their numbers.
func (c *Conn) exchange(messages []netlink.Message) ([]netlink.Message, error) {
	size := 0
	for _, m := range messages {
		size += unix.NLMSG_HDRLEN + len(m.Data) + unix.NLMSG_ALIGNTO
	}
	if size > c.Room { // a limit, not an allocation
		_ = c.Socket.SetWriteBuffer(size) // if it stays too small, sending says so
		c.Room = size
	}
	sent, err := c.Socket.SendMessages(messages)
	if errors.Is(err, unix.EMSGSIZE) {
		err = fmt.Errorf("a transaction of %d bytes is too large for the socket's send buffer "+
			"(sysctl net.core.wmem_max): %w", size, err)
	}
	if err != nil {
		return nil, err
	}
	last := sent[len(sent)-2].Header.Sequence
	for {
		replies, err := c.Socket.Receive()
		if err != nil {
			return sent, err
		}
		for _, m := range replies {
			if m.Header.Type == netlink.Error && m.Header.Sequence == last {
				return sent, nil
			}
		}
	}
}

// Message encodes a request: a struct nfgenmsg and attributes.
func Message(family byte, kind uint16, flags netlink.HeaderFlags, fill Fill) (netlink.Message, error) {
	attrs, err := encode(fill)
	return netlink.Message{
		Header: netlink.Header{
			Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags,
		},
		Data: append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attrs...),
	}, err
}

// Hook reads where a chain hooks in, as NFTA_CHAIN_HOOK says.
func Hook(ad *netlink.AttributeDecoder) (number uint32, priority int32) {
	ad.Nested(func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_HOOK_HOOKNUM:
				number = ad.Uint32()
			case unix.NFTA_HOOK_PRIORITY:
				priority = ad.Int32()
			}
		}
		return nil
	})
	return number, priority
}

func encode(fill Fill) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	if fill != nil {
		fill(ae)
	}
	return ae.Encode()
}

// mark is the first or last message of a transaction. Its header names the subsystem that the
// transaction is for.
func mark(kind netlink.HeaderType) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES},
	}
}

func explain(err error) error {
	return failure.Lack("nf_tables (CONFIG_NF_TABLES), or a part of it", err)
}
