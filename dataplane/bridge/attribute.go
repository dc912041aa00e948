package bridge

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/nlmsg"
)

// after returns the attributes behind a message's family header of n bytes.
func after(n int, payload []byte) iter.Seq2[uint16, []byte] {
	return nlmsg.Attributes(payload[min(n, len(payload)):])
}

// The values of attributes. A value of another length than the type has is zero, as is an attribute
// that is not there.

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
