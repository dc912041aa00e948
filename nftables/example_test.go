package nftables_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/nftables"
)

// A router with one subnet.
func ExampleNew() {
	wiring, err := bridge.New(bridge.Config{})
	if err != nil {
		log.Fatal(err)
	}
	routers, err := nftables.New(namespace.Config{Wiring: wiring})
	if err != nil {
		log.Fatal(err)
	}
	defer routers.Close() // closes the wiring, too

	plan, err := routers.Apply(context.Background(), dataplane.Router{
		ID: "blue",
		Ports: []dataplane.Port{{
			ID:      "web",
			Network: dataplane.Network{ID: "web-net"},
			MAC:     dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 1},
			Addrs:   []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
			MTU:     1500,
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(plan)
}
