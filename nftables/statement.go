package nftables

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The words that the program's rules are made of. Each loads, tests or uses the one register that
// they all share.
const reg = unix.NFT_REG_1

const accept = 1 // NF_ACCEPT of linux/netfilter.h: the policy of every base chain

func saddr() []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}}
}

func daddr() []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}}
}

func saddr6() []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}}
}

// toLinkLocal4 compares the first half of the destination, as nft(8) does for a prefix that ends
// there.
func toLinkLocal4() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{169, 254}},
	}
}

// toLinkLocal6 compares the first ten bits of the destination.
func toLinkLocal6() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 4},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: []byte{0xff, 0xc0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{0xfe, 0x80, 0, 0}},
	}
}

func isTCP() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{unix.IPPROTO_TCP}},
	}
}

// notFromLoopback tells what came by a link from what the router sends to itself.
func notFromLoopback() []expr.Any {
	return append(iifname(), &expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: []byte(deviceKey("lo"))})
}

func gotoChain(name string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: name}}
}

func resetTCP() []expr.Any { return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }

// unreachablePort says by ICMP that nobody listens.
func unreachablePort(f family) []expr.Any {
	code := uint8(3) // RFC 792
	if f == ipv6 {
		code = 4 // RFC 4443
	}
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: code}}
}

func iifname() []expr.Any { return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}} }

func oifname() []expr.Any { return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg}} }

func in(set string) []expr.Any { return []expr.Any{&expr.Lookup{SourceRegister: reg, SetName: set}} }

func notIn(set string) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: reg, SetName: set, Invert: true}}
}

// mapped puts the value that a map has for the register into the register; the rule ends here when
// it has none.
func mapped(m string) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: m}}
}

// The kernel takes a range of addresses and tells both ends, so both are given.
func dnat() []expr.Any {
	return []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegAddrMax: reg}}
}

// snat with random ports keeps two clients that connect at once from choosing the same one, and
// others from guessing it.
func snat(randomPorts bool) []expr.Any {
	return []expr.Any{&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg, RegAddrMax: reg, FullyRandom: randomPorts}}
}

// ctBits compares those bits of conntrack's word for the packet with 0. For a packet without a
// conntrack entry only the state has a word.
func ctBits(key expr.CtKey, bits uint32, op expr.CmpOp) []expr.Any {
	return append([]expr.Any{&expr.Ct{Key: key, Register: reg}}, testBits(bits, op)...)
}

// The directions of a connection (enum ip_conntrack_dir of
// linux/netfilter/nf_conntrack_tuple_common.h).
const (
	original = 0
	reply    = 1
)

func ctDirection(d byte) []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{d}}}
}

func isMarked(bit uint32) []expr.Any {
	return append([]expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: reg}}, testBits(bit, expr.CmpOpNeq)...)
}

func setMark(bit uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: word(^bit), Xor: word(bit)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true},
	}
}

func verdict(v expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: v}} }

func testBits(bits uint32, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: word(bits), Xor: word(0)},
		&expr.Cmp{Op: op, Register: reg, Data: word(0)},
	}
}

// word is a number as registers hold it: in the machine's own byte order.
func word(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
