package iptables

import (
	"fmt"
	"slices"
	"strings"
)

// script is the input of iptables-restore, or of ip6tables-restore, that makes a difference in the
// tables of a family; empty if there is none.
//
// Each table changes at one instant, but one after the other, and the tool may die in between. So
// the order is one in which every state on the way treats a packet as the old router does, or as
// the new one, or drops it. A guard is up before the translation that needs it changes, and one
// that is given up goes last. What only counts comes before what translates: a script for floating
// IPs that stops has changed nothing yet. In the tables of IPv6 any order will do.
//
// Where address scopes are confined, SNAT is there before the guard lets packets out that it is to
// translate.
//
// Where the mangle table leads packets of fixed addresses out by a gateway for floating IPs, it
// stops before their translation ends, and begins when it is there: the first packet of a
// connection passes no guard behind the translation.
func (d difference) script(f family) string {
	var b strings.Builder
	for _, s := range d.sections() {
		if of, name := splitTable(s.table); of == f {
			fmt.Fprintf(&b, "*%s\n%sCOMMIT\n", name, s.lines)
		}
	}
	return b.String()
}

// section changes a table at one instant.
type section struct{ table, lines string }

// sections are those of all tables, in order.
func (d difference) sections() []section {
	order := []string{mangle, nat}
	var before string
	if slices.ContainsFunc(d.chains, chainDiff.steers) {
		order, before = []string{nat, mangle}, d.unsteer()
	}
	comesLater := d.have.confines() && !d.have.translates() && d.want.translates()
	if d.want.guards() && !comesLater {
		order = slices.Insert(order, 0, filter)
	} else {
		order = append(order, filter)
	}
	var list []section
	for _, table := range append(order, filter6, raw6) {
		if table == nat && before != "" {
			list = append(list, section{mangle, before})
		}
		if part := d.part(table); part != "" {
			list = append(list, section{table, part})
		}
	}
	return list
}

// tables counts the instants at which tables change.
func (d difference) tables() int { return len(d.sections()) }

// steers reports whether the chain is one that leads packets out by a gateway for floating IPs.
func (c chainDiff) steers() bool { return c.table == mangle && rootOf(c.name) == byFixed }

// unsteer deletes the rules of addresses that are no longer led out by the gateway.
func (d difference) unsteer() string {
	var b strings.Builder
	for _, c := range d.chains {
		if !c.steers() {
			continue
		}
		for _, r := range c.gone(d.have) {
			if _, ok := parseMember(c.name, r); ok {
				fmt.Fprintf(&b, "-D %s %s\n", c.name, r.spec)
			}
		}
	}
	return b.String()
}

// part is what a script says of one table. Nothing goes while a rule leads to it, and no rule leads
// to what is not there.
func (d difference) part(table string) string {
	var b strings.Builder
	each := func(write func(c chainDiff)) {
		for _, c := range d.chains {
			if c.table == table {
				write(c)
			}
		}
	}
	each(func(c chainDiff) {
		if ours(c.name) && c.wanted && (!c.exists || c.anew) {
			fmt.Fprintf(&b, ":%s - [0:0]\n", c.name) // makes the chain, or empties it
		}
	})
	each(func(c chainDiff) {
		if c.anew || ours(c.name) && !c.wanted {
			return
		}
		for _, r := range c.remove {
			if _, done := parseMember(c.name, r); done && c.steers() {
				continue // see unsteer
			}
			fmt.Fprintf(&b, "-D %s %s\n", c.name, r.spec)
		}
	})
	each(func(c chainDiff) {
		if ours(c.name) && !c.wanted {
			fmt.Fprintf(&b, "-F %s\n", c.name)
		}
	})
	each(func(c chainDiff) {
		if ours(c.name) && !c.wanted {
			fmt.Fprintf(&b, "-X %s\n", c.name)
		}
	})
	each(func(c chainDiff) {
		for _, r := range c.insert {
			if t := r.traffic; t.Packets > 0 {
				fmt.Fprintf(&b, "[%d:%d] ", t.Packets, t.Bytes)
			}
			if r.last {
				fmt.Fprintf(&b, "-A %s %s\n", c.name, r.spec)
			} else {
				fmt.Fprintf(&b, "-I %s %d %s\n", c.name, r.at+1, r.spec)
			}
		}
	})
	return b.String()
}
