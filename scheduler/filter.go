package scheduler

import "github.com/l3kit/l3kit/l3"

// Filter says whether a candidate may host a router: a reason of the operator's own, beside those
// that the service has.
type Filter func(l3.Router, l3.Candidate) bool

// Filtered lets a scheduler choose among those that pass every filter. When none does, the router
// stays without a host until one does.
type Filtered struct {
	Scheduler l3.Scheduler
	Filters   []Filter
}

// Pick implements [l3.Scheduler]. It may be called concurrently if the scheduler and the filters
// may.
func (f Filtered) Pick(r l3.Router, candidates []l3.Candidate) string {
	var fit []l3.Candidate
	for _, c := range candidates {
		if f.pass(r, c) {
			fit = append(fit, c)
		}
	}
	if len(fit) == 0 {
		return ""
	}
	return f.Scheduler.Pick(r, fit)
}

func (f Filtered) pass(r l3.Router, c l3.Candidate) bool {
	for _, filter := range f.Filters {
		if !filter(r, c) {
			return false
		}
	}
	return true
}

// AtMost passes agents that host fewer than n routers.
func AtMost(n int) Filter {
	return func(_ l3.Router, c l3.Candidate) bool { return c.Routers < n }
}
