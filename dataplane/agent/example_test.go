package agent_test

import (
	"context"
	"fmt"
	"log"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// fixed is a Lister whose routers never change.
type fixed map[string]dataplane.Router

func (f fixed) List(context.Context) (agent.Listing, error) { return agent.Listing{Routers: f}, nil }
func (fixed) Record(context.Context, string) error          { return nil }
func (fixed) Forget(context.Context, string) error          { return nil }

// An agent on a host in memory; dataplane/host opens a real one. Run in the place of Once keeps the
// host as the source says.
func ExampleAgent_Once() {
	ctx := context.Background()
	host := dataplane.NewFake(nil)
	source := &agent.Poller{Lister: fixed{"office": {ID: "office"}}}
	a, err := agent.New(agent.Config{Host: "node1", Source: source, Dataplane: host})
	if err != nil {
		log.Fatal(err)
	}
	plans, err := a.Plan(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("routers to change:", len(plans), plans[0].Router)
	if err := a.Once(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(host.List(ctx))
	// Output:
	// routers to change: 1 office
	// [office] <nil>
}
