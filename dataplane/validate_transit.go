package dataplane

import (
	"net/netip"
	"slices"
)

var linkLocal4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{169, 254}), 16) // RFC 3927

func (c *checker) transitPort(t *Transit) {
	c.port("Transit", &t.Port, TransitDevice(t.ID), transit)
	if len(t.Addrs) != 1 || !linkLocal4.Contains(t.Addrs[0].Addr()) || t.Addrs[0].Bits() < linkLocal4.Bits() {
		c.fault("Transit.Addrs", "must be one address in %s", linkLocal4)
	}
}

// floatingIPsOnly checks a gateway that has no address.
func (c *checker) floatingIPsOnly(r *Router) {
	g := r.Gateway
	if !g.FloatingIPsOnly {
		if g.Hairpin.IsValid() {
			c.fault("Gateway.Hairpin", "is for a gateway for floating IPs only; any other has an address of its own")
		}
		if len(r.centre()) > 0 {
			c.fault("Gateway", "must be for floating IPs only: all else goes to Transit.Centre")
		}
		return
	}
	if why := unusable4(g.Hairpin); why != "" {
		c.fault("Gateway.Hairpin", "%s", why)
	} else if at, ok := c.held[g.Hairpin]; ok {
		c.fault("Gateway.Hairpin", "%s is also %s", g.Hairpin, at)
	}
	if len(g.Addrs) > 0 {
		c.fault("Gateway.Addrs", "a gateway for floating IPs only has none")
	}
	if g.SNAT {
		c.fault("Gateway.SNAT", "a gateway for floating IPs only has no address to translate to")
	}
	if !slices.ContainsFunc(r.centre(), netip.Addr.Is4) {
		c.fault("Gateway.FloatingIPsOnly", "needs a transit with an IPv4 centre, to which all else goes")
	}
	for i, p := range g.OnLink {
		if p.Addr().Is6() {
			c.fault(index("Gateway.OnLink", i), "%s is of IPv6, which does not pass a gateway for floating IPs only", p)
		}
	}
	for i, a := range g.NextHops {
		if a.Is6() {
			c.fault(index("Gateway.NextHops", i), "%s is of IPv6, which does not pass a gateway for floating IPs only", a)
		}
	}
}

func (r *Router) centre() []netip.Addr {
	if r.Transit == nil {
		return nil
	}
	return r.Transit.Centre
}

// anycast checks the neighbours of anycast ports, and notes which subnets have no others.
func (c *checker) anycast(r *Router) {
	for i := range r.Ports {
		p := &r.Ports[i]
		if p.Anycast == nil {
			continue
		}
		path := index("Ports", i) + ".Anycast"
		if len(r.centre()) == 0 {
			c.fault(path, "needs a transit with a centre, which has what is not on the link")
		}
		if c.neighboursOf == nil {
			c.neighboursOf = make(map[string]map[netip.Addr]bool)
		}
		known := make(map[netip.Addr]bool, len(p.Anycast.Neighbours))
		c.neighboursOf[index("Ports", i)] = known
		for k, a := range p.Anycast.Neighbours {
			path := index(path+".Neighbours", k)
			if why := unusable(a); why != "" {
				c.fault(path, "%s", why)
				continue
			}
			s := c.subnetOf(a)
			switch {
			case s == nil || s.port != index("Ports", i):
				c.fault(path, "%s is in no subnet of the port", a)
			case s.addr.Addr() == a:
				c.fault(path, "%s is the router's own address, %s", a, s.path)
			case known[a]:
				c.fault(path, "%s is there twice", a)
			default:
				if why := reserved(a, s.addr); why != "" {
					c.fault(path, "%s", why)
				}
			}
			known[a] = true
		}
	}
}

// away says that an address is in a subnet of an anycast port, and not among its neighbours.
func (c *checker) away(a netip.Addr) bool {
	s := c.subnetOf(a)
	if s == nil {
		return false
	}
	known, anycast := c.neighboursOf[s.port]
	return anycast && !known[a]
}

// onNeighbour says that an address is among the neighbours of an anycast port.
func (c *checker) onNeighbour(a netip.Addr) bool {
	s := c.subnetOf(a)
	return s != nil && c.neighboursOf[s.port][a]
}

