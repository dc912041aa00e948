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

// Kind is a kind of object that a host holds for a router. Dataplanes other than those of this
// module may have further kinds.
type Kind string

// The kinds of objects.
const (
	KindNamespace     Kind = "namespace"       // what the router runs in
	KindOwner         Kind = "owner"           // on whose behalf it runs
	KindSysctl        Kind = "sysctl"          // a setting of the kernel in the namespace
	KindWiring        Kind = "wiring"          // what attaches a port to its network, on the host's side as well
	KindLink          Kind = "link"            // a port's network device in the router
	KindAddress       Kind = "address"         // an address on such a device
	KindRoute         Kind = "route"           // a route of the router, whether it asked for it or it follows from the gateway
	KindPolicyRule    Kind = "policy-rule"     // what decides which packets look in which routing table
	KindRules         Kind = "rules"           // translation and filtering, other than the following two
	KindSNAT          Kind = "snat"            // the address that hosts without a floating IP leave with
	KindFloatingIP    Kind = "floating-ip"     // the translation of a floating IP
	KindForwarding    Kind = "port-forwarding" // the translation of a port forwarding
	KindLimit         Kind = "limit"           // of the bandwidth of an address, in one direction
	KindAdvertisement Kind = "advertisement"   // what a port advertises to hosts on its link
	KindConnections   Kind = "connections"     // connections that end
)

// Step is one change to one object of the host. It prints as a line for people; programs branch on
// Op, Kind, ID and Disturbs.
type Step struct {
	Op   Op   `json:"op"`
	Kind Kind `json:"kind"`
	// ID is that of the [Port], [FloatingIP] or [PortForwarding] that the object belongs to: the
	// port of a link, its wiring, an address or a shared address, the floating IP of a translation
	// or of an address that is its own, and the forwarding of a translation. It is empty for what
	// belongs to none, such as an address that forwardings share, and for what nobody knows the ID
	// of, such as a floating IP that another process added.
	ID     string `json:"id,omitempty"`
	Object string `json:"object"`           // which one, by its name on the host: "qg-4f0c 203.0.113.5/32"
	Detail string `json:"detail,omitempty"` // what it becomes, and for a change what it was: "mtu 1400, was 1500"
	// Disturbs marks a step that ends or delays traffic which flows now.
	Disturbs bool `json:"disturbs,omitempty"`
}

// String prints the step as a line of a diff. A step that disturbs traffic ends in an exclamation
// mark.
func (s Step) String() string {
	var b strings.Builder
	b.WriteString(string(s.Op) + " " + string(s.Kind) + " " + s.Object)
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
