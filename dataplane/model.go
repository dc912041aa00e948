package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Model answers what a router must do with a packet. It is the reference for every dataplane: what
// the kernel does once a backend has written the router into it, including what the kernel does by
// itself.
//
// It knows the addresses that the router names. Of the link-local ones that derive from MACs it
// knows only that nobody else may send from them. A Model never changes, and may be used
// concurrently.
type Model struct {
	ports    map[string]*modelPort // by ID
	ordered  []*modelPort          // as in the router, the gateway last
	own      map[netip.Addr]string // addresses of ports, with words for what they are
	deaf     map[netip.Addr]string // the same for addresses that are local to the kernel, but that nobody answers from
	fixedOf  map[netip.Addr]netip.Addr
	fipOf    map[netip.Addr]netip.Addr
	forwards forwardings
	limits   map[netip.Addr]Limit
	inside   []netip.Prefix // subnets of internal ports, and what other instances have
	fib      *fib
	metadata bool       // the router answers at the metadata addresses
	guarded  bool       // nothing untranslated passes the gateway (P9, P19)
	shared   netip.Addr // what SNAT translates to (P2); zero when it does not
	hairpin  netip.Addr // what clients inside show (P7)
	clamp    bool       // TCP announces no larger segments than ports take

	// Of an instance of a distributed router. IPv4 that finds no way in fib continues: what is of a
	// floating IP here in floating, and that and everything else in rest.
	floating, rest *fib
	centre         []hop               // empty: this is the centre, or there are no instances
	only           bool                // the gateway is for floating IPs only
	remote         map[netip.Addr]bool // floating IPs of other edges
	elsewhere      map[netip.Addr]bool // fixed addresses that are translated elsewhere
}

type modelPort struct {
	id        string
	addrs     []netip.Prefix
	onLink    []netip.Prefix // subnets on its link that it has no address in
	gateway   bool
	transit   bool
	mac       MAC
	mtu       int
	scopes    Scopes
	linkLocal bool // it has a link-local address, as whatever speaks IPv6 (RFC 4291 2.1)
}

func (p *modelPort) String() string {
	switch {
	case p.gateway:
		return "the gateway " + p.id
	case p.transit:
		return "the transit " + p.id
	}
	return "port " + p.id
}

// NewModel builds the model of a router that passes [Router.Validate]. Of any other router the
// model says nothing useful, but does not panic.
func NewModel(r Router) *Model {
	m := &Model{
		ports:    make(map[string]*modelPort, len(r.Ports)+1),
		own:      make(map[netip.Addr]string),
		deaf:     make(map[netip.Addr]string),
		fixedOf:  make(map[netip.Addr]netip.Addr, len(r.FloatingIPs)),
		fipOf:    make(map[netip.Addr]netip.Addr, len(r.FloatingIPs)),
		fib:      newFIB(),
		shared:   r.Gateway.SNATAddr(),
		hairpin:  r.Gateway.HairpinAddr(),
		forwards: newForwardings(r.PortForwardings),
		limits:   make(map[netip.Addr]Limit, len(r.Limits)),
		metadata: r.Metadata,
		clamp:    r.ClampMSS,
	}
	if r.Metadata {
		m.own[metadata4] = "the metadata address"
	}
	for _, p := range r.Ports {
		m.addPort(p, &modelPort{})
	}
	if t := r.Transit; t != nil {
		m.addPort(t.Port, &modelPort{transit: true})
		m.addTransit(t)
	}
	if g := r.Gateway; g != nil {
		m.guarded, m.only = g.Guarded(), g.FloatingIPsOnly
		if m.only {
			m.floating = newFIB()
		}
		m.addPort(g.Port, &modelPort{gateway: true})
		m.addOnLink(g)
		m.addNextHops(g)
	}
	for _, a := range r.ForwardingAddrs() {
		m.own[a] = "an address of which ports are forwarded"
	}
	for _, l := range r.Limits {
		m.limits[l.Addr] = l
	}
	for _, f := range r.FloatingIPs {
		m.fixedOf[f.Addr], m.fipOf[f.Fixed] = f.Fixed, f.Addr
	}
	for _, route := range r.Routes {
		m.addRoute(route)
	}
	return m
}

// Trace says what the router must do with a packet. See [Model.Paths] for a packet that routes of
// several ports share.
func (r Router) Trace(p Packet) Trace { return NewModel(r).Trace(p) }

// PortTo is the ID of the port by which the router reaches an address, and so the port by which
// packets from there are expected to arrive. It is empty for the router's own addresses, and ok is
// false when there is no way.
func (m *Model) PortTo(a netip.Addr) (id string, ok bool) {
	if m.isOwn(a) {
		return "", true
	}
	w, ok := m.lookup(a, m.rest)
	if !ok {
		return "", false
	}
	return w.hops[0].port.id, true
}

// lookup finds the way to an address, in the table for IPv4 that follows the first if there is
// none in that.
func (m *Model) lookup(a netip.Addr, next *fib) (way, bool) {
	w, ok := m.fib.lookup(a)
	if !ok && next != nil && a.Is4() {
		return next.lookup(a)
	}
	return w, ok
}

