package frame

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// Packet is an IPv4 or IPv6 packet, whole, without extension headers, and of options with TCP's
// maximum segment size alone.
type Packet struct {
	Src, Dst netip.Addr // of one family
	Proto    uint8      // unix.IPPROTO_TCP and so on
	TTL      uint8      // or hop limit

	SrcPort, DstPort uint16 // TCP and UDP; the identifier of an echo is in SrcPort
	Flags            uint8  // TCP
	MSS              uint16 // TCP's maximum segment size; 0: there is no such option
	Type, Code       uint8  // ICMP of the family

	// Data follows the header. Of an ICMP error it is the packet that it is about, from its IP
	// header on.
	Data []byte
	// Intact says of a packet that was read that its checksums are right. UDP over IPv4 may have
	// none.
	Intact bool
}

// Flags of TCP (RFC 9293 3.1).
const (
	SYN = 0x02
	RST = 0x04
	ACK = 0x10
)

// Types of ICMP for IPv4 (RFC 792).
const (
	EchoReply4   = 0
	Unreachable4 = 3
	EchoRequest4 = 8
)

// Types of ICMP for IPv6 (RFC 4443).
const (
	Unreachable6 = 1
	EchoRequest6 = 128
	EchoReply6   = 129
)

const (
	ipv4Len  = 20
	ipv6Len  = 40
	tcpLen   = 20
	shortLen = 8 // UDP and ICMP
)

// First is the first packet of a connection: of TCP a SYN, of ICMP an echo request. The protocol of
// other packets is 0.
func First(p dataplane.Packet, data []byte) Packet {
	f := Packet{Src: p.Src, Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort, Data: data}
	switch p.Proto {
	case dataplane.TCP:
		f.Proto, f.Flags = unix.IPPROTO_TCP, SYN
	case dataplane.UDP:
		f.Proto = unix.IPPROTO_UDP
	case dataplane.ICMP:
		f.Proto, f.Type = unix.IPPROTO_ICMP, EchoRequest4
		if p.Dst.Is6() {
			f.Proto, f.Type = unix.IPPROTO_ICMPV6, EchoRequest6
		}
	}
	return f
}

// IsICMP says that it is an ICMP message of the packet's family.
func (p Packet) IsICMP() bool {
	return p.Proto == unix.IPPROTO_ICMP && p.Src.Is4() || p.Proto == unix.IPPROTO_ICMPV6 && p.Src.Is6()
}

// IsEcho says that it is an echo request or reply.
func (p Packet) IsEcho() bool {
	if p.Src.Is4() {
		return p.IsICMP() && (p.Type == EchoRequest4 || p.Type == EchoReply4)
	}
	return p.IsICMP() && (p.Type == EchoRequest6 || p.Type == EchoReply6)
}

// IsError says that it is an ICMP error.
func (p Packet) IsError() bool {
	const exceeded4, parameter4, firstInformational6 = 11, 12, 128
	if p.Src.Is4() {
		return p.IsICMP() && (p.Type == Unreachable4 || p.Type == exceeded4 || p.Type == parameter4)
	}
	return p.IsICMP() && p.Type < firstInformational6
}

// About is the packet that an ICMP error is about, as far as the error quotes it.
func (p Packet) About() (Packet, bool) {
	if !p.IsError() {
		return Packet{}, false
	}
	return ParsePacket(p.Data)
}

func (p Packet) String() string {
	s := fmt.Sprintf("%s → %s", endpoint(p.Src, p.SrcPort), endpoint(p.Dst, p.DstPort))
	switch {
	case p.Proto == unix.IPPROTO_TCP:
		s = fmt.Sprintf("tcp %s flags %#02x", s, p.Flags)
		if p.MSS != 0 {
			s += fmt.Sprintf(" mss %d", p.MSS)
		}
	case p.Proto == unix.IPPROTO_UDP:
		s = "udp " + s
	case p.IsICMP():
		s = fmt.Sprintf("icmp %s type %d code %d", s, p.Type, p.Code)
	default:
		s = fmt.Sprintf("protocol %d %s", p.Proto, s)
	}
	if about, ok := p.About(); ok {
		s += fmt.Sprintf(" about (%s)", about)
	}
	return s
}

func endpoint(a netip.Addr, port uint16) string {
	if port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String()
}

// Marshal writes the packet with its checksums. A TTL of zero becomes 64.
func (p Packet) Marshal() []byte {
	if p.TTL == 0 {
		p.TTL = 64
	}
	transport := p.Transport()
	return append(p.network(transport), transport...)
}

// network is the IP header.
func (p Packet) network(transport []byte) []byte {
	src, dst := p.Src.AsSlice(), p.Dst.AsSlice()
	if p.Src.Is4() {
		const version, dontFragment = 0x45, 0x4000
		b := make([]byte, ipv4Len)
		b[0], b[8], b[9] = version, p.TTL, p.Proto
		binary.BigEndian.PutUint16(b[2:], uint16(ipv4Len+len(transport)))
		binary.BigEndian.PutUint16(b[6:], dontFragment)
		copy(b[12:], src)
		copy(b[16:], dst)
		binary.BigEndian.PutUint16(b[10:], checksum(0, b))
		return b
	}
	const version = 6 << 4
	b := make([]byte, ipv6Len)
	b[0], b[6], b[7] = version, p.Proto, p.TTL
	binary.BigEndian.PutUint16(b[4:], uint16(len(transport)))
	copy(b[8:], src)
	copy(b[24:], dst)
	return b
}

