package nftables

import (
	"fmt"
	"strings"

	"github.com/google/nftables/expr"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// The sets that only routers with address scopes have.
const (
	routed      = "routed"
	leaving     = "leaving"
	scopePrefix = "scope_" // of the set of each address scope's devices
)

// scopes is what address scopes do to a router's rules. The zero value is that of a router whose
// ports are all in the same, or in none.
type scopes struct {
	four, six []namespace.Scope // by family; none if all ports are in one
	routed    []string          // devices
	snat      bool              // what leaves by the gateway is translated
}

func scopesOf(r dataplane.Router) scopes {
	s := scopes{four: namespace.Scopes4(r), six: namespace.Scopes6(r), snat: r.Gateway.SNATAddr().IsValid()}
	if s.snat {
		s.routed = namespace.SharingScope4(r)
	}
	return s
}

// exempts says that hosts with a floating IP may leave a scope, and nobody else.
func (s scopes) exempts() bool { return len(s.four) > 0 && !s.snat }

func scopeName(n int) string { return fmt.Sprint(scopePrefix, n) }

func isScope(set string) bool { return strings.HasPrefix(set, scopePrefix) }

func scopeSets(list []namespace.Scope) []*set {
	var sets []*set
	for n, s := range list {
		comment := "devices in address scope " + s.Name
		if s.Name == "" {
			comment = "devices in no address scope"
		}
		set := newSet(scopeName(n), device, comment)
		for _, dev := range s.Devices {
			set.elements[deviceKey(dev)] = element{}
		}
		sets = append(sets, set)
	}
	return sets
}

func (s scopes) sets() []*set {
	list := scopeSets(s.four)
	if len(s.routed) > 0 {
		set := newSet(routed, device, "devices in the address scope of the gateway")
		for _, dev := range s.routed {
			set.elements[deviceKey(dev)] = element{}
		}
		list = append(list, set)
	}
	return append(list, s.leavingSets()...)
}

// pass lets through what keeps its address, before the guard.
func (s scopes) pass() []rule {
	if len(s.routed) == 0 {
		return nil
	}
	return []rule{
		// iifname @routed oifname @external meta mark set meta mark | 0x80000 accept
		newRule("in one address scope hosts keep their address", iifname(), in(routed), oifname(), in(external), setMark(namespace.MarkRouted),
			verdict(expr.VerdictAccept)),
		// iifname @external oifname @routed accept
		newRule("and are reached by it", iifname(), in(external), oifname(), in(routed), verdict(expr.VerdictAccept)),
	}
}

// confine drops what is untranslated and would leave its scope.
func (s scopes) confine() []rule {
	if len(s.four) == 0 {
		return nil
	}
	rules := []rule{
		// ct status dnat accept
		newRule("floating IPs and forwarded ports are open to all address scopes", ctBits(expr.CtKeySTATUS, ipsDstNAT, expr.CmpOpNeq), verdict(expr.VerdictAccept)),
	}
	if s.snat {
		// oifname @external accept
		rules = append(rules, newRule("what leaves will be translated", oifname(), in(external), verdict(expr.VerdictAccept)))
	} else {
		// ct state new oifname @external ip saddr @leaving accept
		rules = append(rules, newRule("hosts with a floating IP will leave with it", ctBits(expr.CtKeySTATE, expr.CtStateBitNEW, expr.CmpOpNeq),
			oifname(), in(external), saddr(), in(leaving), verdict(expr.VerdictAccept)))
	}
	return append(rules, confine(s.four)...)
}

func confine(list []namespace.Scope) []rule {
	var rules []rule
	for n := range list {
		name := scopeName(n)
		// iifname @scope_0 oifname != @scope_0 drop
		rules = append(rules, newRule("nothing leaves an address scope as it is", iifname(), in(name), oifname(), notIn(name), verdict(expr.VerdictDrop)))
	}
	return rules
}

// postrouting keeps the address of what pass has marked.
func (s scopes) postrouting() []rule {
	if len(s.routed) == 0 {
		return nil
	}
	// meta mark & 0x80000 != 0 accept
	return []rule{newRule("of the same address scope as the outside", isMarked(namespace.MarkRouted), verdict(expr.VerdictAccept))}
}

// fillLeaving fills in the set of fixed addresses that may leave their scope, if there is one.
func (i instance) fillLeaving(t *table, here []dataplane.FloatingIP) {
	if !i.exempts() {
		return
	}
	for _, f := range here {
		t.set(leaving).elements[addressKey(f.Fixed)] = element{}
	}
}

// leavingSets is the set that [instance.fillLeaving] fills in.
func (s scopes) leavingSets() []*set {
	if !s.exempts() {
		return nil
	}
	return []*set{newSet(leaving, address, "fixed addresses, which leave with their floating IPs")}
}