func (m *Model) addPort(p Port, mp *modelPort) {
	mp.id, mp.addrs, mp.mac, mp.mtu, mp.scopes = p.ID, slices.Clone(p.Addrs), p.MAC, p.MTU, p.Scopes
	m.ports[p.ID] = mp
	m.ordered = append(m.ordered, mp)
	for _, a := range p.Addrs {
		if !a.IsValid() {
			continue
		}
		if !mp.gateway && !mp.transit {
			m.inside = append(m.inside, a.Masked())
		}
		mp.linkLocal = mp.linkLocal || a.Addr().Is6()
		m.own[a.Addr()] = "an address of " + mp.String()
		if p.Anycast == nil {
			m.fib.add(a, connected, hop{port: mp})
		}
		if last, ok := broadcast(a); ok {
			m.deaf[last] = "the broadcast address of " + a.Masked().String()
		}
		if a.Addr().Is6() && a.Bits() < 127 && a.Masked().Addr() != a.Addr() { // addrconf_join_anycast; RFC 4291 2.6.1
			m.deaf[a.Masked().Addr()] = "the anycast address of the routers in " + a.Masked().String()
		}
	}
	if p.Anycast != nil {
		for _, a := range p.Anycast.Neighbours {
			if a.IsValid() {
				m.fib.add(netip.PrefixFrom(a, a.BitLen()), connected, hop{port: mp})
			}
		}
	}
}

// addTransit leads to what other instances have.
func (m *Model) addTransit(t *Transit) {
	mp := m.ports[t.ID]
	via := func(a netip.Addr) hop {
		mp.linkLocal = mp.linkLocal || a.Is6()
		return hop{port: mp, via: a}
	}
	for _, r := range t.Routes {
		m.inside = append(m.inside, r.Dest)
		m.fib.add(r.Dest, toInstance, via(r.NextHop))
	}
	m.elsewhere = make(map[netip.Addr]bool, len(t.Elsewhere))
	for _, a := range t.Elsewhere {
		m.elsewhere[a] = true
	}
	m.remote = make(map[netip.Addr]bool, len(t.External))
	for _, r := range t.External {
		if r.Dest.IsSingleIP() {
			m.remote[r.Dest.Addr()] = true
		}
	}
	if !t.edge() {
		return
	}
	m.rest = newFIB()
	for _, r := range t.External {
		m.following(r.NextHop).add(r.Dest, toInstance, via(r.NextHop))
	}
	for _, a := range t.Centre {
		m.centre = append(m.centre, via(a))
		m.following(a).add(netip.PrefixFrom(a, 0), defaultRoute, via(a))
	}
}

// following is the table in which a route for everything of an address's family belongs that is
// not to precede others.
func (m *Model) following(a netip.Addr) *fib {
	if m.rest != nil && a.Is4() {
		return m.rest
	}
	return m.fib
}

// addRoute adds an extra route. At an edge it follows what is inside, unless it leads a part of
// that elsewhere; and the centre stands for a next hop outside, but to what is of floating IPs.
func (m *Model) addRoute(r Route) {
	p := m.linkOf(r.NextHop)
	if p == nil {
		return
	}
	p.linkLocal = p.linkLocal || r.NextHop.Is6()
	h := hop{port: p, via: r.NextHop}
	table := m.following(r.NextHop)
	if slices.ContainsFunc(m.inside, func(s netip.Prefix) bool { return s.Contains(r.Dest.Addr()) && s.Bits() <= r.Dest.Bits() }) {
		table = m.fib
	} else if m.floating != nil && r.NextHop.Is4() {
		m.floating.add(r.Dest, extraRoute, h)
	}
	if !m.only || !p.gateway {
		table.add(r.Dest, extraRoute, h)
		return
	}
	for _, c := range m.centre {
		if c.via.Is4() {
			table.add(r.Dest, extraRoute, c)
		}
	}
}

// addOnLink makes the external network's subnets the gateway's neighbourhood (P21).
func (m *Model) addOnLink(g *Gateway) {
	gw := m.ports[g.ID]
	for _, p := range g.OnLink {
		if !p.IsValid() || slices.ContainsFunc(gw.addrs, func(a netip.Prefix) bool { return a.Masked() == p.Masked() }) {
			continue
		}
		gw.onLink = append(gw.onLink, p)
		gw.linkLocal = gw.linkLocal || p.Addr().Is6()
		m.external().add(p, connected, hop{port: gw})
	}
}

func (m *Model) addNextHops(g *Gateway) {
	gw := m.ports[g.ID]
	for _, nh := range g.NextHops {
		if !nh.IsValid() {
			continue
		}
		if !nh.IsLinkLocalUnicast() && !gw.covers(nh) {
			m.external().add(netip.PrefixFrom(nh, nh.BitLen()), connected, hop{port: gw})
		}
		gw.linkLocal = gw.linkLocal || nh.Is6()
		m.external().add(netip.PrefixFrom(nh, 0), defaultRoute, hop{port: gw, via: nh})
	}
}

