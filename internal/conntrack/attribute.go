package conntrack

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

const nestedFlag = unix.NLA_F_NESTED

// attributes walks netlink attributes (struct nlattr) without copying. It ends where b makes no sense.
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
			rest = rest[min(align(n), len(rest)):]
		}
	}
}

func attribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, align(len(value))-len(value))...)
}

// nested appends an attribute that consists of those that fill appends.
func nested(b []byte, kind uint16, fill func([]byte) []byte) []byte {
	return attribute(b, kind|nestedFlag, fill(nil))
}

func align(n int) int { return (n + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }
