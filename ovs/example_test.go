package ovs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/nftables"
	"github.com/l3kit/l3kit/ovs"
)

// Routers on the bridges of Open vSwitch, with tunnels to one other host.
func ExampleNew() {
	ctx := context.Background()
	wiring, err := ovs.New(ctx, ovs.Config{
		Physical: map[string]string{"public": "br-ex"},
		Tunnel: ovs.Tunnel{
			Local: netip.MustParseAddr("192.0.2.1"),
			Peers: []netip.Addr{netip.MustParseAddr("192.0.2.2")},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	routers, err := nftables.New(namespace.Config{Wiring: wiring})
	if err != nil {
		log.Fatal(err)
	}
	defer routers.Close() // closes the wiring, too
}

// A configuration is checked before anything is connected to.
func ExampleNew_invalid() {
	_, err := ovs.New(context.Background(), ovs.Config{Tunnel: ovs.Tunnel{Bridge: "br-int"}})
	fmt.Println(errors.Is(err, dataplane.ErrInvalid))
	// Output: true
}
