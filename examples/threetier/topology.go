package main

import (
	"net/netip"

	"github.com/l3kit/l3kit/internal/test/deployment"
)

// The picture, and the addresses in it. The outside world is two hosts: one that is the provider's
// router and, behind it, the client; and an intruder on the same network, who knows the private
// addresses and sends straight to the router.
const picture = `
          client 198.51.100.7
                 │
          provider 203.0.113.1        intruder 203.0.113.66
                 └───────────────┬───────────────┘
                                 │ 203.0.113.2, and 203.0.113.10 for www
                             ┌───┴────┐
                             │ router │
                             └─┬─┬──┬─┘
             ┌─────────────────┘ │  └────────────────┐
        10.0.1.0/24         10.0.2.0/24         10.0.3.0/24
             │               │       │               │
            www             app   appliance          db
         10.0.1.10    10.0.2.10   10.0.2.254     10.0.3.10
                                     │
                                10.0.4.0/24 ─── archive 10.0.4.10
`

const (
	clientAddr   = "198.51.100.7"
	providerAddr = "203.0.113.1"
	intruderAddr = "203.0.113.66"
	routerAddr   = "203.0.113.2"
	publicAddr   = "203.0.113.10"
	wwwAddr      = "10.0.1.10"
	appAddr      = "10.0.2.10"
	applAddr     = "10.0.2.254"
	dbAddr       = "10.0.3.10"
	archiveAddr  = "10.0.4.10"
	standbyAddr  = "10.0.3.11"  // of db's standby, if the router is distributed
	virtualAddr  = "10.0.3.100" // which db has, or its standby

	archiveCIDR = "10.0.4.0/24"
)

// outside is the network that is not the tenant's, and the name of the physical network that
// carries it.
const outside = deployment.Physical

// plans are the networks that the API is asked for.
var plans = []struct {
	name, cidr, gateway string
	routed              bool // the router has an interface there
}{
	{name: outside, cidr: "203.0.113.0/24", gateway: providerAddr},
	{name: "www", cidr: "10.0.1.0/24", gateway: "10.0.1.1", routed: true},
	{name: "app", cidr: "10.0.2.0/24", gateway: "10.0.2.1", routed: true},
	{name: "db", cidr: "10.0.3.0/24", gateway: "10.0.3.1", routed: true},
	{name: "archive", cidr: archiveCIDR, gateway: "10.0.4.1"},
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
