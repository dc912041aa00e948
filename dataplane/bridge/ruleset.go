package bridge

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// tableName is the name of the one table in the bridge family; it is ours by that name.
const (
	tableName = "l3kit_anycast"
	tableText = "bridge " + tableName // as nft(8) names it
)

// The sets of the table. In those of pairs, the first half is the name of a device.
const (
	legs    = "legs"    // outer device, anycast MAC
	gw4     = "gw4"     // outer device, address of an anycast port
	gw6     = "gw6"     // the same of IPv6, the port's link-local address included
	src6    = "src6"    // the same without link-local ones
	outer   = "outer"   // devices towards other hosts, and host ends of ports that count as such
	outside = "outside" // of those, the host ends
	taps    = "taps"    // host ends of anycast ports
	addrs4  = "addrs4"  // host end of an anycast port, address; in no rule: this is where a fresh process finds them
	addrs6  = "addrs6"
)

// keys are the elements of a set, as the kernel has them.
type keys map[string]bool

// elements are the keys of each set.
type elements map[string]keys

func (e elements) add(set, key string) {
	if e[set] == nil {
		e[set] = keys{}
	}
	e[set][key] = true
}

// shape is all of a table but its elements.
type shape struct {
	flags  uint32
	sets   map[string]definition
	chains map[string]chain
}

// definition is what NFT_MSG_NEWSET takes beside the name: attribute types and their payloads.
type definition map[uint16]string

type chain struct {
	hook  hook
	rules []rule
}

// hook says where a chain is attached.
type hook struct {
	kind     string
	number   uint32
	priority int32
	policy   uint32
}

type rule struct {
	exprs    []expr.Any // nil: read, and not one of ours
	userdata string     // nft's: it carries the comment
}

const (
	accept = 1 // NF_ACCEPT of linux/netfilter.h

	beforeLearning = -300 // the bridge learns source addresses after its prerouting hook
	filterPriority = -200 // NF_BR_PRI_FILTER_BRIDGED of linux/netfilter_bridge.h
)

// program is the shape of the table. The text beside each rule is its form in nft(8).
//
// ARP requests from outside whose sender has the gateway's address come from the router's centre,
// which looks for a workload. They become probes (RFC 5227), which a workload answers without
// taking the sender for its gateway.
func program() shape {
	return shape{
		sets: map[string]definition{
			legs:    pairs(nftables.TypeEtherAddr),
			gw4:     pairs(nftables.TypeIPAddr),
			gw6:     pairs(nftables.TypeIP6Addr),
			src6:    pairs(nftables.TypeIP6Addr),
			outer:   devices(),
			outside: devices(),
			taps:    devices(),
			addrs4:  pairs(nftables.TypeIPAddr),
			addrs6:  pairs(nftables.TypeIP6Addr),
		},
		chains: map[string]chain{
			"prerouting": {hook{"filter", unix.NF_INET_PRE_ROUTING, beforeLearning, accept}, []rule{
				// iifname . ether saddr @legs drop
				newRule("before the bridge learns it", iif(), etherSaddr(), in(legs), discard()),
				// arp operation request iifname . arp saddr ip @gw4 iifname . arp daddr ip != @gw4
				// arp saddr ip set 0.0.0.0
				newRule("the centre looks for a workload: make it a probe", arpRequest(), iif(), arpSaddr(), in(gw4),
					iif(), arpDaddr(), notIn(gw4), clearARPSaddr()),
			}},
			"forward": {hook{"filter", unix.NF_INET_FORWARD, filterPriority, accept}, []rule{
				// iifname @taps oifname @outer drop
				newRule("anycast stays on the host", iif(), in(taps), oif(), in(outer), discard()),
				// iifname @outer oifname @taps drop
				newRule("and nothing comes to it", iif(), in(outer), oif(), in(taps), discard()),
				// oifname . ether daddr @legs drop
				newRule("nor leaves towards it", oif(), etherDaddr(), in(legs), discard()),
				// iifname @outer oifname @outer accept
				newRule("between a centre here and other hosts", iif(), in(outer), oif(), in(outer), verdict(expr.VerdictAccept)),
				// meta protocol != { arp, ip6 } accept
				newRule("most frames end here", notProtocol(unix.ETH_P_ARP), notProtocol(unix.ETH_P_IPV6), verdict(expr.VerdictAccept)),
				// iifname . arp saddr ip @gw4 drop
				newRule("speaks for the gateway", isProtocol(unix.ETH_P_ARP), iif(), arpSaddr(), in(gw4), discard()),
				// iifname . arp daddr ip @gw4 drop
				newRule("asks for the gateway: others are served elsewhere", isProtocol(unix.ETH_P_ARP), iif(), arpDaddr(), in(gw4), discard()),
				// arp operation request oifname . arp daddr ip @gw4 drop
				newRule("asks for the gateway: answered here", arpRequest(), oif(), arpDaddr(), in(gw4), discard()),
				// icmpv6 type nd-neighbor-solicit-nd-neighbor-advert iifname . @th,64,128 @gw6 drop
				newRule("the same of IPv6", icmp6(neighbourSolicit, neighbourAdvert), iif(), ndTarget(), in(gw6), discard()),
				// icmpv6 type nd-neighbor-solicit-nd-neighbor-advert oifname . @th,64,128 @gw6 drop
				newRule("the same of IPv6", icmp6(neighbourSolicit, neighbourAdvert), oif(), ndTarget(), in(gw6), discard()),
				// icmpv6 type nd-neighbor-solicit iifname . ip6 saddr @src6 drop
				newRule("its link-layer address would be learned", icmp6(neighbourSolicit, neighbourSolicit), iif(), ip6Saddr(), in(src6), discard()),
				// icmpv6 type nd-router-advert iifname @outside drop
				newRule("another router than the one here", icmp6(routerAdvert, routerAdvert), iif(), in(outside), discard()),
				// icmpv6 type nd-router-solicit oifname @outer drop
				newRule("asks for routers: answered here", icmp6(routerSolicit, routerSolicit), oif(), in(outer), discard()),
			}},
			// What the host itself sends on an existing bridge that has its addresses.
			"output": {hook{"filter", unix.NF_INET_LOCAL_OUT, filterPriority, accept}, []rule{
				// oifname . ether daddr @legs drop
				newRule("nothing leaves towards anycast", oif(), etherDaddr(), in(legs), discard()),
				// arp operation request oifname . arp daddr ip @gw4 drop
				newRule("asks for the gateway: answered here", arpRequest(), oif(), arpDaddr(), in(gw4), discard()),
				// icmpv6 type nd-neighbor-solicit oifname . @th,64,128 @gw6 drop
				newRule("the same of IPv6", icmp6(neighbourSolicit, neighbourSolicit), oif(), ndTarget(), in(gw6), discard()),
			}},
		},
	}
}

