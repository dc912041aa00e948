package iptables

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// A packet's way to the rule of its floating IP is through chains that stand for prefixes: each
// leads on to those for prefixes that are longer by stride bits or more, or holds the rules
// themselves, at most 1<<stride of them in either case. A chain that would lead on to a single
// other one is left out. Rules stand always in the chain for their address's prefix of leafBits, so
// that none ever moves, and keeps its counters, while others come and go. All chains are in the
// order of addresses, so that equal sets of floating IPs make equal trees.
const (
	stride   = 4 // divides 32
	leafBits = 32 - stride
)

// tree does something about addresses in one table.
type tree struct {
	table string
	root  string // name of the first chain, and beginning of the others'
	match string // the option that compares the address
	of    func(members) []dataplane.FloatingIP
	key   func(dataplane.FloatingIP) netip.Addr
	act   func(dataplane.FloatingIP) string // what is done when the address is found
}

// members are what the trees of a router are about.
type members struct {
	here   []dataplane.FloatingIP
	remote []dataplane.FloatingIP // those of other instances, of which only the address matters
	away   []dataplane.FloatingIP // those of other instances, of which only the fixed address matters

	forwarders []dataplane.FloatingIP // those of which ports are forwarded, and only the address matters
	limited    map[dataplane.Direction][]dataplane.FloatingIP
}

func membersOf(r dataplane.Router) members {
	m := members{here: r.FloatingIPs, forwarders: forwarders(r.PortForwardings), limited: limited(r.Limits)}
	if t := r.Transit; t != nil {
		m.remote, m.away = remote(t.External), elsewhere(t.Elsewhere)
	}
	return m
}

func remote(routes []dataplane.Route) []dataplane.FloatingIP {
	list := make([]dataplane.FloatingIP, 0, len(routes))
	for _, r := range routes {
		if r.Dest.IsSingleIP() && r.Dest.Addr().Is4() {
			list = append(list, dataplane.FloatingIP{Addr: r.Dest.Addr()})
		}
	}
	return list
}

func elsewhere(fixed []netip.Addr) []dataplane.FloatingIP {
	list := make([]dataplane.FloatingIP, len(fixed))
	for i, a := range fixed {
		list[i].Fixed = a
	}
	return list
}

func trees(i instance) []tree {
	floating := func(f dataplane.FloatingIP) netip.Addr { return f.Addr }
	fixed := func(f dataplane.FloatingIP) netip.Addr { return f.Fixed }
	do := func(action string) func(dataplane.FloatingIP) string {
		return func(dataplane.FloatingIP) string { return action }
	}
	here := func(m members) []dataplane.FloatingIP { return m.here }
	remote := func(m members) []dataplane.FloatingIP { return m.remote }
	edges := func(m members) []dataplane.FloatingIP { return slices.Concat(m.here, m.remote) }
	away := func(m members) []dataplane.FloatingIP { return m.away }
	forwarders := func(m members) []dataplane.FloatingIP { return m.forwarders }
	list := []tree{
		{mangle, byDst, "-d", here, floating, do("-j RETURN")},
		{mangle, bySrc, "-s", here, fixed, do("-j RETURN")},
		{nat, byDst, "-d", here, floating, func(f dataplane.FloatingIP) string { return "-j DNAT --to-destination " + f.Fixed.String() }},
		{nat, bySrc, "-s", here, fixed, func(f dataplane.FloatingIP) string { return "-j SNAT --to-source " + f.Addr.String() }},
		{nat, byForward, "-d", forwarders, floating, func(f dataplane.FloatingIP) string { return "-g " + ports{addr: f.Addr}.chain() }},
	}
	if i.edge {
		list = append(list,
			tree{mangle, byAway, "-s", away, fixed, do("-g " + byEdge)},
			tree{mangle, byEdge, "-d", edges, floating, do(markToCentre)})
	}
	if i.shown.IsValid() {
		list = append(list, tree{nat, byEdge, "-d", remote, floating, do("-g " + asShown)})
	}
	if i.limited {
		list = append(list, limitTrees()...)
	}
	switch {
	case i.exempts():
		list = append(list, tree{filter, byFixed, "-s", here, fixed, do(markRouted)})
	case i.floatingOnly:
		list = append(list, tree{mangle, byFixed, "-s", here, fixed, do(markFloatingIP)})
	case i.transit != "" && i.gateway != "":
		list = append(list, tree{filter, byAway, "-s", away, fixed, do("-j DROP")})
	}
	return list
}

// end begins the rule of an address at the end of the tree.
func (t tree) end(a netip.Addr) string {
	if t.match == repliesTo || t.match == askedFor { // of which iptables-save does not print the length
		return t.match + " " + a.String() + " "
	}
	return t.match + " " + a.String() + "/32 "
}

