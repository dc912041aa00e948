package workload_test

import (
	"context"
	"log"
	"net/netip"
	"os"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/dataplane/workload"
)

// The namespace "web" (ip netns add web) gets eth0 on the network "web-net", and a default route
// through the router there.
func ExampleAttach() {
	wiring, err := bridge.New(bridge.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer wiring.Close()
	file, err := os.Open("/run/netns/web")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()

	err = workload.Attach(context.Background(), wiring, namespace.NS{FD: int(file.Fd())}, "eth0", workload.Config{
		Port: dataplane.Port{
			ID:      "web-1",
			Network: dataplane.Network{ID: "web-net"},
			MAC:     dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 5},
			Addrs:   []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24")},
			MTU:     1500,
		},
		NextHops: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
	})
	if err != nil {
		log.Fatal(err)
	}
}
