package iptables

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// steps tells the difference to people: first tables and chains, rule by rule in the words of
// iptables, then shared addresses, then floating IPs, each with all that is wrong about it. How a
// tree has to grow for an address is not told.
func (d difference) steps() []dataplane.Step {
	var steps, shared []dataplane.Step
	fips, members, forwardings, limited := d.floatingIPs(), d.members(), d.forwardings(), d.limits()
	for _, name := range tables {
		if s, ok := d.tableStep(name); ok {
			steps = append(steps, s)
		}
	}
	for _, c := range d.chains {
		for _, a := range sharedAddresses(c) {
			shared = append(shared, a.step())
		}
		if _, whole := d.tableStep(c.table); !whole && d.told(c, fips, members) && !forwards(c.name, forwardings) && !limits(c, limited) {
			steps = append(steps, c.steps()...)
		}
	}
	for _, m := range members {
		if _, whole := d.tableStep(m.table); !whole && !m.of(fips) && !m.forwards(forwardings) {
			steps = append(steps, m.step())
		}
	}
	steps = append(steps, shared...)
	for _, addr := range slices.SortedFunc(maps.Keys(fips), netip.Addr.Compare) {
		steps = append(steps, fips[addr].step(addr))
	}
	return slices.Concat(steps, forwardingSteps(forwardings), limitSteps(limited))
}

// tableStep tells that the whole of a table comes, goes, or is written anew.
func (d difference) tableStep(name string) (dataplane.Step, bool) {
	step := dataplane.Step{Kind: dataplane.KindRules, Object: name}
	has, wants := d.have.holds(name), d.want.holds(name)
	switch {
	case d.partial:
		return step, false
	case has && d.have[name].opaque && wants:
		step.Op, step.Detail = dataplane.Change, "has rules that iptables cannot show, written anew"
	case !has && wants:
		step.Op = dataplane.Add
	case has && !wants:
		step.Op, step.Disturbs = dataplane.Remove, true
	default:
		return step, false
	}
	return step, true
}

// told says whether the chain's own rules are worth a step, floating IPs and shared addresses
// apart: not if it is that part of a tree in which addresses change.
func (d difference) told(c chainDiff, fips map[netip.Addr]*faults, members []member) bool {
	p, inTree := grown(c.name)
	if _, ofPorts := portsOf(c.name); ofPorts && d.partial {
		return false
	}
	if !inTree {
		return true
	}
	if d.partial || slices.ContainsFunc(members, func(m member) bool { return m.table == c.table && m.root == rootOf(c.name) && p.Contains(m.addr) }) {
		return false
	}
	for addr, f := range fips {
		if root := rootOf(c.name); (root == byDst || root == byEdge && c.table == mangle) && p.Contains(addr) {
			return false
		}
		if root := rootOf(c.name); (root == bySrc || root == byFixed) && slices.ContainsFunc(f.fixed, p.Contains) {
			return false
		}
	}
	return true
}

// steps tells what happens to the chain and to its rules.
func (c chainDiff) steps() []dataplane.Step {
	object := c.table + " " + c.name
	step := func(op dataplane.Op, detail string) dataplane.Step {
		return dataplane.Step{Op: op, Kind: dataplane.KindRules, Object: object, Detail: detail}
	}
	switch {
	case ours(c.name) && !c.exists:
		return []dataplane.Step{step(dataplane.Add, "")}
	case ours(c.name) && !c.wanted:
		return []dataplane.Step{step(dataplane.Remove, "not ours")}
	}
	var steps []dataplane.Step
	gone, come := c.changed()
	for _, r := range gone {
		if !c.describes(r) {
			steps = append(steps, step(dataplane.Remove, r.spec))
		}
	}
	for _, r := range come {
		if !c.describes(r) {
			steps = append(steps, step(dataplane.Add, r.spec))
		}
	}
	switch {
	case !ours(c.name) && c.moved():
		return []dataplane.Step{step(dataplane.Change, "our rule is not once, and first")}
	case len(gone)+len(come) == 0 && len(c.remove) > 0:
		return []dataplane.Step{step(dataplane.Change, plural(len(c.remove), "rule")+" too many")}
	case len(gone)+len(come) == 0:
		return []dataplane.Step{step(dataplane.Change, "rules in another order")}
	}
	return steps
}

