package scheduler

import (
	"math/rand/v2"

	"github.com/l3kit/l3kit/l3"
)

// Chance gives every candidate the same chance.
type Chance struct{ random *random }

// NewChance draws from src; nil is a source of its own.
func NewChance(src rand.Source) *Chance { return &Chance{newRandom(src)} }

// Pick implements [l3.Scheduler]. It may be called concurrently.
func (c *Chance) Pick(_ l3.Router, candidates []l3.Candidate) string {
	if len(candidates) == 0 {
		return ""
	}
	return candidates[c.random.below(len(candidates))].Agent.ID
}
