package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/frame"
)

// Packet is what a look at an IP packet tells.
type Packet struct {
	Sent     bool           // by the host that looked; else it came in
	Src, Dst netip.AddrPort // without ports where the protocol has none; an echo's identifier is the port of its sender
	Proto    uint8          // unix.IPPROTO_TCP and so on
	TTL      uint8
	Flags    uint8       // TCP's: 0x02 SYN, 0x04 RST, 0x10 ACK
	MSS      uint16      // maximum segment size that TCP announces; 0: none
	ICMP     *ICMPHeader // nil unless Proto is ICMP or ICMPv6
	Tunnel   *Tunnel     // nil unless it comes from a tunnel endpoint
}

// ICMPHeader is what an ICMP message says.
type ICMPHeader struct {
	Type, Code uint8
	MTU        uint32  // of fragmentation needed, and packet too big
	About      *Packet // what an error is about; nil for other messages
}

func (p Packet) String() string {
	s := fmt.Sprintf("%s → %s protocol %d", p.Src, p.Dst, p.Proto)
	if p.ICMP != nil {
		s += fmt.Sprintf(" type %d code %d", p.ICMP.Type, p.ICMP.Code)
		if p.ICMP.About != nil {
			s += fmt.Sprintf(" about (%s)", *p.ICMP.About)
		}
	}
	if p.Tunnel != nil {
		s += fmt.Sprintf(" %s %d", p.Tunnel.Type, p.Tunnel.ID)
		if p.Tunnel.Inner != nil {
			s += fmt.Sprintf(" (%s)", *p.Tunnel.Inner)
		}
	}
	return s
}

const (
	icmpReply4, icmpUnreachable4, icmpRequest4, icmpExceeded4, icmpParameter4 = 0, 3, 8, 11, 12  // RFC 792
	icmpTooBig6, icmpErrorEnd6, icmpRequest6, icmpReply6                      = 2, 128, 128, 129 // RFC 4443; errors are below 128
	fragmentationNeeded                                                       = 4                // code of icmpUnreachable4, RFC 1191
)

// parse reads a packet from its IP header on. A header that is cut off is not a packet; IPv6
// extension headers are not read.
func parse(b []byte) (p Packet, ok bool) {
	if len(b) < 1 {
		return p, false
	}
	var src, dst netip.Addr
	switch {
	case b[0]>>4 == 4 && len(b) >= 20 && len(b) >= int(b[0]&15)*4:
		src, dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		p.TTL, p.Proto = b[8], b[9]
		fragment := binary.BigEndian.Uint16(b[6:])&0x1fff != 0
		b = b[int(b[0]&15)*4:]
		if fragment { // the ports are in the first one
			b = nil
		}
	case b[0]>>4 == 6 && len(b) >= 40:
		src, dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		p.TTL, p.Proto = b[7], b[6]
		b = b[40:]
	default:
		return p, false
	}
	var sport, dport uint16
	switch {
	case (p.Proto == unix.IPPROTO_TCP || p.Proto == unix.IPPROTO_UDP) && len(b) >= 4:
		sport, dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		if p.Proto == unix.IPPROTO_TCP && len(b) >= 14 {
			p.Flags = b[13]
			p.MSS = frame.MSS(b)
		}
		if p.Proto == unix.IPPROTO_UDP {
			p.Tunnel = parseTunnel(p.Proto, dport, b[min(8, len(b)):])
		}
	case p.Proto == unix.IPPROTO_GRE:
		p.Tunnel = parseTunnel(p.Proto, 0, b)
	case (p.Proto == unix.IPPROTO_ICMP || p.Proto == unix.IPPROTO_ICMPV6) && len(b) >= 8:
		p.ICMP = &ICMPHeader{Type: b[0], Code: b[1]}
		sport, dport = p.ICMP.parse(p.Proto == unix.IPPROTO_ICMP, b)
	}
	p.Src, p.Dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	return p, true
}

// parse reads the rest of a message, and returns an echo's identifier as the port of who asked.
func (h *ICMPHeader) parse(v4 bool, b []byte) (sport, dport uint16) {
	id := binary.BigEndian.Uint16(b[4:])
	switch {
	case v4 && h.Type == icmpRequest4, !v4 && h.Type == icmpRequest6:
		return id, 0
	case v4 && h.Type == icmpReply4, !v4 && h.Type == icmpReply6:
		return 0, id
	case v4 && h.Type != icmpUnreachable4 && h.Type != icmpExceeded4 && h.Type != icmpParameter4, !v4 && h.Type >= icmpErrorEnd6:
		return 0, 0
	}
	switch {
	case v4 && h.Type == icmpUnreachable4 && h.Code == fragmentationNeeded:
		h.MTU = uint32(binary.BigEndian.Uint16(b[6:]))
	case !v4 && h.Type == icmpTooBig6:
		h.MTU = binary.BigEndian.Uint32(b[4:])
	}
	if about, ok := parse(b[8:]); ok {
		h.About = &about
	}
	return 0, 0
}
