package iptables

import (
	"fmt"
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
func (d difference) script(f family) string {
	order := []string{filter, mangle, nat, filter6, raw6}
	if !d.want.guards() {
		order = []string{mangle, nat, filter, filter6, raw6}
	}
	var b strings.Builder
	for _, table := range order {
		of, name := splitTable(table)
		if part := d.part(table); part != "" && of == f {
			fmt.Fprintf(&b, "*%s\n%sCOMMIT\n", name, part)
		}
	}
	return b.String()
}

// tables counts those that differ.
func (d difference) tables() (n int) {
	for _, table := range tables {
		if d.part(table) != "" {
			n++
		}
	}
	return n
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
