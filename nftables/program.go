package nftables

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// The sets and maps that the program's rules look into.
const (
	fipDNAT    = "fip_dnat"
	fipSNAT    = "fip_snat"
	fipIn      = "fip_in"
	fipOut     = "fip_out"
	external   = "external"
	inside     = "inside"
	own        = "own"
	guarded    = "guarded"
	sharedSNAT = "shared_snat"
	hairpin    = "hairpin"
)

// hairpinMark is the one bit of the packet mark that the program uses, between the forward and the
// postrouting chain.
const hairpinMark = 1 << 16

// Conntrack's status bits (enum ip_conntrack_status of linux/netfilter/nf_conntrack_common.h).
const (
	ipsConfirmed = 1 << 3 // all packets but a connection's first
	ipsSrcNAT    = 1 << 4
	ipsDstNAT    = 1 << 5
)

// refuse is the chain that ends packets to link-local addresses.
const refuse = "refuse"

// program is the table that every router has, with empty sets, and with what it needs as an
// instance of a distributed one. The text beside each rule is its form in nft(8).
func program(i instance) *table {
	return &table{
		family: ipv4,
		sets: append([]*set{
			newMap(fipDNAT, address, "fixed address of each floating IP"),
			newMap(fipSNAT, address, "floating IP of each fixed address that has one"),
			newForwardingMap(),
			newCountingSet(fipIn, address, "floating IPs, and what went to them"),
			newCountingSet(fipOut, address, "floating IPs, and what came from them"),
			newSet(external, device, "device of the gateway"),
			newInside(address),
			newSet(guarded, device, "the same while SNAT is on"),
			newMap(sharedSNAT, device, "address that hosts without a floating IP leave with"),
			newMap(hairpin, device, "address that inside clients of floating IPs show without one of their own"),
		}, i.sets()...),
		chains: slices.Concat([]*chain{
			{refuse, hook{}, []rule{
				// iifname @external drop
				newRule("in silence towards the outside", iifname(), in(external), verdict(expr.VerdictDrop)),
				// reject with tcp reset
				newRule("connections are reset", isTCP(), resetTCP()),
				// reject
				newRule("the rest gets ICMP's port unreachable", unreachablePort(ipv4)),
			}},
			{"ingress", hook{"filter", unix.NF_INET_PRE_ROUTING, -300, accept}, i.ingress()},
			{"prerouting", hook{"nat", unix.NF_INET_PRE_ROUTING, -100, accept}, i.prerouting()},
			{"output", hook{"nat", unix.NF_INET_LOCAL_OUT, -100, accept}, []rule{
				// dnat to ip daddr map @fip_dnat
				newRule("the same for the router's own connections", daddr(), mapped(fipDNAT), dnat()),
				// dnat ip to ip daddr . meta l4proto . th dport map @pf_dnat
				newRule("and of forwarded ports", forwarded(), dnatToPort()),
			}},
			{"forward", hook{"filter", unix.NF_INET_FORWARD, 0, accept}, slices.Concat([]rule{
				// ip daddr 169.254.0.0/16 goto refuse
				newRule("link-local addresses are on the link", toLinkLocal4(), gotoChain(refuse)),
			}, i.forward(), []rule{
				// ct state established,related oifname != @guarded accept
				newRule("most packets end here", ctBits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, expr.CmpOpNeq),
					oifname(), notIn(guarded), verdict(expr.VerdictAccept)),
				// ct direction original ct status snat ct status confirmed accept
				newRule("and here, if they get another source", ctDirection(original), ctBits(expr.CtKeySTATUS, ipsSrcNAT, expr.CmpOpNeq),
					ctBits(expr.CtKeySTATUS, ipsConfirmed, expr.CmpOpNeq), verdict(expr.VerdictAccept)),
				// ct direction reply ct status dnat ct status confirmed accept
				newRule("or get back the one that was asked", ctDirection(reply), ctBits(expr.CtKeySTATUS, ipsDstNAT, expr.CmpOpNeq),
					ctBits(expr.CtKeySTATUS, ipsConfirmed, expr.CmpOpNeq), verdict(expr.VerdictAccept)),
				// ct status confirmed oifname @guarded drop
				newRule("untranslated, it would show private addresses outside", ctBits(expr.CtKeySTATUS, ipsConfirmed, expr.CmpOpNeq),
					oifname(), in(guarded), verdict(expr.VerdictDrop)),
				// ct state invalid,untracked iifname @guarded drop
				newRule("what conntrack does not follow cannot be translated",
					ctBits(expr.CtKeySTATE, expr.CtStateBitINVALID|expr.CtStateBitUNTRACKED, expr.CmpOpNeq), iifname(), in(guarded),
					verdict(expr.VerdictDrop)),
				// ct state invalid,untracked oifname @guarded drop
				newRule("and would show them, too",
					ctBits(expr.CtKeySTATE, expr.CtStateBitINVALID|expr.CtStateBitUNTRACKED, expr.CmpOpNeq), oifname(), in(guarded),
					verdict(expr.VerdictDrop)),
				// iifname @guarded ct status ! dnat drop
				newRule("from outside only floating IPs are open", iifname(), in(guarded), ctBits(expr.CtKeySTATUS, ipsDstNAT, expr.CmpOpEq),
					verdict(expr.VerdictDrop)),
				// iifname != @external ct status dnat meta mark set meta mark | 0x10000
				newRule("floating IP reached from inside", iifname(), notIn(external), ctBits(expr.CtKeySTATUS, ipsDstNAT, expr.CmpOpNeq),
					setMark(hairpinMark)),
			}, i.confine())},
			{"postrouting", hook{"nat", unix.NF_INET_POST_ROUTING, 100, accept}, slices.Concat([]rule{
				// oifname @external snat to ip saddr map @fip_snat
				newRule("fixed address to floating IP", oifname(), in(external), saddr(), mapped(fipSNAT), snat(false)),
			}, i.postrouting(), []rule{
				// snat to oifname map @shared_snat fully-random
				newRule("the others share the gateway's address", oifname(), mapped(sharedSNAT), snat(true)),
				// meta mark & 0x10000 != 0 snat to ip saddr map @fip_snat
				newRule("a client shows its floating IP", isMarked(hairpinMark), saddr(), mapped(fipSNAT), snat(false)),
				// meta mark & 0x10000 != 0 snat to oifname map @hairpin fully-random
				newRule("or else the gateway's address", isMarked(hairpinMark), oifname(), mapped(hairpin), snat(true)),
			})},
			{"count_out", hook{"filter", unix.NF_INET_POST_ROUTING, 300, accept}, i.countOut()},
		}, i.steer(), i.metadata()),
	}
}

