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

// item is one object of a host. Kind and object together are unique in an inventory; detail is what
// may change about it.
type item struct {
	kind           Kind
	object, detail string
	id             string // see Step.ID
}

func (i item) String() string {
	if i.detail == "" {
		return string(i.kind) + " " + i.object
	}
	return string(i.kind) + " " + i.object + ": " + i.detail
}

func inventoryOf(r Router) inventory {
	r = r.canonical()
	inv := inventory{{kind: KindNamespace, object: NamespaceName(r.ID)}}
	if r.Owner != "" {
		inv = append(inv, item{kind: KindOwner, object: NamespaceName(r.ID), detail: r.Owner})
	}
	add := func(kind Kind, id, detail, object string, args ...any) {
		inv = append(inv, item{kind, fmt.Sprintf(object, args...), detail, id})
	}
	for _, p := range r.Ports {
		add(KindLink, p.ID, linkDetail(p), "%s", PortDevice(p.ID))
	}
	g := r.Gateway
	if g != nil {
		add(KindLink, g.ID, linkDetail(g.Port), "%s", GatewayDevice(g.ID))
		if a := g.SNATAddr(); a.IsValid() {
			add(KindRules, g.ID, "to "+a.String(), "snat")
		}
		if a := g.HairpinAddr(); a.IsValid() {
			add(KindRules, "", "as "+a.String(), "hairpin")
		}
		if g.Guarded() {
			add(KindRules, "", "", "no way in for untranslated IPv4")
		}
		if g.FloatingIPsOnly {
			add(KindRules, "", "", "the gateway is for floating IPs only")
		}
	}
	for _, p := range r.Ports {
		if p.Scopes != (Scopes{}) {
			add(KindRules, p.ID, p.Scopes.String(), "address scopes of %s", PortDevice(p.ID))
		}
	}
	if g != nil && g.Scopes != (Scopes{}) {
		add(KindRules, g.ID, g.Scopes.String(), "address scopes of %s", GatewayDevice(g.ID))
	}
	if r.ClampMSS {
		add(KindRules, "", "", "TCP announces no larger segments than ports take")
	}
	t := r.Transit
	if t != nil {
		add(KindLink, t.ID, linkDetail(t.Port), "%s", TransitDevice(t.ID))
		for _, a := range t.Elsewhere {
			add(KindRules, "", "", "%s is translated elsewhere", a)
		}
	}
	for _, f := range r.FloatingIPs {
		add(KindFloatingIP, f.ID, "→ "+f.Fixed.String(), "%s", f.Addr)
	}
	for _, f := range r.PortForwardings {
		add(KindForwarding, f.ID, f.Target(), "%s", f.Object())
	}
	for _, l := range r.Limits {
		for _, d := range []Direction{Egress, Ingress} {
			if b := l.Of(d); !b.IsZero() {
				add(KindLimit, "", b.String(), "%s", l.Object(d))
			}
		}
	}
	for _, p := range r.Ports {
		for _, a := range p.Addrs {
			add(KindAddress, p.ID, "", "%s %s", PortDevice(p.ID), a)
		}
		if r.Metadata && slices.ContainsFunc(p.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
			add(KindAddress, p.ID, "", "%s %s", PortDevice(p.ID), netip.PrefixFrom(metadata6, 128))
		}
		if p.Advertisement != nil {
			add(KindAdvertisement, p.ID, p.Advertisement.String(), "%s", PortDevice(p.ID))
		}
		if p.Anycast != nil {
			for _, a := range p.Anycast.Neighbours {
				add(KindRoute, p.ID, "", "%s dev %s", a, PortDevice(p.ID))
			}
		}
	}
	if r.Metadata {
		add(KindAddress, "", "", "lo %s", netip.PrefixFrom(metadata4, 32))
	}
	if g != nil {
		dev := GatewayDevice(g.ID)
		for _, a := range g.Addrs {
			add(KindAddress, g.ID, "", "%s %s", dev, a)
		}
		for _, f := range r.FloatingIPs {
			add(KindAddress, f.ID, "", "%s %s", dev, netip.PrefixFrom(f.Addr, f.Addr.BitLen()))
		}
		for _, a := range r.ForwardingAddrs() {
			add(KindAddress, "", "", "%s %s", dev, netip.PrefixFrom(a, a.BitLen()))
		}
		for _, p := range g.OnLink {
			add(KindRoute, "", "", "%s dev %s", p, dev)
		}
		for _, a := range g.NextHops {
			add(KindRoute, "", "", "default via %s dev %s", a, dev)
		}
	}
	for _, route := range r.Routes {
		add(KindRoute, "", "", "%s via %s", route.Dest, route.NextHop)
	}
	if t != nil {
		dev := TransitDevice(t.ID)
		for _, a := range t.Addrs {
			add(KindAddress, t.ID, "", "%s %s", dev, a)
		}
		for _, route := range slices.Concat(t.Routes, t.External) {
			add(KindRoute, "", "", "%s via %s dev %s", route.Dest, route.NextHop, dev)
		}
		for _, a := range t.Centre {
			add(KindRoute, "", "", "default via %s dev %s", a, dev)
		}
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
	switch {
	case p.Anycast != nil:
		network += ", anycast"
	case p.Outside:
		network += ", outside"
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
			steps = append(steps, i.step(Add, i.detail, false))
		case was != i.detail:
			steps = append(steps, i.step(Change, i.detail+", was "+was, i.kind != KindOwner && i.kind != KindLimit))
		}
	}
	for _, i := range slices.Backward(inv) {
		if !after[i.name()] {
			steps = append(steps, i.step(Remove, i.detail, i.kind != KindLimit))
		}
	}
	return steps
}

func (i item) step(op Op, detail string, disturbs bool) Step {
	return Step{Op: op, Kind: i.kind, ID: i.id, Object: i.object, Detail: detail, Disturbs: disturbs}
}

func (i item) name() item { return item{kind: i.kind, object: i.object} }

func (inv inventory) String() string {
	lines := make([]string, len(inv))
	for n, i := range inv {
		lines[n] = i.String()
	}
	return strings.Join(lines, "\n")
}
