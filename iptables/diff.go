package iptables

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// difference is what leads from one ruleset to another.
type difference struct {
	have, want ruleset
	partial    bool        // the two hold only those chains that may differ
	chains     []chainDiff // those that differ, in order
}

// chainDiff is what leads from the rules that a chain has to those that it should have.
type chainDiff struct {
	table, name string
	exists      bool // the chain is there; of no interest for a built-in one
	wanted      bool // it should be
	anew        bool // it is emptied and written whole
	remove      []rule
	insert      []insertion
}

// insertion is a rule with its place, counted from 0, in a chain that has got those before it.
type insertion struct {
	rule
	at    int
	last  bool // at the chain's end
	again bool // it was there, and is only written again
}

// compare finds what has to change. Chains that are in have and not in want go, if they are ours.
func compare(have, want ruleset) difference {
	d := difference{have: have, want: want}
	for _, name := range tables {
		h, w := have[name], want[name]
		if h == nil {
			h = &table{}
		}
		if w == nil {
			w = &table{}
		}
		if w.opaque {
			continue // nobody knows what to go back to
		}
		names := slices.AppendSeq(slices.Collect(maps.Keys(h.chains)), maps.Keys(w.chains))
		slices.Sort(names)
		for _, chain := range slices.Compact(names) {
			c := chainDiff{table: name, name: chain}
			var had, wanted []rule
			had, c.exists = h.chains[chain]
			wanted, c.wanted = w.chains[chain]
			switch {
			case !ours(chain):
				c.compareHook(had, wanted)
			case c.wanted:
				c.anew = h.opaque && c.exists
				c.compareRules(had, wanted)
			}
			if !c.empty() {
				d.chains = append(d.chains, c)
			}
		}
	}
	d.carry()
	return d
}

// carry lets what came from a floating IP be counted on when it gets another fixed address, which
// makes other rules of it.
func (d difference) carry() {
	type key struct {
		table string
		of    netip.Addr
	}
	counted := map[key]dataplane.Traffic{}
	for _, c := range d.chains {
		for _, r := range c.gone(d.have) {
			if e, ok := parseEntry(c.name, r); ok && e.root == bySrc && r.traffic.Packets > 0 {
				counted[key{c.table, e.floating}] = r.traffic
			}
		}
	}
	for _, c := range d.chains {
		for i, r := range c.insert {
			if e, ok := parseEntry(c.name, r.rule); ok && e.root == bySrc && r.traffic.Packets == 0 {
				c.insert[i].traffic = counted[key{c.table, e.floating}]
			}
		}
	}
}

// gone are the rules that the chain will not have any more.
func (c chainDiff) gone(have ruleset) []rule {
	if ours(c.name) && !c.wanted {
		list := have.chain(c.table, c.name)
		return list
	}
	return c.remove
}

// changed are the rules that the chain has lost, or not got yet, when all is done; written again is
// no change.
func (c chainDiff) changed() (gone, come []rule) {
	for _, r := range c.remove {
		if !slices.ContainsFunc(c.insert, func(i insertion) bool { return i.spec == r.spec }) {
			gone = append(gone, r)
		}
	}
	for _, i := range c.insert {
		if !i.again {
			come = append(come, i.rule)
		}
	}
	return gone, come
}

// leaves says that none of a family's tables holds anything of ours any more, and some did.
func (d difference) leaves(f family) bool {
	had, has := false, false
	for _, table := range tables {
		if of, _ := splitTable(table); of == f {
			had, has = had || d.have.holds(table), has || d.want.holds(table)
		}
	}
	return had && !has
}

func (d difference) empty() bool { return len(d.chains) == 0 }

func (c chainDiff) empty() bool {
	same := !c.anew && len(c.remove)+len(c.insert) == 0
	return same && (c.exists == c.wanted || !ours(c.name))
}

// compareRules keeps what it can, so that counters survive. A chain whose order is wrong, or which
// has a rule twice, or one that is none of ours and may not be what iptables-save made of it, is
// written anew, with the counters that it had when it was read.
func (c *chainDiff) compareRules(have, want []rule) {
	left := make(map[string]*rule, len(want)) // of those wanted, what was not found yet
	for i := range want {
		left[want[i].spec] = &want[i]
	}
	var kept []rule
	for _, h := range have {
		w, known := left[h.spec]
		switch {
		case w != nil && (w.of == h.of || !h.of.IsValid()):
			left[h.spec] = nil
			kept = append(kept, h)
		default:
			c.remove = append(c.remove, h)
			twice := known && w == nil // iptables would take the first of the two, which has counted
			c.anew = c.anew || twice || !ofTree(c.name, h)
		}
	}
	n := 0
	for i, w := range want {
		if n < len(kept) && kept[n].spec == w.spec {
			n++
			continue
		}
		c.insert = append(c.insert, insertion{rule: w, at: i, last: n == len(kept)})
	}
	if c.anew = c.anew || n < len(kept); !c.anew {
		return
	}
	c.insert = nil
	for i, w := range want {
		again := false
		if k := slices.IndexFunc(kept, func(h rule) bool { return h.spec == w.spec }); k >= 0 {
			w.traffic, again = kept[k].traffic, true
		}
		c.insert = append(c.insert, insertion{rule: w, at: i, last: true, again: again})
	}
}

// compareHook looks at nothing but our own rules in a built-in chain, and at how many stand before
// them.
func (c *chainDiff) compareHook(have, want []rule) {
	h, w := hooks(have), hooks(want)
	if slices.EqualFunc(h, w, func(a, b insertion) bool { return a.spec == b.spec && a.at == b.at }) {
		return
	}
	for _, r := range h {
		c.remove = append(c.remove, r.rule)
	}
	foreign := len(have) - len(h)
	for i, r := range w {
		r.at = min(r.at, foreign+i)
		c.insert = append(c.insert, r)
	}
}

// hooks are those rules of a built-in chain that lead to ours.
func hooks(rules []rule) (list []insertion) {
	for i, r := range rules {
		if r.leadsToUs() {
			list = append(list, insertion{rule: r, at: i})
		}
	}
	return list
}
