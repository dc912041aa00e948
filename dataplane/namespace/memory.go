package namespace

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// memory is the router that was applied last, and the links that it had then: what can be trusted
// for as long as nobody else writes.
type memory struct {
	router dataplane.Router // a copy of our own
	links  map[string]link
	owner  string // that the namespace has; empty: it may have any
	index  index
}

// index tells what the long lists of a router use already.
type index struct {
	ids        set[string]        // of floating IPs
	floating   set[netip.Addr]    // addresses and fixed ones: the two never meet in a valid router
	forwarding map[netip.Addr]int // how many port forwardings an address has, or is the fixed address of: these never meet either
	forwardIDs set[string]        // of port forwardings
	limits     set[netip.Addr]
	neighbours set[Neighbour]
	routes     set[netip.Prefix] // destinations
	remote     set[netip.Prefix]
	elsewhere  set[netip.Addr]
}

type set[T comparable] map[T]struct{}

func (s set[T]) has(v T) bool {
	_, ok := s[v]
	return ok
}

const (
	maxDelta       = 1000    // bounds the difference that is worth the short way
	maxComparisons = 10_000  // bounds those of routes with each other
	maxPairs       = 200_000 // bounds those of port forwardings with each other, which take a nanosecond
)

func remember(r dataplane.Router, links map[string]link) *memory {
	m := &memory{router: r.Clone(), links: links, index: index{
		ids: make(set[string], len(r.FloatingIPs)), floating: make(set[netip.Addr], 2*len(r.FloatingIPs)),
		forwarding: map[netip.Addr]int{}, forwardIDs: make(set[string], len(r.PortForwardings)),
		limits:     make(set[netip.Addr], len(r.Limits)),
		neighbours: set[Neighbour]{}, routes: set[netip.Prefix]{}, remote: set[netip.Prefix]{}, elsewhere: set[netip.Addr]{},
	}}
	all := Delta{Added: r.FloatingIPs, Forwardings: Difference[dataplane.PortForwarding]{Added: r.PortForwardings}}
	all.Limits.Added = r.Limits
	for _, p := range r.Ports {
		if p.Anycast != nil {
			all.Neighbours.Added = append(all.Neighbours.Added, neighboursOf(p.ID, p.Anycast.Neighbours)...)
		}
	}
	if t := r.Transit; t != nil {
		all.Routes.Added, all.Remote.Added, all.Elsewhere.Added = t.Routes, t.External, t.Elsewhere
	}
	m.index.learn(all)
	return m
}

func neighboursOf(port string, addrs []netip.Addr) []Neighbour {
	list := make([]Neighbour, len(addrs))
	for i, a := range addrs {
		list[i] = Neighbour{port, a}
	}
	return list
}

// learn makes a difference part of the index.
func (x index) learn(d Delta) {
	for _, f := range d.Removed {
		delete(x.ids, f.ID)
		delete(x.floating, f.Addr)
		delete(x.floating, f.Fixed)
	}
	for _, f := range d.Added {
		x.ids[f.ID] = struct{}{}
		x.floating[f.Addr], x.floating[f.Fixed] = struct{}{}, struct{}{}
	}
	learn(x.forwardIDs, d.Forwardings, func(f dataplane.PortForwarding) string { return f.ID })
	for _, f := range d.Forwardings.Removed {
		x.count(f.Addr, -1)
		x.count(f.Fixed, -1)
	}
	for _, f := range d.Forwardings.Added {
		x.count(f.Addr, 1)
		x.count(f.Fixed, 1)
	}
	learn(x.limits, d.Limits, func(l dataplane.Limit) netip.Addr { return l.Addr })
	learn(x.neighbours, d.Neighbours, func(n Neighbour) Neighbour { return n })
	learn(x.routes, d.Routes, func(r dataplane.Route) netip.Prefix { return r.Dest })
	learn(x.remote, d.Remote, func(r dataplane.Route) netip.Prefix { return r.Dest })
	learn(x.elsewhere, d.Elsewhere, func(a netip.Addr) netip.Addr { return a })
}

