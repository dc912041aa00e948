// Package nlmsg reads and writes the messages and attributes of netlink(7).
//
// mdlayher/netlink does the same, and is used wherever time does not matter. Its decoder copies
// each attribute, and there is a message of some fifty attributes for each change of a link; its
// encoder takes longer for an nftables element than the kernel does, and a router may have tens of
// thousands.
package nlmsg

import (
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Align rounds a length up to where the next message or attribute begins.
func Align(n int) int { return (n + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }

// Attributes iterates over the attributes (struct nlattr) of a message or of a nested attribute:
// type without flags, and value. Values are parts of b. It ends where b makes no sense.
func Attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for rest := b; len(rest) >= unix.SizeofNlAttr; {
			n := int(binary.NativeEndian.Uint16(rest))
			if n < unix.SizeofNlAttr || n > len(rest) {
				return
			}
			kind := binary.NativeEndian.Uint16(rest[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, rest[unix.SizeofNlAttr:n]) {
				return
			}
			rest = rest[min(Align(n), len(rest)):]
		}
	}
}

// The functions below read the values of attributes. A value of another length than the type has is
// zero, as is an attribute that is not there.

// Uint8 reads a number of one byte.
func Uint8(v []byte) uint8 {
	if len(v) != 1 {
		return 0
	}
	return v[0]
}

// Uint16 reads a number of two bytes in the machine's order.
func Uint16(v []byte) uint16 {
	if len(v) != 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(v)
}

// Port reads a number of two bytes in network order.
func Port(v []byte) uint16 {
	if len(v) != 2 {
		return 0
	}
	return binary.BigEndian.Uint16(v)
}

// Uint32 reads a number of four bytes in the machine's order.
func Uint32(v []byte) uint32 {
	if len(v) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(v)
}

// Int reads a number with a sign, of four bytes in the machine's order.
func Int(v []byte) int { return int(int32(Uint32(v))) }

// Text reads a string, which may end with a NUL.
func Text(v []byte) string { return unix.ByteSliceToString(v) }

// Addr reads an IPv4 or IPv6 address.
func Addr(v []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(v)
	return a
}

// Errno reads what an answer (NLMSG_ERROR, NLMSG_DONE) says: 0 is success.
func Errno(payload []byte) unix.Errno {
	return unix.Errno(-Int(payload[:min(4, len(payload))]))
}

// Append appends an attribute, padded.
func Append[T string | []byte](b []byte, kind uint16, value T) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&(unix.NLA_ALIGNTO-1))...)
}

// AppendNested appends an attribute that consists of those that fill appends.
func AppendNested(b []byte, kind uint16, fill func([]byte) []byte) []byte {
	return Append(b, kind|unix.NLA_F_NESTED, fill(nil))
}

// Walk calls fn for each message of a datagram. payload is a part of b.
func Walk(b []byte, fn func(h unix.NlMsghdr, payload []byte)) error {
	for len(b) >= unix.SizeofNlMsghdr {
		h := unix.NlMsghdr{
			Len:   binary.NativeEndian.Uint32(b),
			Type:  binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]),
			Seq:   binary.NativeEndian.Uint32(b[8:]),
			Pid:   binary.NativeEndian.Uint32(b[12:]),
		}
		if h.Len < unix.SizeofNlMsghdr || uint64(h.Len) > uint64(len(b)) {
			return fmt.Errorf("netlink message of %d bytes in a datagram with %d left", h.Len, len(b))
		}
		fn(h, b[unix.SizeofNlMsghdr:h.Len])
		b = b[min(Align(int(h.Len)), len(b)):]
	}
	return nil
}
