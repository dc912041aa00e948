package iptables

import (
	"net/netip"
	"slices"
	"strings"
)

// entry is what a rule at the end of a tree is about.
type entry struct {
	root     string     // of the tree
	floating netip.Addr // zero for a counting rule of nobody knows which floating IP
	fixed    netip.Addr // zero where only the floating IP matters
}

// key is the address by which the rule is found.
func (e entry) key() netip.Addr {
	if e.root == byDst {
		return e.floating
	}
	return e.fixed
}

// parseEntry says what a rule in a chain of a tree is about, if it is one that stands at the end of
// the tree.
func parseEntry(chain string, r rule) (e entry, ok bool) {
	p, ok := grown(chain)
	root := rootOf(chain)
	if !ok || p.Bits() != leafBits || root != byDst && root != bySrc {
		return e, false
	}
	f := strings.Fields(r.spec)
	if len(f) < 4 || f[2] != "-j" {
		return e, false
	}
	found, err := netip.ParsePrefix(f[1])
	if err != nil || found.Bits() != 32 || !p.Contains(found.Addr()) {
		return e, false
	}
	var to netip.Addr
	action := f[3]
	if len(f) == 6 {
		action += " " + f[4]
		if to, err = netip.ParseAddr(f[5]); err != nil {
			return e, false
		}
	} else if len(f) != 4 {
		return e, false
	}
	if root == byDst {
		e = entry{root: byDst, floating: found.Addr(), fixed: to}
		return e, f[0] == "-d" && (action == "RETURN" || action == "DNAT --to-destination")
	}
	e = entry{root: bySrc, floating: to, fixed: found.Addr()}
	if action == "RETURN" {
		e.floating = r.of
	}
	return e, f[0] == "-s" && (action == "RETURN" || action == "SNAT --to-source")
}

// parseMember returns the address that a rule in a chain of one of the other trees is about, if it
// is one that stands at the end of the tree.
func parseMember(chain string, r rule) (a netip.Addr, ok bool) {
	p, ok := grown(chain)
	match, action, _ := strings.Cut(r.spec, "/32 ")
	if !ok || p.Bits() != leafBits {
		return a, false
	}
	switch root := rootOf(chain); {
	case root == byFixed && (action == markFloatingIP || action == markRouted), root == byAway && (action == "-j DROP" || action == "-g "+byEdge):
		match, ok = strings.CutPrefix(match, "-s ")
	case root == byForward && strings.HasPrefix(action, "-g "+prefix), root == byEdge && (action == markToCentre || action == "-g "+asShown):
		match, ok = strings.CutPrefix(match, "-d ")
	default:
		return a, false
	}
	a, err := netip.ParseAddr(match)
	if rootOf(chain) == byForward && action != "-g "+(ports{addr: a}).chain() {
		return a, false
	}
	return a, ok && err == nil && p.Contains(a)
}

// ofTree says that a rule is one of those that trees are made of.
func ofTree(chain string, r rule) bool {
	if _, forwarding := parseForwarding(chain, r); forwarding || leadsToPorts(chain, r) {
		return true
	}
	if _, inTree := grown(chain); !inTree {
		return false
	}
	if _, end := parseEntry(chain, r); end {
		return true
	}
	if _, end := parseMember(chain, r); end {
		return true
	}
	if _, _, end := parseLimit(chain, r); end {
		return true
	}
	_, leads := grown(r.target())
	return leads && (len(strings.Fields(r.spec)) == 4 || strings.HasPrefix(r.spec, repliesTo) || strings.HasPrefix(r.spec, askedFor))
}

// find returns what the nat table says of an address, by one of its trees.
func (rs ruleset) find(root string, a netip.Addr) (e entry, ok bool) {
	chain := leafChain(root, a)
	list := rs.chain(nat, chain)
	i := slices.IndexFunc(list, func(r rule) bool {
		e, ok = parseEntry(chain, r)
		return ok && e.key() == a
	})
	if i < 0 {
		return entry{}, false
	}
	return e, true
}

// attribute finds out which floating IP each counting rule is about: the nat table says whose the
// fixed address is.
func (rs ruleset) attribute() {
	if rs[mangle] == nil {
		return
	}
	for chain, list := range rs[mangle].chains {
		for i, r := range list {
			if e, ok := parseEntry(chain, r); ok && e.root == bySrc {
				owner, _ := rs.find(bySrc, e.fixed)
				list[i].of = owner.floating
			}
		}
	}
}
