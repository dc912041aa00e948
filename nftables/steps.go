package nftables

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// steps tells the changes to people. Of forwardings that are among the known ones it tells the ID.
func (c changes) steps(known []dataplane.PortForwarding) []dataplane.Step {
	var steps []dataplane.Step
	for _, d := range c {
		for _, s := range d.steps(known) {
			if d.family() == ipv6 && s.Object != ipv6.table() {
				s.Object = "ip6 " + s.Object
			}
			steps = append(steps, s)
		}
	}
	return steps
}

// steps tells the difference to people.
func (d difference) steps(known []dataplane.PortForwarding) []dataplane.Step {
	tableText := d.family().table()
	if d.want == nil {
		return []dataplane.Step{{Op: dataplane.Remove, Kind: dataplane.KindRules, Object: tableText, Disturbs: d.family() == ipv4}}
	}
	var steps []dataplane.Step
	if d.anew {
		op, detail := dataplane.Add, ""
		if d.have != nil {
			op, detail = dataplane.Change, fmt.Sprintf("made anew, had flags %#x", d.have.flags)
		}
		steps = append(steps, dataplane.Step{Op: op, Kind: dataplane.KindRules, Object: tableText, Detail: detail})
	} else {
		for _, s := range d.sets {
			steps = append(steps, s.definitionSteps()...)
		}
		for _, c := range d.chains {
			steps = append(steps, c.step())
		}
	}
	for _, s := range d.sets {
		if s.want != nil {
			steps = append(steps, s.memberSteps(d.anew, d.twin(s.want.name))...)
		}
	}
	if d.family() == ipv4 {
		steps = append(steps, d.floatingIPSteps()...)
		steps = append(steps, d.forwardingSteps(known)...)
		steps = append(steps, d.limitSteps()...)
	}
	return steps
}

func (d setDiff) definitionSteps() []dataplane.Step {
	switch {
	case d.have == nil:
		return []dataplane.Step{{Op: dataplane.Add, Kind: dataplane.KindRules, Object: "set " + d.want.name}}
	case d.want == nil && d.have.anonymous():
		return nil // the rule that it is part of is told
	case d.want == nil:
		return []dataplane.Step{{Op: dataplane.Remove, Kind: dataplane.KindRules, Object: "set " + d.have.name, Detail: "not ours"}}
	case d.redefined():
		return []dataplane.Step{{Op: dataplane.Change, Kind: dataplane.KindRules, Object: "set " + d.want.name, Detail: "is of another kind, made anew"}}
	}
	return nil
}

func (d chainDiff) step() dataplane.Step {
	switch {
	case d.have == nil:
		return dataplane.Step{Op: dataplane.Add, Kind: dataplane.KindRules, Object: "chain " + d.want.name}
	case d.want == nil:
		return dataplane.Step{Op: dataplane.Remove, Kind: dataplane.KindRules, Object: "chain " + d.have.name, Detail: "not ours"}
	}
	step := dataplane.Step{Op: dataplane.Change, Kind: dataplane.KindRules, Object: "chain " + d.want.name}
	var faults []string
	if d.redefined() {
		faults = append(faults, "hook or policy differs")
	}
	if n := countAbsent(d.want.rules, d.have.rules); n > 0 {
		faults = append(faults, plural(n, "rule")+" missing")
	}
	if n := countAbsent(d.have.rules, d.want.rules); n > 0 {
		faults = append(faults, plural(n, "rule")+" not ours")
	}
	switch {
	case len(faults) > 0:
	case slices.EqualFunc(d.have.rules, d.want.rules, rule.equal):
		faults = append(faults, "written again") // for the sake of a set
	case len(d.have.rules) != len(d.want.rules):
		faults = append(faults, "rules repeated")
	default:
		faults = append(faults, "rules in another order")
	}
	step.Detail = strings.Join(faults, ", ")
	return step
}

