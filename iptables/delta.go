package iptables

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// delta is the difference that c.Since makes. To read or write it costs as much as what changes; to
// find it, a look at each of the others. It is not ok if there is no c.Since, or if that does not
// tell all.
func delta(c namespace.Change) (out difference, ok bool) {
	d := c.Since
	if d == nil {
		return out, false
	}
	i := instanceOf(c.Want)
	changed := members{here: slices.Concat(d.Removed, d.Added)}
	after := members{here: c.Want.FloatingIPs}
	before := members{here: back(after.here, d.Removed, d.Added)}
	out.partial, out.have, out.want = true, ruleset{}, ruleset{}
	if !d.Forwardings.Empty() {
		before.forwarders, after.forwarders, changed.forwarders = renderForwardings(c, out.have, out.want)
	}
	if before.limited, after.limited, changed.limited, ok = limitDelta(c.Want.Limits, d.Limits.Removed, d.Limits.Added); !ok {
		return out, false
	}
	if i.transit != "" {
		if !c.KeepsIPv6() {
			return out, false
		}
		gone, come := remote(d.Remote.Removed), remote(d.Remote.Added)
		t := c.Want.Transit
		after.remote, after.away = remote(t.External), elsewhere(t.Elsewhere)
		before.remote, changed.remote = back(after.remote, gone, come), slices.Concat(gone, come)
		gone, come = elsewhere(d.Elsewhere.Removed), elsewhere(d.Elsewhere.Added)
		before.away, changed.away = back(after.away, gone, come), slices.Concat(gone, come)
		renderInside(c, out.have, out.want)
	}
	for _, t := range trees(i) {
		if len(t.of(changed)) > 0 {
			t.growChanged(out.have.table(t.table), out.want.table(t.table), t.of(before), t.of(after), t.of(changed))
		}
	}
	out = compare(out.have, out.want)
	out.partial = true
	return out, true
}

// back is what a list was before some have gone, and some come.
func back(list, gone, come []dataplane.FloatingIP) []dataplane.FloatingIP {
	added := make(map[dataplane.FloatingIP]bool, len(come))
	for _, f := range come {
		added[f] = true
	}
	return append(slices.DeleteFunc(slices.Clone(list), func(f dataplane.FloatingIP) bool { return added[f] }), gone...)
}

// renderInside adds the chains for the inside, if that changes.
func renderInside(c namespace.Change, have, want ruleset) {
	d := c.Inside()
	if d.Empty() {
		return
	}
	after := namespace.Inside(c.Want)
	before := slices.DeleteFunc(slices.Clone(after), func(p netip.Prefix) bool { return slices.Contains(d.Added, p) })
	before = append(before, d.Removed...)
	for f, table := range map[family]string{ipv4: mangle, ipv6: raw6} {
		if len(only(f, slices.Concat(d.Added, d.Removed))) > 0 {
			dropAll(have.table(table), inside, only(f, before))
			dropAll(want.table(table), inside, only(f, after))
		}
	}
}

// renderForwardings adds the chains for ports that change, and returns the addresses of which ports
// are forwarded before and after, and those that differ.
func renderForwardings(c namespace.Change, have, want ruleset) (before, after, changed []dataplane.FloatingIP) {
	d := c.Since.Forwardings
	type lists struct{ before, after []*dataplane.PortForwarding }
	touched := map[netip.Addr]*lists{}
	for _, f := range slices.Concat(d.Removed, d.Added) {
		touched[f.Addr] = &lists{}
	}
	added := make(map[dataplane.PortForwarding]bool, len(d.Added))
	for _, f := range d.Added {
		added[f] = true
	}
	for i := range c.Want.PortForwardings {
		f := &c.Want.PortForwardings[i]
		t := touched[f.Addr]
		if t == nil {
			continue
		}
		t.after = append(t.after, f)
		if !added[*f] {
			t.before = append(t.before, f)
		}
	}
	for i := range d.Removed {
		f := &d.Removed[i]
		touched[f.Addr].before = append(touched[f.Addr].before, f)
	}
	after = forwarders(c.Want.PortForwardings)
	var gone, come []dataplane.FloatingIP
	for a, t := range touched {
		growChangedPorts(have.table(nat), want.table(nat), a, t.before, t.after)
		switch {
		case len(t.before) == 0:
			come = append(come, dataplane.FloatingIP{Addr: a})
		case len(t.after) == 0:
			gone = append(gone, dataplane.FloatingIP{Addr: a})
		}
	}
	return back(after, gone, come), after, slices.Concat(gone, come)
}

// table returns a table, which is made if there is none.
func (rs ruleset) table(name string) *table {
	if rs[name] == nil {
		rs[name] = &table{chains: map[string][]rule{}}
	}
	return rs[name]
}
