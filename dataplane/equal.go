package dataplane

import (
	"cmp"
	"net/netip"
	"slices"
)

// Clone returns a deep copy.
func (r Router) Clone() Router {
	r.Ports = slices.Clone(r.Ports)
	for i := range r.Ports {
		r.Ports[i] = r.Ports[i].clone()
	}
	if r.Gateway != nil {
		g := *r.Gateway
		g.Port = g.clone()
		g.NextHops = slices.Clone(g.NextHops)
		g.OnLink = slices.Clone(g.OnLink)
		r.Gateway = &g
	}
	r.FloatingIPs = slices.Clone(r.FloatingIPs)
	r.PortForwardings = slices.Clone(r.PortForwardings)
	r.Limits = slices.Clone(r.Limits)
	r.Routes = slices.Clone(r.Routes)
	if r.Transit != nil {
		t := *r.Transit
		t.Port = t.clone()
		t.Routes = slices.Clone(t.Routes)
		t.Centre = slices.Clone(t.Centre)
		t.External = slices.Clone(t.External)
		t.Elsewhere = slices.Clone(t.Elsewhere)
		r.Transit = &t
	}
	return r
}

func (p Port) clone() Port {
	p.Addrs = slices.Clone(p.Addrs)
	if p.Anycast != nil {
		p.Anycast = &Anycast{Neighbours: slices.Clone(p.Anycast.Neighbours)}
	}
	p.Advertisement = p.Advertisement.clone()
	return p
}

// Equal says that two routers ask for the same. The order of lists makes no difference, except
// which IPv4 address is the gateway's first. It is quickest, and needs no memory, when the order is
// the same too.
func (r Router) Equal(o Router) bool {
	if r.same(&o) {
		return true
	}
	if !r.sameSize(&o) {
		return false
	}
	o = o.canonical()
	return r.canonical().same(&o)
}

func (r Router) same(o *Router) bool {
	if (r.Gateway == nil) != (o.Gateway == nil) || r.Gateway != nil && !r.Gateway.same(o.Gateway) {
		return false
	}
	if (r.Transit == nil) != (o.Transit == nil) || r.Transit != nil && !r.Transit.same(o.Transit) {
		return false
	}
	return r.ID == o.ID && r.Owner == o.Owner && r.Metadata == o.Metadata && r.ClampMSS == o.ClampMSS &&
		slices.EqualFunc(r.Ports, o.Ports, Port.same) &&
		slices.Equal(r.FloatingIPs, o.FloatingIPs) && slices.Equal(r.PortForwardings, o.PortForwardings) &&
		slices.Equal(r.Limits, o.Limits) && slices.Equal(r.Routes, o.Routes)
}

// sameSize spares Equal the sorting when routers differ plainly.
func (r Router) sameSize(o *Router) bool {
	return r.ID == o.ID && r.Owner == o.Owner && r.Metadata == o.Metadata && len(r.Ports) == len(o.Ports) &&
		(r.Gateway == nil) == (o.Gateway == nil) && (r.Transit == nil) == (o.Transit == nil) &&
		len(r.FloatingIPs) == len(o.FloatingIPs) && len(r.PortForwardings) == len(o.PortForwardings) &&
		len(r.Limits) == len(o.Limits) && len(r.Routes) == len(o.Routes)
}

func (g *Gateway) same(o *Gateway) bool {
	return g.Port.same(o.Port) && slices.Equal(g.NextHops, o.NextHops) && slices.Equal(g.OnLink, o.OnLink) && g.SNAT == o.SNAT &&
		g.FloatingIPsOnly == o.FloatingIPsOnly && g.Hairpin == o.Hairpin
}

func (t *Transit) same(o *Transit) bool {
	return t.Port.same(o.Port) && slices.Equal(t.Routes, o.Routes) && slices.Equal(t.Centre, o.Centre) &&
		slices.Equal(t.External, o.External) && slices.Equal(t.Elsewhere, o.Elsewhere)
}

func (p Port) same(o Port) bool {
	return p.ID == o.ID && p.Network == o.Network && p.MAC == o.MAC && p.MTU == o.MTU && slices.Equal(p.Addrs, o.Addrs) &&
		p.Outside == o.Outside && p.Scopes == o.Scopes && p.Anycast.same(o.Anycast) && p.Advertisement.same(o.Advertisement)
}

func (a *Anycast) same(o *Anycast) bool {
	if a == nil || o == nil {
		return a == o
	}
	return slices.Equal(a.Neighbours, o.Neighbours)
}

// canonical is the router that stands for all equal ones.
func (r Router) canonical() Router {
	r = r.Clone()
	for i := range r.Ports {
		r.Ports[i].normalise()
	}
	slices.SortFunc(r.Ports, func(a, b Port) int { return cmp.Compare(a.ID, b.ID) })
	if g := r.Gateway; g != nil {
		first := g.addr4()
		g.normalise()
		slices.SortStableFunc(g.Addrs, func(a, b netip.Prefix) int { return cmp.Compare(rank(a, first), rank(b, first)) })
		slices.SortFunc(g.NextHops, netip.Addr.Compare)
		slices.SortFunc(g.OnLink, netip.Prefix.Compare)
	}
	slices.SortFunc(r.FloatingIPs, func(a, b FloatingIP) int {
		return cmp.Or(a.Addr.Compare(b.Addr), a.Fixed.Compare(b.Fixed), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(r.PortForwardings, compareForwardings)
	slices.SortFunc(r.Limits, compareLimits)
	slices.SortFunc(r.Routes, compareRoutes)
	if t := r.Transit; t != nil {
		t.normalise()
		slices.SortFunc(t.Routes, compareRoutes)
		slices.SortFunc(t.Centre, netip.Addr.Compare)
		slices.SortFunc(t.External, compareRoutes)
		slices.SortFunc(t.Elsewhere, netip.Addr.Compare)
	}
	return r
}

func compareRoutes(a, b Route) int {
	return cmp.Or(a.Dest.Compare(b.Dest), a.NextHop.Compare(b.NextHop))
}

func (p *Port) normalise() {
	if p.Network.Type == "" {
		p.Network.Type = NetworkLocal
	}
	slices.SortFunc(p.Addrs, netip.Prefix.Compare)
	if p.Anycast != nil {
		slices.SortFunc(p.Anycast.Neighbours, netip.Addr.Compare)
	}
	if p.Advertisement != nil {
		p.Advertisement.normalise()
	}
}

// rank puts the gateway's first IPv4 address before the others.
func rank(a netip.Prefix, first netip.Addr) int {
	if a.Addr() == first {
		return 0
	}
	return 1
}
