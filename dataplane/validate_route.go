package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// nextHops checks the gateway's default routes.
func (c *checker) nextHops(g *Gateway) {
	var seen [2]string // by family
	for i, a := range g.NextHops {
		path := index("Gateway.NextHops", i)
		if why := unusable(a); why != "" {
			c.fault(path, "%s", why)
			continue
		}
		if first := &seen[family(a)]; *first != "" {
			c.fault(path, "%s is a second one of its family, after %s", a, *first)
		} else {
			*first = path
		}
		c.neighbour(path, a)
		onLink := a.Is6() && a.IsLinkLocalUnicast()
		if !onLink && !g.hasFamily(a) && !g.FloatingIPsOnly {
			c.fault(path, "%s: the gateway has no address of this family", a)
		}
		if s := c.subnetOf(a); s != nil && s.role != gateway {
			c.fault(path, "%s is in %s of %s, not on the external network", a, s.addr.Masked(), s.path)
		}
	}
}

func (g *Gateway) hasFamily(a netip.Addr) bool {
	for _, own := range g.Addrs {
		if own.Addr().Is4() == a.Is4() {
			return true
		}
	}
	return false
}

// neighbour checks that an address can be that of another router on the link, and notes it.
func (c *checker) neighbour(path string, a netip.Addr) {
	if own, ok := c.held[a]; ok {
		c.fault(path, "%s is the router's own address, %s", a, own)
		return
	}
	if s := c.subnetOf(a); s != nil && !s.bare {
		if why := reserved(a, s.addr); why != "" {
			c.fault(path, "%s", why)
		}
	}
	unique(c.neighbours, a, path)
	if _, bits := c.link(a); a.Is6() && !c.onNeighbour(a) {
		if i, ok := c.remote.lead(a, bits); ok {
			c.fault(path, "%s is behind another instance: the next hop must be that of Transit.Routes[%d]", a, i)
		}
	}
}

func (c *checker) routes(routes []Route) {
	if len(routes) > maxRoutes {
		c.fault("Routes", "%d routes, and %d at most are allowed", len(routes), maxRoutes)
	}
	seen := make(map[Route]int, len(routes))
	hops := make(map[netip.Prefix]int, len(routes))
	for i, r := range routes {
		path := index("Routes", i)
		if first, ok := seen[r]; ok {
			c.fault(path, "is the same as Routes[%d]", first)
			continue
		}
		seen[r] = i
		if why := unusableDest(r.Dest); why != "" {
			c.fault(path+".Dest", "%s", why)
		} else if hops[r.Dest]++; hops[r.Dest] == maxECMP+1 {
			c.fault(path+".Dest", "%s has more than %d next hops", r.Dest, maxECMP)
		}
		c.routeNextHop(path+".NextHop", r)
	}
	c.detours(routes)
}

func (c *checker) routeNextHop(path string, r Route) {
	a := r.NextHop
	switch why := unusable(a); {
	case why != "":
		c.fault(path, "%s", why)
	case r.Dest.IsValid() && a.Is4() != r.Dest.Addr().Is4():
		c.fault(path, "%s is not of the family of %s", a, r.Dest)
	case a.Is6() && a.IsLinkLocalUnicast() && c.hasTransit:
	case a.Is6() && a.IsLinkLocalUnicast():
		c.fault(path, "%s is a link-local address, and could be on any port", a)
	case c.subnetOf(a) == nil:
		c.fault(path, "%s is in no subnet of the router", a)
	case c.away(a):
		c.fault(path, "%s is not a neighbour of %s, which is anycast", a, c.subnetOf(a).port)
	default:
		c.neighbour(path, a)
	}
}

// detours refuses an IPv6 route that would send what is for a next hop itself out by another port
// than the one that the next hop is on. Linux takes one of the two routes then, and refuses the
// other (ip6_route_check_nh_onlink); for IPv4 it trusts that the next hop is on the link.
func (c *checker) detours(routes []Route) {
	var lengths [129]bool
	ports := map[netip.Prefix][]string{} // that a destination's next hops are on
	for _, r := range routes {
		if s := c.subnetOf(r.NextHop); s != nil && r.Dest.IsValid() && r.Dest.Addr().Is6() {
			lengths[r.Dest.Bits()] = true
			ports[r.Dest] = append(ports[r.Dest], s.port)
		}
	}
	if len(ports) == 0 {
		return
	}
	led := map[netip.Prefix]netip.Addr{} // a next hop that a destination leads away
	for via := range c.neighbours {
		if via.Is4() {
			continue
		}
		port, bits := c.link(via)
		for n := bits; n < len(lengths); n++ {
			if !lengths[n] {
				continue
			}
			dest, _ := via.Prefix(n)
			away := slices.ContainsFunc(ports[dest], func(p string) bool { return p != port })
			if first, ok := led[dest]; away && (!ok || via.Less(first)) {
				led[dest] = via
			}
		}
	}
	for i, r := range routes {
		if via, ok := led[r.Dest]; ok {
			port, _ := c.link(via)
			c.fault(index("Routes", i)+".Dest", "%s holds %s, which is %s on %s, and leads out by another port", r.Dest, via, c.neighbours[via], port)
			delete(led, r.Dest)
		}
	}
}

// link returns the path of the port that a next hop is on, and how long a destination must be to
// come before the route by which it is reached there.
func (c *checker) link(via netip.Addr) (port string, bits int) {
	const nextHops = "Gateway.NextHops"
	if s := c.subnetOf(via); s != nil && !(s.bare && strings.HasPrefix(c.neighbours[via], nextHops)) {
		return s.port, s.addr.Bits() + 1
	}
	return "Gateway", via.BitLen() // a route to it alone
}

// unusableDest says why nothing can be routed to a prefix; empty when it can.
func unusableDest(d netip.Prefix) string {
	a := d.Addr()
	switch {
	case !d.IsValid():
		return "is missing"
	case a.Is4In6():
		return fmt.Sprintf("%s is of IPv4-mapped IPv6 addresses", d)
	case d != d.Masked():
		return fmt.Sprintf("%s has host bits: did you mean %s?", d, d.Masked())
	case a.IsMulticast():
		return fmt.Sprintf("%s is of multicast addresses", d)
	case a.IsLoopback():
		return fmt.Sprintf("%s is of loopback addresses", d)
	case a.Is6() && a.IsLinkLocalUnicast():
		return fmt.Sprintf("%s is of link-local addresses, which are never forwarded", d)
	case d == netip.PrefixFrom(limitedBroadcast, 32):
		return fmt.Sprintf("%s is the broadcast address", a)
	}
	return ""
}
