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
		r.Ports[i].Addrs = slices.Clone(r.Ports[i].Addrs)
	}
	if r.Gateway != nil {
		g := *r.Gateway
		g.Addrs = slices.Clone(g.Addrs)
		g.NextHops = slices.Clone(g.NextHops)
		g.OnLink = slices.Clone(g.OnLink)
		r.Gateway = &g
	}
	r.FloatingIPs = slices.Clone(r.FloatingIPs)
	r.Routes = slices.Clone(r.Routes)
	return r
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
	return r.ID == o.ID && r.Owner == o.Owner && slices.EqualFunc(r.Ports, o.Ports, Port.same) &&
		slices.Equal(r.FloatingIPs, o.FloatingIPs) && slices.Equal(r.Routes, o.Routes)
}

// sameSize spares Equal the sorting when routers differ plainly.
func (r Router) sameSize(o *Router) bool {
	return r.ID == o.ID && r.Owner == o.Owner && len(r.Ports) == len(o.Ports) && (r.Gateway == nil) == (o.Gateway == nil) &&
		len(r.FloatingIPs) == len(o.FloatingIPs) && len(r.Routes) == len(o.Routes)
}

func (g *Gateway) same(o *Gateway) bool {
	return g.Port.same(o.Port) && slices.Equal(g.NextHops, o.NextHops) && slices.Equal(g.OnLink, o.OnLink) && g.SNAT == o.SNAT
}

func (p Port) same(o Port) bool {
	return p.ID == o.ID && p.Network == o.Network && p.MAC == o.MAC && p.MTU == o.MTU && slices.Equal(p.Addrs, o.Addrs)
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
	slices.SortFunc(r.Routes, func(a, b Route) int { return cmp.Or(a.Dest.Compare(b.Dest), a.NextHop.Compare(b.NextHop)) })
	return r
}

func (p *Port) normalise() {
	if p.Network.Type == "" {
		p.Network.Type = NetworkLocal
	}
	slices.SortFunc(p.Addrs, netip.Prefix.Compare)
}

// rank puts the gateway's first IPv4 address before the others.
func rank(a netip.Prefix, first netip.Addr) int {
	if a.Addr() == first {
		return 0
	}
	return 1
}
