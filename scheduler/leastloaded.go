package scheduler

import (
	"math/rand/v2"

	"github.com/l3kit/l3kit/l3"
)

// Weights says how much each thing on an agent adds to its load.
type Weights struct {
	Router     float64 // that it hosts by the database
	Interface  float64 // that it reported
	FloatingIP float64 // that it reported
}

// DefaultWeights count a router as much as it costs an idle host, and its parts by what they add to
// it.
func DefaultWeights() Weights { return Weights{Router: 1, Interface: 0.2, FloatingIP: 0.05} }

// LeastLoaded takes two candidates by chance and picks the one with the smaller load. The largest
// load stays close to the average, as it would if all were compared (Mitzenmacher, "The Power of
// Two Choices in Randomized Load Balancing", 2001), but what agents report is late, and services
// that all follow one late report would all run to the same agent.
type LeastLoaded struct {
	random  *random
	weights Weights
}

// NewLeastLoaded draws from src; nil is a source of its own.
func NewLeastLoaded(w Weights, src rand.Source) *LeastLoaded {
	return &LeastLoaded{newRandom(src), w}
}

// Pick implements [l3.Scheduler]. It may be called concurrently.
func (s *LeastLoaded) Pick(_ l3.Router, candidates []l3.Candidate) string {
	switch len(candidates) {
	case 0:
		return ""
	case 1:
		return candidates[0].Agent.ID
	}
	i, j := s.random.two(len(candidates))
	a, b := candidates[i], candidates[j]
	if s.weights.load(b) < s.weights.load(a) {
		a = b
	}
	return a.Agent.ID
}

func (w Weights) load(c l3.Candidate) float64 {
	return w.Router*float64(c.Routers) +
		w.Interface*reported(c.Agent.Capabilities.Interfaces) +
		w.FloatingIP*reported(c.Agent.Capabilities.FloatingIPs)
}

// reported is a count that an agent reported, or 0.
func reported(n *int) float64 {
	if n == nil {
		return 0
	}
	return float64(*n)
}
