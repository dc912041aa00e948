package l3

// Scheduler chooses a host for a router. It has no clock and does no I/O.
type Scheduler interface {
	// Pick returns the ID of one of the candidates, which all fit, and of which there is at least
	// one. Empty: none of them.
	Pick(r Router, candidates []Candidate) string
}

// Candidate is an agent that could host a router.
type Candidate struct {
	Agent   Agent
	Routers int // that it hosts by the database
}
