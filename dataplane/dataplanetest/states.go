package dataplanetest

import (
	"fmt"

	"github.com/l3kit/l3kit/dataplane"
)

// state is a router that any other may follow.
type state struct {
	name   string
	router dataplane.Router
}

// states are routers of one ID, chosen so that each kind of object comes, goes and changes in
// company of others.
func states() []state {
	base := busy()
	gateway := func(change func(*dataplane.Gateway)) func(*dataplane.Router) {
		return func(r *dataplane.Router) { change(r.Gateway) }
	}
	webPort := func(change func(*dataplane.Port)) func(*dataplane.Router) {
		return func(r *dataplane.Router) { change(&r.Ports[0]) }
	}
	many := func(r *dataplane.Router) {
		for i := range 40 {
			floating(addr(fmt.Sprintf("203.0.113.%d", 150+i)), addr(fmt.Sprintf("10.0.1.%d", 100+i)))(r)
		}
	}
	return []state{
		{"nothing", dataplane.Router{ID: "r1"}},
		{"one port", with(plain(), noGateway, without("app"), without("db"))},
		{"no gateway", with(base, noGateway)},
		{"plain", plain()},
		{"busy", base},
		{"limits", with(base, limit(fip1, dataplane.Bandwidth{Rate: 10_000}, dataplane.Bandwidth{Rate: 20_000, Burst: 100_000}),
			limit(gatewayAddr, dataplane.Bandwidth{Rate: 64}, dataplane.Bandwidth{}), limit(forwardAddr, dataplane.Bandwidth{}, dataplane.Bandwidth{Rate: 1_000_000}))},
		{"other limits", with(base, limit(fip1, dataplane.Bandwidth{}, dataplane.Bandwidth{Rate: 20_000}),
			limit(fip2, dataplane.Bandwidth{Rate: 1}, dataplane.Bandwidth{Rate: 1}))},
		{"SNAT off, other forwardings", with(base, snat(false), unforward(""), forward("8080", web1Addr, "7000"),
			forwardOf(gatewayAddr, "8080-8089", web2Addr, "9080-9089"), forwardOf(fip3, "7000", web1Addr, "7000"))},
		{"clamped, and an MTU", with(base, clamps(true), webPort(func(p *dataplane.Port) { p.MTU = 1400 }))},
		{"address scopes", scopedRouter()},
		{"address scopes, SNAT off", with(scopedRouter(), snat(false))},
		{"floating IPs swapped", with(base, unbound(fip1), unbound(fip2), floating(fip1, app1Addr), floating(fip2, web1Addr))},
		{"many floating IPs, and that of forwardings among them", with(base, many, unforward(""), floating(forwardAddr, web2Addr))},
		{"gateway without internal ports", with(base, without("web"), without("app"), without("db"), func(r *dataplane.Router) {
			r.FloatingIPs, r.PortForwardings, r.Routes = nil, nil, nil
		})},
		{"IPv6 only", with(sixOnly(), proxied(true))},
		{"next hop on the link", with(base, gateway(func(g *dataplane.Gateway) {
			g.Addrs, g.NextHops = prefixes("203.0.113.2/32", "2001:db8:1::2/64"), addrs("192.0.2.1", "fe80::1")
		}))},
		{"no next hops", with(base, gateway(func(g *dataplane.Gateway) { g.NextHops = nil }))},
		{"external subnets on the link", with(base, gateway(func(g *dataplane.Gateway) {
			g.OnLink = prefixes("203.0.114.0/24", "192.0.2.0/24", "2001:db8:11::/64")
		}), floating(addr("203.0.114.103"), db1Addr))},
		{"two gateway addresses", with(base, gateway(func(g *dataplane.Gateway) {
			g.Addrs = append(prefixes("203.0.113.4/24"), prefixes("192.0.2.2/24")...)
			g.NextHops, g.OnLink = addrs("192.0.2.1"), prefixes("192.0.2.0/24")
		}), proxied(true), func(r *dataplane.Router) { r.FloatingIPs = r.FloatingIPs[:1] })},
		{"another gateway port", with(base, gateway(func(g *dataplane.Gateway) {
			g.Port = port("ext2", 10, "192.0.2.2/24")
			g.NextHops = addrs("192.0.2.1")
		}), func(r *dataplane.Router) { r.FloatingIPs = nil })},
		{"MAC, MTU and address of a port moved", with(base, webPort(func(p *dataplane.Port) {
			p.MAC[5], p.MTU, p.Addrs = 77, 1400, prefixes("10.0.1.254/24", "fd00:1::fe/64")
		}))},
		{"another network behind the same port", with(base, webPort(func(p *dataplane.Port) { p.Network.ID = "other-net" }))},
		{"a port's subnet resized", with(base, webPort(func(p *dataplane.Port) { p.Addrs = prefixes("10.0.1.1/25", "fd00:1::1/80") }))},
		{"ECMP", with(base, route("10.8.0.0/24", "10.0.2.250"), route("10.8.0.0/24", "10.0.2.251"), route("10.8.0.0/24", "10.0.3.251"),
			route("fd00:8::/64", "fd00:2::fa"), route("fd00:8::/64", "fd00:2::fb"))},
		{"ECMP, other hops, and routes over the gateway's", with(plain(), route("10.8.0.0/24", "10.0.2.250"), route("10.8.0.0/24", "10.0.2.252"),
			route("fd00:8::/64", "fd00:2::fb"), route("0.0.0.0/0", "10.0.2.250"), route("198.51.100.0/24", "203.0.113.1"))},
		{"an edge", edge()},
		{"an edge without a gateway", with(withoutGateway(), proxied(true))},
		{"the centre", inPlace(centre())},
		{"an edge, routes over the centre's", with(edge(), route("0.0.0.0/0", "10.0.2.250"), route("10.8.0.0/24", "169.254.64.2"),
			route("fd00:8::/64", "fe80::2"), route("192.0.2.0/24", "203.0.113.50"), route("10.0.2.128/25", "10.0.2.250"))},
	}
}

// inPlace is another instance under the ID of R, so that the host converts one into the other.
func inPlace(r dataplane.Router) dataplane.Router {
	r.ID = "r1"
	return r
}
