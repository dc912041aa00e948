package namespace

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// Inside returns the disjoint prefixes from which nothing may come by the gateway of a valid router
// (P17), sorted: the subnets of its internal ports, and what other instances of it have.
func Inside(r dataplane.Router) []netip.Prefix {
	return outermost(slices.Concat(subnets(r), remote(r)))
}

// subnets lists those of the internal ports.
func subnets(r dataplane.Router) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range r.Ports {
		for _, a := range p.Addrs {
			list = append(list, a.Masked())
		}
	}
	return list
}

// remote lists what other instances have.
func remote(r dataplane.Router) []netip.Prefix {
	if r.Transit == nil {
		return nil
	}
	list := make([]netip.Prefix, len(r.Transit.Routes))
	for i, route := range r.Transit.Routes {
		list[i] = route.Dest
	}
	return list
}

// outermost sorts prefixes, and leaves out those that lie in others. Of two that overlap, one lies
// in the other.
func outermost(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, netip.Prefix.Compare) // what lies in a prefix follows it
	out := list[:0]
	for _, p := range list {
		if len(out) == 0 || !covers(out[len(out)-1], p) {
			out = append(out, p)
		}
	}
	return out
}

func covers(a, b netip.Prefix) bool { return a.Bits() <= b.Bits() && a.Contains(b.Addr()) }

// Inside returns the difference between [Inside] of the router before, of which c.Since tells, and
// that of the one wanted. While routes come and go that lie in subnets which stay, it costs a look
// at the list of routes at most.
func (c Change) Inside() Difference[netip.Prefix] {
	gone, come := destinations(c.Since.Routes.Removed), destinations(c.Since.Routes.Added)
	for p := range gone {
		if come[p] { // it gets another next hop
			delete(gone, p)
			delete(come, p)
		}
	}
	if len(gone)+len(come) == 0 {
		return Difference[netip.Prefix]{}
	}
	own := subnets(c.Want)
	hidden := func(p netip.Prefix) bool {
		return slices.ContainsFunc(own, func(by netip.Prefix) bool { return covers(by, p) }) ||
			slices.ContainsFunc(c.Want.Transit.Routes, func(r dataplane.Route) bool { return covers(r.Dest, p) && !come[r.Dest] })
	}
	settled := true
	for _, changed := range []map[netip.Prefix]bool{gone, come} {
		for p := range changed {
			settled = settled && hidden(p)
		}
	}
	if settled {
		return Difference[netip.Prefix]{}
	}
	routed := remote(c.Want)
	stay := slices.DeleteFunc(slices.Clone(routed), func(p netip.Prefix) bool { return come[p] })
	before := slices.AppendSeq(slices.Concat(own, stay), maps.Keys(gone))
	return prefixDifference(outermost(before), outermost(slices.Concat(own, routed)))
}

// KeepsIPv6 reports whether the router before is known to have the same [OwnIPv6], as far as the
// transit's routes go: the transit has an IPv6 address only while one of IPv6 leads over it.
func (c Change) KeepsIPv6() bool {
	is6 := func(r dataplane.Route) bool { return r.Dest.Addr().Is6() }
	d, t := c.Since.Routes, c.Want.Transit
	if !slices.ContainsFunc(d.Removed, is6) && !slices.ContainsFunc(d.Added, is6) || slices.ContainsFunc(t.Centre, netip.Addr.Is6) {
		return true
	}
	return slices.ContainsFunc(t.Routes, func(r dataplane.Route) bool { return is6(r) && !slices.Contains(d.Added, r) })
}

func destinations(routes []dataplane.Route) map[netip.Prefix]bool {
	set := make(map[netip.Prefix]bool, len(routes))
	for _, r := range routes {
		set[r.Dest] = true
	}
	return set
}

// prefixDifference compares sorted lists.
func prefixDifference(before, after []netip.Prefix) (d Difference[netip.Prefix]) {
	lacks := func(list []netip.Prefix, p netip.Prefix) bool {
		_, found := slices.BinarySearchFunc(list, p, netip.Prefix.Compare)
		return !found
	}
	for _, p := range before {
		if lacks(after, p) {
			d.Removed = append(d.Removed, p)
		}
	}
	for _, p := range after {
		if lacks(before, p) {
			d.Added = append(d.Added, p)
		}
	}
	return d
}
