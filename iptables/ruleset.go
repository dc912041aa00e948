package iptables

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// The tables that we write into: of iptables, and of ip6tables.
const (
	filter  = "filter"
	mangle  = "mangle"
	nat     = "nat"
	filter6 = "ip6 filter"
	raw6    = "ip6 raw"
)

// tables lists them all.
var tables = []string{filter, mangle, nat, filter6, raw6}

// family is an address family, whose tables have a tool of their own.
type family int

const (
	ipv4 family = iota
	ipv6
)

var families = []family{ipv4, ipv6}

// tableOf is our name of a table of a family that its tool and the kernel call kernelName.
func (f family) tableOf(kernelName string) string {
	if f == ipv6 {
		return prefix6 + kernelName
	}
	return kernelName
}

const prefix6 = "ip6 "

// splitTable is a table's family, and what its tool and the kernel call it.
func splitTable(table string) (f family, kernelName string) {
	if name, ok := strings.CutPrefix(table, prefix6); ok {
		return ipv6, name
	}
	return ipv4, table
}

// prefix begins the names of our chains, and of nobody else's.
const prefix = "l3kit-"

// ruleset is what a namespace's tables hold of ours, or should hold, by name: the same form for
// what a router asks for and for what was read back, so that one comparison serves planning,
// applying and undoing. A table that is not in it is not looked at.
type ruleset map[string]*table

// table holds chains by name: all that are ours; and of the built-in ones those that lead to ours,
// with all their rules when they were read back, because it matters what stands before our own.
type table struct {
	chains map[string][]rule
	// opaque says that iptables cannot tell the rules of the table, because somebody wrote one with
	// nft that has no form in iptables. Then the names of our chains are known, and nothing else.
	opaque bool
}

// rule is one rule of a chain.
type rule struct {
	spec    string            // as iptables-save prints it after "-A" and the name of the chain
	of      netip.Addr        // the floating IP that it is about, if it counts what comes from a fixed address: its text does not say
	traffic dataplane.Traffic // what it has counted
}

func ours(chain string) bool { return strings.HasPrefix(chain, prefix) }

// target is the chain that a rule leads to; empty if it leads to none. It is what a rule's text
// ends in.
func (r rule) target() string {
	i := strings.LastIndexByte(r.spec, ' ')
	if i < 0 || !strings.HasSuffix(" "+r.spec[:i], " -j") && !strings.HasSuffix(" "+r.spec[:i], " -g") {
		return ""
	}
	return r.spec[i+1:]
}

// leadsToUs says whether a rule of a built-in chain is ours.
func (r rule) leadsToUs() bool { return ours(r.target()) }

// chain returns a chain's rules; none if there is no such chain.
func (rs ruleset) chain(table, name string) []rule {
	if t := rs[table]; t != nil {
		return t.chains[name]
	}
	return nil
}

// holds says whether any chain of a table is ours.
func (rs ruleset) holds(table string) bool {
	if t := rs[table]; t != nil {
		for name := range t.chains {
			if ours(name) {
				return true
			}
		}
	}
	return false
}

// guards says whether the ruleset drops anything.
func (rs ruleset) guards() bool {
	rules := rs.chain(filter, forward)
	for _, r := range rules {
		if strings.HasSuffix(r.spec, " -j DROP") {
			return true
		}
	}
	return rs.confines()
}

// confines says whether the ruleset has address scopes.
func (rs ruleset) confines() bool { return len(rs.chain(filter, byScope)) > 0 }

// translates says whether hosts without a floating IP leave with a shared address.
func (rs ruleset) translates() bool {
	c := chainDiff{table: nat, name: postrouting}
	return slices.ContainsFunc(rs.chain(nat, postrouting), func(r rule) bool {
		_, _, ok := parseShared(c, r)
		return ok
	})
}

// among is that part of the ruleset which consists of the chains of others.
func (rs ruleset) among(others ...ruleset) ruleset {
	part := ruleset{}
	for _, o := range others {
		for name, t := range o {
			if rs[name] == nil {
				continue
			}
			if part[name] == nil {
				part[name] = &table{chains: map[string][]rule{}, opaque: rs[name].opaque}
			}
			for c := range t.chains {
				if rules, ok := rs[name].chains[c]; ok {
					part[name].chains[c] = rules
				}
			}
		}
	}
	return part
}

// opaque is the name of a table whose rules iptables cannot tell; empty if there is none.
func (rs ruleset) opaque() string {
	for _, name := range tables {
		if t := rs[name]; t != nil && t.opaque {
			return name
		}
	}
	return ""
}
