// Command embed puts one router on this host: a private network, an external one, and a floating
// IP. It needs root.
package main

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/host"
)

func main() {
	routers := must(host.Open(context.Background(), host.Config{}))

	plan := must(routers.Apply(context.Background(), dataplane.Router{
		ID:    "office",
		Ports: []dataplane.Port{port("lan", "fa:16:3e:00:00:01", "10.0.0.1/24")},
		Gateway: &dataplane.Gateway{Port: port("wan", "fa:16:3e:00:00:02", "203.0.113.2/24"),
			NextHops: []netip.Addr{netip.MustParseAddr("203.0.113.1")}, SNAT: true},
		FloatingIPs: []dataplane.FloatingIP{{ID: "www", Addr: netip.MustParseAddr("203.0.113.10"), Fixed: netip.MustParseAddr("10.0.0.10")}},
	}))
	fmt.Println(plan) // the second time: nothing to do
}

func port(network, mac, addr string) dataplane.Port {
	return dataplane.Port{ID: network, Network: dataplane.Network{ID: network}, MAC: must(dataplane.ParseMAC(mac)),
		Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}, MTU: 1500}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
