package nftables

import (
	"maps"
	"slices"
)

// changes is what leads from one ruleset to another: a difference for each family that has a table
// in either. Undoing it is the same the other way round.
type changes []difference

// compareAll finds what has to change in all tables.
func compareAll(have, want ruleset) changes {
	var c changes
	for _, f := range families {
		if h, w := have.of(f), want.of(f); h != nil || w != nil {
			c = append(c, compare(h, w))
		}
	}
	return c
}

// undone is the way back.
func (c changes) undone() changes {
	var back changes
	for _, d := range slices.Backward(c) {
		back = append(back, compare(d.want, d.have))
	}
	return back
}

func (c changes) empty() bool {
	return !slices.ContainsFunc(c, func(d difference) bool { return !d.empty() })
}

// batch is the one transaction that makes them all.
func (c changes) batch() *batch {
	b := &batch{}
	for _, d := range c {
		d.write(b)
	}
	return b
}

// difference is what leads from one content of the table to another.
type difference struct {
	have, want *table

	anew   bool        // the table is made: there is none, or one with flags that ours does not have
	sets   []setDiff   // those that differ
	chains []chainDiff // those that differ
}

// setDiff has no have for a set that is missing, and no want for one that is not of the program.
type setDiff struct {
	have, want  *set
	remove, add []string // keys; one whose value changes is in both
}

// redefined says that there is a set of this name, but another kind of set.
func (d setDiff) redefined() bool {
	return d.have != nil && d.want != nil && !d.have.sameDefinition(d.want)
}

// chainDiff has no have for a chain that is missing, and no want for one that is not of the
// program.
type chainDiff struct{ have, want *chain }

// redefined says that there is a chain of this name, but attached elsewhere or with another policy.
func (d chainDiff) redefined() bool {
	return d.have != nil && d.want != nil && d.have.hook != d.want.hook
}

// compare finds what has to change. Nil stands for no table.
func compare(have, want *table) difference {
	d := difference{have: have, want: want}
	if want == nil {
		return d
	}
	base := have
	if have == nil || have.flags != want.flags {
		d.anew, base = true, nil
	}
	for _, w := range want.sets {
		d.compareSet(base.set(w.name), w)
	}
	for _, w := range want.chains {
		h := base.chain(w.name)
		if h == nil || h.hook != w.hook || !slices.EqualFunc(h.rules, w.rules, rule.equal) {
			d.chains = append(d.chains, chainDiff{h, w})
		}
	}
	if base == nil {
		return d
	}
	for _, h := range base.sets {
		if want.set(h.name) == nil {
			d.sets = append(d.sets, setDiff{have: h})
		}
	}
	for _, h := range base.chains {
		if want.chain(h.name) == nil {
			d.chains = append(d.chains, chainDiff{have: h})
		}
	}
	if slices.ContainsFunc(d.sets, setDiff.redefined) {
		d.rewriteChains() // a set cannot go while rules look into it
	}
	return d
}

func (d *difference) compareSet(h, w *set) {
	s := setDiff{have: h, want: w}
	if h == nil || s.redefined() {
		s.add = slices.Collect(maps.Keys(w.elements))
		d.sets = append(d.sets, s)
		return
	}
	for key, e := range w.elements {
		switch old, ok := h.elements[key]; {
		case !ok:
			s.add = append(s.add, key)
		case old.value != e.value:
			s.remove = append(s.remove, key)
			s.add = append(s.add, key)
		}
	}
	for key := range h.elements {
		if _, ok := w.elements[key]; !ok {
			s.remove = append(s.remove, key)
		}
	}
	if len(s.remove)+len(s.add) > 0 {
		d.sets = append(d.sets, s)
	}
}

// rewriteChains makes every chain be written again.
func (d *difference) rewriteChains() {
	for _, h := range d.have.chains {
		if w := d.want.chain(h.name); w != nil && !slices.ContainsFunc(d.chains, func(c chainDiff) bool { return c.have == h }) {
			d.chains = append(d.chains, chainDiff{h, w})
		}
	}
}

func (d difference) family() family {
	if d.want != nil {
		return d.want.family
	}
	return d.have.family
}

func (d difference) empty() bool {
	return !d.anew && len(d.sets) == 0 && len(d.chains) == 0 && (d.want != nil || d.have == nil)
}

// write adds to a transaction what makes the difference. Its order is what the kernel asks for:
// nothing goes while something refers to it, and nothing refers to what is not there yet. No packet
// sees a step of it, only the whole.
func (d difference) write(b *batch) {
	b.family = d.family()
	if d.have != nil && (d.anew || d.want == nil) {
		b.deleteTable()
	}
	if d.want == nil {
		return
	}
	if d.anew {
		b.addTable(d.want.flags)
	}
	for _, c := range d.chains {
		if c.have != nil {
			b.flushChain(c.have.name)
		}
	}
	for _, s := range d.sets {
		if s.have != nil && !s.have.anonymous() && (s.want == nil || s.redefined()) {
			b.deleteSet(s.have.name)
		}
	}
	for _, c := range d.chains {
		if c.have != nil && (c.want == nil || c.redefined()) {
			b.deleteChain(c.have.name)
		}
	}
	for _, s := range d.sets {
		if s.want != nil && (s.have == nil || s.redefined()) {
			b.addSet(s.want)
		}
	}
	for _, c := range d.chains {
		if c.want != nil && (c.have == nil || c.redefined()) {
			b.addChain(c.want)
		}
	}
	for _, s := range d.sets {
		if len(s.remove) > 0 {
			b.deleteElements(s.have, s.remove)
		}
	}
	for _, s := range d.sets {
		if len(s.add) > 0 {
			b.addElements(s.want, s.add)
		}
	}
	for _, c := range d.chains {
		if c.want == nil {
			continue
		}
		for _, r := range c.want.rules {
			b.addRule(c.want, r)
		}
	}
}
