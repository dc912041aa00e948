package nftables

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// steps tells the difference to people.
func (d difference) steps() []dataplane.Step {
	if d.want == nil {
		if d.have == nil {
			return nil
		}
		return []dataplane.Step{{Op: dataplane.Remove, Kind: "rules", Object: tableText, Disturbs: true}}
	}
	var steps []dataplane.Step
	if d.anew {
		op, detail := dataplane.Add, ""
		if d.have != nil {
			op, detail = dataplane.Change, fmt.Sprintf("made anew, had flags %#x", d.have.flags)
		}
		steps = append(steps, dataplane.Step{Op: op, Kind: "rules", Object: tableText, Detail: detail})
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
			steps = append(steps, s.deviceSteps(d.anew)...)
		}
	}
	return append(steps, d.floatingIPSteps()...)
}

func (d setDiff) definitionSteps() []dataplane.Step {
	switch {
	case d.have == nil:
		return []dataplane.Step{{Op: dataplane.Add, Kind: "rules", Object: "set " + d.want.name}}
	case d.want == nil && d.have.anonymous():
		return nil // the rule that it is part of is told
	case d.want == nil:
		return []dataplane.Step{{Op: dataplane.Remove, Kind: "rules", Object: "set " + d.have.name, Detail: "not ours"}}
	case d.redefined():
		return []dataplane.Step{{Op: dataplane.Change, Kind: "rules", Object: "set " + d.want.name, Detail: "is of another kind, made anew"}}
	}
	return nil
}

func (d chainDiff) step() dataplane.Step {
	switch {
	case d.have == nil:
		return dataplane.Step{Op: dataplane.Add, Kind: "rules", Object: "chain " + d.want.name}
	case d.want == nil:
		return dataplane.Step{Op: dataplane.Remove, Kind: "rules", Object: "chain " + d.have.name, Detail: "not ours"}
	}
	step := dataplane.Step{Op: dataplane.Change, Kind: "rules", Object: "chain " + d.want.name}
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

// deviceSteps tells what changes in the sets whose keys are devices. In a new table only the shared address is worth telling.
func (d setDiff) deviceSteps(anew bool) []dataplane.Step {
	kind, prefix := "rules", d.want.name+" "
	switch d.want.name {
	case sharedSNAT:
		kind, prefix = "snat", ""
	case external, guarded, hairpin:
		if anew {
			return nil
		}
	default:
		return nil
	}
	var steps []dataplane.Step
	for _, key := range d.keys() {
		step := d.elementStep(key)
		step.Kind, step.Object = kind, prefix+keyText(key)
		step.Disturbs = step.Op != dataplane.Add && d.want.isMap()
		steps = append(steps, step)
	}
	return steps
}

func (d setDiff) elementStep(key string) dataplane.Step {
	want, wanted := d.want.elements[key]
	var have element
	var had bool
	if d.have != nil && !d.redefined() {
		have, had = d.have.elements[key]
	}
	switch {
	case !had:
		return dataplane.Step{Op: dataplane.Add, Detail: keyText(want.value)}
	case !wanted:
		return dataplane.Step{Op: dataplane.Remove, Detail: keyText(have.value)}
	default:
		return dataplane.Step{Op: dataplane.Change, Detail: fmt.Sprintf("%s, was %s", keyText(want.value), keyText(have.value))}
	}
}

// keys are those of the elements that change, sorted.
func (d setDiff) keys() []string {
	keys := slices.Concat(d.remove, d.add)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// floatingIPSteps gathers what changes in the four sets of floating IPs by floating IP.
func (d difference) floatingIPSteps() []dataplane.Step {
	found := map[string]*faults{}
	note := func(addr string, s setDiff, key, what string) {
		if found[addr] == nil {
			found[addr] = &faults{}
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
	have := d.have
	if d.anew {
		have = nil
	}
	steps := make([]dataplane.Step, 0, len(found))
	for _, addr := range slices.Sorted(maps.Keys(found)) {
		steps = append(steps, found[addr].step(addr, have.value(fipDNAT, addr), d.want.value(fipDNAT, addr)))
	}
	return steps
}

// faults is what is wrong with the entries of one floating IP.
type faults struct {
	texts    []string
	disturbs bool // mending them takes something away
}

func (f *faults) note(d setDiff, key, what string) {
	switch step := d.elementStep(key); step.Op {
	case dataplane.Add:
		f.texts = append(f.texts, what+" missing")
	case dataplane.Remove:
		f.texts, f.disturbs = append(f.texts, "stray "+what), true
	default:
		f.texts, f.disturbs = append(f.texts, what+" is "+keyText(d.have.elements[key].value)), true
	}
}

// step tells the faults of a floating IP as one step, from the fixed address that it was translated to to the one that it should be.
func (f *faults) step(addr, was, fixed string) dataplane.Step {
	const entries = 4 // of a floating IP
	step := dataplane.Step{Op: dataplane.Change, Kind: "floating-ip", Object: keyText(addr), Detail: strings.Join(f.texts, ", "), Disturbs: f.disturbs}
	switch {
	case fixed == "":
		step.Op = dataplane.Remove
		if was != "" {
			step.Detail = "→ " + keyText(was)
		}
	case was == fixed: // the translation stands; something beside it does not
	case was != "":
		step.Detail = fmt.Sprintf("→ %s, was %s", keyText(fixed), keyText(was))
	case len(f.texts) == entries:
		step.Op, step.Detail, step.Disturbs = dataplane.Add, "→ "+keyText(fixed), false
	}
	return step
}
