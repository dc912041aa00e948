package dataplane

import (
	"cmp"
	"net/netip"
	"slices"
)

// Inspection is what a host shows of a router to a process that did not apply it.
type Inspection struct {
	// Owner is on whose behalf the router runs; empty if the host does not say. See [Router.Owner].
	Owner string
	// Held lists the addresses that the router answers for, those of floating IPs and port
	// forwardings and of the transit included, without link-local ones of IPv6. They are sorted by
	// address.
	Held []HeldAddr
}

// HeldAddr is an address that a router answers for, and the network that it answers on. Of the
// network, only what the host shows is set.
type HeldAddr struct {
	Network Network
	Addr    netip.Addr
}

// SortHeld sorts addresses as in an [Inspection].
func SortHeld(held []HeldAddr) {
	slices.SortFunc(held, func(a, b HeldAddr) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Network.ID, b.Network.ID))
	})
}

// inspectionOf is the inspection of a router that is realised as wanted.
func inspectionOf(r Router) Inspection {
	r = r.canonical()
	in := Inspection{Owner: r.Owner}
	add := func(n Network, a netip.Addr) {
		if a.Is4() || !a.IsLinkLocalUnicast() {
			in.Held = append(in.Held, HeldAddr{n, a})
		}
	}
	for _, p := range r.Ports {
		for _, a := range p.Addrs {
			add(p.Network, a.Addr())
		}
	}
	if g := r.Gateway; g != nil {
		for _, a := range g.Addrs {
			add(g.Network, a.Addr())
		}
		for _, f := range r.FloatingIPs {
			add(g.Network, f.Addr)
		}
		for _, a := range r.ForwardingAddrs() {
			add(g.Network, a)
		}
	}
	if t := r.Transit; t != nil {
		for _, a := range t.Addrs {
			add(t.Network, a.Addr())
		}
	}
	SortHeld(in.Held)
	return in
}
