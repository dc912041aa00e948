package namespace

import (
	"context"
	"maps"
	"net/netip"
	"slices"
)

// address adds what lacks before it removes what is too much, so that a subnet which stays is
// connected all the time. IPv6 alone cannot have an address twice, with two prefix lengths.
func (l *long) address(context.Context) error {
	l.releaseHops()
	for _, dev := range l.devices() {
		have, want := l.have.links[dev].addrs, l.want.links[dev].addrs
		lacks, gone := missing(want, have), missing(have, want)
		l.reform(dev)
		retired := l.retired(dev)
		early := func(a address) bool { return a.Addr().Is6() && (holds(want, a.Addr()) || unroutes(want, a)) }
		l.removeSome(dev, gone, early)
		release := l.holdSubnets(dev, gone)
		if len(lacks) > 0 {
			l.add(l.addFirst(dev, lacks))
		}
		l.changeSources(dev, gone)
		l.releaseRoutes(dev)
		l.removeSome(dev, gone, func(a address) bool { return !slices.Contains(retired, a) && !early(a) })
		release()
	}
	if lacks := missing(l.want.lo, l.have.lo); len(lacks) > 0 {
		l.add(l.addAddresses(loopback, lacks))
	}
	if strays := missing(l.have.lo, l.want.lo); len(strays) > 0 {
		l.add(l.removeAddresses(loopback, strays))
	}
	return nil
}

// retired lists the floating IPs' addresses that a device loses. A gateway's own address may look
// like one, when its subnet has no other. So an address of which only the subnet changes is none;
// and none is retired when no other IPv4 address would be left for the time being, because the
// kernel takes away all IPv4 routes through a device with its last address.
func (l *long) retired(dev string) []address {
	have, want := l.have.links[dev].addrs, l.want.links[dev].addrs
	gone := slices.DeleteFunc(missing(have, want), func(a address) bool { return !a.floating || holds(want, a.Addr()) })
	left := 0
	for a := range have {
		if a.Addr().Is4() {
			left++
		}
	}
	if left == len(gone) {
		return nil
	}
	return gone
}

// reform changes the form of the addresses that stay. The hosts of a subnet that is no longer on
// the link as a whole get routes of their own before.
func (l *long) reform(dev string) {
	have, want := l.have.links[dev], l.want.links[dev]
	after := reformed(want.addrs, have.addrs)
	if len(after) == 0 {
		return
	}
	if have.up {
		routes := maps.Clone(l.want.routes)
		maps.DeleteFunc(routes, func(k routeKey, h hops) bool {
			return k.metric != neighbourMetric || h[0].dev != dev || l.have.routes[k] != nil ||
				h[0].src.IsValid() && !holds(have.addrs, h[0].src)
		})
		if len(routes) > 0 {
			l.add(l.changeRoutes(nil, routes))
			maps.Copy(l.have.routes, routes)
		}
	}
	l.add(l.reformAddresses(dev, reformed(have.addrs, want.addrs), after))
}

// unroutes says that the subnet of an IPv6 address is to have no route: the kernel leaves it there,
// when the address goes while another one of the subnet stays (check_cleanup_prefix_route).
func unroutes(want map[netip.Prefix]form, gone address) bool {
	for p, f := range want {
		if f.noPrefixRoute && p.Masked() == gone.Masked() {
			return true
		}
	}
	return false
}

// releaseHops removes the routes by next hops whose addresses become the router's own: the kernel
// would refuse them when they are to be restored before those addresses have gone.
func (l *long) releaseHops() {
	own := set[netip.Addr]{}
	for dev, want := range l.want.links {
		for a := range want.addrs {
			if !holds(l.have.links[dev].addrs, a.Addr()) {
				own[a.Addr()] = struct{}{}
			}
		}
	}
	l.release(func(_ routeKey, h hops) bool {
		return slices.ContainsFunc(h, func(h hop) bool { return own.has(h.via) })
	})
}

