package iptables_test

import (
	"log"
	"time"

	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
)

// A dataplane that writes with iptables-legacy, and takes over routers that nftables has translated
// for so far.
func ExampleNew() {
	wiring, err := bridge.New(bridge.Config{})
	if err != nil {
		log.Fatal(err)
	}
	routers, err := iptables.New(namespace.Config{
		Wiring:   wiring,
		Firewall: &iptables.Firewall{Variant: iptables.Legacy, Timeout: 10 * time.Second},
		Replaces: []namespace.Firewall{nftables.Firewall{}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer routers.Close() // closes the wiring, too
}