// leaf is a floating IP and the address by which it is found.
type leaf struct {
	key uint32
	fip *dataplane.FloatingIP
}

// leaves are in order.
func (t tree) leaves(fips []dataplane.FloatingIP) []leaf {
	list := make([]leaf, len(fips))
	for i := range fips {
		list[i] = leaf{number(t.key(fips[i])), &fips[i]}
	}
	slices.SortFunc(list, func(a, b leaf) int { return cmp.Compare(a.key, b.key) })
	return list
}

// grow writes the chains of a tree into a table.
func (t tree) grow(into *table, fips []dataplane.FloatingIP) {
	g := grower{tree: t, into: into, all: true}
	into.chains[t.root] = g.branch(t.leaves(fips))
}

// growChanged writes those chains alone that a tree has otherwise before some floating IPs have
// changed than after.
func (t tree) growChanged(have, want *table, before, after, changed []dataplane.FloatingIP) {
	b, a, marks := t.leaves(before), t.leaves(after), t.leaves(changed)
	had := grower{tree: t, into: have, marks: marks, top: top(a)}
	has := grower{tree: t, into: want, marks: marks, top: top(b)}
	have.chains[t.root], want.chains[t.root] = had.branch(b), has.branch(a)
}

type grower struct {
	tree
	into  *table
	all   bool
	marks []leaf // if not all
	// top is the prefix for which the root stands when the other leaves are there: then it has no
	// chain of its own.
	top netip.Prefix
}

// branch returns the rules that lead on to the chains for these leaves, at the level at which they
// part, and writes those chains.
func (g *grower) branch(leaves []leaf) []rule {
	var list []rule
	level := leafBits
	if len(leaves) > 0 {
		level = min(leafBits, (shared(leaves)/stride+1)*stride)
	}
	for len(leaves) > 0 {
		rest := slices.IndexFunc(leaves, func(l leaf) bool { return l.key>>(32-level) != leaves[0].key>>(32-level) })
		if rest < 0 {
			rest = len(leaves)
		}
		list = append(list, g.limb(leaves[:rest]))
		leaves = leaves[rest:]
	}
	return list
}

// limb returns the rule that leads on to the chain which these leaves share, and writes that chain.
func (g *grower) limb(leaves []leaf) rule {
	p := top(leaves)
	name := g.root + "-" + p.String()
	switch {
	case !g.marked(p):
	case p.Bits() < leafBits:
		g.into.chains[name] = g.branch(leaves)
	default:
		list := make([]rule, len(leaves))
		for i, l := range leaves {
			list[i].spec = g.end(address(l.key)) + g.act(*l.fip)
			if g.table == mangle && g.root == bySrc {
				list[i].of = l.fip.Addr
			}
		}
		g.into.chains[name] = list
	}
	return rule{spec: g.match + " " + p.String() + " -g " + name}
}

// marked says whether a chain is to be written.
func (g *grower) marked(p netip.Prefix) bool {
	return g.all || p == g.top && p.Bits() < leafBits || slices.ContainsFunc(g.marks, func(l leaf) bool { return p.Contains(address(l.key)) })
}

// top is the longest prefix that a chain for all the leaves could stand for.
func top(leaves []leaf) netip.Prefix {
	if len(leaves) == 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(address(leaves[0].key), min(leafBits, shared(leaves)/stride*stride)).Masked()
}

// shared is how many bits the keys of leaves have in common at their beginning.
func shared(leaves []leaf) int { return bits.LeadingZeros32(leaves[0].key ^ leaves[len(leaves)-1].key) }

// grown is the prefix that a chain of a tree stands for.
func grown(chain string) (p netip.Prefix, ok bool) {
	root := rootOf(chain)
	if chain == root {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), root != ""
	}
	p, err := netip.ParsePrefix(chain[len(root)+1:])
	return p, root != "" && err == nil
}

// rootOf is the root of the tree that a chain's name is one in; empty if it is none.
func rootOf(chain string) string {
	for _, root := range []string{byDst, bySrc, byForward, byFixed, byEdge, byAway, byLimited, byLimitedSrc, byLimitedAns} {
		if chain == root || strings.HasPrefix(chain, root+"-") {
			return root
		}
	}
	return ""
}

// leafChain is the name of the chain that an address's rule is in.
func leafChain(root string, a netip.Addr) string {
	return root + "-" + netip.PrefixFrom(a, leafBits).Masked().Addr().String() + "/" + strconv.Itoa(leafBits)
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func address(key uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], key)
	return netip.AddrFrom4(b)
}