// Transport writes what follows the IP header, with its checksum.
func (p Packet) Transport() []byte {
	var b []byte
	var at int // of the checksum
	switch {
	case p.Proto == unix.IPPROTO_TCP:
		const offset, window = tcpLen / 4 << 4, 0xffff
		b, at = make([]byte, tcpLen), 16
		b[12], b[13] = offset, p.Flags
		binary.BigEndian.PutUint32(b[4:], 1)
		if p.Flags&ACK != 0 {
			binary.BigEndian.PutUint32(b[8:], 2)
		}
		binary.BigEndian.PutUint16(b[14:], window)
		if p.MSS != 0 {
			b[12] = (tcpLen + optionMSSLen) / 4 << 4
			b = binary.BigEndian.AppendUint16(append(b, optionMSS, optionMSSLen), p.MSS)
		}
	case p.Proto == unix.IPPROTO_UDP:
		b, at = make([]byte, shortLen), 6
		binary.BigEndian.PutUint16(b[4:], uint16(shortLen+len(p.Data)))
	case p.IsICMP():
		b, at = make([]byte, shortLen), 2
		b[0], b[1] = p.Type, p.Code
		if p.IsEcho() {
			binary.BigEndian.PutUint16(b[4:], p.SrcPort)
			binary.BigEndian.PutUint16(b[6:], 1)
		}
	default:
		return p.Data
	}
	if !p.IsICMP() {
		binary.BigEndian.PutUint16(b, p.SrcPort)
		binary.BigEndian.PutUint16(b[2:], p.DstPort)
	}
	b = append(b, p.Data...)
	sum := checksum(p.pseudo(len(b)), b)
	if sum == 0 && p.Proto == unix.IPPROTO_UDP {
		sum = 0xffff // RFC 768: zero means that there is none
	}
	binary.BigEndian.PutUint16(b[at:], sum)
	return b
}

// ParsePacket reads a packet from its IP header on. A quoted packet may be cut off behind the
// ports; what has no whole header is not a packet.
func ParsePacket(b []byte) (p Packet, ok bool) {
	if len(b) == 0 {
		return p, false
	}
	var body []byte
	p.Intact = true
	switch {
	case b[0]>>4 == 4 && len(b) >= ipv4Len && len(b) >= int(b[0]&15)*4:
		header := int(b[0]&15) * 4
		p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		p.TTL, p.Proto = b[8], b[9]
		p.Intact = checksum(0, b[:header]) == 0
		body = b[header:]
		if total := int(binary.BigEndian.Uint16(b[2:])); total >= header && total <= len(b) {
			body = b[header:total] // behind it is an Ethernet frame's padding
		}
	case b[0]>>4 == 6 && len(b) >= ipv6Len:
		p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		p.TTL, p.Proto = b[7], b[6]
		body = b[ipv6Len:]
		if n := int(binary.BigEndian.Uint16(b[4:])); n <= len(body) {
			body = body[:n]
		}
	default:
		return p, false
	}
	return p, p.parse(body)
}

// ParseTransport reads what follows a packet's IP header, when that is all one is given.
func ParseTransport(src, dst netip.Addr, proto uint8, b []byte) (p Packet, ok bool) {
	p = Packet{Src: src, Dst: dst, Proto: proto, Intact: true}
	return p, p.parse(b)
}

// parse reads what follows the IP header.
func (p *Packet) parse(b []byte) bool {
	if len(b) < shortLen && (p.Proto == unix.IPPROTO_TCP || p.Proto == unix.IPPROTO_UDP || p.IsICMP()) {
		return false
	}
	unsummed := p.Proto == unix.IPPROTO_UDP && p.Src.Is4() && b[6] == 0 && b[7] == 0
	switch {
	case p.Proto == unix.IPPROTO_TCP || p.Proto == unix.IPPROTO_UDP:
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		p.Data = b[shortLen:]
		if p.Proto == unix.IPPROTO_TCP {
			p.Data = nil
			if len(b) >= tcpLen && len(b) >= int(b[12]>>4)*4 {
				p.Flags, p.MSS, p.Data = b[13], MSS(b), b[int(b[12]>>4)*4:]
			}
		}
	case p.IsICMP():
		p.Type, p.Code, p.Data = b[0], b[1], b[shortLen:]
		if p.IsEcho() {
			p.SrcPort = binary.BigEndian.Uint16(b[4:])
		}
	default:
		p.Data = b
		return true
	}
	p.Intact = p.Intact && (unsummed || checksum(p.pseudo(len(b)), b) == 0)
	return true
}

// pseudo sums the pseudo-header (RFC 9293 3.1, RFC 8200 8.1), which ICMP of IPv4 has none of.
func (p Packet) pseudo(length int) uint32 {
	if p.Proto == unix.IPPROTO_ICMP {
		return 0
	}
	return sum(sum(uint32(p.Proto)+uint32(length), p.Src.AsSlice()), p.Dst.AsSlice())
}

// checksum is that of the Internet (RFC 1071).
func checksum(start uint32, b []byte) uint16 {
	s := sum(start, b)
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

func sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}
