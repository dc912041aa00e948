package scheduler

import (
	"math/rand/v2"

	"github.com/l3kit/l3kit/l3"
)

// LeastRouters picks the candidate that hosts the fewest routers. The zero LeastRouters takes the
// first of equals, one by [NewLeastRouters] takes any of them by chance: several services that
// decide at once would otherwise all choose the same one.
type LeastRouters struct{ random *random }

// NewLeastRouters draws from src; nil is a source of its own.
func NewLeastRouters(src rand.Source) *LeastRouters { return &LeastRouters{newRandom(src)} }

// Pick implements [l3.Scheduler]. It may be called concurrently.
func (s *LeastRouters) Pick(_ l3.Router, candidates []l3.Candidate) string {
	if len(candidates) == 0 {
		return ""
	}
	fewest, equals := candidates[0].Routers, 0
	for i := range candidates { // by index, because a candidate is large
		switch n := candidates[i].Routers; {
		case n < fewest:
			fewest, equals = n, 1
		case n == fewest:
			equals++
		}
	}
	chosen := 0
	if s.random != nil {
		chosen = s.random.below(equals)
	}
	for i := range candidates {
		if candidates[i].Routers != fewest {
			continue
		}
		if chosen == 0 {
			return candidates[i].Agent.ID
		}
		chosen--
	}
	return "" // not reached
}
