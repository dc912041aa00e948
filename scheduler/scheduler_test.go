package scheduler_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/scheduler"
)

func candidates(routers ...int) (cs []l3.Candidate) {
	for i, n := range routers {
		cs = append(cs, l3.Candidate{Agent: l3.Agent{ID: fmt.Sprint("agent-", i)}, Routers: n})
	}
	return cs
}

func source() rand.Source { return rand.NewPCG(1, 2) }

// tally counts how often each candidate is picked.
func tally(s l3.Scheduler, n int, cs []l3.Candidate) map[string]int {
	picked := map[string]int{}
	for range n {
		picked[s.Pick(l3.Router{}, cs)]++
	}
	return picked
}

func TestChanceGivesEveryCandidateItsShare(t *testing.T) {
	for id, n := range tally(scheduler.NewChance(source()), 4000, candidates(0, 100, 3, 7)) {
		require.InDelta(t, 1000, n, 150, id)
	}
}

func TestLeastRoutersPicksTheFewestAndSpreadsAmongEquals(t *testing.T) {
	picked := tally(scheduler.NewLeastRouters(source()), 4000, candidates(5, 2, 9, 2))
	require.Len(t, picked, 2)
	require.InDelta(t, 2000, picked["agent-1"], 200)
	require.Equal(t, map[string]int{"agent-1": 100}, tally(&scheduler.LeastRouters{}, 100, candidates(5, 2, 9, 2)), "without a source, the first")
}

func TestLeastLoadedCountsWhatAgentsReport(t *testing.T) {
	cs := candidates(3, 3)
	cs[0].Agent.Capabilities.FloatingIPs = new(1000)
	require.Equal(t, map[string]int{"agent-1": 100}, tally(scheduler.NewLeastLoaded(scheduler.DefaultWeights(), source()), 100, cs))
}

func TestLeastLoadedNeverPicksTheMostLoaded(t *testing.T) {
	picked := tally(scheduler.NewLeastLoaded(scheduler.DefaultWeights(), source()), 3000, candidates(1, 2, 3))
	require.Zero(t, picked["agent-2"], "whatever it is compared with has less")
	require.Positive(t, picked["agent-1"])
}

func TestSameSourceSameChoices(t *testing.T) {
	for name, make := range map[string]func() l3.Scheduler{
		"Chance":       func() l3.Scheduler { return scheduler.NewChance(source()) },
		"LeastRouters": func() l3.Scheduler { return scheduler.NewLeastRouters(source()) },
		"LeastLoaded":  func() l3.Scheduler { return scheduler.NewLeastLoaded(scheduler.DefaultWeights(), source()) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := make(), make()
			for range 100 {
				cs := candidates(1, 1, 1, 2, 1)
				require.Equal(t, a.Pick(l3.Router{}, cs), b.Pick(l3.Router{}, cs))
			}
		})
	}
}

func TestNobodyToPick(t *testing.T) {
	require.Empty(t, scheduler.NewChance(nil).Pick(l3.Router{}, nil))
	require.Empty(t, scheduler.NewLeastRouters(nil).Pick(l3.Router{}, nil))
	require.Empty(t, scheduler.NewLeastLoaded(scheduler.DefaultWeights(), nil).Pick(l3.Router{}, nil))
	require.Equal(t, "agent-0", scheduler.NewLeastLoaded(scheduler.DefaultWeights(), nil).Pick(l3.Router{}, candidates(4)))
}

func TestFilters(t *testing.T) {
	s := scheduler.Filtered{Scheduler: scheduler.NewLeastRouters(nil), Filters: []scheduler.Filter{
		scheduler.AtMost(10),
		func(r l3.Router, c l3.Candidate) bool { return c.Agent.ID != "agent-"+r.Name },
	}}
	require.Equal(t, "agent-2", s.Pick(l3.Router{Meta: l3.Meta{Name: "0"}}, candidates(1, 10, 9)))
	require.Empty(t, s.Pick(l3.Router{Meta: l3.Meta{Name: "0"}}, candidates(1, 10, 11)), "none passes")
}

// TestScale places 100,000 routers on 1,000 agents, one after the other as a service would.
func TestScale(t *testing.T) {
	for name, s := range map[string]l3.Scheduler{
		"LeastRouters": scheduler.NewLeastRouters(source()),
		"LeastLoaded":  scheduler.NewLeastLoaded(scheduler.DefaultWeights(), source()),
	} {
		t.Run(name, func(t *testing.T) {
			cs := candidates(make([]int, 1000)...)
			index := map[string]int{}
			for i, c := range cs {
				index[c.Agent.ID] = i
			}
			for range 100_000 {
				cs[index[s.Pick(l3.Router{}, cs)]].Routers++
			}
			most := slices.MaxFunc(cs, func(a, b l3.Candidate) int { return a.Routers - b.Routers })
			require.LessOrEqual(t, most.Routers, 110, "the average is 100")
		})
	}
}

func TestRebalance(t *testing.T) {
	loads := []scheduler.Load{
		{Agent: "a", Routers: []string{"r1", "r2", "r3", "r4", "r5"}},
		{Agent: "b", Routers: []string{"r6"}},
		{Agent: "c"},
	}
	require.Equal(t, []scheduler.Move{
		{Router: "r5", From: "a", To: "b"}, {Router: "r4", From: "a", To: "c"}, {Router: "r3", From: "a", To: "c"},
	}, scheduler.Rebalance(loads, nil))
	require.Empty(t, scheduler.Rebalance(nil, nil))
	require.Empty(t, scheduler.Rebalance([]scheduler.Load{{Agent: "a", Routers: []string{"r1"}}, {Agent: "b"}}, nil), "one apart is balanced")
}

func TestRebalanceKeepsToWhatFits(t *testing.T) {
	loads := []scheduler.Load{{Agent: "a", Routers: []string{"r1", "r2", "r3", "r4"}}, {Agent: "b"}, {Agent: "c"}}
	moves := scheduler.Rebalance(loads, func(router, agent string) bool { return agent == "c" && router != "r4" })
	require.Equal(t, []scheduler.Move{{Router: "r3", From: "a", To: "c"}}, moves)
}

// TestRebalanceMovesAsFewAsItTakes compares with the number that no way can do with less: what is
// above the share, summed up.
func TestRebalanceMovesAsFewAsItTakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.IntRange(0, 12), 1, 8).Draw(t, "routers of agents")
		var loads []scheduler.Load
		where := map[string]string{}
		total := 0
		for i, n := range counts {
			l := scheduler.Load{Agent: fmt.Sprint("a", i)}
			for range n {
				id := fmt.Sprintf("r%03d", total)
				l.Routers, where[id] = append(l.Routers, id), l.Agent
				total++
			}
			loads = append(loads, l)
		}
		share, rest := total/len(counts), total%len(counts)
		need := 0
		slices.SortFunc(counts, func(a, b int) int { return b - a })
		for i, n := range counts {
			if i < rest {
				n--
			}
			need += max(0, n-share)
		}

		moves := scheduler.Rebalance(loads, nil)
		require.Len(t, moves, need)
		for _, m := range moves {
			require.Equal(t, where[m.Router], m.From)
			where[m.Router] = m.To
		}
		after := map[string]int{}
		for _, agent := range where {
			after[agent]++
		}
		for _, l := range loads {
			require.Contains(t, []int{share, share + min(rest, 1)}, after[l.Agent])
		}
		slices.Reverse(loads)
		require.Equal(t, moves, scheduler.Rebalance(loads, nil), "the order of the loads does not matter")
	})
}
