package namespace

import (
	"encoding/binary"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
)

// addressClaim is an address that the sender of a frame has.
type addressClaim struct {
	addr      netip.Addr
	announced bool // unasked
}

const (
	sightingLen = 256 // bytes; more than an ARP packet or the fixed part of neighbour discovery has

	ipv6Len               = 40
	neighbourMessageLen   = 24 // RFC 4861 §4.3 and §4.4, without options
	neighbourSolicitation = 135
	neighbourAdvertising  = 136
	solicited             = 0x40 // the flag of an advertisement that answers
)

// sightingFilter lets ARP and neighbour solicitations and advertisements pass that hosts on the
// link have sent. The socket gives packets without their link layer.
var sightingFilter = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: packetTypeAt},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.PACKET_OUTGOING, Jt: 9},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: protocolAt},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_ARP, Jt: 6},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IPV6, Jf: 6},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6}, // the next header
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_ICMPV6, Jf: 4},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: ipv6Len},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: neighbourSolicitation, Jt: 1},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: neighbourAdvertising, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: sightingLen},
	{Code: unix.BPF_RET | unix.BPF_K},
}

// Where a filter finds what is not in the packet (SKF_AD_OFF of linux/filter.h, and following).
const (
	protocolAt   = 0xfffff000
	packetTypeAt = protocolAt + 4
)

// sightingSocket opens a socket that receives nothing yet.
func sightingSocket(ns NS) (fd int, err error) {
	fd = -1
	err = netns.Do(ns.FD, func() error {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return -1, err
	}
	program := &unix.SockFprog{Len: uint16(len(sightingFilter)), Filter: &sightingFilter[0]}
	err = os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program))
	if err == nil { // a frame may be read long after it came
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	}
	if err == nil {
		// Without it the kernel copies each packet that leaves, for the filter to drop (Linux
		// 4.20).
		_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
		return fd, nil
	}
	_ = unix.Close(fd)
	return -1, err
}

// bindSighting has a socket receive ARP, or what may be neighbour discovery as well: then the
// filter runs for every packet.
func bindSighting(fd int, neighbourDiscovery bool) error {
	protocol := uint16(unix.ETH_P_ARP)
	if neighbourDiscovery {
		protocol = unix.ETH_P_ALL
	}
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(protocol)}))
}

// arrival is when the kernel received what came with a control message (socket(7), SO_TIMESTAMPNS);
// now, if it does not say.
func arrival(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) == 16 {
			sec, nsec := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			return time.Unix(int64(sec), int64(nsec))
		}
	}
	return time.Now()
}

func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// claimsIn lists the addresses that the sender of a packet says it has. One that only asks whether
// an address is free (RFC 5227 §2.1.1, RFC 4862 §5.4.2) has none.
func claimsIn(protocol uint16, b []byte) []addressClaim {
	if protocol == bigEndian(unix.ETH_P_ARP) {
		return arpClaims(b)
	}
	return neighbourClaims(b)
}

// arpClaims reads ARP for IPv4 over Ethernet (RFC 826).
func arpClaims(b []byte) []addressClaim {
	const packetLen = 28
	if len(b) < packetLen || binary.BigEndian.Uint64([]byte{0, 0, b[0], b[1], b[2], b[3], b[4], b[5]}) != 0x0001_0800_06_04 {
		return nil
	}
	sender, target := netip.AddrFrom4([4]byte(b[14:])), netip.AddrFrom4([4]byte(b[24:]))
	if sender.IsUnspecified() {
		return nil
	}
	return []addressClaim{{sender, sender == target}}
}

// neighbourClaims reads neighbour discovery, which no router has forwarded.
func neighbourClaims(b []byte) []addressClaim {
	const hopLimit = 255
	if len(b) < ipv6Len+neighbourMessageLen || b[7] != hopLimit {
		return nil
	}
	source, target := netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[ipv6Len+8:]))
	switch {
	case b[ipv6Len] == neighbourAdvertising:
		return []addressClaim{{target, b[ipv6Len+4]&solicited == 0}}
	case source.IsUnspecified():
		return nil
	}
	return []addressClaim{{source, false}}
}