// describes says that a rule is told by a step of another kind.
func (c chainDiff) describes(r rule) bool {
	_, ofFloatingIP := parseEntry(c.name, r)
	_, ofMember := parseMember(c.name, r)
	_, ofForwarding := parseForwarding(c.name, r)
	_, _, ofShared := parseShared(c, r)
	_, _, ofLimit := parseLimit(c.name, r)
	return ofFloatingIP || ofMember || ofForwarding || ofShared || ofLimit
}

// member is an address that comes into one of the other trees, or leaves it.
type member struct {
	table, root string
	addr        netip.Addr
	op          dataplane.Op
	spec        string
}

func (m member) step() dataplane.Step {
	return dataplane.Step{Op: m.op, Kind: dataplane.KindRules, Object: m.table + " " + m.root, Detail: m.spec}
}

// forwards reports whether the steps of forwardings tell of the address.
func (m member) forwards(found map[string]forwardingChange) bool {
	return m.root == byForward && forwards(ports{addr: m.addr}.chain(), found)
}

// forwards reports whether a chain is for ports of an address of which forwardings change.
func forwards(chain string, found map[string]forwardingChange) bool {
	p, ok := portsOf(chain)
	if !ok {
		return false
	}
	for _, f := range found {
		if f.addr == p.addr.String() {
			return true
		}
	}
	return false
}

// of reports whether the step of a floating IP tells of the address.
func (m member) of(fips map[netip.Addr]*faults) bool {
	switch m.root {
	case byEdge:
		return m.table == mangle && fips[m.addr] != nil
	case byFixed:
		for _, f := range fips {
			if slices.Contains(f.fixed, m.addr) {
				return true
			}
		}
	}
	return false
}

// members lists the addresses that change in trees which are not about floating IPs here alone, in
// order.
func (d difference) members() []member {
	var list []member
	for _, c := range d.chains {
		if h := d.have[c.table]; h != nil && h.opaque {
			continue // nobody knows which are there
		}
		note := func(op dataplane.Op, r rule) {
			if a, ok := parseMember(c.name, r); ok {
				list = append(list, member{c.table, rootOf(c.name), a, op, r.spec})
			}
		}
		gone, come := c.changed()
		if ours(c.name) && !c.wanted {
			gone = c.gone(d.have)
		}
		for _, r := range gone {
			note(dataplane.Remove, r)
		}
		for _, r := range come {
			note(dataplane.Add, r)
		}
	}
	slices.SortStableFunc(list, func(a, b member) int {
		return cmp.Or(strings.Compare(a.table, b.table), strings.Compare(a.root, b.root), a.addr.Compare(b.addr))
	})
	return list
}

