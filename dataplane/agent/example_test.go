package agent_test

import (
	"context"
	"fmt"
	"log"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// fixed is a Source whose routers never change.
type fixed []dataplane.Router

func (f fixed) Watch(ctx context.Context, _ agent.Session) (<-chan agent.Event, error) {
	events := make(chan agent.Event)
	go func() {
		defer close(events)
		all := []agent.Event{}
		for _, r := range f {
			all = append(all, agent.Put{Assignment: agent.Assignment{Epoch: 1, Revision: 1, Router: r}})
		}
		for _, e := range append(all, agent.Synced{}) {
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
		<-ctx.Done() // nothing changes, and to close the channel is to fail
	}()
	return events, nil
}

func (fixed) Report(context.Context, agent.Report) error       { return nil }
func (fixed) Heartbeat(context.Context, agent.Heartbeat) error { return nil }

// An agent on a host in memory; dataplane/host opens a real one. Run in the place of Once keeps the
// host as the source says.
func ExampleAgent_Once() {
	ctx := context.Background()
	host := dataplane.NewFake(nil)
	a, err := agent.New(agent.Config{Host: "node1", Source: fixed{{ID: "office"}}, Dataplane: host})
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
