package server_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/server"
)

// A control plane and an agent in one process, in memory.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	s, err := server.Open(ctx, server.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()

	source, err := s.Login("host1")
	if err != nil {
		log.Fatal(err)
	}
	a, err := agent.New(agent.Config{Host: "host1", Source: source, Dataplane: dataplane.NewFake(&dataplane.FakeHost{})})
	if err != nil {
		log.Fatal(err)
	}
	working := make(chan error, 1)
	go func() { working <- a.Run(ctx) }()

	api := httptest.NewServer(s.Handler()) // or Config.Listener
	defer api.Close()

	for len(agents(ctx, s)) == 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println(agents(ctx, s)[0].Host, "is alive")
	stop()
	fmt.Println(<-working, <-ended)
	// Output:
	// host1 is alive
	// <nil> <nil>
}

func agents(ctx context.Context, s *server.Server) []l3.Agent {
	all, err := s.Service().ListAgents(ctx, l3.System(), l3.Query{})
	if err != nil {
		log.Fatal(err)
	}
	return all
}
