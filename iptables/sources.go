package iptables

import (
	"net/netip"
	"slices"
	"strconv"
)

// maxSources is how many sources a chain compares one by one. Beyond that, they are in chains of
// their own, by prefix.
const maxSources = 8

// dropAll writes a chain, and those that it leads on to, which drops what comes from any of some
// disjoint prefixes. Equal sets of prefixes make equal chains.
func dropAll(into *table, chain string, sources []netip.Prefix) {
	sources = slices.Clone(sources)
	slices.SortFunc(sources, netip.Prefix.Compare)
	d := dropper{into: into, root: chain}
	into.chains[chain] = d.branch(sources)
}

type dropper struct {
	into *table
	root string
	last int // number of the last chain that was made beside the root
}

// branch returns the rules for some sources, in order, and writes the chains that they lead on to.
func (d *dropper) branch(sources []netip.Prefix) []rule {
	var list []rule
	level := netip.Prefix{}
	if len(sources) > maxSources {
		level = split(sources)
	}
	for len(sources) > 0 {
		first := sources[0]
		rest := 1
		if level.IsValid() && first.Bits() > level.Bits() {
			limb := netip.PrefixFrom(first.Addr(), level.Bits()).Masked()
			for rest < len(sources) && limb.Contains(sources[rest].Addr()) {
				rest++
			}
			if rest > 1 {
				d.last++
				name := d.root + "-" + strconv.Itoa(d.last)
				list = append(list, rule{spec: "-s " + limb.String() + " -g " + name})
				d.into.chains[name] = d.branch(sources[:rest])
				sources = sources[rest:]
				continue
			}
		}
		list = append(list, rule{spec: "-s " + first.String() + " -j DROP"})
		sources = sources[1:]
	}
	return list
}

// split is a prefix as long as those by which sources are to be told apart: a little longer than
// what all of them have in common.
func split(sources []netip.Prefix) netip.Prefix {
	a, b := sources[0].Addr(), sources[len(sources)-1].Addr()
	bits := 0
	for bits < a.BitLen() && netip.PrefixFrom(a, bits+1).Masked() == netip.PrefixFrom(b, bits+1).Masked() {
		bits++
	}
	return netip.PrefixFrom(a, min(a.BitLen(), (bits/stride+1)*stride))
}
