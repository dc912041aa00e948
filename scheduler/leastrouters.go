package scheduler

import (
	"math/rand/v2"

	"github.com/l3kit/l3kit/l3"
)

// LeastRouters picks the candidate that hosts the fewest routers, and by chance among equals: several services that decide at once would
// otherwise all choose the same one.
type LeastRouters struct{ random *random }

// NewLeastRouters draws from src; nil is a source of its own.
func NewLeastRouters(src rand.Source) *LeastRouters { return &LeastRouters{newRandom(src)} }

// Pick implements [l3.Scheduler]. It may be called concurrently.
func (s *LeastRouters) Pick(_ l3.Router, candidates []l3.Candidate) string {
	var best string
	fewest, equals := 0, 0
	for _, c := range candidates {
		switch {
		case equals == 0 || c.Routers < fewest:
			best, fewest, equals = c.Agent.ID, c.Routers, 1
		case c.Routers == fewest:
			if equals++; s.random.below(equals) == 0 { // each of the equals with the same chance (reservoir sampling)
				best = c.Agent.ID
			}
		}
	}
	return best
}
