package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
)

// maxForwardedPorts bounds the ports that a router forwards: a host may need room for each.
const maxForwardedPorts = 1 << 17

func (c *checker) portForwardings(r *Router) {
	if len(r.PortForwardings) == 0 {
		return
	}
	const list = "PortForwardings"
	switch g := r.Gateway; {
	case len(r.centre()) > 0:
		c.fault(list, "belong to the centre of a distributed router")
	case g == nil || !g.addr4().IsValid():
		c.fault(list, "need a gateway with an IPv4 address")
	}
	floating := make(map[netip.Addr]int, len(r.FloatingIPs))
	for i, f := range r.FloatingIPs {
		floating[f.Addr] = i
	}
	remote, away := map[netip.Addr]int{}, map[netip.Addr]int{}
	if t := r.Transit; t != nil {
		for i, x := range t.External {
			if x.Dest.IsSingleIP() {
				remote[x.Dest.Addr()] = i
			}
		}
		for i, a := range t.Elsewhere {
			away[a] = i
		}
	}
	ids := make(map[string]int, len(r.PortForwardings))
	ports := 0
	for i := range r.PortForwardings {
		f := &r.PortForwardings[i]
		if !validID(f.ID) || len(f.ID) > maxIDLen {
			c.id(index(list, i)+".ID", f.ID)
		} else if first, ok := ids[f.ID]; ok {
			c.fault(index(list, i)+".ID", "%s is also %s.ID", quote(f.ID), index(list, first))
		} else {
			ids[f.ID] = i
		}
		why := c.forwarded(r.Gateway, f.Addr)
		if k, ok := floating[f.Addr]; ok && why == "" {
			why = fmt.Sprintf("%s is also %s.Addr", f.Addr, index("FloatingIPs", k))
		}
		if k, ok := remote[f.Addr]; ok && why == "" {
			why = fmt.Sprintf("%s is also %s.Dest, of another instance", f.Addr, index("Transit.External", k))
		}
		if why != "" {
			c.fault(index(list, i)+".Addr", "%s", why)
		}
		why = c.fixed(f.Fixed)
		if k, ok := away[f.Fixed]; ok && why == "" {
			why = fmt.Sprintf("%s is also %s, and so translated by another instance", f.Fixed, index("Transit.Elsewhere", k))
		}
		if why != "" {
			c.fault(index(list, i)+".Fixed", "%s", why)
		}
		if f.Proto != TCP && f.Proto != UDP && f.Proto != SCTP {
			c.fault(index(list, i)+".Proto", "%s is none of tcp, udp, sctp", quote(string(f.Proto)))
		}
		if c.portRange(index(list, i)+".Ports", f.Ports) && c.portRange(index(list, i)+".FixedPorts", f.FixedPorts) {
			ports += f.Ports.Len()
			if n, m := f.Ports.Len(), f.FixedPorts.Len(); m != 1 && m != n {
				c.fault(index(list, i)+".FixedPorts", "%s is %d ports, and Ports is %d: as many are needed, or one", f.FixedPorts, m, n)
			}
		}
	}
	if ports > maxForwardedPorts {
		c.fault(list, "%d ports are forwarded, and %d at most are allowed", ports, maxForwardedPorts)
	}
	c.sharedPorts(r.PortForwardings)
}

// forwarded says why no port of an address can be forwarded; empty when one can.
func (c *checker) forwarded(g *Gateway, a netip.Addr) string {
	if g.has(a) && a.Is4() {
		return ""
	}
	return c.floating(a)
}

func (c *checker) portRange(path string, r PortRange) bool {
	switch {
	case r.First == 0:
		c.fault(path, "%s: there is no port 0", r)
	case r.Last < r.First:
		c.fault(path, "%s ends before it begins", r)
	default:
		return true
	}
	return false
}

// sharedPorts refuses forwardings that share a port of an address.
func (c *checker) sharedPorts(all []PortForwarding) {
	order := make([]int, 0, len(all))
	for i, f := range all {
		if f.Addr.Is4() && f.Ports.First <= f.Ports.Last {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := all[i], all[j]
		a.ID, b.ID = "", ""
		return compareForwardings(a, b)
	})
	widest := -1 // of those before, the one that ends last
	for _, i := range order {
		f := &all[i]
		if widest >= 0 && all[widest].Addr == f.Addr && all[widest].Proto == f.Proto {
			if w := all[widest]; w.Ports.Last >= f.Ports.First {
				c.fault(index("PortForwardings", max(i, widest))+".Ports", "%s %s of %s overlaps %s of %s",
					f.Proto, all[max(i, widest)].Ports, f.Addr, all[min(i, widest)].Ports, index("PortForwardings", min(i, widest)))
			}
			if f.Ports.Last <= all[widest].Ports.Last {
				continue
			}
		}
		widest = i
	}
}
