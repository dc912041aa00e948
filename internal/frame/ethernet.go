package frame

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// Frame is an Ethernet II frame without a VLAN tag.
type Frame struct {
	Dst, Src dataplane.MAC
	Type     uint16 // unix.ETH_P_IP and so on
	Body     []byte
}

const headerLen = 14

// Marshal writes the frame as it is on a wire.
func (f Frame) Marshal() []byte {
	b := make([]byte, 0, headerLen+len(f.Body))
	b = append(b, f.Dst[:]...)
	b = append(b, f.Src[:]...)
	b = binary.BigEndian.AppendUint16(b, f.Type)
	return append(b, f.Body...)
}

// Parse reads a frame. The body is part of b; it may have padding behind it.
func Parse(b []byte) (f Frame, ok bool) {
	if len(b) < headerLen {
		return f, false
	}
	return Frame{dataplane.MAC(b[:6]), dataplane.MAC(b[6:12]), binary.BigEndian.Uint16(b[12:]), b[headerLen:]}, true
}

// Carry puts a packet into a frame.
func Carry(p Packet, from, to dataplane.MAC) Frame {
	f := Frame{Dst: to, Src: from, Type: unix.ETH_P_IPV6, Body: p.Marshal()}
	if p.Src.Is4() {
		f.Type = unix.ETH_P_IP
	}
	return f
}