func devices() definition { return define(nftables.TypeIFName) }

func pairs(second nftables.SetDatatype) definition {
	t, err := nftables.ConcatSetType(nftables.TypeIFName, second)
	if err != nil {
		panic(err) // two types are not too many
	}
	return define(t)
}

func define(t nftables.SetDatatype) definition {
	const hostOrder = 1
	return definition{
		unix.NFTA_SET_KEY_TYPE: bigEndian(t.GetNFTMagic()),
		unix.NFTA_SET_KEY_LEN:  bigEndian(t.Bytes),
		// Only nft asks, to show elements.
		unix.NFTA_SET_USERDATA: string(userdata.Append(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, binary.NativeEndian.AppendUint32(nil, hostOrder))),
	}
}

func bigEndian(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }

// deviceKey is the name of a device as sets hold it.
func deviceKey(name string) string {
	var b [unix.IFNAMSIZ]byte
	copy(b[:], name)
	return string(b[:])
}

func macKey(device string, mac dataplane.MAC) string {
	return deviceKey(device) + string(mac[:]) + "\x00\x00" // a register holds four bytes
}

func addrKey(device string, a netip.Addr) string { return deviceKey(device) + string(a.AsSlice()) }

// The words that rules are made of. The first register has a device's name, or what is compared;
// the second what belongs to the device.
const (
	reg1 = unix.NFT_REG_1
	reg2 = unix.NFT_REG_2
)

func newRule(comment string, words ...[]expr.Any) rule {
	r := rule{userdata: string(userdata.AppendString(nil, userdata.TypeComment, comment))}
	for _, w := range words {
		r.exprs = append(r.exprs, w...)
	}
	return r
}

func iif() []expr.Any { return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg1}} }
func oif() []expr.Any { return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg1}} }

func in(set string) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: reg1, SetName: set}}
}

func notIn(set string) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: reg1, SetName: set, Invert: true}}
}

func verdict(v expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: v}} }
func discard() []expr.Any                   { return verdict(expr.VerdictDrop) }

func second(base expr.PayloadBase, offset, length uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: reg2, Base: base, Offset: offset, Len: length}}
}

func etherDaddr() []expr.Any { return second(expr.PayloadBaseLLHeader, 0, 6) }
func etherSaddr() []expr.Any { return second(expr.PayloadBaseLLHeader, 6, 6) }
func arpSaddr() []expr.Any   { return second(expr.PayloadBaseNetworkHeader, arpSaddrAt, 4) }
func arpDaddr() []expr.Any   { return second(expr.PayloadBaseNetworkHeader, 24, 4) }
func ip6Saddr() []expr.Any   { return second(expr.PayloadBaseNetworkHeader, 8, 16) }
func ndTarget() []expr.Any   { return second(expr.PayloadBaseTransportHeader, 8, 16) }

const arpSaddrAt = 14

func clearARPSaddr() []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg1, Data: make([]byte, 4)},
		&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: arpSaddrAt, Len: 4},
	}
}

func protocol(op expr.CmpOp, p uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: reg1},
		&expr.Cmp{Op: op, Register: reg1, Data: binary.BigEndian.AppendUint16(nil, p)},
	}
}

func isProtocol(p uint16) []expr.Any  { return protocol(expr.CmpOpEq, p) }
func notProtocol(p uint16) []expr.Any { return protocol(expr.CmpOpNeq, p) }

func arpRequest() []expr.Any {
	return append(isProtocol(unix.ETH_P_ARP),
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{0, 1}})
}

// Types of ICMPv6 (RFC 4861).
const (
	routerSolicit    = 133
	routerAdvert     = 134
	neighbourSolicit = 135
	neighbourAdvert  = 136
)

// icmp6 compares the type of an ICMPv6 message with the first and last of a range.
func icmp6(first, last byte) []expr.Any {
	words := append(isProtocol(unix.ETH_P_IPV6),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1})
	if first == last {
		return append(words, &expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{first}})
	}
	return append(words, &expr.Cmp{Op: expr.CmpOpGte, Register: reg1, Data: []byte{first}},
		&expr.Cmp{Op: expr.CmpOpLte, Register: reg1, Data: []byte{last}})
}
