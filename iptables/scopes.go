package iptables

import (
	"fmt"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

const (
	byScope = prefix + "scopes" // by device: chains for address scopes
	routed  = prefix + "routed" // marks what is of the gateway's address scope
)

// Marks what keeps its address, and what a floating IP lets out of its address scope.
var (
	routedMark = mask(namespace.MarkRouted)
	markRouted = "-j MARK --set-xmark " + routedMark
)

// scopes is what address scopes do to a router's rules.
type scopes struct {
	four, six []namespace.Scope // by family; none if all ports are in one
	routed    []string          // devices
	snat      bool              // what leaves by the gateway is translated
}

func scopesOf(r dataplane.Router) scopes {
	return scopes{four: namespace.Scopes4(r), six: namespace.Scopes6(r), routed: namespace.SharingScope4(r), snat: r.Gateway.SNATAddr().IsValid()}
}

// exempts says that hosts with a floating IP may leave a scope, and nobody else.
func (s scopes) exempts() bool { return len(s.four) > 0 && !s.snat }

// pass lets through what keeps its address, before the guard. It does so without SNAT too, because
// the tables change one after the other: nothing is translated by mistake while SNAT comes.
func (s scopes) pass(rs ruleset, gateway string) {
	if len(s.routed) == 0 {
		return
	}
	for _, dev := range s.routed {
		rs.add(filter, routed, "-i "+dev+" -o "+gateway+" "+markRouted)
		rs.add(filter, routed, "-i "+gateway+" -o "+dev+" "+markRouted)
	}
	rs.add(filter, forward, "-o "+gateway+" -j "+routed)
	rs.add(filter, forward, "-i "+gateway+" -j "+routed)
	rs.add(filter, forward, "-m mark --mark "+routedMark+" -j RETURN")
	rs.add(nat, postrouting, "-o "+gateway+" -j "+bySrc) // floating IPs come first
	rs.add(nat, postrouting, "-o "+gateway+" -m mark --mark "+routedMark+" -j RETURN")
}

// confine drops what is untranslated and would leave its scope.
func (s scopes) confine(rs ruleset, gateway string) {
	if len(s.four) > 0 {
		rs.add(filter, forward, "-m conntrack ! --ctstate DNAT -j "+byScope)
		switch {
		case gateway == "":
		case s.snat:
			rs.add(filter, byScope, "-o "+gateway+" -j RETURN")
		default:
			rs.add(filter, byScope, "-o "+gateway+" -m conntrack --ctstate NEW -j "+byFixed)
			rs.add(filter, byScope, "-m mark --mark "+routedMark+" -j RETURN")
		}
		confine(rs, filter, s.four)
	}
	if len(s.six) > 0 && rs[filter6] != nil {
		rs.add(filter6, forward, "-j "+byScope)
		confine(rs, filter6, s.six)
	}
}

func confine(rs ruleset, table string, list []namespace.Scope) {
	for n, s := range list {
		chain := fmt.Sprint(prefix, "scope-", n)
		for _, dev := range s.Devices {
			rs.add(table, byScope, "-i "+dev+" -g "+chain)
			rs.add(table, chain, "-o "+dev+" -j RETURN")
		}
		rs.add(table, chain, "-j DROP")
	}
}
