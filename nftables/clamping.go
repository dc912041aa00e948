package nftables

import (
	"encoding/binary"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// maxMSS is the map by which the chain clamp lowers what TCP announces. The kernel could work it
// out from the routes of both directions (rt mtu), but looks up the way back without a mark, which
// at an edge is another way.
const (
	maxMSS = "max_mss"
	clamp  = "clamp"
)

// addClamp adds what a router has that clamps.
func addClamp(t *table, r dataplane.Router) {
	if !r.ClampMSS {
		return
	}
	s := newMSSMap()
	for device, p := range namespace.PortsByDevice(r) {
		mss := p.MaxMSS4()
		if t.family == ipv6 {
			mss = p.MaxMSS6()
		}
		s.elements[deviceKey(device)] = element{value: string(binary.BigEndian.AppendUint16(nil, mss))}
	}
	t.sets = append(t.sets, s)
	t.chains = append(t.chains, &chain{clamp, hook{"filter", unix.NF_INET_FORWARD, -150, accept}, []rule{
		// tcp flags syn / syn,rst tcp option maxseg size set iifname map @max_mss
		newRule("as large as the port takes that it comes by", isSYN(), iifname(), mapped(maxMSS), lowerMSS()),
		// tcp flags syn / syn,rst tcp option maxseg size set oifname map @max_mss
		newRule("and that which it leaves by", isSYN(), oifname(), mapped(maxMSS), lowerMSS()),
	}})
}

func newMSSMap() *set {
	s := newMap(maxMSS, device, "")
	s.definition[unix.NFTA_SET_DATA_TYPE] = bigEndian(nftables.TypeInteger.GetNFTMagic())
	s.definition[unix.NFTA_SET_DATA_LEN] = bigEndian(2)
	s.definition[unix.NFTA_SET_USERDATA] = string(userdata.AppendString(mssTypes(), userdata.NFTNL_UDATA_SET_COMMENT, "largest TCP segment of each device"))
	return s
}

// mssTypes tells nft(8) what keys and values are: it has no name for the type of an integer of two
// bytes, and takes that of an expression (typeof iifname : tcp option maxseg size). The numbers are
// nft's own.
func mssTypes() []byte {
	const (
		keyTypeof, dataTypeof = 3, 4 // NFTNL_UDATA_SET_KEY_TYPEOF, NFTNL_UDATA_SET_DATA_TYPEOF
		ofExpr                = 1
		exprExthdr, exprMeta  = 8, 9
	)
	attributes := func(values ...uint32) (b []byte) {
		for typ, v := range values {
			b = userdata.Append(b, userdata.Type(typ), word(v))
		}
		return b
	}
	typeof := func(expression uint32, of []byte) []byte {
		return userdata.Append(attributes(expression), ofExpr, of)
	}
	b := userdata.Append(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, word(1))
	b = userdata.Append(b, userdata.NFTNL_UDATA_SET_DATABYTEORDER, word(2))
	b = userdata.Append(b, keyTypeof, typeof(exprMeta, attributes(unix.NFT_META_IIFNAME)))
	return userdata.Append(b, dataTypeof, typeof(exprExthdr, attributes(2, 2, 1))) // the size, of option 2, of TCP
}

func isSYN() []expr.Any {
	const flags, syn, rst = 13, 2, 4 // RFC 9293 3.1
	return append(isTCP(),
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{syn | rst}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{syn}})
}

// lowerMSS writes the register into the option of a segment that has it. The kernel never raises a
// maximum segment size (nft_exthdr_tcp_set_eval).
func lowerMSS() []expr.Any {
	const option, size = 2, 2 // the kind of the option, and where its value begins
	return []expr.Any{&expr.Exthdr{SourceRegister: reg, Type: option, Offset: size, Len: 2, Op: expr.ExthdrOpTcpopt}}
}

// mssText is a value of the map for people.
func mssText(value string) string {
	if len(value) != 2 {
		return keyText(value)
	}
	return strconv.Itoa(int(binary.BigEndian.Uint16([]byte(value))))
}