// count counts the forwardings of an address.
func (x index) count(a netip.Addr, n int) {
	if x.forwarding[a] += n; x.forwarding[a] == 0 {
		delete(x.forwarding, a)
	}
}

func learn[K comparable, T any](s set[K], d Difference[T], key func(T) K) {
	for _, v := range d.Removed {
		delete(s, key(v))
	}
	for _, v := range d.Added {
		s[key(v)] = struct{}{}
	}
}

// inverse is the difference the other way round.
func (d Delta) inverse() Delta {
	d.Removed, d.Added = d.Added, d.Removed
	d.Forwardings, d.ForwardingAddrs = d.Forwardings.inverse(), d.ForwardingAddrs.inverse()
	d.Limits = d.Limits.inverse()
	d.Neighbours, d.Routes, d.Remote, d.Elsewhere = d.Neighbours.inverse(), d.Routes.inverse(), d.Remote.inverse(), d.Elsewhere.inverse()
	return d
}

func (d Difference[T]) inverse() Difference[T] { return Difference[T]{d.Added, d.Removed} }

// clashes reports whether something that is added is there already, beside what is removed.
func (x index) clashes(d Delta) bool {
	removed := Delta{
		Removed: d.Removed, Forwardings: Difference[dataplane.PortForwarding]{Removed: d.Forwardings.Removed},
		Limits:     Difference[dataplane.Limit]{Removed: d.Limits.Removed},
		Neighbours: Difference[Neighbour]{Removed: d.Neighbours.Removed},
		Routes:     Difference[dataplane.Route]{Removed: d.Routes.Removed}, Remote: Difference[dataplane.Route]{Removed: d.Remote.Removed},
		Elsewhere: Difference[netip.Addr]{Removed: d.Elsewhere.Removed},
	}
	x.learn(removed)
	defer x.learn(removed.inverse())
	return slices.ContainsFunc(d.Added, func(f dataplane.FloatingIP) bool {
		return x.ids.has(f.ID) || x.floating.has(f.Addr) || x.floating.has(f.Fixed) || x.remote.has(host(f.Addr)) || x.elsewhere.has(f.Fixed) ||
			x.forwarding[f.Addr] > 0
	}) ||
		slices.ContainsFunc(d.Forwardings.Added, func(f dataplane.PortForwarding) bool {
			return x.forwardIDs.has(f.ID) || x.floating.has(f.Addr) || x.remote.has(host(f.Addr)) || x.elsewhere.has(f.Fixed)
		}) ||
		slices.ContainsFunc(d.Limits.Added, func(l dataplane.Limit) bool { return x.limits.has(l.Addr) }) ||
		slices.ContainsFunc(d.Neighbours.Added, x.neighbours.has) ||
		slices.ContainsFunc(d.Neighbours.Removed, func(n Neighbour) bool { return x.floating.has(n.Addr) }) ||
		slices.ContainsFunc(d.Routes.Added, func(r dataplane.Route) bool { return x.routes.has(r.Dest) }) ||
		slices.ContainsFunc(d.Remote.Added, func(r dataplane.Route) bool {
			return x.remote.has(r.Dest) || x.floating.has(r.Dest.Addr()) || x.forwarding[r.Dest.Addr()] > 0
		}) ||
		slices.ContainsFunc(d.Elsewhere.Added, func(a netip.Addr) bool {
			return x.elsewhere.has(a) || x.floating.has(a) || x.forwarding[a] > 0
		})
}

// delta is the difference between the router remembered and another, if that is in its long lists
// alone, small, and valid. It finds out without looking at each entry more than once, and examines
// only those that differ.
type delta struct {
	Delta
	fips       edit[dataplane.FloatingIP]
	forwards   edit[dataplane.PortForwarding]
	limits     edit[dataplane.Limit]
	neighbours []edit[netip.Addr] // by port
	routes     edit[dataplane.Route]
	remote     edit[dataplane.Route]
	elsewhere  edit[netip.Addr]
}

