package dataplane

import (
	"net/netip"
	"slices"
)

// Scopes are the address scopes that a port is in, by address family. Within a scope no address is
// there twice. Ports with the same are in one scope; empty means none, and ports without one share
// that.
//
// Packets are not forwarded from a port to one in another scope, unless they are translated: on the
// way to a floating IP or a forwarded port, from a host with a floating IP to the outside, and by
// SNAT. Where the gateway has a scope, hosts behind a port in the same one leave with their own
// address in spite of SNAT, unless they have a floating IP, and are reached from outside by it.
type Scopes struct {
	IPv4 string `json:"ipv4,omitempty"`
	IPv6 string `json:"ipv6,omitempty"`
}

func (s Scopes) String() string {
	word := func(name string) string {
		if name == "" {
			return "none"
		}
		return name
	}
	return "IPv4 " + word(s.IPv4) + ", IPv6 " + word(s.IPv6)
}

// of is the scope of an address's family.
func (s Scopes) of(a netip.Addr) string {
	if a.Is6() {
		return s.IPv6
	}
	return s.IPv4
}

// SharesScope4 says that hosts behind the internal port and the external network reach each other
// over IPv4 as they are: both are in one scope.
func (g *Gateway) SharesScope4(p Port) bool {
	return g != nil && g.Scopes.IPv4 != "" && g.Scopes.IPv4 == p.Scopes.IPv4
}

// sameScope says that one port is the gateway, and that the other shares its IPv4 scope.
func sameScope(a, b *modelPort) bool {
	return a != nil && a.gateway != b.gateway && a.scopes.IPv4 != "" && a.scopes.IPv4 == b.scopes.IPv4
}

// crosses says that a packet to an address would leave its scope.
func crosses(in, out *modelPort, dst netip.Addr) bool {
	return in != nil && in.scopes.of(dst) != out.scopes.of(dst)
}

// confine drops what may not leave its address scope.
func (w *walk) confine(out *modelPort) {
	if w.in == nil || !crosses(w.in, out, w.dst) {
		return
	}
	_, fixed := w.model.fipOf[w.src]
	if w.dst.Is4() && (w.translated || out.gateway && (fixed || w.model.shared.IsValid())) {
		return
	}
	w.end(Dropped, "filter", "%s is in %s, and %s in %s", w.in, scopeText(w.in, w.dst), out, scopeText(out, w.dst))
}

func scopeText(p *modelPort, a netip.Addr) string {
	if name := p.scopes.of(a); name != "" {
		return "address scope " + name
	}
	return "no address scope"
}

// confinesAnswer says that no answer gets back to the sender: IPv6 is not tracked.
func (w *walk) confinesAnswer(out *modelPort) bool {
	if w.in == nil || w.dst.Is4() {
		return false
	}
	back, ok := w.model.lookup(w.trace.Packet.Src, w.model.rest)
	return ok && !slices.ContainsFunc(back.hops, func(h hop) bool { return !crosses(out, h.port, w.dst) })
}

// scopes checks the names of address scopes. What crosses the transit does not show its scope, so
// instances of distributed routers have none.
func (c *checker) scopes(r *Router) {
	check := func(path string, p *Port) {
		for _, f := range []struct{ path, name string }{{path + ".Scopes.IPv4", p.Scopes.IPv4}, {path + ".Scopes.IPv6", p.Scopes.IPv6}} {
			switch {
			case f.name == "":
			case r.Transit != nil:
				c.fault(f.path, "%s: instances of a distributed router have no address scopes", quote(f.name))
			default:
				c.id(f.path, f.name)
			}
		}
	}
	for i := range r.Ports {
		check(index("Ports", i), &r.Ports[i])
	}
	if r.Gateway != nil {
		check("Gateway", &r.Gateway.Port)
	}
	if r.Transit != nil {
		check("Transit", &r.Transit.Port)
	}
}
