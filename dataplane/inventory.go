package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// inventory lists what a host holds for a router, in the order in which it is made. It is what
// [Fake] compares, and shows as text.
type inventory []item

// kindOwner is the kind of the item that says on whose behalf the router runs. Its change disturbs
// no traffic.
const kindOwner = "owner"

// item is one object of a host. Kind and object together are unique in an inventory; detail is what
// may change about it.
type item struct{ kind, object, detail string }

func (i item) String() string {
	if i.detail == "" {
		return i.kind + " " + i.object
	}
	return i.kind + " " + i.object + ": " + i.detail
}

func inventoryOf(r Router) inventory {
	r = r.canonical()
	inv := inventory{{"namespace", NamespaceName(r.ID), ""}}
	if r.Owner != "" {
		inv = append(inv, item{kindOwner, NamespaceName(r.ID), r.Owner})
	}
	add := func(kind, detail, object string, args ...any) {
		inv = append(inv, item{kind, fmt.Sprintf(object, args...), detail})
	}
	for _, p := range r.Ports {
		add("link", linkDetail(p), "%s", PortDevice(p.ID))
	}
	g := r.Gateway
	if g != nil {
		add("link", linkDetail(g.Port), "%s", GatewayDevice(g.ID))
		if a := g.SNATAddr(); a.IsValid() {
			add("rules", "to "+a.String(), "snat")
		}
		if a := g.HairpinAddr(); a.IsValid() {
			add("rules", "as "+a.String(), "hairpin")
		}
		if g.SNAT {
			add("rules", "", "no way in for untranslated IPv4")
		}
	}
	for _, f := range r.FloatingIPs {
		add("floating-ip", "→ "+f.Fixed.String(), "%s", f.Addr)
	}
	for _, p := range r.Ports {
		for _, a := range p.Addrs {
			add("address", "", "%s %s", PortDevice(p.ID), a)
		}
	}
	if g != nil {
		dev := GatewayDevice(g.ID)
		for _, a := range g.Addrs {
			add("address", "", "%s %s", dev, a)
		}
		for _, f := range r.FloatingIPs {
			add("address", "", "%s %s", dev, netip.PrefixFrom(f.Addr, f.Addr.BitLen()))
		}
		for _, p := range g.OnLink {
			add("route", "", "%s dev %s", p, dev)
		}
		for _, a := range g.NextHops {
			add("route", "", "default via %s dev %s", a, dev)
		}
	}
	for _, route := range r.Routes {
		add("route", "", "%s via %s", route.Dest, route.NextHop)
	}
	return inv
}

func linkDetail(p Port) string {
	n := p.Network
	network := fmt.Sprintf("network %s, %s", n.ID, n.Type)
	if n.Physical != "" {
		network += " on " + n.Physical
	}
	if n.Segment != 0 {
		network += fmt.Sprintf(" segment %d", n.Segment)
	}
	return fmt.Sprintf("mac %s mtu %d, %s", p.MAC, p.MTU, network)
}

// steps lead from one inventory to another: first what comes and what changes, then what goes, the
// other way round.
func (inv inventory) steps(to inventory) []Step {
	before := make(map[item]string, len(inv)) // detail by kind and object
	for _, i := range inv {
		before[i.name()] = i.detail
	}
	var steps []Step
	after := make(map[item]bool, len(to))
	for _, i := range to {
		after[i.name()] = true
		switch was, ok := before[i.name()]; {
		case !ok:
			steps = append(steps, Step{Op: Add, Kind: i.kind, Object: i.object, Detail: i.detail})
		case was != i.detail:
			steps = append(steps, Step{Op: Change, Kind: i.kind, Object: i.object, Detail: i.detail + ", was " + was, Disturbs: i.kind != kindOwner})
		}
	}
	for _, i := range slices.Backward(inv) {
		if !after[i.name()] {
			steps = append(steps, Step{Op: Remove, Kind: i.kind, Object: i.object, Detail: i.detail, Disturbs: true})
		}
	}
	return steps
}

func (i item) name() item { return item{kind: i.kind, object: i.object} }

func (inv inventory) String() string {
	lines := make([]string, len(inv))
	for n, i := range inv {
		lines[n] = i.String()
	}
	return strings.Join(lines, "\n")
}