func (m *memory) delta(want dataplane.Router) (delta, bool) {
	if !sameButLists(m.router, want) {
		return delta{}, false
	}
	var d delta
	d.fips = compare(m.router.FloatingIPs, want.FloatingIPs)
	d.forwards = compare(m.router.PortForwardings, want.PortForwardings)
	d.limits = compare(m.router.Limits, want.Limits)
	size := d.fips.size() + d.forwards.size() + d.limits.size()
	for i, p := range m.router.Ports {
		var e edit[netip.Addr]
		if p.Anycast != nil {
			e = compare(p.Anycast.Neighbours, want.Ports[i].Anycast.Neighbours)
		}
		d.neighbours = append(d.neighbours, e)
		size += e.size()
	}
	if have, t := m.router.Transit, want.Transit; t != nil {
		d.routes, d.remote = compare(have.Routes, t.Routes), compare(have.External, t.External)
		d.elsewhere = compare(have.Elsewhere, t.Elsewhere)
		size += d.routes.size() + d.remote.size() + d.elsewhere.size()
	}
	if size > maxDelta {
		return delta{}, false
	}
	fips := d.fips.difference()
	d.Removed, d.Added = fips.Removed, fips.Added
	d.Forwardings = d.forwards.difference()
	d.ForwardingAddrs = m.forwardingAddrs(d.Forwardings)
	d.Limits = d.limits.difference()
	for i, e := range d.neighbours {
		if change := e.difference(); !change.Empty() {
			d.Neighbours.Removed = append(d.Neighbours.Removed, neighboursOf(want.Ports[i].ID, change.Removed)...)
			d.Neighbours.Added = append(d.Neighbours.Added, neighboursOf(want.Ports[i].ID, change.Added)...)
		}
	}
	d.Routes, d.Remote, d.Elsewhere = d.routes.difference(), d.remote.difference(), d.elsewhere.difference()
	return d, m.confined(want, d.Delta) && m.valid(want, d.Delta)
}

// forwardingAddrs lists the addresses that a router begins, and ceases, to answer for when
// forwardings change.
func (m *memory) forwardingAddrs(d Difference[dataplane.PortForwarding]) (addrs Difference[netip.Addr]) {
	if m.router.Gateway == nil {
		return addrs
	}
	change := map[netip.Addr]int{}
	for _, f := range d.Removed {
		change[f.Addr]--
	}
	for _, f := range d.Added {
		change[f.Addr]++
	}
	for _, a := range slices.SortedFunc(maps.Keys(change), netip.Addr.Compare) {
		before := m.index.forwarding[a]
		after := before + change[a]
		switch {
		case slices.ContainsFunc(m.router.Gateway.Addrs, func(p netip.Prefix) bool { return p.Addr() == a }):
		case before == 0 && after > 0:
			addrs.Added = append(addrs.Added, a)
		case before > 0 && after == 0:
			addrs.Removed = append(addrs.Removed, a)
		}
	}
	return addrs
}

// contended reports whether a forwarding that is added shares ports with another, or is one of too
// many. It may say so of one that does not, and is not.
func contended(all, added []dataplane.PortForwarding) bool {
	const most = 1 << 16 // ports, beyond which it is not for us to count them
	switch {
	case len(added) == 0:
		return false
	case len(all)*len(added) > maxPairs:
		return true
	}
	ports, sharing := 0, 0
	for i := range all {
		o := &all[i]
		ports += o.Ports.Len()
		for k := range added {
			f := &added[k]
			if o.Ports.First <= f.Ports.Last && f.Ports.First <= o.Ports.Last && o.Addr == f.Addr && o.Proto == f.Proto {
				sharing++
			}
		}
	}
	return ports > most || sharing != len(added) // each with itself
}

