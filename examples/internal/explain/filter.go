package explain

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/frame"
)

// passing is a filter for frames with packets whose data begins with a mark, with questions for a
// neighbour, and with ICMP errors. Through a busy router so few of them pass that a socket has room
// for all until somebody reads it.
func passing(mark []byte) []bpf.Instruction {
	const ethernet, ip4, ip6 = 14, 20, 40
	program := when(12, 2, unix.ETH_P_ARP, accept)
	program = append(program, when(12, 2, unix.ETH_P_IP,
		carrying(ethernet+9, ethernet+ip4, unix.IPPROTO_ICMP, [2]uint32{frame.EchoRequest4, frame.EchoReply4}, mark))...)
	program = append(program, when(12, 2, unix.ETH_P_IPV6,
		carrying(ethernet+6, ethernet+ip6, unix.IPPROTO_ICMPV6, [2]uint32{frame.EchoRequest6, frame.EchoReply6}, mark))...)
	return append(program, reject...)
}

var (
	accept = []bpf.Instruction{bpf.RetConstant{Val: 1 << 16}}
	reject = []bpf.Instruction{bpf.RetConstant{Val: 0}}
)

// when runs then if what is at an offset has a value.
func when(offset uint32, size int, value uint32, then []bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: offset, Size: size},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: value, SkipTrue: uint8(len(then))},
	}, then...)
}

// carrying accepts packets by what follows the IP header, and rejects all others.
func carrying(protoAt, bodyAt, icmp uint32, echoes [2]uint32, mark []byte) (program []bpf.Instruction) {
	const tcp, short = 20, 8
	for _, part := range [][]bpf.Instruction{
		when(protoAt, 1, unix.IPPROTO_TCP, marked(bodyAt+tcp, mark)),
		when(protoAt, 1, unix.IPPROTO_UDP, marked(bodyAt+short, mark)),
		when(protoAt, 1, icmp, append(append(
			when(bodyAt, 1, echoes[0], marked(bodyAt+short, mark)),
			when(bodyAt, 1, echoes[1], marked(bodyAt+short, mark))...),
			accept...)),
	} {
		program = append(program, part...)
	}
	return append(program, reject...)
}

// marked accepts what has the mark, of four times n bytes, at an offset.
func marked(offset uint32, mark []byte) (program []bpf.Instruction) {
	for at := 0; at+4 <= len(mark); at += 4 {
		program = append(program, bpf.LoadAbsolute{Off: offset + uint32(at), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(mark[at:]), SkipTrue: 1}, bpf.RetConstant{Val: 0})
	}
	return append(program, accept...)
}
