package membus_test

import (
	"context"
	"fmt"
	"log"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/membus"
	"github.com/l3kit/l3kit/l3/service"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// A bus between a service and an agent in one process. Package server does this for its users.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	store, err := sqlstore.Open(ctx, "sqlite::memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	control, err := service.New(service.Config{Store: store})
	if err != nil {
		log.Fatal(err)
	}
	bus, err := membus.Open(ctx, control, membus.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close()
	ended := make(chan error, 1)
	go func() { ended <- bus.Run(ctx) }()

	source, err := bus.Source("host1") // for agent.Config
	if err != nil {
		log.Fatal(err)
	}
	events, err := source.Watch(ctx, agent.Session{Instance: "process 1", Machine: "machine 1"})
	if err != nil {
		log.Fatal(err)
	}
	for e := range events {
		if _, complete := e.(agent.Synced); complete {
			fmt.Println("host1 has all its routers")
			break
		}
	}
	stop()
	fmt.Println(<-ended)
	// Output:
	// host1 has all its routers
	// <nil>
}
