package nftables

import (
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// The sets that only instances of distributed routers have.
const (
	transit   = "transit"
	elsewhere = "elsewhere"
	legs      = "legs"
	floating  = "floating"
	fixed     = "fixed"
	remote    = "remote"
)

// instance is what a router is of a distributed one, as far as its rules depend on it. The zero
// instance is a router that is whole.
type instance struct {
	transit      bool // it is one of several
	edge         bool // and not the centre
	floatingOnly bool // its gateway is for floating IPs only
	// servesMetadata says that it answers at the metadata address.
	servesMetadata bool
	// shown is the address that others show to floating IPs of other instances; zero if no rule of
	// its own is needed for that.
	shown netip.Addr
	scopes
}

func instanceOf(r dataplane.Router) instance {
	i := instance{
		servesMetadata: r.Metadata,
		transit:        r.Transit != nil,
		edge:           r.Transit != nil && len(r.Transit.Centre) > 0,
		floatingOnly:   r.Gateway != nil && r.Gateway.FloatingIPsOnly,
		scopes:         scopesOf(r),
	}
	if i.transit && !i.edge && !r.Gateway.SNATAddr().IsValid() {
		i.shown = r.Gateway.HairpinAddr()
	}
	return i
}

// sets are those that the instance has beside those of every router.
func (i instance) sets() []*set {
	var list []*set
	if i.transit {
		list = append(list,
			newSet(transit, device, "device of the transit"),
			newSet(elsewhere, address, "fixed addresses that another instance translates"))
	}
	if i.edge {
		list = append(list,
			newSet(legs, device, "internal devices"),
			newSet(floating, address, "floating IPs, and the gateway of the centre"))
	}
	if i.floatingOnly {
		list = append(list, newSet(fixed, address, "fixed addresses of floating IPs"))
	}
	if i.shown.IsValid() {
		list = append(list, newMap(remote, address, "address that clients of other instances' floating IPs show without one of their own"))
	}
	return append(list, i.scopes.sets()...)
}

func (i instance) ingress() []rule {
	// iifname @external ip saddr @inside drop
	rules := []rule{newRule("spoofed: internal addresses are not outside", iifname(), in(external), saddr(), in(inside), verdict(expr.VerdictDrop))}
	if i.edge {
		// iifname @legs ip saddr @elsewhere ip daddr @floating meta mark set meta mark | 0x40000 accept
		rules = append(rules, newRule("the centre translates both ends", iifname(), in(legs), saddr(), in(elsewhere), daddr(), in(floating),
			setMark(namespace.MarkToCentre), verdict(expr.VerdictAccept)))
	}
	if !i.floatingOnly {
		// ip daddr @fip_in
		return append(rules, newRule("count what goes to floating IPs", daddr(), in(fipIn)))
	}
	return append(rules,
		// ip daddr @fip_in accept
		newRule("count what goes to floating IPs", daddr(), in(fipIn), verdict(expr.VerdictAccept)),
		// iifname @external drop
		newRule("nothing else comes by their gateway", iifname(), in(external), verdict(expr.VerdictDrop)))
}

// steer is the chain that marks what is of a floating IP here; none where the gateway is for all.
func (i instance) steer() []*chain {
	if !i.floatingOnly {
		return nil
	}
	return []*chain{{"steer", hook{"filter", unix.NF_INET_PRE_ROUTING, -150, accept}, []rule{
		// iifname @external meta mark set meta mark | 0x20000 accept
		newRule("of a floating IP", iifname(), in(external), setMark(namespace.MarkFloatingIP), verdict(expr.VerdictAccept)),
		// ct direction reply ct status ! dnat accept
		newRule("answers to what came by the transit", ctDirection(reply), ctBits(expr.CtKeySTATUS, ipsDstNAT, expr.CmpOpEq), verdict(expr.VerdictAccept)),
		// iifname @legs ip saddr @fixed meta mark set meta mark | 0x20000
		newRule("of a floating IP", iifname(), in(legs), saddr(), in(fixed), setMark(namespace.MarkFloatingIP)),
	}}}
}

func (i instance) prerouting() []rule {
	// dnat to ip daddr map @fip_dnat
	translate := newRule("floating IP to fixed address", daddr(), mapped(fipDNAT), dnat())
	// dnat ip to ip daddr . meta l4proto . th dport map @pf_dnat
	forward := newRule("forwarded port to fixed address and port", forwarded(), dnatToPort())
	if !i.edge {
		return []rule{translate, forward}
	}
	return []rule{
		// meta mark & 0x40000 != 0 accept
		newRule("the centre translates it", isMarked(namespace.MarkToCentre), verdict(expr.VerdictAccept)),
		translate, forward,
	}
}

// forward is what instances drop before anything is let through.
func (i instance) forward() []rule {
	rules := i.pass()
	if i.edge {
		// iifname @transit oifname @transit drop
		rules = append(rules, newRule("would come back for ever", iifname(), in(transit), oifname(), in(transit), verdict(expr.VerdictDrop)))
	}
	switch {
	case i.floatingOnly:
		// oifname @external ip saddr != @fixed drop
		rules = append(rules, newRule("the gateway is for floating IPs", oifname(), in(external), saddr(), notIn(fixed), verdict(expr.VerdictDrop)))
	case i.transit:
		// oifname @external ip saddr @elsewhere drop
		rules = append(rules, newRule("their floating IPs are not here", oifname(), in(external), saddr(), in(elsewhere), verdict(expr.VerdictDrop)))
	}
	return rules
}

// postrouting translates what leaves by the gateway and has no floating IP here.
func (i instance) postrouting() []rule {
	if !i.shown.IsValid() {
		return i.scopes.postrouting()
	}
	return []rule{
		// oifname @external snat to ip daddr map @remote fully-random
		newRule("floating IPs of other instances see the gateway's address", oifname(), in(external), daddr(), mapped(remote), snat(true)),
	}
}

// countOut counts by source. At an edge, what another instance has translated may pass as well.
func (i instance) countOut() []rule {
	const comment = "count what comes from floating IPs"
	if i.floatingOnly {
		// ct status snat,dnat ip saddr @fip_out
		return []rule{newRule(comment, ctBits(expr.CtKeySTATUS, ipsSrcNAT|ipsDstNAT, expr.CmpOpNeq), saddr(), in(fipOut))}
	}
	// ip saddr @fip_out
	return []rule{newRule(comment, saddr(), in(fipOut))}
}

func (i instance) ingress6() []rule {
	var rules []rule
	if i.transit {
		// iifname @transit accept
		rules = append(rules, newRule("other instances have the same addresses", iifname(), in(transit), verdict(expr.VerdictAccept)))
	}
	// ip6 saddr @own iifname != "lo" drop
	rules = append(rules, newRule("spoofed: the router itself", saddr6(), in(own), notFromLoopback(), verdict(expr.VerdictDrop)))
	if i.floatingOnly {
		// iifname @external drop
		return append(rules, newRule("floating IPs are IPv4", iifname(), in(external), verdict(expr.VerdictDrop)))
	}
	// iifname @external ip6 saddr @inside drop
	return append(rules, newRule("spoofed: internal addresses are not outside", iifname(), in(external), saddr6(), in(inside), verdict(expr.VerdictDrop)))
}

func (i instance) forward6() []rule {
	var rules []rule
	if i.edge {
		// iifname @transit oifname @transit drop
		rules = append(rules, newRule("would come back for ever", iifname(), in(transit), oifname(), in(transit), verdict(expr.VerdictDrop)))
	}
	if i.floatingOnly {
		// oifname @external drop
		rules = append(rules, newRule("floating IPs are IPv4", oifname(), in(external), verdict(expr.VerdictDrop)))
	}
	return append(rules, confine(i.six)...)
}

// fill fills in the instance's own sets of the IPv4 table.
func (i instance) fill(t *table, r dataplane.Router) {
	if i.edge {
		for _, p := range r.Ports {
			t.set(legs).elements[deviceKey(dataplane.PortDevice(p.ID))] = element{}
		}
	}
	if i.transit {
		t.set(transit).elements[deviceKey(dataplane.TransitDevice(r.Transit.ID))] = element{}
		i.fillAddresses(t, r.FloatingIPs, r.Transit.External, r.Transit.Elsewhere)
	}
	i.fillLeaving(t, r.FloatingIPs)
}

// fillAddresses adds what depends on floating IPs here, on what other instances have outside, and
// on what is translated elsewhere.
func (i instance) fillAddresses(t *table, here []dataplane.FloatingIP, outside []dataplane.Route, away []netip.Addr) {
	if i.transit {
		for _, a := range away {
			t.set(elsewhere).elements[addressKey(a)] = element{}
		}
	}
	if i.edge {
		for _, f := range here {
			t.set(floating).elements[addressKey(f.Addr)] = element{}
		}
	}
	for _, r := range outside {
		if !r.Dest.IsSingleIP() || r.Dest.Addr().Is6() {
			continue
		}
		switch key := addressKey(r.Dest.Addr()); {
		case i.edge:
			t.set(floating).elements[key] = element{}
		case i.shown.IsValid():
			t.set(remote).elements[key] = element{value: addressKey(i.shown)}
		}
	}
	if i.floatingOnly {
		for _, f := range here {
			t.set(fixed).elements[addressKey(f.Fixed)] = element{}
		}
	}
}
