package dataplanetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// transition is a call that leads from one state of the host to another.
type transition struct {
	name     string
	from, to string // snapshots
	prepare  func()
	call     func(context.Context, dataplane.Dataplane) error
}

// verdicts ends contexts, and makes operations fail, at many points of changes that add and remove
// ports, floating IPs, addresses and routes.
func verdicts(s *scene) {
	s.cast("web1", "app1", "db1", "outside")
	small, large := busy(), grown()
	empty := s.steady(s.snapshot)
	s.apply(large)
	isLarge := s.steady(s.snapshot)
	s.remove("r1")
	s.apply(small)
	isSmall := s.steady(s.snapshot)

	apply := func(r dataplane.Router) func(context.Context, dataplane.Dataplane) error {
		return func(ctx context.Context, dp dataplane.Dataplane) error {
			_, err := dp.Apply(ctx, r)
			return err
		}
	}
	list := []transition{
		{"ports come and go", isSmall, isLarge, func() { s.apply(small) }, apply(large)},
		{"the same back", isLarge, isSmall, func() { s.apply(large) }, apply(small)},
		{"a new router", empty, isSmall, func() { s.remove("r1") }, apply(small)},
		{"Delete", isSmall, empty, func() { s.apply(small) }, func(ctx context.Context, dp dataplane.Dataplane) error {
			return dp.Delete(ctx, "r1")
		}},
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for _, t := range list {
		s.cancelled(t, seed, random)
		if b, ok := s.h.(Breaker); ok {
			s.broken(t, b)
		}
	}
}

// cancelled ends the context of a call at some of the points where it is looked at, in the process
// that made the old router and in a fresh one.
func (s *scene) cancelled(t transition, seed uint64, random *rand.Rand) {
	try := func(looks int, known bool) (used int, err error) {
		t.prepare()
		dp := s.dp
		if !known {
			fresh, err := s.h.Reopen()
			s.must(err)
			defer fresh.Close()
			dp = fresh
		}
		ctx, cancel := endingContext(s.ctx, looks)
		defer cancel()
		err = t.call(ctx, dp)
		return looks - int(ctx.(*ending).left.Load()), err
	}
	s.during("%s", t.name)
	total, err := try(math.MaxInt32, true)
	s.must(err)
	const most = 6
	points := random.Perm(total)
	points = points[:min(most, total)]
	if total > most {
		points = append(points, total-1, total-2, total-3) // where most of the change is done
	}
	for i, p := range points {
		looks, known := p+1, i%2 == 0
		s.during("%s, the context ends when it is looked at for the %dth time of %d, known %t, seed %d", t.name, looks, total, known, seed)
		_, err := try(looks, known)
		if errors.Is(err, dataplane.ErrNoneInForce) {
			s.failf("neither router is in force: %w", err)
		}
		s.settled("the host", s.claimed(t, err), s.snapshot)
	}
}

// broken makes one operation of a call fail.
func (s *scene) broken(t transition, b Breaker) {
	for after := range 7 {
		s.during("%s, failing after %d operations", t.name, after)
		t.prepare()
		heal := b.Break(after)
		err := t.call(s.ctx, s.dp)
		heal()
		claimed := s.claimed(t, err)
		if err == nil || errors.Is(err, dataplane.ErrOldInForce) {
			s.settled("the host", claimed, s.snapshot)
			continue
		}
		// Of the old router something may be left.
		if errors.Is(err, dataplane.ErrNoneInForce) {
			s.failf("a single failure has left neither router in force: %w", err)
		}
		s.must(t.call(s.ctx, s.dp))
		s.settled("the host, after the next call,", t.to, s.snapshot)
	}
}

// claimed is the state in which the host is according to an error.
func (s *scene) claimed(t transition, err error) string {
	if err == nil {
		return t.to
	}
	claims := map[error]string{dataplane.ErrOldInForce: t.from, dataplane.ErrNewInForce: t.to, dataplane.ErrNoneInForce: ""}
	var made []error
	for c := range claims {
		if errors.Is(err, c) {
			made = append(made, c)
		}
	}
	if len(made) != 1 {
		s.must(fmt.Errorf("the error does not tell which router is in force, but %d things: %w", len(made), err))
	}
	return claims[made[0]]
}
