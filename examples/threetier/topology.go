package main

import (
	"net/netip"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

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
                                 │ 203.0.113.2, 203.0.113.10 for www, 203.0.113.11 for ports
                             ┌───┴────┐
                             │ router │
                             └─┬─┬──┬─┘
             ┌─────────────────┘ │  └────────────────┐
        10.0.1.0/24         10.0.2.0/24         10.0.3.0/24
     2001:db8:1::/64         │       │               │
         │       │           │       │               │
      sensor    www         app   appliance          db
             10.0.1.10  10.0.2.10  10.0.2.254    10.0.3.10
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

	forwardAddr = "203.0.113.11" // of which a port leads to db
	forwardPort = 8080

	client6Addr   = "2001:db8:7::7"
	provider6Addr = "2001:db8:f::1"
	router6Addr   = "2001:db8:f::2"
	sensorCIDR    = "2001:db8:1::/64"

	archiveCIDR = "10.0.4.0/24"
)

// outside is the network that is not the tenant's, and the name of the physical network that
// carries it.
const outside = deployment.Physical

// plans are the networks that the API is asked for.
var plans = []struct {
	name    string
	subnets []subnets.CreateOpts
	routed  bool // the router has an interface there
}{
	{name: outside, subnets: []subnets.CreateOpts{
		subnet("203.0.113.0/24", providerAddr), subnet("2001:db8:f::/64", provider6Addr),
	}},
	{name: "www", routed: true, subnets: []subnets.CreateOpts{
		subnet("10.0.1.0/24", "10.0.1.1"), advertised(subnet(sensorCIDR, "2001:db8:1::1")),
	}},
	{name: "app", routed: true, subnets: []subnets.CreateOpts{subnet("10.0.2.0/24", "10.0.2.1")}},
	{name: "db", routed: true, subnets: []subnets.CreateOpts{subnet("10.0.3.0/24", "10.0.3.1")}},
	{name: "archive", subnets: []subnets.CreateOpts{subnet(archiveCIDR, "10.0.4.1")}},
}

func subnet(cidr, gateway string) subnets.CreateOpts {
	o := subnets.CreateOpts{CIDR: cidr, GatewayIP: &gateway, IPVersion: gophercloud.IPv4}
	if addr(gateway).Is6() {
		o.IPVersion = gophercloud.IPv6
	}
	return o
}

// advertised has the router tell the workloads how to configure themselves.
func advertised(o subnets.CreateOpts) subnets.CreateOpts {
	o.IPv6AddressMode, o.IPv6RAMode = "slaac", "slaac"
	return o
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