// moved says that a built-in chain has our rule, but not once, or not where it should be.
func (c chainDiff) moved() bool {
	return slices.ContainsFunc(c.insert, func(i insertion) bool {
		return slices.ContainsFunc(c.remove, func(r rule) bool { return r.spec == i.spec })
	})
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// sharedAddress is a change to the address that hosts without a floating IP leave by a device with.
type sharedAddress struct{ device, was, now string }

func sharedAddresses(c chainDiff) []sharedAddress {
	if c.table != nat || c.name != postrouting {
		return nil
	}
	changes := map[string]sharedAddress{}
	gone, come := c.changed()
	for _, r := range gone {
		if device, addr, ok := parseShared(c, r); ok {
			changes[device] = sharedAddress{device: device, was: addr}
		}
	}
	for _, r := range come {
		if device, addr, ok := parseShared(c, r); ok {
			changes[device] = sharedAddress{device: device, was: changes[device].was, now: addr}
		}
	}
	var list []sharedAddress
	for _, device := range slices.Sorted(maps.Keys(changes)) {
		list = append(list, changes[device])
	}
	return list
}

// parseShared reads "-o device -j SNAT --to-source address …" of the nat table's own POSTROUTING.
func parseShared(c chainDiff, r rule) (device, addr string, ok bool) {
	f := strings.Fields(r.spec)
	if c.table != nat || c.name != postrouting || len(f) < 6 || f[0] != "-o" || strings.Join(f[2:5], " ") != "-j SNAT --to-source" {
		return "", "", false
	}
	return f[1], f[5], true
}

func (a sharedAddress) step() dataplane.Step {
	step := dataplane.Step{Op: dataplane.Change, Kind: dataplane.KindSNAT, Object: a.device, Detail: a.now + ", was " + a.was, Disturbs: true}
	switch {
	case a.was == "":
		step.Op, step.Detail, step.Disturbs = dataplane.Add, a.now, false
	case a.now == "":
		step.Op, step.Detail = dataplane.Remove, a.was
	case a.was == a.now:
		step.Detail, step.Disturbs = a.now+", written otherwise", false
	}
	return step
}

// faults is what is wrong with the rules of one floating IP.
type faults struct {
	was, now string       // fixed address that it is translated to
	fixed    []netip.Addr // those that its rules, of now or before, are about
	texts    []string
	missing  int
	stray    bool
}

// floatingIPs gathers what changes at the ends of the trees by floating IP.
func (d difference) floatingIPs() map[netip.Addr]*faults {
	found := map[netip.Addr]*faults{}
	note := func(c chainDiff, r rule, stray bool) {
		e, ok := parseEntry(c.name, r)
		addr, fixed := e.floating, e.fixed
		if !ok || !addr.IsValid() || c.anew && d.have.contains(c, r) && d.want.contains(c, r) {
			return // written again as it was
		}
		f := found[addr]
		if f == nil {
			f = &faults{was: d.have.fixed(addr), now: d.want.fixed(addr)}
			found[addr] = f
		}
		if fixed.IsValid() {
			f.fixed = append(f.fixed, fixed)
		}
		f.note(describe(c.table, e), stray)
	}
	for _, c := range d.chains {
		if h := d.have[c.table]; h != nil && h.opaque {
			continue // nobody knows which are there
		}
		for _, r := range c.gone(d.have) {
			note(c, r, true)
		}
		for _, r := range c.insert {
			note(c, r.rule, false)
		}
	}
	return found
}

// contains says that a ruleset has a rule in a chain.
func (rs ruleset) contains(c chainDiff, r rule) bool {
	list := rs.chain(c.table, c.name)
	return slices.ContainsFunc(list, func(o rule) bool { return o.spec == r.spec })
}

// fixed is the address that a floating IP is translated to, as text; empty if it is not.
func (rs ruleset) fixed(floating netip.Addr) string {
	if e, ok := rs.find(byDst, floating); ok {
		return e.fixed.String()
	}
	return ""
}

func describe(table string, e entry) string {
	switch {
	case table == nat && e.root == byDst:
		return "dnat rule"
	case table == nat:
		return "snat rule"
	case e.root == byDst:
		return "rule that counts in"
	}
	return "rule that counts out"
}

func (f *faults) note(what string, stray bool) {
	if stray {
		f.texts, f.stray = append(f.texts, "stray "+what), true
	} else {
		f.texts, f.missing = append(f.texts, what+" missing"), f.missing+1
	}
}

// step tells the faults of a floating IP as one step, from the fixed address that it was translated
// to to the one that it should be.
func (f *faults) step(addr netip.Addr) dataplane.Step {
	const entries = 4 // of a floating IP
	slices.Sort(f.texts)
	step := dataplane.Step{
		Op: dataplane.Change, Kind: dataplane.KindFloatingIP, Object: addr.String(),
		Detail: strings.Join(slices.Compact(f.texts), ", "), Disturbs: f.stray,
	}
	switch {
	case f.now == "":
		step.Op = dataplane.Remove
		step.Detail = cmp.Or(strings.TrimSuffix("→ "+f.was, "→ "), step.Detail)
	case f.was == f.now: // the translation stands; something beside it does not
	case f.was != "":
		step.Detail = fmt.Sprintf("→ %s, was %s", f.now, f.was)
	case f.missing == entries && !f.stray:
		step.Op, step.Detail = dataplane.Add, "→ "+f.now
	}
	return step
}
