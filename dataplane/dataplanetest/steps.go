package dataplanetest

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

func stepClauses() []clause {
	return []clause{{
		name: "steps-name-their-objects",
		why: "Each step says of which kind its object is, and which port, floating IP or port forwarding it belongs to. " +
			"A control plane that shows what a change does to a customer's floating IP would otherwise have to parse text.",
		test: identities,
	}}
}

// identities compares a plan's steps with what a change is about.
func identities(s *scene) {
	before := with(busy(), func(r *dataplane.Router) { r.Routes = nil })
	s.apply(before)
	after := with(before, without("db"), unbound(fip1), unbound(fip2), floating(fip2, web1Addr), floating(fip3, app1Addr), func(r *dataplane.Router) {
		r.Ports[0].MTU = 1400
	}, unforward("8080"), forward("8080", app1Addr, "7000"), unforward("9000-9009"), forward("9100-9109", app1Addr, "7000"))
	id := func(r dataplane.Router, a netip.Addr) string {
		i := slices.IndexFunc(r.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Addr == a })
		return r.FloatingIPs[i].ID
	}
	lost, moved, came := id(before, fip1), id(after, fip2), id(after, fip3)
	ids := map[string]bool{"web": true, "app": true, "db": true, "ext": true, lost: true, moved: true, came: true, "": true}
	for _, f := range slices.Concat(before.PortForwardings, after.PortForwardings) {
		ids[f.ID] = true
	}
	port := func(ports string) string { return "pf-" + forwardAddr.String() + "-tcp-" + ports }
	type want struct {
		op    dataplane.Op
		kinds []dataplane.Kind
		id    string
	}
	forwarding := []dataplane.Kind{dataplane.KindForwarding}
	translation, address := []dataplane.Kind{dataplane.KindFloatingIP}, []dataplane.Kind{dataplane.KindAddress}
	device := []dataplane.Kind{dataplane.KindLink, dataplane.KindWiring}
	wants := []want{
		{dataplane.Change, device, "web"}, {dataplane.Remove, device, "db"},
		{dataplane.Add, translation, came}, {dataplane.Add, address, came}, {dataplane.Change, translation, moved},
		{dataplane.Change, forwarding, port("8080")}, {dataplane.Add, forwarding, port("9100-9109")},
	}
	check := func(plan dataplane.Plan, wants []want) {
		for _, step := range plan.Steps {
			if step.Kind == "" || !ids[step.ID] {
				s.failf("%q is of kind %q and belongs to %q", step, step.Kind, step.ID)
			}
		}
		for _, w := range wants {
			if !slices.ContainsFunc(plan.Steps, func(x dataplane.Step) bool {
				return x.Op == w.op && slices.Contains(w.kinds, x.Kind) && x.ID == w.id
			}) {
				s.failf("no step %s of kind %v is for %s:\n%s", w.op, w.kinds, w.id, plan)
			}
		}
	}
	s.during("a fresh process plans")
	fresh, err := s.h.Reopen()
	s.must(err)
	s.closeLater(fresh)
	plan, err := fresh.Plan(s.ctx, after)
	s.must(err)
	check(plan, wants)
	s.during("the process that applied the router changes it")
	check(s.apply(after), append(wants, want{dataplane.Remove, translation, lost}, want{dataplane.Remove, address, lost},
		want{dataplane.Remove, forwarding, port("9000-9009")}))
	s.during("one floating IP less")
	s.apply(after) // a dataplane may trust what it knows from now on, and go a shorter way
	less := with(after, unbound(fip3))
	check(s.apply(less), []want{{dataplane.Remove, translation, came}, {dataplane.Remove, address, came}})
	s.during("forwardings change")
	s.apply(less)
	check(s.apply(with(less, unforward("9100-9109"), unforward("8080"), forward("8080", web1Addr, "7000"))),
		[]want{{dataplane.Remove, forwarding, port("9100-9109")}, {dataplane.Change, forwarding, port("8080")}})
}
