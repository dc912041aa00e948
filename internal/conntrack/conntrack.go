// Package conntrack lists and ends the connections that the kernel tracks in a network namespace
// (ctnetlink).
//
// It exists for what ti-mo/conntrack v0.6.0 cannot do: its Filter knows marks, status and zones,
// but no addresses, and its dumps hold every entry of the table in memory. Here the kernel picks
// connections by address (CTA_FILTER), and a listing keeps nothing but what the caller picks.
//
// The kernel has one table for all namespaces, so that walking it costs what the whole host has,
// but copying an entry to user space costs several times what it takes to pass over it.
package conntrack

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/nlmsg"
)

// Connection is an IPv4 connection.
type Connection struct {
	Orig  Tuple // of its first packet
	Reply Tuple // of packets the other way, after translation

	key []byte // the attributes by which the kernel finds it again
}

// Compare orders listed connections, and is 0 for those that are the same.
func (c Connection) Compare(d Connection) int { return bytes.Compare(c.key, d.key) }

// Tuple is the addresses and ports of one direction, and the number of the protocol. What has no
// ports has zeros.
type Tuple struct {
	Src, Dst         netip.Addr
	Proto            uint8
	SrcPort, DstPort uint16
}

// Filter picks connections by address, and by the port that was asked for. What is zero stands for
// any. OrigDstPort is of Proto, and so needs it.
type Filter struct {
	OrigSrc, OrigDst   netip.Addr
	ReplySrc, ReplyDst netip.Addr
	Proto              uint8
	OrigDstPort        uint16
}

// String describes the filter in words.
func (f Filter) String() string {
	var words []string
	word := func(what string, a netip.Addr) {
		if a.IsValid() {
			words = append(words, what+" "+a.String())
		}
	}
	word("from", f.OrigSrc)
	word("to", f.OrigDst)
	if f.OrigDstPort != 0 {
		words = append(words, "port "+strconv.Itoa(int(f.OrigDstPort)))
	}
	if f.Proto != 0 {
		words = append(words, "protocol "+strconv.Itoa(int(f.Proto)))
	}
	word("answered by", f.ReplySrc)
	word("shown as", f.ReplyDst)
	return strings.Join(words, " ")
}

// Matches reports whether the filter picks a connection.
func (f Filter) Matches(c *Connection) bool {
	is := func(want, have netip.Addr) bool { return !want.IsValid() || want == have }
	if f.Proto != 0 && f.Proto != c.Orig.Proto || f.OrigDstPort != 0 && f.OrigDstPort != c.Orig.DstPort {
		return false
	}
	return is(f.OrigSrc, c.Orig.Src) && is(f.OrigDst, c.Orig.Dst) && is(f.ReplySrc, c.Reply.Src) && is(f.ReplyDst, c.Reply.Dst)
}

// Kernel remembers what the running kernel has turned out not to support. The zero value assumes
// that it supports everything. It may be used concurrently, and by any number of sockets.
type Kernel struct {
	cannotEnd atomic.Bool // a request to delete by filter was refused
}

// Constants of linux/netfilter/nfnetlink_conntrack.h.
const (
	msgGet    = 1 // IPCTNL_MSG_CT_GET
	msgDelete = 2 // IPCTNL_MSG_CT_DELETE

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaID         = 12
	ctaZone       = 18
	ctaFilter     = 25

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPv4Src = 1
	ctaIPv4Dst = 2

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	ctaFilterOrig  = 1 // CTA_FILTER_ORIG_FLAGS
	ctaFilterReply = 2 // CTA_FILTER_REPLY_FLAGS
	flagSrc        = 1 << 0
	flagDst        = 1 << 1
	flagProto      = 1 << 3
	flagDstPort    = 1 << 5
)

// attributes encodes the filter: addresses and port in tuples as if to name a connection, and,
// which makes it a filter, the parts of the tuples that count.
func (f Filter) attributes() []byte {
	var b []byte
	orig, b := direction(b, ctaTupleOrig, Tuple{Src: f.OrigSrc, Dst: f.OrigDst, Proto: f.Proto, DstPort: f.OrigDstPort})
	reply, b := direction(b, ctaTupleReply, Tuple{Src: f.ReplySrc, Dst: f.ReplyDst})
	if orig|reply == 0 {
		return nil
	}
	return nlmsg.AppendNested(b, ctaFilter, func(b []byte) []byte {
		if orig != 0 {
			b = nlmsg.Append(b, ctaFilterOrig, binary.NativeEndian.AppendUint32(nil, orig))
		}
		if reply != 0 {
			b = nlmsg.Append(b, ctaFilterReply, binary.NativeEndian.AppendUint32(nil, reply))
		}
		return b
	})
}

func direction(b []byte, kind uint16, t Tuple) (flags uint32, _ []byte) {
	if t == (Tuple{}) {
		return 0, b
	}
	b = nlmsg.AppendNested(b, kind, func(b []byte) []byte {
		b = nlmsg.AppendNested(b, ctaTupleIP, func(b []byte) []byte {
			if t.Src.IsValid() {
				flags |= flagSrc
				b = nlmsg.Append(b, ctaIPv4Src, t.Src.AsSlice())
			}
			if t.Dst.IsValid() {
				flags |= flagDst
				b = nlmsg.Append(b, ctaIPv4Dst, t.Dst.AsSlice())
			}
			return b
		})
		if t.Proto == 0 {
			return b
		}
		return nlmsg.AppendNested(b, ctaTupleProto, func(b []byte) []byte {
			flags |= flagProto
			b = nlmsg.Append(b, ctaProtoNum, []byte{t.Proto})
			if t.DstPort != 0 {
				flags |= flagDstPort
				b = nlmsg.Append(b, ctaProtoDstPort, binary.BigEndian.AppendUint16(nil, t.DstPort))
			}
			return b
		})
	})
	return flags, b
}

// decode reads an entry. Its key is valid as long as payload is.
func decode(payload []byte) (c Connection) {
	c.key = payload
	for kind, v := range nlmsg.Attributes(payload) {
		switch kind {
		case ctaTupleOrig:
			c.Orig = decodeTuple(v)
		case ctaTupleReply:
			c.Reply = decodeTuple(v)
		}
	}
	return c
}

func decodeTuple(b []byte) (t Tuple) {
	for kind, v := range nlmsg.Attributes(b) {
		switch kind {
		case ctaTupleIP:
			for kind, v := range nlmsg.Attributes(v) {
				switch kind {
				case ctaIPv4Src:
					t.Src = nlmsg.Addr(v)
				case ctaIPv4Dst:
					t.Dst = nlmsg.Addr(v)
				}
			}
		case ctaTupleProto:
			for kind, v := range nlmsg.Attributes(v) {
				switch kind {
				case ctaProtoNum:
					if len(v) > 0 {
						t.Proto = v[0]
					}
				case ctaProtoSrcPort:
					t.SrcPort = nlmsg.Port(v)
				case ctaProtoDstPort:
					t.DstPort = nlmsg.Port(v)
				}
			}
		}
	}
	return t
}

// keep copies what names the connection out of the buffer that it was read into: the kernel
// compares nothing else, and refuses some of what it lists.
func (c *Connection) keep() {
	var key []byte
	for kind, v := range nlmsg.Attributes(c.key) {
		switch kind {
		case ctaTupleOrig:
			key = nlmsg.Append(key, kind|unix.NLA_F_NESTED, v)
		case ctaZone, ctaID: // the ID keeps another connection of the same addresses and ports alive
			key = nlmsg.Append(key, kind, v)
		}
	}
	c.key = key
}
