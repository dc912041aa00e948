package dataplanetest

import (
	"fmt"

	"github.com/l3kit/l3kit/dataplane"
)

func watchClauses() []clause {
	return []clause{
		{
			name: "watch-announces-damage",
			why: "A dataplane that watches announces each router that somebody else has changed. Whoever waits for the next check instead waits for minutes, " +
				"without traffic.",
			test: watchDamage,
		}, {
			name: "watch-is-silent-about-own-changes",
			why:  "What a dataplane does itself is no news. An agent that is told of it would look at each router once more after each change, or for ever.",
			test: watchOwn,
		},
	}
}

// watches begins a Watch, or ends the clause.
func (s *scene) watches() <-chan dataplane.Drift {
	w, ok := s.dp.(dataplane.Watcher)
	if !ok {
		panic(abort{notApplicable("this dataplane does not watch")})
	}
	announced, err := w.Watch(s.ctx)
	s.must(err)
	if _, err := w.Watch(s.ctx); err == nil {
		s.failf("a second Watch at the same time is no error")
	}
	return announced
}

// announces waits until a router is announced. Another one must not be.
func (s *scene) announces(announced <-chan dataplane.Drift, want string) {
	ctx, cancel := s.soon()
	defer cancel()
	select {
	case got, ok := <-announced:
		if !ok {
			s.must(fmt.Errorf("Watch has ended"))
		}
		if got.Router != want {
			s.failf("%s was announced, not %s", got.Router, want)
		}
	case <-ctx.Done():
		s.failf("%s was not announced", want)
	}
}

// calm returns when what was done to routers before has been examined. Something happens to a
// bystander, who is announced after that, and before anything else.
func (s *scene) calm(announced <-chan dataplane.Drift, other dataplane.Dataplane) {
	s.disturbs(other)
	s.announces(announced, "bystander")
	s.remove("bystander")
}

// recovers is calm after damage. A link that was down comes up a while after it was told to, which
// may have its router announced once more.
func (s *scene) recovers(announced <-chan dataplane.Drift, other dataplane.Dataplane) {
	s.disturbs(other)
	ctx, cancel := s.soon()
	defer cancel()
	for d := (dataplane.Drift{}); d.Router != "bystander"; {
		select {
		case d = <-announced:
		case <-ctx.Done():
			s.failf("bystander was not announced")
			return
		}
	}
	s.remove("bystander")
}

// disturbs has another process remove a router that is not the clause's.
func (s *scene) disturbs(other dataplane.Dataplane) {
	s.apply(small("bystander", 9))
	s.must(other.Delete(s.ctx, "bystander"))
}

func watchDamage(s *scene) {
	d, ok := s.h.(Damager)
	if !ok {
		panic(abort{notApplicable("nothing can be damaged on this host")})
	}
	other, err := s.h.Reopen()
	s.must(err)
	s.closeLater(other)
	s.apply(busy())
	want := s.steady(s.snapshot)
	var announced <-chan dataplane.Drift
	for _, blow := range d.Damages() {
		if blow.Mentions == "" {
			continue
		}
		s.during("%s", blow.Name)
		s.must(blow.Do(s.ctx, "r1"))
		if announced == nil { // what happened before is announced, too
			announced = s.watches()
		}
		s.announces(announced, "r1")
		if plan := s.apply(busy()); plan.Empty() {
			s.failf("Apply has found nothing to do")
		}
		s.recovers(announced, other)
		s.settled("the host, after Apply,", want, s.snapshot)
	}
	s.during("another process applies another router")
	_, err = other.Apply(s.ctx, with(busy(), unbound(fip1)))
	s.must(err)
	s.announces(announced, "r1")
	s.apply(busy())
	s.recovers(announced, other)
	s.during("another process deletes the router")
	s.must(other.Delete(s.ctx, "r1"))
	s.announces(announced, "r1")
}

func watchOwn(s *scene) {
	other, err := s.h.Reopen()
	s.must(err)
	s.closeLater(other)
	s.apply(busy())
	announced := s.watches()
	for _, st := range states() {
		s.during("%s", st.name)
		s.apply(st.router)
		s.calm(announced, other)
		s.apply(st.router)
		_, err := s.dp.Plan(s.ctx, busy())
		s.must(err)
		s.calm(announced, other)
	}
	s.remove("r1")
	s.calm(announced, other)
}
