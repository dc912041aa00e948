package dataplane

import (
	"cmp"
	"net/netip"
	"slices"
)

// fib is a forwarding table: for each prefix the way to it, and the longest prefix wins.
type fib struct {
	ways    map[netip.Prefix]way
	lengths [2][]int // prefix lengths in use, the longest first; of IPv4 and of IPv6
}

// way is how to reach a prefix.
type way struct {
	dest   netip.Prefix
	origin origin
	hops   []hop // one, or several that share the traffic (ECMP)
}

// hop is a way out: a neighbour on a port's link. The destination itself is the neighbour when via
// is zero.
type hop struct {
	port *modelPort
	via  netip.Addr
}

// origin says where a way comes from. Of two ways to the same prefix the one with the smaller
// origin is taken.
type origin int

const (
	connected  origin = iota
	toInstance        // of a distributed router
	extraRoute
	defaultRoute
)

func newFIB() *fib { return &fib{ways: make(map[netip.Prefix]way)} }

func (f *fib) add(dest netip.Prefix, o origin, h hop) {
	dest = dest.Masked()
	w, found := f.ways[dest]
	switch {
	case found && w.origin < o:
		return
	case found && w.origin == o:
		w.hops = append(w.hops, h)
	default:
		w = way{dest: dest, origin: o, hops: []hop{h}}
	}
	f.ways[dest] = w

	lengths := &f.lengths[family(dest.Addr())]
	longestFirst := func(a, b int) int { return cmp.Compare(b, a) }
	if i, known := slices.BinarySearchFunc(*lengths, dest.Bits(), longestFirst); !known {
		*lengths = slices.Insert(*lengths, i, dest.Bits())
	}
}

// lookup finds the way to an address: the longest prefix that it lies in.
func (f *fib) lookup(a netip.Addr) (way, bool) {
	for _, bits := range f.lengths[family(a)] {
		dest, err := a.Prefix(bits)
		if err != nil {
			continue // an address without a family
		}
		if w, ok := f.ways[dest]; ok {
			return w, true
		}
	}
	return way{}, false
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// leg is the neighbours among which a way shares its traffic, as far as they are on one port's
// link.
type leg struct {
	out *modelPort
	via []netip.Addr // zero: the destination itself
}

// legs lists them in the order of their first hop; apart, with one neighbour each.
func (w way) legs(apart bool) []leg {
	var legs []leg
	for _, h := range w.hops {
		i := slices.IndexFunc(legs, func(l leg) bool { return l.out == h.port && !apart })
		if i < 0 {
			i = len(legs)
			legs = append(legs, leg{out: h.port})
		}
		legs[i].via = append(legs[i].via, h.via)
	}
	return legs
}

// neighbours lists them for a packet to dst.
func (l leg) neighbours(dst netip.Addr) []netip.Addr {
	to := slices.Clone(l.via)
	for i, a := range to {
		if !a.IsValid() {
			to[i] = dst
		}
	}
	return to
}