// remotes are IPv6 routes to other instances, by destination. Linux refuses a next hop on a port
// that one of them leads to over the transit (ip6_route_check_nh); an IPv4 one it asks for on the
// port.
type remotes struct {
	index map[netip.Prefix]int
	bits  [129]bool // lengths of destinations
}

func newRemotes(routes []Route) remotes {
	r := remotes{index: map[netip.Prefix]int{}}
	for i, x := range routes {
		if x.Dest.IsValid() && x.Dest.Addr().Is6() {
			r.index[x.Dest] = i
			r.bits[x.Dest.Bits()] = true
		}
	}
	return r
}

// lead returns a route to an address whose destination is at least so long.
func (r *remotes) lead(a netip.Addr, bits int) (index int, ok bool) {
	for n := a.BitLen(); n >= bits && !ok; n-- {
		if r.bits[n] {
			dest, _ := a.Prefix(n)
			index, ok = r.index[dest]
		}
	}
	return index, ok
}

// transit checks where the transit leads.
func (c *checker) transit(r *Router) {
	t := r.Transit
	var seen [2]string // by family
	for i, a := range t.Centre {
		path := index("Transit.Centre", i)
		if !c.instance(path, a) {
			continue
		}
		if first := &seen[family(a)]; *first != "" {
			c.fault(path, "%s is a second one of its family, after %s", a, *first)
		} else {
			*first = path
		}
	}
	via6 := func(x Route) bool { return x.NextHop.Is6() }
	if t.MTU < minMTU6 && (slices.ContainsFunc(t.Centre, netip.Addr.Is6) || slices.ContainsFunc(slices.Concat(t.Routes, t.External), via6)) {
		c.fault("Transit.MTU", "%d is less than %d, which IPv6 needs", t.MTU, minMTU6)
	}
	c.transitRoutes("Transit.Routes", t.Routes)
	c.transitRoutes("Transit.External", t.External)
	here, fixed := make(map[netip.Addr]bool, len(r.FloatingIPs)), make(map[netip.Addr]bool, len(r.FloatingIPs))
	for _, f := range r.FloatingIPs {
		here[f.Addr], fixed[f.Fixed] = true, true
	}
	for i, x := range t.External {
		if a := x.Dest.Addr(); x.Dest.IsSingleIP() && here[a] {
			c.fault(index("Transit.External", i)+".Dest", "%s is also a floating IP of this instance", a)
		}
	}
	known := make(map[netip.Addr]bool, len(t.Elsewhere))
	for i, a := range t.Elsewhere {
		path := index("Transit.Elsewhere", i)
		switch why := unusable4(a); {
		case why != "":
			c.fault(path, "%s", why)
		case fixed[a]:
			c.fault(path, "%s has a floating IP of this instance", a)
		case known[a]:
			c.fault(path, "%s is there twice", a)
		}
		known[a] = true
	}
}

func (c *checker) transitRoutes(list string, routes []Route) {
	seen := make(map[netip.Prefix]int, len(routes))
	for i, r := range routes {
		path := index(list, i)
		if why := unusableDest(r.Dest); why != "" {
			c.fault(path+".Dest", "%s", why)
			continue
		}
		if first, ok := seen[r.Dest]; ok {
			c.fault(path+".Dest", "%s is also %s.Dest", r.Dest, index(list, first))
		}
		seen[r.Dest] = i
		if c.instance(path+".NextHop", r.NextHop) && r.NextHop.Is4() != r.Dest.Addr().Is4() {
			c.fault(path+".NextHop", "%s is not of the family of %s", r.NextHop, r.Dest)
		}
	}
}

// instance checks that an address can be that of another instance on the transit.
func (c *checker) instance(path string, a netip.Addr) bool {
	if why := unusable(a); why != "" {
		c.fault(path, "%s", why)
		return false
	}
	s := c.subnetOf(a)
	switch {
	case a.Is6() && a.IsLinkLocalUnicast():
		return true
	case a.Is6() || s == nil || s.role != transit:
		c.fault(path, "%s is not an address on the transit", a)
	case s.addr.Addr() == a:
		c.fault(path, "%s is the router's own address, %s", a, s.path)
	default:
		if why := reserved(a, s.addr); why != "" {
			c.fault(path, "%s", why)
			return false
		}
		return true
	}
	return false
}