// countAbsent counts the rules that are not among others.
func countAbsent(rules, others []rule) (n int) {
	for _, r := range rules {
		if !slices.ContainsFunc(others, r.equal) {
			n++
		}
	}
	return n
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// twin is what changes in the map of floating IPs that has the same keys as a set; then the
// floating IPs' own steps tell of both.
func (d difference) twin(set string) setDiff {
	name, ok := map[string]string{floating: fipDNAT, fixed: fipSNAT, leaving: fipSNAT}[set]
	i := slices.IndexFunc(d.sets, func(s setDiff) bool { return s.want != nil && s.want.name == name })
	if !ok || i < 0 {
		return setDiff{}
	}
	return d.sets[i]
}

// memberSteps tells what changes in the sets whose keys are devices, subnets, or addresses that are
// not all told as floating IPs. In a new table only the shared address is worth telling.
func (d setDiff) memberSteps(anew bool, twin setDiff) []dataplane.Step {
	kind, prefix, text := dataplane.KindRules, d.want.name+" ", keyText
	switch name := d.want.name; {
	case name == sharedSNAT:
		kind, prefix, anew = dataplane.KindSNAT, "", false
	case slices.Contains([]string{external, guarded, hairpin, transit, legs, maxMSS, routed}, name), isScope(name):
	case name == inside:
		text = subnetText
	case slices.Contains([]string{own, elsewhere, floating, fixed, remote, leaving}, name):
		text = addressText
	default:
		return nil
	}
	if anew {
		return nil
	}
	var steps []dataplane.Step
	for _, key := range d.keys() {
		if twin.want != nil && twin.changes(key) && twin.op(key) == d.op(key) {
			continue
		}
		step := d.elementStep(key)
		step.Kind, step.Object = kind, prefix+text(key)
		step.Disturbs = step.Op != dataplane.Add && d.want.isMap() && d.want.name != maxMSS
		steps = append(steps, step)
	}
	return steps
}

// changes reports whether an element comes, goes, or gets another value.
func (d setDiff) changes(key string) bool {
	want, wanted := d.want.elements[key]
	if d.have == nil || d.redefined() {
		return wanted
	}
	have, had := d.have.elements[key]
	return wanted != had || want.value != have.value
}

func (d setDiff) elementStep(key string) dataplane.Step {
	text := keyText
	if d.want.name == maxMSS {
		text = mssText
	}
	want, have := text(d.want.elements[key].value), ""
	if d.want.isMap() {
		have = text(d.has(key))
	}
	switch op := d.op(key); op {
	case dataplane.Add:
		return dataplane.Step{Op: op, Detail: want}
	case dataplane.Remove:
		return dataplane.Step{Op: op, Detail: have}
	default:
		return dataplane.Step{Op: op, Detail: fmt.Sprintf("%s, was %s", want, have)}
	}
}

// op is what happens to the element of a key.
func (d setDiff) op(key string) dataplane.Op {
	_, wanted := d.want.elements[key]
	had := d.have != nil && !d.redefined()
	if had {
		_, had = d.have.elements[key]
	}
	switch {
	case !had:
		return dataplane.Add
	case !wanted:
		return dataplane.Remove
	}
	return dataplane.Change
}

// has is the value that a key has now.
func (d setDiff) has(key string) string {
	if d.have == nil {
		return ""
	}
	return d.have.elements[key].value
}

// keys are those of the elements that change, sorted.
func (d setDiff) keys() []string {
	keys := slices.Concat(d.remove, d.add)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// floatingIPSteps gathers what changes in the four sets of floating IPs by floating IP.
func (d difference) floatingIPSteps() []dataplane.Step {
	if d.anew {
		return newFloatingIPSteps(d.want.set(fipDNAT).elements)
	}
	found := map[string]*faults{}
	note := func(addr string, s setDiff, key, what string) {
		if found[addr] == nil {
			found[addr] = &faults{list: make([]fault, 0, entries)}
		}
		found[addr].note(s, key, what)
	}
	for _, s := range d.sets {
		if s.want == nil {
			continue
		}
		switch name := s.want.name; name {
		case fipDNAT:
			for _, addr := range s.keys() {
				note(addr, s, addr, "dnat entry")
			}
		case fipSNAT:
			for _, fixed := range s.keys() {
				addr := s.want.elements[fixed].value
				if addr == "" {
					addr = s.have.elements[fixed].value
				}
				note(addr, s, fixed, "snat entry")
			}
		case fipIn, fipOut:
			for _, addr := range s.keys() {
				note(addr, s, addr, name+" counter")
			}
		}
	}
	steps := make([]dataplane.Step, 0, len(found))
	for _, addr := range slices.Sorted(maps.Keys(found)) {
		steps = append(steps, found[addr].step(addr, d.have.value(fipDNAT, addr), d.want.value(fipDNAT, addr)))
	}
	return steps
}

// newFloatingIPSteps tells of floating IPs in a table that is made, in which nothing can be wrong
// yet.
func newFloatingIPSteps(toFixed map[string]element) []dataplane.Step {
	steps := make([]dataplane.Step, 0, len(toFixed))
	for _, addr := range slices.Sorted(maps.Keys(toFixed)) {
		steps = append(steps, newFloatingIPStep(addr, toFixed[addr].value))
	}
	return steps
}

func newFloatingIPStep(addr, fixed string) dataplane.Step {
	return dataplane.Step{Op: dataplane.Add, Kind: dataplane.KindFloatingIP, Object: keyText(addr), Detail: "→ " + keyText(fixed)}
}

const entries = 4 // of a floating IP

// faults is what is wrong with the entries of one floating IP.
type faults struct {
	list     []fault
	disturbs bool // mending them takes something away
}

type fault struct {
	what string
	op   dataplane.Op // that mends it
	has  string       // the value that it has, for a change
}

func (f *faults) note(d setDiff, key, what string) {
	op := d.op(key)
	f.list = append(f.list, fault{what, op, d.has(key)})
	f.disturbs = f.disturbs || op != dataplane.Add
}

func (f *faults) String() string {
	texts := make([]string, len(f.list))
	for i, x := range f.list {
		switch x.op {
		case dataplane.Add:
			texts[i] = x.what + " missing"
		case dataplane.Remove:
			texts[i] = "stray " + x.what
		default:
			texts[i] = x.what + " is " + keyText(x.has)
		}
	}
	return strings.Join(texts, ", ")
}

// step tells the faults of a floating IP as one step, from the fixed address that it was translated
// to to the one that it should be.
func (f *faults) step(addr, was, fixed string) dataplane.Step {
	step := dataplane.Step{Op: dataplane.Change, Kind: dataplane.KindFloatingIP, Object: keyText(addr), Disturbs: f.disturbs}
	switch {
	case fixed == "":
		step.Op = dataplane.Remove
		if was != "" {
			step.Detail = "→ " + keyText(was)
		} else {
			step.Detail = f.String()
		}
	case was == fixed: // the translation stands; something beside it does not
		step.Detail = f.String()
	case was != "":
		step.Detail = fmt.Sprintf("→ %s, was %s", keyText(fixed), keyText(was))
	case len(f.list) == entries:
		return newFloatingIPStep(addr, fixed)
	default:
		step.Detail = f.String()
	}
	return step
}
