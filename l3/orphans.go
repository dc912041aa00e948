package l3

import (
	"github.com/l3kit/l3kit/dataplane"
)

// HeldAddrs lists the addresses that a router answers for, with their networks.
func HeldAddrs(r dataplane.Router) []HeldAddr {
	var held []HeldAddr
	add := func(p dataplane.Port) {
		for _, a := range p.Addrs {
			held = append(held, HeldAddr{p.Network, a.Addr()})
		}
	}
	for _, p := range r.Ports {
		add(p)
	}
	if r.Gateway == nil {
		return held
	}
	add(r.Gateway.Port)
	for _, f := range r.FloatingIPs {
		held = append(held, HeldAddr{r.Gateway.Network, f.Addr})
	}
	return held
}
