package scheduler_test

import (
	"fmt"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/scheduler"
)

// The agent with the fewest routers, of those that have room for one more.
func Example() {
	choose := scheduler.Filtered{Scheduler: &scheduler.LeastRouters{}, Filters: []scheduler.Filter{scheduler.AtMost(10)}}
	candidates := []l3.Candidate{
		{Agent: l3.Agent{ID: "agent1"}, Routers: 9},
		{Agent: l3.Agent{ID: "agent2"}, Routers: 3},
	}
	fmt.Println(choose.Pick(l3.Router{}, candidates))
	// Output:
	// agent2
}
