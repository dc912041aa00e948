package host_test

import (
	"context"
	"log"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/dataplane/workload"
)

// A router, and a namespace (ip netns add web) behind it.
func ExampleOpen() {
	ctx := context.Background()
	h, err := host.Open(ctx, host.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close() // the router stays

	lan := dataplane.Network{ID: "lan"}
	_, err = h.Apply(ctx, dataplane.Router{ID: "office", Ports: []dataplane.Port{{
		ID: "office-lan", Network: lan, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}, MTU: 1500,
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
	}}})
	if err != nil {
		log.Fatal(err)
	}
	err = h.Wiring.Attach(ctx, "/run/netns/web", "eth0", workload.Config{
		NextHops: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		Port: dataplane.Port{
			ID: "web", Network: lan, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}, MTU: 1500,
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
}

// Open vSwitch, with a bridge for the external network and tunnels to other hosts.
func ExampleConfig() {
	h, err := host.Open(context.Background(), host.Config{
		Backend:  "iptables",
		Wiring:   "ovs",
		Physical: map[string]string{"public": "br-ex"},
		Tunnel:   host.Tunnel{Local: netip.MustParseAddr("192.0.2.11"), Peers: []netip.Addr{netip.MustParseAddr("192.0.2.12")}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	if err := h.Wiring.CheckConfig(context.Background()); err != nil {
		log.Print(err) // routers that need br-ex fail until there is one
	}
}