// release removes routes. What is wanted of them is put later.
func (l *long) release(which func(routeKey, hops) bool) {
	routes := maps.Clone(l.have.routes)
	maps.DeleteFunc(routes, func(k routeKey, h hops) bool { return !which(k, h) })
	if len(routes) == 0 {
		return
	}
	l.add(l.changeRoutes(routes, nil))
	maps.DeleteFunc(l.have.routes, func(k routeKey, _ hops) bool { return routes[k] != nil })
}

// addFirst adds addresses. If they are the device's first IPv4 ones, the kernel takes away all IPv4
// routes through the device with them (fib_disable_ip), when that is taken back.
func (l *long) addFirst(dev string, lacks []address) action {
	a := l.addAddresses(dev, lacks)
	through := maps.Clone(l.have.routes)
	maps.DeleteFunc(through, func(k routeKey, h hops) bool { return !k.dest.Addr().Is4() || !h.through(dev) })
	if hasIPv4(l.have.links[dev].addrs) || len(through) == 0 {
		return a
	}
	remove, restore := a.undo, l.changeRoutes(nil, through).do
	a.undo = func(ctx context.Context) error { return inOrder(ctx, []func(context.Context) error{remove, restore}) }
	return a
}

// releaseRoutes removes the IPv4 routes through a device that is to lose its last IPv4 address: the
// kernel would take them away with it, and not say so.
func (l *long) releaseRoutes(dev string) {
	if !hasIPv4(l.have.links[dev].addrs) || hasIPv4(l.want.links[dev].addrs) {
		return
	}
	l.release(func(k routeKey, h hops) bool { return k.dest.Addr().Is4() && h.through(dev) })
}

// removeSome removes the addresses that which picks.
func (l *long) removeSome(dev string, addrs []address, which func(address) bool) {
	picked := slices.DeleteFunc(slices.Clone(addrs), func(a address) bool { return !which(a) })
	if len(picked) > 0 {
		l.add(l.removeAddresses(dev, picked))
	}
}

// neighbours says of an address whether a wanted route takes it for a neighbour's.
func (l *long) neighbours() func(address) bool {
	hops := map[netip.Addr]bool{}
	for _, ways := range l.want.routes {
		for _, h := range ways {
			hops[h.via] = true
		}
	}
	return func(a address) bool { return hops[a.Addr()] }
}

// holdSubnets keeps the way to IPv4 subnets in which one address takes over from another: the
// kernel drops the route of an address that goes before it makes that of its successor, and packets
// in between would follow the default route. release ends it.
func (l *long) holdSubnets(dev string, gone []address) (release func()) {
	routes := map[routeKey]hops{}
	for _, a := range gone {
		for stays := range l.want.links[dev].addrs {
			if a.Addr().Is4() && !a.floating && a.Masked() == stays.Masked() {
				routes[routeKey{a.Masked(), holdMetric, tableMain}] = hops{{dev: dev}}
			}
		}
	}
	if len(routes) == 0 || !l.have.links[dev].up {
		return func() {}
	}
	hold, free := l.changeRoutes(nil, routes), l.changeRoutes(routes, nil)
	hold.steps, free.steps = nil, nil // nothing that stays
	l.add(hold)
	return func() { l.add(free) }
}

// changeSources changes or removes the routes through a device that name an address as their
// source, before it goes: the kernel would take them away with it (fib_sync_down_addr).
func (l *long) changeSources(dev string, gone []address) {
	before, after := map[routeKey]hops{}, map[routeKey]hops{}
	for key, have := range l.have.routes {
		src := have[0].src
		goes := slices.ContainsFunc(gone, func(a address) bool { return a.Addr() == src }) && !holds(l.want.links[dev].addrs, src)
		if !goes || !have.through(dev) {
			continue
		}
		before[key] = have
		delete(l.have.routes, key)
		want := l.want.routes[key]
		if len(want) == 1 && want.through(dev) {
			after[key], l.have.routes[key] = want, want
		}
	}
	if len(before) > 0 {
		l.add(l.changeRoutes(before, after))
	}
}
