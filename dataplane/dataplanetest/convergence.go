package dataplanetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
)

func convergenceClauses() []clause {
	return []clause{
		{
			name: "apply-twice-writes-nothing",
			why: "Whatever the router is, applying it again does nothing and writes nothing, in this process or a fresh one. Writes that change nothing " +
				"hide those that do.",
			test: applyTwice,
		}, {
			name: "plan-is-what-apply-does",
			why:  "Plan touches nothing, and lists exactly the steps that Apply takes then. People decide by it.",
			test: planIsTrue,
		}, {
			name: "any-state-to-any-other",
			why: "From any router to any other in one Apply, the host ends as it would after a fresh one. State that depends on history is state that " +
				"nobody can reason about: a gateway changed from one network to another in one update is the classic.",
			test: anyToAny,
		}, {
			name: "order-does-not-matter",
			why:  "A router whose lists are in another order is the same router: databases return rows as they like.",
			test: shuffled,
		}, {
			name: "a-failed-apply-repairs",
			why: "An Apply that fails leaves the old router working, or the new one, never a mixture; its connections live on; and the next Apply repairs. " +
				"Failures come in the middle of changes, not between them.",
			test: failures,
		}, {
			name: "cancelled-contexts-return",
			why: "A call whose context ends returns soon, with the context's error, wherever it was; and the next Apply repairs. Otherwise one slow router " +
				"delays an agent's shutdown, or all others.",
			test: cancellations,
		}, {
			name: "errors-tell-which-router-is-in-force",
			why: "After an error of Apply or Delete a sentinel says whether the old router is in force, or the new one, and that is so. When a context ends, it is " +
				"never neither: what can no longer be taken back is finished. A caller that does not know what its host does cannot report it.",
			test: verdicts,
		},
	}
}

func applyTwice(s *scene) {
	for _, st := range states() {
		s.during("%s", st.name)
		s.apply(st.router)
		fresh, err := s.h.Reopen()
		s.must(err)
		writes, err := s.h.Writes(s.ctx, func() error {
			for _, dp := range []dataplane.Dataplane{s.dp, fresh} {
				again, err := dp.Apply(s.ctx, st.router)
				if err != nil {
					return err
				}
				if !again.Empty() {
					return fmt.Errorf("Apply again has done something: %s", again)
				}
				planned, err := dp.Plan(s.ctx, st.router)
				if err != nil {
					return err
				}
				if !planned.Empty() {
					return fmt.Errorf("Plan of what is there wants to do something: %s", planned)
				}
			}
			return fresh.Close()
		})
		s.fail(err)
		for _, w := range writes {
			s.failf("a write that changes nothing: %s", w)
		}
	}
}

func planIsTrue(s *scene) {
	for _, st := range states() {
		s.during("%s", st.name)
		before := s.steady(s.snapshot)
		var planned dataplane.Plan
		writes, err := s.h.Writes(s.ctx, func() (err error) {
			planned, err = s.dp.Plan(s.ctx, st.router)
			return err
		})
		s.must(err)
		for _, w := range writes {
			s.failf("Plan wrote: %s", w)
		}
		after, err := s.snapshot()
		s.must(err)
		s.fail(differ("the host, after a Plan,", before, after))
		if done := s.apply(st.router); !slices.Equal(done.Steps, planned.Steps) || done.Router != planned.Router {
			s.fail(differ("what Apply did", planned.String()+"\n", done.String()+"\n"))
		}
		if planned.Empty() {
			s.failf("Plan has nothing to do, although the router was another one")
		}
	}
}

// fresh returns the host's state after each router was applied to an empty host.
func (s *scene) fresh(list []state) map[string]string {
	texts := map[string]string{}
	for _, st := range list {
		s.apply(st.router)
		texts[st.name] = s.steady(s.snapshot)
		s.remove("r1")
	}
	return texts
}