// program6 is the table of a router that speaks IPv6. It keeps no state. TCP is not reset: the
// kernel cannot send that to a link-local address (nf_send_reset6), and connect(2) ends by the ICMP
// error as well.
func program6(i instance) *table {
	t := &table{
		family: ipv6,
		sets: []*set{
			newSet(external, device, "device of the gateway"),
			newInside(address6),
			newSet(own, address6, "addresses of the router"),
		},
		chains: []*chain{
			{refuse, hook{}, []rule{
				// iifname @external drop
				newRule("in silence towards the outside", iifname(), in(external), verdict(expr.VerdictDrop)),
				// reject
				newRule("ICMP's port unreachable", unreachablePort(ipv6)),
			}},
			{"ingress", hook{"filter", unix.NF_INET_PRE_ROUTING, -300, accept}, i.ingress6()},
			{"forward", hook{"filter", unix.NF_INET_FORWARD, 0, accept}, append([]rule{
				// ip6 daddr fe80::/10 goto refuse
				newRule("link-local addresses are on the link", toLinkLocal6(), gotoChain(refuse)),
			}, i.forward6()...)},
		},
	}
	if i.transit {
		t.sets = append(t.sets, newSet(transit, device, "device of the transit"))
	}
	t.sets = append(t.sets, scopeSets(i.six)...)
	return t
}

// render is what a router asks for.
func render(r dataplane.Router) ruleset { return ruleset{ip: render4(r), ip6: render6(r)} }

func render4(r dataplane.Router) *table {
	i := instanceOf(r)
	t := program(i)
	fillFloatingIPs(t, r.FloatingIPs)
	fillForwardings(t, r.PortForwardings)
	fillInside(t, namespace.Inside(r))
	i.fill(t, r)
	addLimits(t, r.Limits)
	addClamp(t, r)
	g := r.Gateway
	if g == nil {
		return t
	}
	dev := deviceKey(dataplane.GatewayDevice(g.ID))
	t.set(external).elements[dev] = element{}
	if g.Guarded() {
		t.set(guarded).elements[dev] = element{}
	}
	if a := g.SNATAddr(); a.IsValid() {
		t.set(sharedSNAT).elements[dev] = element{value: addressKey(a)}
	}
	if a := g.HairpinAddr(); a.IsValid() {
		for _, p := range r.Ports {
			t.set(hairpin).elements[deviceKey(dataplane.PortDevice(p.ID))] = element{value: addressKey(a)}
		}
		if r.Transit != nil {
			t.set(hairpin).elements[deviceKey(dataplane.TransitDevice(r.Transit.ID))] = element{value: addressKey(a)}
		}
	}
	return t
}

// render6 is nil for a router without IPv6.
func render6(r dataplane.Router) *table {
	own6 := namespace.OwnIPv6(r)
	if len(own6) == 0 {
		return nil
	}
	t := program6(instanceOf(r))
	fillInside(t, namespace.Inside(r))
	addClamp(t, r)
	for _, a := range own6 {
		t.set(own).elements[addressKey(a)] = element{}
	}
	if r.Gateway != nil {
		t.set(external).elements[deviceKey(dataplane.GatewayDevice(r.Gateway.ID))] = element{}
	}
	if r.Transit != nil {
		t.set(transit).elements[deviceKey(dataplane.TransitDevice(r.Transit.ID))] = element{}
	}
	return t
}

// fillInside fills in those prefixes that are of the table's family.
func fillInside(t *table, prefixes []netip.Prefix) {
	elements := t.set(inside).elements
	for _, p := range prefixes {
		if p.Addr().Is6() == (t.family == ipv6) {
			elements[subnetKey(p)] = element{}
		}
	}
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
	address  = keyType{SetDatatype: nftables.TypeIPAddr}
	address6 = keyType{SetDatatype: nftables.TypeIP6Addr}
	device   = keyType{SetDatatype: nftables.TypeIFName, hostOrder: true}
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

// newInside is the set of subnets of a family.
func newInside(key keyType) *set {
	s := newSet(inside, key, "internal subnets")
	s.definition[unix.NFTA_SET_FLAGS] = bigEndian(unix.NFT_SET_INTERVAL)
	return s
}

// newCountingSet is a set in which the kernel gives each element a counter (since 5.7), which a
// rule that finds the element advances.
func newCountingSet(name string, key keyType, comment string) *set {
	s := newSet(name, key, comment)
	s.definition[nftaSetExpr] = startingCounter()
	return s
}

// startingCounter is the expression that the kernel copies to each new element of a counting set: a
// counter at zero.
func startingCounter() string {
	return encode(&expr.Counter{})
}

// encode is an expression of numbers as the kernel takes it.
func encode(e expr.Any) string {
	b, err := expr.Marshal(byte(ipv4), e)
	if err != nil {
		panic(err) // numbers are always encoded
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
