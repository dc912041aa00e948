package natsbus_test

import (
	"context"
	"log"
	"net/netip"
	"os"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
	"github.com/l3kit/l3kit/l3/server"
)

// A control plane whose agents are on other hosts.
func ExampleOpenEmbedded() {
	secret, err := os.ReadFile("l3kit-bus.secret")
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.Open(context.Background(), server.Config{
		Bus: func(ctx context.Context, control l3.ControlPlane) (l3.Bus, error) {
			return natsbus.OpenEmbedded(ctx, natsbus.ServerConfig{
				Secret: secret, Dir: "l3kit-bus", Listen: netip.MustParseAddrPort("192.0.2.1:4222"),
			}, control, natsbus.Options{})
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	log.Print(s.Run(context.Background()))
}

// An agent on another host, which may start before its servers.
func ExampleClient() {
	client := natsbus.NewClient(natsbus.Login{
		URLs: []string{"nats://192.0.2.1:4222"}, Host: "host1", Password: os.Getenv("PASSWORD"), // see Credential
	})
	go func() { log.Print(client.Run(context.Background())) }()
	a, err := agent.New(agent.Config{Host: "host1", Source: client, Dataplane: dataplane.NewFake(&dataplane.FakeHost{})})
	if err != nil {
		log.Fatal(err)
	}
	log.Print(a.Run(context.Background()))
}
