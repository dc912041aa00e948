package dataplanetest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

func ownerClauses() []clause {
	return []clause{{
		name: "owner-is-kept",
		why: "The host keeps on whose behalf a router runs: Apply writes it without disturbing traffic, a router without one " +
			"leaves it, and Plan names the difference. By it a process that has lost its own records knows which routers " +
			"are not its control plane's.",
		test: owners,
	}, {
		name: "inspect-reads-the-host",
		why: "Inspect tells which addresses a router answers for, and on which networks, whoever applied it, and touches nothing. " +
			"By it nobody else is given an address, or the segment of a network, that a router without a record has.",
		test: inspections,
	}}
}

func ownedBy(owner string) func(*dataplane.Router) {
	return func(r *dataplane.Router) { r.Owner = owner }
}

// isOwned wants a process that has just started to see this owner.
func (s *scene) isOwned(owner string) {
	in, err := s.inspects("r1")
	if err == nil && in.Owner != owner {
		err = fmt.Errorf("it is %q, not %q", in.Owner, owner)
	}
	if err != nil {
		s.failf("owner by Inspect: %w", err)
	}
}

func (s *scene) inspects(id string) (dataplane.Inspection, error) {
	fresh, err := s.h.Reopen()
	s.must(err)
	defer fresh.Close()
	return fresh.Inspect(s.ctx, id)
}

func owners(s *scene) {
	s.cast("web1", "outside")
	longest := "Deployment-6ba7b810_9dad.11d1-80b4-00c04fd430c8-and-a-tail-of-it"
	for _, step := range []struct {
		name   string
		router dataplane.Router
		owner  string
		steps  []dataplane.Op // those that the plan must have for the owner
	}{
		{"a new router", with(busy(), ownedBy("one")), "one", nil},
		{"the same again", with(busy(), ownedBy("one")), "one", nil},
		{"without an owner", busy(), "one", nil},
		{"without an owner, and changed", with(busy(), snat(false)), "one", nil},
		{"of another", with(busy(), ownedBy("two")), "two", []dataplane.Op{dataplane.Change}},
		{"of another, with fewer floating IPs", with(busy(), ownedBy("one"), func(r *dataplane.Router) { r.FloatingIPs = r.FloatingIPs[:1] }),
			"one", []dataplane.Op{dataplane.Change}},
		{"with a long name", with(busy(), ownedBy(longest)), longest, []dataplane.Op{dataplane.Change}},
	} {
		s.during("%s", step.name)
		plan, err := s.dp.Plan(s.ctx, step.router)
		s.must(err)
		if step.name != "a new router" {
			var got []dataplane.Op
			for _, x := range plan.Steps {
				if x.Kind == dataplane.KindOwner {
					got = append(got, x.Op)
				}
				if x.Kind == dataplane.KindOwner && x.Disturbs {
					s.failf("the step %s disturbs traffic", x)
				}
			}
			if !slices.Equal(got, step.steps) {
				s.failf("steps for the owner are %q, not %q: %s", got, step.steps, plan)
			}
		}
		if done := s.apply(step.router); !slices.Equal(done.Steps, plan.Steps) {
			s.fail(differ("what Apply did", plan.String()+"\n", done.String()+"\n"))
		}
		s.isOwned(step.owner)
		if again := s.apply(step.router); !again.Empty() {
			s.failf("applying the same again is not empty: %s", again)
		}
		s.check(probe{from: "outside", to: fip1, at: "web1", sees: outsideAddr, as: web1Addr})
	}
	s.during("a router that had no owner")
	s.remove("r1")
	s.apply(busy())
	s.isOwned("")
	s.apply(with(busy(), ownedBy("one")))
	s.isOwned("one")
	if _, err := s.dp.Apply(s.ctx, with(busy(), ownedBy("a b"))); !errors.Is(err, dataplane.ErrInvalid) {
		s.failf("an owner with a space: %v, not ErrInvalid", err)
	}
}

func inspections(s *scene) {
	absent := func(id string) {
		if _, err := s.inspects(id); !errors.Is(err, os.ErrNotExist) {
			s.failf("Inspect of a router that is not there: %v, not ErrNotExist", err)
		}
	}
	absent("r1")
	for _, st := range states() {
		s.during("%s", st.name)
		s.apply(st.router)
		before := s.steady(s.snapshot)
		in, err := s.inspects("r1")
		s.must(err)
		if got, want := held(in), wantHeld(st.router); !slices.Equal(got, want) {
			s.failf("Inspect has %v, not %v", got, want)
		}
		after, err := s.snapshot()
		s.must(err)
		s.fail(differ("the host, after Inspect,", before, after))
	}
	if h, ok := s.h.(Trespasser); ok {
		s.during("a name that is somebody else's")
		s.remove("r1")
		intact, err := h.Trespass(s.ctx, "r1")
		s.must(err)
		absent("r1")
		s.fail(intact())
	}
}

// held is as far as every host can show: which network a port is on, but not how that is carried.
func held(in dataplane.Inspection) (list []string) {
	for _, h := range in.Held {
		list = append(list, h.Addr.String()+" on "+h.Network.ID)
	}
	return list
}

func wantHeld(r dataplane.Router) []string {
	var in dataplane.Inspection
	add := func(n dataplane.Network, addrs ...netip.Prefix) {
		for _, a := range addrs {
			in.Held = append(in.Held, dataplane.HeldAddr{Network: n, Addr: a.Addr()})
		}
	}
	for _, p := range r.Ports {
		add(p.Network, p.Addrs...)
	}
	if r.Transit != nil {
		add(r.Transit.Network, r.Transit.Addrs...)
	}
	if r.Gateway != nil {
		add(r.Gateway.Network, r.Gateway.Addrs...)
		for _, f := range r.FloatingIPs {
			add(r.Gateway.Network, netip.PrefixFrom(f.Addr, 32))
		}
		for _, a := range r.ForwardingAddrs() {
			add(r.Gateway.Network, netip.PrefixFrom(a, 32))
		}
	}
	dataplane.SortHeld(in.Held)
	return held(in)
}
