package nftables

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// The sets and maps that the program's rules look into.
const (
	fipDNAT    = "fip_dnat"
	fipSNAT    = "fip_snat"
	fipIn      = "fip_in"
	fipOut     = "fip_out"
	external   = "external"
	guarded    = "guarded"
	sharedSNAT = "shared_snat"
	hairpin    = "hairpin"
)

// hairpinMark is the one bit of the packet mark that the program uses, between the forward and the postrouting chain.
const hairpinMark = 1 << 16

// Conntrack's status bits (enum ip_conntrack_status of linux/netfilter/nf_conntrack_common.h).
const ipsDstNAT = 1 << 5

// program is the table that every router has, with empty sets. The text beside each rule is its form in nft(8).
func program() *table {
	return &table{
		sets: []*set{
			newMap(fipDNAT, address, "fixed address of each floating IP"),
			newMap(fipSNAT, address, "floating IP of each fixed address that has one"),
			newCountingSet(fipIn, address, "floating IPs, and what went to them"),
			newCountingSet(fipOut, address, "floating IPs, and what came from them"),
			newSet(external, device, "device of the gateway"),
			newSet(guarded, device, "the same while SNAT is on"),
			newMap(sharedSNAT, device, "address that hosts without a floating IP leave with"),
			newMap(hairpin, device, "address that inside clients of floating IPs show without one of their own"),
		},
		chains: []*chain{
			{"count_in", hook{"filter", unix.NF_INET_PRE_ROUTING, -300, accept}, []rule{
				// ip daddr @fip_in
				newRule("count what goes to floating IPs", daddr(), in(fipIn)),
			}},
			{"prerouting", hook{"nat", unix.NF_INET_PRE_ROUTING, -100, accept}, []rule{
				// dnat to ip daddr map @fip_dnat
				newRule("floating IP to fixed address", daddr(), mapped(fipDNAT), dnat()),
			}},
			{"output", hook{"nat", unix.NF_INET_LOCAL_OUT, -100, accept}, []rule{
				// dnat to ip daddr map @fip_dnat
				newRule("the same for the router's own connections", daddr(), mapped(fipDNAT), dnat()),
			}},
			{"forward", hook{"filter", unix.NF_INET_FORWARD, 0, accept}, []rule{
				// ct state established,related accept
				newRule("most packets end here", ctBits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, expr.CmpOpNeq),
					verdict(expr.VerdictAccept)),
				// ct state invalid,untracked iifname @guarded drop
				newRule("what conntrack does not follow cannot be translated",
					ctBits(expr.CtKeySTATE, expr.CtStateBitINVALID|expr.CtStateBitUNTRACKED, expr.CmpOpNeq), iifname(), in(guarded),
					verdict(expr.VerdictDrop)),
				// ct state invalid,untracked oifname @guarded drop
				newRule("and would show private addresses outside",
					ctBits(expr.CtKeySTATE, expr.CtStateBitINVALID|expr.CtStateBitUNTRACKED, expr.CmpOpNeq), oifname(), in(guarded),
					verdict(expr.VerdictDrop)),
				// iifname @guarded ct status ! dnat drop
				newRule("from outside only floating IPs are open", iifname(), in(guarded), ctBits(expr.CtKeySTATUS, ipsDstNAT, expr.CmpOpEq),
					verdict(expr.VerdictDrop)),
				// iifname != @external ct status dnat meta mark set meta mark | 0x10000
				newRule("floating IP reached from inside", iifname(), notIn(external), ctBits(expr.CtKeySTATUS, ipsDstNAT, expr.CmpOpNeq),
					markHairpin()),
			}},
			{"postrouting", hook{"nat", unix.NF_INET_POST_ROUTING, 100, accept}, []rule{
				// oifname @external snat to ip saddr map @fip_snat
				newRule("fixed address to floating IP", oifname(), in(external), saddr(), mapped(fipSNAT), snat(false)),
				// snat to oifname map @shared_snat fully-random
				newRule("the others share the gateway's address", oifname(), mapped(sharedSNAT), snat(true)),
				// meta mark & 0x10000 != 0 snat to ip saddr map @fip_snat
				newRule("a client shows its floating IP", isHairpin(), saddr(), mapped(fipSNAT), snat(false)),
				// meta mark & 0x10000 != 0 snat to oifname map @hairpin fully-random
				newRule("or else the gateway's address", isHairpin(), oifname(), mapped(hairpin), snat(true)),
			}},
			{"count_out", hook{"filter", unix.NF_INET_POST_ROUTING, 300, accept}, []rule{
				// ip saddr @fip_out
				newRule("count what comes from floating IPs", saddr(), in(fipOut)),
			}},
		},
	}
}

