package namespace_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/nftables"
)

// A dataplane from its parts. A firewall or wiring of your own goes where these are.
func ExampleNew() {
	wiring, err := bridge.New(bridge.Config{})
	if err != nil {
		log.Fatal(err)
	}
	routers, err := namespace.New(namespace.Config{
		Wiring:   wiring,
		Firewall: nftables.Firewall{},
		Logger:   slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer routers.Close() // closes the wiring, too
}

// What has passed through each floating IP of a router.
func ExampleDataplane_Counters() {
	var routers *namespace.Dataplane // from New
	counters, err := routers.Counters(context.Background(), "blue")
	if err != nil {
		log.Fatal(err)
	}
	for addr, c := range counters {
		fmt.Printf("%s: %d packets in, %d out\n", addr, c.In.Packets, c.Out.Packets)
	}
}
