package scheduler

import (
	"cmp"
	"slices"
)

// Load is what an agent hosts.
type Load struct {
	Agent   string   // ID
	Routers []string // IDs
}

// Move takes a router from one agent to another. Moving ends connections, so there should be few.
type Move struct{ Router, From, To string }

// Rebalance says which routers to move so that the numbers of routers differ by one at most, with
// as few moves as that takes. fits says whether an agent may host a router; nil: any may. Where
// that keeps routers from the agents that have too few, the numbers stay apart, but no move is made
// that does not bring them closer. The same loads give the same moves, in whatever order they come.
func Rebalance(loads []Load, fits func(router, agent string) bool) []Move {
	if len(loads) == 0 {
		return nil
	}
	hosts := make([]*host, 0, len(loads))
	total := 0
	for _, l := range loads {
		routers := slices.Sorted(slices.Values(l.Routers))
		hosts = append(hosts, &host{agent: l.Agent, routers: routers})
		total += len(routers)
	}
	// The fullest agents keep one more where the total does not divide: every other choice would
	// move more.
	slices.SortFunc(hosts, func(a, b *host) int {
		return cmp.Or(cmp.Compare(len(b.routers), len(a.routers)), cmp.Compare(a.agent, b.agent))
	})
	share, rest := total/len(hosts), total%len(hosts)
	var givers, takers []*host
	for i, h := range hosts {
		h.excess = len(h.routers) - share
		if i < rest {
			h.excess--
		}
		switch {
		case h.excess > 0:
			givers = append(givers, h)
		case h.excess < 0:
			takers = append(takers, h)
		}
	}
	var moves []Move
	for _, giver := range givers {
		for i := len(giver.routers) - 1; i >= 0 && giver.excess > 0 && len(takers) > 0; i-- {
			router := giver.routers[i]
			t := slices.IndexFunc(takers, func(h *host) bool { return fits == nil || fits(router, h.agent) })
			if t < 0 {
				continue
			}
			moves = append(moves, Move{Router: router, From: giver.agent, To: takers[t].agent})
			giver.excess--
			if takers[t].excess++; takers[t].excess == 0 {
				takers = slices.Delete(takers, t, t+1)
			}
		}
	}
	return moves
}

type host struct {
	agent   string
	routers []string
	excess  int // routers above its share; negative: below
}