// external is the table in which the gateway's network belongs.
func (m *Model) external() *fib {
	if m.floating != nil {
		return m.floating
	}
	return m.fib
}

// isOwn says that the router holds an address, floating IPs included.
func (m *Model) isOwn(a netip.Addr) bool {
	_, own := m.own[a]
	return own || m.isFloating(a)
}

// isFloating says that an address is a floating IP of this instance.
func (m *Model) isFloating(a netip.Addr) bool {
	_, ok := m.fixedOf[a]
	return ok
}

// leadsOutside says that all ways to an address are by the gateway.
func (m *Model) leadsOutside(a netip.Addr) bool {
	w, ok := m.lookup(a, m.rest)
	return ok && !slices.ContainsFunc(w.hops, func(h hop) bool { return !h.port.gateway })
}

// isOwnLinkLocal says that an address is one that the router's ports make from their MACs.
func (m *Model) isOwnLinkLocal(a netip.Addr) bool {
	return a.Is6() && a.IsLinkLocalUnicast() &&
		slices.ContainsFunc(m.ordered, func(p *modelPort) bool { return p.linkLocal && p.linkLocalAddr() == a || m.isMetadata(p, a) })
}

// isInside says that an address is in a subnet of an internal port, as all fixed addresses of
// floating IPs are.
func (m *Model) isInside(a netip.Addr) bool {
	return slices.ContainsFunc(m.inside, func(s netip.Prefix) bool { return s.Contains(a) })
}

// gateway returns the gateway's port, if the router has one.
func (m *Model) gateway() *modelPort {
	i := slices.IndexFunc(m.ordered, func(p *modelPort) bool { return p.gateway })
	if i < 0 {
		return nil
	}
	return m.ordered[i]
}

// linkOf is the port that has an address's subnet. A link-local address is on the transit.
func (m *Model) linkOf(a netip.Addr) *modelPort {
	for _, p := range m.ordered {
		if p.covers(a) || p.transit && a.Is6() && a.IsLinkLocalUnicast() {
			return p
		}
	}
	return nil
}

func (p *modelPort) covers(a netip.Addr) bool {
	contains := func(s netip.Prefix) bool { return s.Contains(a) }
	return slices.ContainsFunc(p.addrs, contains) || slices.ContainsFunc(p.onLink, contains)
}

// source is the address that the kernel writes into a packet that the router itself sends to a
// neighbour on the port's link. IPv4: that of the neighbour's subnet, else the port's first
// (inet_select_addr). IPv6: one of the port's own before those of others, and among them that with
// the longest prefix in common with the destination; the link-local one for want of others (RFC
// 6724 section 5, rules 2, 5 and 8; the other rules have nothing to choose by).
func (m *Model) source(p *modelPort, neighbour, dst netip.Addr) netip.Addr {
	if dst.Is6() {
		if own := nearest(p.addrs, dst); own.IsValid() {
			return own
		}
		var all []netip.Prefix
		for _, q := range m.ordered {
			all = append(all, q.addrs...)
		}
		if own := nearest(all, dst); own.IsValid() || !p.linkLocal {
			return own
		}
		return p.linkLocalAddr()
	}
	if p.transit && !p.covers(dst) { // its own address has the scope of the link
		for _, q := range m.ordered {
			for _, a := range q.addrs {
				if a.Addr().Is4() && !q.transit {
					return a.Addr()
				}
			}
		}
	}
	var first netip.Addr
	for _, a := range p.addrs {
		if a.Contains(neighbour) {
			return a.Addr()
		}
		if a.Addr().Is4() && !first.IsValid() {
			first = a.Addr()
		}
	}
	return first
}

// linkLocalAddr is made from the MAC (RFC 4291 appendix A).
func (p *modelPort) linkLocalAddr() netip.Addr {
	m := p.mac
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// nearest is the IPv6 address with the longest prefix in common with dst; the first such, and zero
// when there is none.
func nearest(addrs []netip.Prefix, dst netip.Addr) netip.Addr {
	var best netip.Addr
	longest := -1
	for _, a := range addrs {
		if n := min(common(a.Addr(), dst), a.Bits()); a.Addr().Is6() && n > longest {
			best, longest = a.Addr(), n
		}
	}
	return best
}

// common counts the leading bits that two addresses share.
func common(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	for bit := range 128 {
		if mask := byte(0x80) >> (bit % 8); (x[bit/8]^y[bit/8])&mask != 0 {
			return bit
		}
	}
	return 128
}

// broadcast is the last address of an IPv4 subnet that has room for one: a /31 or /32 has not (RFC
// 3021). The first address is an ordinary one since Linux 5.14.
func broadcast(subnet netip.Prefix) (netip.Addr, bool) {
	if !subnet.Addr().Is4() || subnet.Bits() > 30 {
		return netip.Addr{}, false
	}
	b := subnet.Masked().Addr().As4()
	last := binary.BigEndian.Uint32(b[:]) | ^uint32(0)>>subnet.Bits()
	binary.BigEndian.PutUint32(b[:], last)
	return netip.AddrFrom4(b), true
}
