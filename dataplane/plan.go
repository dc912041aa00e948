package dataplane

import "strings"

// Op is what a step does to its object. It prints as its sign.
type Op string

// The three operations.
const (
	Add    Op = "+"
	Change Op = "~"
	Remove Op = "-"
)

// Step is one change to one object of the host.
type Step struct {
	Op     Op     `json:"op"`
	Kind   string `json:"kind"`             // namespace, sysctl, link, wiring, address, route, rules, floating-ip, connections, snat, …
	Object string `json:"object"`           // which one: "qg-4f0c 203.0.113.5/32"
	Detail string `json:"detail,omitempty"` // what it becomes, and for a change what it was: "mtu 1400, was 1500"
	// Disturbs marks a step that ends or delays traffic which flows now.
	Disturbs bool `json:"disturbs,omitempty"`
}

// String prints the step as a line of a diff. A step that disturbs traffic ends in an exclamation
// mark.
func (s Step) String() string {
	var b strings.Builder
	b.WriteString(string(s.Op) + " " + s.Kind + " " + s.Object)
	if s.Detail != "" {
		b.WriteString(": " + s.Detail)
	}
	if s.Disturbs {
		b.WriteString("  !")
	}
	return b.String()
}

// Plan is an ordered list of steps. An empty one means that the host matches.
type Plan struct {
	Router string `json:"router"`
	Steps  []Step `json:"steps"`
}

// Empty says that there is nothing to do.
func (p Plan) Empty() bool { return len(p.Steps) == 0 }

// Disturbs says that some step ends or delays traffic which flows now.
func (p Plan) Disturbs() bool {
	for _, s := range p.Steps {
		if s.Disturbs {
			return true
		}
	}
	return false
}

// String prints the plan as a diff, one line a step.
func (p Plan) String() string {
	var b strings.Builder
	b.WriteString("router " + p.Router)
	if p.Empty() {
		b.WriteString(": nothing to do")
	}
	for _, s := range p.Steps {
		b.WriteString("\n  " + s.String())
	}
	return b.String()
}
