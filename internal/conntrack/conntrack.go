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

// Tuple is the addresses and ports of one direction. What has no ports has zeros.
type Tuple struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
}

// Filter picks connections by address. A zero address stands for any.
type Filter struct {
	OrigSrc, OrigDst   netip.Addr
	ReplySrc, ReplyDst netip.Addr
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
	word("answered by", f.ReplySrc)
	word("shown as", f.ReplyDst)
	return strings.Join(words, " ")
}

// Matches reports whether the filter picks a connection.
func (f Filter) Matches(c *Connection) bool {
	is := func(want, have netip.Addr) bool { return !want.IsValid() || want == have }
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

	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	ctaFilterOrig  = 1 // CTA_FILTER_ORIG_FLAGS
	ctaFilterReply = 2 // CTA_FILTER_REPLY_FLAGS
	flagSrc        = 1 << 0
	flagDst        = 1 << 1
)

// attributes encodes the filter: the addresses in tuples as if to name a connection, and, which
// makes it a filter, the parts of the tuples that count.
func (f Filter) attributes() []byte {
	var b []byte
	orig, b := direction(b, ctaTupleOrig, f.OrigSrc, f.OrigDst)
	reply, b := direction(b, ctaTupleReply, f.ReplySrc, f.ReplyDst)
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

func direction(b []byte, kind uint16, src, dst netip.Addr) (flags uint32, _ []byte) {
	if !src.IsValid() && !dst.IsValid() {
		return 0, b
	}
	return flags, nlmsg.AppendNested(b, kind, func(b []byte) []byte {
		return nlmsg.AppendNested(b, ctaTupleIP, func(b []byte) []byte {
			if src.IsValid() {
				flags |= flagSrc
				b = nlmsg.Append(b, ctaIPv4Src, src.AsSlice())
			}
			if dst.IsValid() {
				flags |= flagDst
				b = nlmsg.Append(b, ctaIPv4Dst, dst.AsSlice())
			}
			return b
		})
	})
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