// confined says that the difference changes nothing beside its own addresses and routes. It may say
// no of one that does not.
func (m *memory) confined(want dataplane.Router, d Delta) bool {
	if g := want.Gateway; g != nil && g.FloatingIPsOnly && len(d.Removed)+len(d.Added) > 0 &&
		(len(m.router.FloatingIPs) <= len(d.Removed) || len(want.FloatingIPs) <= len(d.Added)) {
		return false // with the gateway's last address its routes go, and come with its first
	}
	isIPv6 := func(r dataplane.Route) bool { return r.NextHop.Is6() }
	if slices.ContainsFunc(slices.Concat(d.Remote.Removed, d.Remote.Added), isIPv6) {
		return false // in main, where there may be another to the same destination
	}
	routes := slices.Concat(d.Routes.Removed, d.Routes.Added)
	if len(routes) == 0 {
		return true
	}
	if len(want.Routes)*len(routes) > maxComparisons {
		return false
	}
	return !slices.ContainsFunc(routes, func(r dataplane.Route) bool {
		// The table of an extra route depends on what is inside.
		holds := func(x dataplane.Route) bool { return r.Dest.Bits() <= x.Dest.Bits() && r.Dest.Contains(x.Dest.Addr()) }
		return slices.ContainsFunc(want.Routes, holds) ||
			isIPv6(r) && !(transitSpeaksIPv6(m.router) && transitSpeaksIPv6(want)) // the transit's address comes or goes
	})
}

// valid says that the router remembered with the difference is valid. It may say no of one that is:
// then [dataplane.Router.Validate] decides.
func (m *memory) valid(want dataplane.Router, d Delta) bool {
	if !m.limitsHold(want, d) {
		return false
	}
	if len(d.Added)+len(d.Forwardings.Added)+len(d.Limits.Added)+len(d.Routes.Added)+len(d.Remote.Added)+len(d.Elsewhere.Added) == 0 && d.Neighbours.Empty() {
		return true
	}
	return !m.index.clashes(d) && !contended(want.PortForwardings, d.Forwardings.Added) && m.reduced(want, d).Validate() == nil
}

// limitsHold says that limits which are added are valid, and that none stays of an address that
// leaves.
func (m *memory) limitsHold(want dataplane.Router, d Delta) bool {
	if len(want.Limits) == 0 {
		return true
	}
	if slices.ContainsFunc(d.Limits.Added, func(l dataplane.Limit) bool { return l.Validate() != nil || !want.Answers(l.Addr) }) {
		return false
	}
	released := make(set[netip.Addr], len(d.Limits.Removed))
	for _, l := range d.Limits.Removed {
		released[l.Addr] = struct{}{}
	}
	orphaned := func(a netip.Addr) bool { return m.index.limits.has(a) && !released.has(a) && !want.Answers(a) }
	return !slices.ContainsFunc(d.Removed, func(f dataplane.FloatingIP) bool { return orphaned(f.Addr) }) &&
		!slices.ContainsFunc(d.Forwardings.Removed, func(f dataplane.PortForwarding) bool { return orphaned(f.Addr) })
}

// reduced is a router that is valid only if the one wanted is, as far as what differs decides:
// beside that it has only those neighbours that the rest needs.
func (m *memory) reduced(want dataplane.Router, d Delta) dataplane.Router {
	want.FloatingIPs, want.PortForwardings, want.Limits = d.Added, d.Forwardings.Added, nil
	if t := want.Transit; t != nil {
		reduced := *t
		reduced.Routes, reduced.External, reduced.Elsewhere = d.Routes.Added, d.Remote.Added, d.Elsewhere.Added
		want.Transit = &reduced
	}
	removed := make(set[Neighbour], len(d.Neighbours.Removed))
	learn(removed, Difference[Neighbour]{Added: d.Neighbours.Removed}, func(n Neighbour) Neighbour { return n })
	want.Ports = slices.Clone(want.Ports)
	for i, p := range want.Ports {
		if p.Anycast == nil {
			continue
		}
		var needed []netip.Addr
		added := set[netip.Addr]{}
		need := func(a netip.Addr) {
			if !added.has(a) {
				added[a] = struct{}{}
				needed = append(needed, a)
			}
		}
		for _, n := range d.Neighbours.Added {
			if n.Port == p.ID {
				needed = append(needed, n.Addr)
				added[n.Addr] = struct{}{}
			}
		}
		stays := func(a netip.Addr) bool {
			n := Neighbour{p.ID, a}
			return m.index.neighbours.has(n) && !removed.has(n)
		}
		for _, f := range d.Added {
			if stays(f.Fixed) {
				need(f.Fixed)
			}
		}
		for _, x := range want.Routes {
			if stays(x.NextHop) {
				need(x.NextHop)
			}
		}
		want.Ports[i].Anycast = &dataplane.Anycast{Neighbours: needed}
	}
	return want
}