func anyToAny(s *scene) {
	list := states()
	want := s.fresh(list)
	from := "an empty host"
	step := func(to state) {
		s.during("from %s to %s", from, to.name)
		s.apply(to.router)
		s.settled("the host", want[to.name], s.snapshot)
		from = to.name
	}
	for _, st := range list {
		step(st)
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for range len(list) { // make fuzz walks further
		step(list[random.IntN(len(list))])
		if s.verdict() != nil {
			s.during("the walk with seed %d", seed)
			s.must(errors.New("it is not continued"))
		}
	}
}

func shuffled(s *scene) {
	s.cast("web1", "outside")
	r := with(busy(), route("10.8.0.0/24", "10.0.2.250"), route("10.8.0.0/24", "10.0.2.251"))
	s.apply(r)
	before := s.steady(s.snapshot)
	other := r.Clone()
	slices.Reverse(other.Ports)
	for i := range other.Ports {
		slices.Reverse(other.Ports[i].Addrs)
	}
	slices.Reverse(other.FloatingIPs)
	slices.Reverse(other.Routes)
	slices.Reverse(other.Gateway.NextHops)
	s.check(probe{from: "web1", to: outsideAddr, at: "outside", sees: fip1})
	writes, err := s.h.Writes(s.ctx, func() error {
		plan, err := s.dp.Apply(s.ctx, other)
		if err == nil && !plan.Empty() {
			err = fmt.Errorf("something was done: %s", plan)
		}
		return err
	})
	s.fail(err)
	for _, w := range writes {
		s.failf("a write that changes nothing: %s", w)
	}
	s.remove("r1")
	s.apply(other)
	s.settled("the host, after the router in another order,", before, s.snapshot)
}

// grown is a change of the busy router in which much can fail.
func grown() dataplane.Router {
	return with(busy(), without("db"), unbound(fip1), floating(fip3, web1Addr), route("10.8.0.0/24", "10.0.2.251"),
		func(r *dataplane.Router) {
			r.Ports = append(r.Ports, port("dmz", 5, "10.0.5.1/24"), port("lab", 6, "10.0.6.1/24"))
			r.Ports[0].MTU = 1400
			r.Gateway.Addrs = prefixes("203.0.113.4/24", "203.0.113.9/32", "2001:db8:1::2/64")
		})
}

func failures(s *scene) {
	b, ok := s.h.(Breaker)
	if !ok {
		panic(abort{notApplicable("the harness cannot make operations fail")})
	}
	s.cast("web1", "app1", "outside")
	old, next := busy(), grown()
	s.apply(next)
	want := s.steady(s.snapshot)
	failed := 0
	for after := range 8 {
		s.during("failing after %d operations", after)
		s.apply(old)
		open := s.begin([]talk{east, in2}, true)
		open.pause(s)
		heal := b.Break(after)
		_, err := s.dp.Apply(s.ctx, next)
		heal()
		open.pause(s)
		open.expectUnharmed(s)
		s.fail(s.oldOrNew(err))
		if err != nil {
			failed++
		}
		s.apply(next)
		s.settled("the host, after the next Apply,", want, s.snapshot)
	}
	if failed == 0 {
		s.failf("no Apply has failed, so that nothing is proved")
	}
	s.during("a new router that fails half-way")
	for after := range 4 {
		s.remove("r1")
		empty := s.steady(s.snapshot)
		heal := b.Break(after)
		_, err := s.dp.Apply(s.ctx, next)
		heal()
		if err == nil {
			continue
		}
		s.must(s.dp.Delete(s.ctx, "r1"))
		s.settled("the host, after Delete of what failed,", empty, s.snapshot)
		s.apply(next)
		s.settled("the host, after the next Apply,", want, s.snapshot)
	}
}

// oldOrNew looks from outside at what stands after an Apply: the busy router or the grown one, in
// all respects.
func (s *scene) oldOrNew(applied error) error {
	sees := func(from string, want netip.Addr) bool {
		ctx, cancel := s.soon()
		defer cancel()
		c, err := s.hosts[from].Dial(ctx, dataplane.UDP, netip.AddrPort{}, netip.AddrPortFrom(outsideAddr, servicePort))
		if err != nil {
			return false
		}
		defer c.Close()
		seen, err := c.Exchange(ctx, 0)
		return err == nil && seen.Src.Addr() == want
	}
	reaches := func(a netip.Addr) bool {
		ctx, cancel := s.briefly()
		defer cancel()
		c, err := s.hosts["outside"].Dial(ctx, dataplane.UDP, netip.AddrPort{}, netip.AddrPortFrom(a, servicePort))
		if err != nil {
			return false
		}
		defer c.Close()
		seen, err := c.Exchange(ctx, 0)
		return err == nil && seen.Host == "web1"
	}
	isOld := sees("web1", fip1) && reaches(fip1) && !reaches(fip3)
	isNew := sees("web1", fip3) && reaches(fip3) && !reaches(fip1)
	if !isOld && !isNew || applied == nil && !isNew {
		return fmt.Errorf("neither the old router nor the new one works (after Apply: %w)", cmp.Or(applied, errors.New("no error")))
	}
	return nil
}

func cancellations(s *scene) {
	old, next := busy(), grown()
	s.apply(next)
	want := s.steady(s.snapshot)
	ended, stop := context.WithCancel(s.ctx)
	stop()
	for name, call := range map[string]func() error{
		"Apply":  func() error { _, err := s.dp.Apply(ended, old); return err },
		"Plan":   func() error { _, err := s.dp.Plan(ended, old); return err },
		"Delete": func() error { return s.dp.Delete(ended, "r1") },
		"List":   func() error { _, err := s.dp.List(ended); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			s.failf("%s with a context that has ended: %v, not context.Canceled", name, err)
		}
	}
	s.settled("the host, after calls with a context that had ended,", want, s.snapshot)
	for looks := 1; looks < 4096; looks *= 2 {
		s.during("the context ends when it has been looked at %d times", looks)
		s.apply(old)
		ctx, cancel := endingContext(s.ctx, looks)
		begun := time.Now()
		_, err := s.dp.Apply(ctx, next)
		cancel()
		if took := time.Since(begun); took > lab.Patience(5*time.Second) {
			s.failf("Apply has returned after %s", took)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			s.failf("Apply: %w, not context.Canceled", err)
		}
		s.apply(next)
		s.settled("the host, after the next Apply,", want, s.snapshot)
		if err == nil {
			return // it looks at its context less often than that
		}
	}
}

// ending is a context that ends after it was looked at so many times, at whatever point of an
// operation that is.
type ending struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int64
}

func endingContext(parent context.Context, looks int) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	e := &ending{Context: ctx, cancel: cancel}
	e.left.Store(int64(looks))
	return e, cancel
}

func (e *ending) look() {
	if e.left.Add(-1) <= 0 {
		e.cancel()
	}
}

func (e *ending) Err() error            { e.look(); return e.Context.Err() }
func (e *ending) Done() <-chan struct{} { e.look(); return e.Context.Done() }
