package main

import (
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// The picture, and the addresses in it. The outside world is two hosts: one that is the provider's router and, behind it, the client; and
// an intruder on the same network, who knows the private addresses and sends straight to the router.
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
)

// desired is the router.
func (m *machines) desired() dataplane.Router {
	return dataplane.Router{
		ID: routerID,
		Ports: []dataplane.Port{
			m.port("www", 1, "10.0.1.1/24"),
			m.port("app", 2, "10.0.2.1/24"),
			m.port("db", 3, "10.0.3.1/24"),
		},
		Gateway: &dataplane.Gateway{Port: m.port(outside, 4, routerAddr+"/24"), NextHops: []netip.Addr{addr(providerAddr)}, SNAT: true},
		FloatingIPs: []dataplane.FloatingIP{
			{ID: "www", Addr: addr(publicAddr), Fixed: addr(wwwAddr)},
		},
		Routes: []dataplane.Route{
			{Dest: netip.MustParsePrefix("10.0.4.0/24"), NextHop: addr(applAddr)},
		},
	}
}

// unbound is the router without its floating IP.
func (m *machines) unbound() dataplane.Router {
	r := m.desired()
	r.FloatingIPs = nil
	return r
}

// port is the router's port on a network.
func (m *machines) port(network string, n byte, subnet string) dataplane.Port {
	return dataplane.Port{ID: network, Network: m.network(network), MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, n},
		Addrs: []netip.Prefix{netip.MustParsePrefix(subnet)}, MTU: m.mtu}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
