package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

const (
	receiveBuffer = 32 << 10 // what the kernel fills at most when it lists something; see also maxElementBytes
	receiveQueue  = 4 << 20  // for the replies to a batch of which many messages fail
	sendBuffer    = 256 << 10
)

// socket talks to nf_tables in one namespace.
type socket struct {
	ns   int           // file descriptor
	conn *netlink.Conn // nil until first used, and after an error that may have left something unread
	room int           // size of the send buffer
}

func (s *socket) open() error {
	if s.conn != nil {
		return nil
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: s.ns, MessageBufferSize: receiveBuffer})
	if err != nil {
		return err
	}
	// None is needed: without the first errors say less, without the second a batch that fails may say so as "no buffer space", and
	// a batch that finds no room in the third says so.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	_ = conn.SetReadBuffer(receiveQueue)
	_ = conn.SetWriteBuffer(sendBuffer)
	s.conn, s.room = conn, sendBuffer
	return nil
}

func (s *socket) close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

// request asks one question and returns the answers.
func (s *socket) request(f family, kind uint16, flags netlink.HeaderFlags, fill func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	m, err := newMessage(f, kind, flags, fill)
	if err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	answers, err := s.conn.Execute(m)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		err = errors.Join(err, s.close())
	}
	return answers, err
}

// generation is a number that every change to any table of the namespace advances by one, whoever makes it. It is never 0.
func (s *socket) generation() (uint32, error) {
	answers, err := s.request(ipv4, unix.NFT_MSG_GETGEN, 0, nil)
	if errors.Is(err, unix.EINVAL) { // nfnetlink's word for a subsystem that is not there
		err = fmt.Errorf("%w: the kernel has no nf_tables (CONFIG_NF_TABLES): %w", dataplane.ErrUnsupported, err)
	}
	if err != nil {
		return 0, failure("read generation", "", err)
	}
	for _, m := range answers {
		ad, err := attributes(m)
		if err != nil {
			return 0, failure("read generation", "", err)
		}
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				return ad.Uint32(), nil
			}
		}
	}
	return 0, failure("read generation", "", errors.New("the kernel's answer has none"))
}

// errMoved says that somebody wrote since the generation that a batch was made for. The batch had no effect.
var errMoved = errors.New("the rules have changed meanwhile")

// commit carries out a batch, provided that the namespace is still at this generation (0: whatever it is at).
func (s *socket) commit(b *batch, generation uint32) error {
	if len(b.messages) == 0 && b.err == nil {
		return nil
	}
	messages, err := b.seal(generation)
	if err != nil {
		return failure("encode", tableText, err)
	}
	if err := s.open(); err != nil {
		return failure("open nf_tables", "", err)
	}
	sent, err := s.exchange(messages)
	if err == nil {
		return nil
	}
	return errors.Join(b.failure(sent, generation, err), s.close())
}

// exchange sends a sealed batch and waits for the kernel's word. It returns the messages as they were sent, with their numbers.
func (s *socket) exchange(messages []netlink.Message) ([]netlink.Message, error) {
	size := 0
	for _, m := range messages {
		size += unix.NLMSG_HDRLEN + len(m.Data) + unix.NLMSG_ALIGNTO
	}
	if size > s.room { // a limit, not an allocation
		_ = s.conn.SetWriteBuffer(size) // if it stays too small, sending says so
		s.room = size
	}
	sent, err := s.conn.SendMessages(messages)
	if errors.Is(err, unix.EMSGSIZE) {
		err = fmt.Errorf("a transaction of %d bytes is too large for the socket's send buffer (sysctl net.core.wmem_max): %w", size, err)
	}
	if err != nil {
		return nil, err
	}
	last := sent[len(sent)-2].Header.Sequence
	for {
		replies, err := s.conn.Receive()
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

// failure tells which message of the batch the kernel refused.
func (b *batch) failure(sent []netlink.Message, generation uint32, err error) error {
	if errors.Is(err, unix.ERESTART) {
		return errMoved
	}
	var refusal *netlink.OpError
	if !errors.As(err, &refusal) || refusal.Sequence == 0 {
		return failure("write", tableText, err)
	}
	at := slices.IndexFunc(sent, func(m netlink.Message) bool { return m.Header.Sequence == refusal.Sequence }) - 1 // sent begins with a bracket
	if at < 0 || at >= len(b.texts) {
		return failure(fmt.Sprintf("write %d messages", len(b.texts)), tableText, err)
	}
	// What a message refers to is there if the batch was made for this generation; so it can only be a part of the kernel that is not.
	kind := sent[at+1].Header.Type & 0xff
	if errors.Is(err, unix.ENOENT) && generation != 0 && (kind == unix.NFT_MSG_NEWCHAIN || kind == unix.NFT_MSG_NEWRULE) {
		err = fmt.Errorf("%w: the kernel lacks a type of chain or expression of nf_tables: %w", dataplane.ErrUnsupported, err)
	}
	return failure(fmt.Sprintf("write (message %d of %d)", at+1, len(b.texts)), b.texts[at], err)
}

// failure says what was done to what, and turns the kernel's words for lacks of this host into ours.
func failure(op, object string, err error) error {
	switch {
	case errors.Is(err, dataplane.ErrUnsupported):
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		err = fmt.Errorf("%w: %w", dataplane.ErrPermission, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		err = fmt.Errorf("%w: the kernel has no netfilter netlink (CONFIG_NETFILTER_NETLINK) or no nf_tables for the address family: %w",
			dataplane.ErrUnsupported, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		err = fmt.Errorf("%w: the kernel lacks nf_tables (CONFIG_NF_TABLES) or a part of it: %w", dataplane.ErrUnsupported, err)
	}
	return &dataplane.OpError{Op: op, Object: object, Err: err}
}

// attributes decodes an answer: after its struct nfgenmsg, numbers in network order.
func attributes(m netlink.Message) (*netlink.AttributeDecoder, error) {
	const header = 4
	if len(m.Data) < header {
		return nil, errors.New("short answer from nf_tables")
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return nil, err
	}
	ad.ByteOrder = binary.BigEndian
	return ad, nil
}