// learn makes the difference part of what is remembered.
func (m *memory) learn(d delta) {
	m.index.learn(d.Delta)
	m.router.FloatingIPs = d.fips.apply(m.router.FloatingIPs)
	m.router.PortForwardings = d.forwards.apply(m.router.PortForwardings)
	m.router.Limits = d.limits.apply(m.router.Limits)
	for i, e := range d.neighbours {
		if a := m.router.Ports[i].Anycast; a != nil {
			a.Neighbours = e.apply(a.Neighbours)
		}
	}
	if t := m.router.Transit; t != nil {
		t.Routes, t.External, t.Elsewhere = d.routes.apply(t.Routes), d.remote.apply(t.External), d.elsewhere.apply(t.Elsewhere)
	}
	if m.router.Gateway == nil {
		return
	}
	addrs := m.links[dataplane.GatewayDevice(m.router.Gateway.ID)].addrs
	for _, f := range d.Removed {
		delete(addrs, host(f.Addr))
	}
	for _, a := range d.ForwardingAddrs.Removed {
		delete(addrs, host(a))
	}
	for _, f := range d.Added {
		addrs[host(f.Addr)] = form{}
	}
	for _, a := range d.ForwardingAddrs.Added {
		addrs[host(a)] = form{}
	}
}

// sameButLists reports whether b asks for a with other floating IPs, port forwardings, limits,
// neighbours, ways to other instances and by them, or fixed addresses that are translated elsewhere.
func sameButLists(a, b dataplane.Router) bool {
	return a.ID == b.ID && a.Metadata == b.Metadata && a.ClampMSS == b.ClampMSS && (a.Owner == b.Owner || b.Owner == "") && sameGateway(a.Gateway, b.Gateway) &&
		slices.EqualFunc(a.Ports, b.Ports, samePort) && slices.Equal(a.Routes, b.Routes) && sameTransit(a.Transit, b.Transit)
}

func sameGateway(a, b *dataplane.Gateway) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.SNAT == b.SNAT && slices.Equal(a.NextHops, b.NextHops) && slices.Equal(a.OnLink, b.OnLink) && samePort(a.Port, b.Port) &&
		a.FloatingIPsOnly == b.FloatingIPsOnly && a.Hairpin == b.Hairpin
}

func sameTransit(a, b *dataplane.Transit) bool {
	if a == nil || b == nil {
		return a == b
	}
	return samePort(a.Port, b.Port) && slices.Equal(a.Centre, b.Centre)
}

// samePort leaves out the neighbours.
func samePort(a, b dataplane.Port) bool {
	return a.ID == b.ID && a.Network == b.Network && a.MAC == b.MAC && a.MTU == b.MTU && slices.Equal(a.Addrs, b.Addrs) &&
		a.Outside == b.Outside && a.Scopes == b.Scopes && (a.Anycast == nil) == (b.Anycast == nil) && a.Advertisement.Equal(b.Advertisement)
}

// withIndexes completes links as wanted by the indexes that the kernel gave them.
func withIndexes(links map[string]link, index map[string]int) map[string]link {
	links = maps.Clone(links)
	for name, l := range links {
		l.index = index[name]
		links[name] = l
	}
	return links
}