// render is the table that a router asks for.
func render(r dataplane.Router) *table {
	t := program()
	fillFloatingIPs(t, r.FloatingIPs)
	g := r.Gateway
	if g == nil {
		return t
	}
	dev := deviceKey(dataplane.GatewayDevice(g.ID))
	t.set(external).elements[dev] = element{}
	if g.SNAT {
		t.set(guarded).elements[dev] = element{}
	}
	if a := g.SNATAddr(); a.IsValid() {
		t.set(sharedSNAT).elements[dev] = element{value: addressKey(a)}
	}
	if a := g.HairpinAddr(); a.IsValid() {
		for _, p := range r.Ports {
			t.set(hairpin).elements[deviceKey(dataplane.PortDevice(p.ID))] = element{value: addressKey(a)}
		}
	}
	return t
}

// renderFloatingIPs is only that part of a table in which routers differ that differ in floating IPs. Its cost depends on fips alone.
func renderFloatingIPs(fips []dataplane.FloatingIP) *table {
	t := &table{sets: []*set{{name: fipDNAT}, {name: fipSNAT}, {name: fipIn}, {name: fipOut}}}
	fillFloatingIPs(t, fips)
	return t
}

func fillFloatingIPs(t *table, fips []dataplane.FloatingIP) {
	fill := func(name string) map[string]element {
		elements := make(map[string]element, len(fips))
		t.set(name).elements = elements
		return elements
	}
	toFixed, toFloating, countIn, countOut := fill(fipDNAT), fill(fipSNAT), fill(fipIn), fill(fipOut)
	for _, f := range fips {
		addr, fixed := addressKey(f.Addr), addressKey(f.Fixed)
		toFixed[addr] = element{value: fixed}
		toFloating[fixed] = element{value: addr}
		countIn[addr] = element{}
		countOut[addr] = element{}
	}
}

// keyType is what the elements of a set are.
type keyType struct {
	nftables.SetDatatype
	hostOrder bool // as against network order; only nft asks, to show elements
}

var (
	address = keyType{SetDatatype: nftables.TypeIPAddr}
	device  = keyType{SetDatatype: nftables.TypeIFName, hostOrder: true}
)

func newSet(name string, key keyType, comment string) *set {
	var shown []byte
	if key.hostOrder {
		shown = userdata.Append(shown, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, word(1))
	}
	shown = userdata.AppendString(shown, userdata.NFTNL_UDATA_SET_COMMENT, comment)
	return &set{name: name, elements: map[string]element{}, definition: map[uint16]string{
		unix.NFTA_SET_KEY_TYPE: bigEndian(key.GetNFTMagic()),
		unix.NFTA_SET_KEY_LEN:  bigEndian(key.Bytes),
		unix.NFTA_SET_USERDATA: string(shown),
	}}
}

// newMap is a map to addresses.
func newMap(name string, key keyType, comment string) *set {
	s := newSet(name, key, comment)
	s.definition[unix.NFTA_SET_FLAGS] = bigEndian(unix.NFT_SET_MAP)
	s.definition[unix.NFTA_SET_DATA_TYPE] = bigEndian(nftables.TypeIPAddr.GetNFTMagic())
	s.definition[unix.NFTA_SET_DATA_LEN] = bigEndian(nftables.TypeIPAddr.Bytes)
	return s
}

// newCountingSet is a set in which the kernel gives each element a counter (since 5.7), which a rule that finds the element advances.
func newCountingSet(name string, key keyType, comment string) *set {
	s := newSet(name, key, comment)
	s.definition[nftaSetExpr] = startingCounter()
	return s
}

// startingCounter is the expression that the kernel copies to each new element of a counting set: a counter at zero.
func startingCounter() string {
	b, err := expr.Marshal(family, &expr.Counter{})
	if err != nil {
		panic(err) // two numbers are always encoded
	}
	return string(b)
}

func bigEndian(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }

func newRule(comment string, parts ...[]expr.Any) rule {
	r := rule{userdata: userdata.AppendString(nil, userdata.TypeComment, comment)}
	for _, p := range parts {
		r.exprs = append(r.exprs, p...)
	}
	return r
}
