package bridge

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"
)

// attributes walks the attributes (struct nlattr) of a message or of a nested attribute: type without flags, and value. It copies nothing,
// because a message about one link has some fifty of them, and of each change there is a message. It ends where b makes no sense.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
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
			rest = rest[min((n+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(rest)):]
		}
	}
}

// after returns the attributes behind a message's family header of n bytes.
func after(n int, payload []byte) iter.Seq2[uint16, []byte] {
	return attributes(payload[min(n, len(payload)):])
}

// The values of attributes. A value of another length than the type has is zero, as is an attribute that is not there.

func u8(v []byte) uint8 {
	if len(v) != 1 {
		return 0
	}
	return v[0]
}

func u16(v []byte) uint16 {
	if len(v) != 2 {
		return 0
	}
	return binary.NativeEndian.Uint16(v)
}

func u32(v []byte) uint32 {
	if len(v) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(v)
}

func s32(v []byte) int { return int(int32(u32(v))) }

func text(v []byte) string { return unix.ByteSliceToString(v) }

func addr(v []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(v)
	return a
}
