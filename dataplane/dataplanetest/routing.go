package dataplanetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/l3kit/l3kit/dataplane"
)

// routingClauses are the rows about ways.
func routingClauses() []clause {
	return []clause{
		{
			name: "P11-extra-routes",
			why: "Packets to the destination of an extra route go to its next hop, and the longest prefix wins. A connected subnet wins over an extra route to the " +
				"same destination, and that over the gateway's default route.",
			test: extraRoutes,
		}, {
			name: "P11-ecmp",
			why: "Routes with the same destination share its traffic among all their next hops, flow by flow. When the last one wins silently, half of the " +
				"capacity is gone.",
			test: ecmp,
		}, {
			name: "P12-ipv6",
			why: "IPv6 is routed between subnets, out through the gateway, and in, SNAT on or off, and never translated: there are addresses enough, and the rule " +
				"against untranslated packets from outside (P9) is one of IPv4.",
			test: ipv6,
		}, {
			name: "P21-subnets-of-the-external-network",
			why: "Every subnet of the external network is on the gateway's link, " +
				"whether or not the gateway has an address in it: its hosts, and floating IPs from it, are " +
				"reached without the next hop. A provider's router may not lead back to the link that a packet comes from, and is a detour if it does.",
			test: externalSubnets,
		},
	}
}

// externalSubnets has nobody at the next hop.
func externalSubnets(s *scene) {
	second, second6, fip := addr("203.0.114.50"), addr("2001:db8:11::50"), addr("203.0.114.101")
	s.attach(Workload{
		Name: "second", Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext-net"}, Addrs: prefixes("203.0.114.50/24", "2001:db8:11::50/64")}},
		Routes: []dataplane.Route{
			{Dest: netip.MustParsePrefix("203.0.113.2/32"), NextHop: gatewayAddr},
			{Dest: netip.MustParsePrefix("203.0.113.101/32"), NextHop: fip1},
			{Dest: netip.MustParsePrefix("10.0.0.0/8"), NextHop: gatewayAddr},
			{Dest: netip.MustParsePrefix("fd00::/16"), NextHop: addr("2001:db8:1::2")},
		},
	})
	onLink := func(r *dataplane.Router) {
		r.Gateway.OnLink = prefixes("203.0.113.0/24", "203.0.114.0/24", "2001:db8:11::/64")
	}
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		shows := web2Addr
		if on {
			shows = gatewayAddr
		}
		s.apply(with(busy(), snat(on), onLink, floating(fip, db1Addr)))
		s.check(
			probe{from: "web2", to: second, at: "second", sees: shows},
			probe{from: "web1", to: second, at: "second", sees: fip1},
			probe{from: "db1", to: second, at: "second", sees: fip},
			probe{from: "second", to: fip, at: "db1", sees: second, as: db1Addr},
			probe{from: "second", to: fip1, at: "web1", sees: second, as: web1Addr},
			probe{from: "r1", proto: dataplane.UDP, to: second, at: "second", sees: gatewayAddr},
			probe{from: "web1", to: second6, at: "second", sees: web1Addr6},
			probe{from: "second", to: web1Addr6, at: "web1", sees: second6},
		)
	}
	s.during("an address in the second subnet, too")
	s.apply(with(busy(), onLink, func(r *dataplane.Router) {
		r.Gateway.Addrs = append(r.Gateway.Addrs, netip.MustParsePrefix("203.0.114.2/24"))
	}))
	s.check(probe{from: "web2", to: second, at: "second", sees: gatewayAddr})
	s.during("and without it again")
	s.apply(with(busy(), onLink))
	s.check(probe{from: "web2", to: second, at: "second", sees: gatewayAddr})
	s.during("a further address in the first subnet")
	further := addr("203.0.113.9")
	s.attach(Workload{
		Name: "neighbour", Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext-net"}, Addrs: prefixes("203.0.113.60/24")}},
	})
	s.apply(with(busy(), func(r *dataplane.Router) { r.Gateway.Addrs = append(r.Gateway.Addrs, netip.PrefixFrom(further, 32)) }))
	s.check(
		probe{from: "web2", to: addr("203.0.113.60"), at: "neighbour", sees: gatewayAddr},
		probe{from: "neighbour", proto: dataplane.ICMP, to: further, at: "r1"},
		probe{from: "neighbour", proto: dataplane.ICMP, to: gatewayAddr, at: "r1"},
	)
	s.during("that one alone")
	s.apply(with(busy(), func(r *dataplane.Router) {
		r.Gateway.Addrs = append(prefixes("203.0.113.9/24"), r.Gateway.Addrs[1:]...)
	}))
	s.check(
		probe{from: "web2", to: addr("203.0.113.60"), at: "neighbour", sees: further},
		probe{from: "neighbour", proto: dataplane.ICMP, to: further, at: "r1"},
	)
}

func extraRoutes(s *scene) {
	s.host("edge")
	s.apply(with(plain(), behind))
	s.check(
		probe{from: "web1", to: behindAddr, at: "fw", sees: web1Addr},
		probe{from: "web1", to: behindAddr6, at: "fw", sees: web1Addr6},
		probe{from: "fw", src: behindAddr, to: db1Addr, at: "db1", sees: behindAddr},
	)
	s.during("a longer prefix by another next hop")
	s.host("fw2")
	s.apply(with(plain(), behind, route("10.9.0.8/29", "10.0.2.251"), route("fd00:9::10/124", "fd00:2::fb")))
	s.check(
		probe{from: "web1", to: behindAddr, at: "fw2", sees: web1Addr},
		probe{from: "web1", to: behindAddr6, at: "fw2", sees: web1Addr6},
	)
	s.during("a longer prefix inside of a connected subnet, and a connected subnet as destination")
	s.attach(Workload{
		Name: "hidden", NextHops: addrs("10.0.2.1"), Local: addrs("10.0.3.77"),
		Ports: []dataplane.Port{{Network: dataplane.Network{ID: "app-net"}, Addrs: prefixes("10.0.2.252/24")}},
	})
	s.apply(with(plain(), route("10.0.3.77/32", "10.0.2.252"), route("10.0.3.0/24", "10.0.2.252")))
	s.check(
		probe{from: "web1", to: addr("10.0.3.77"), at: "hidden", sees: web1Addr},
		probe{from: "web1", to: db1Addr, at: "db1", sees: web1Addr},
	)
	s.during("a default route inside wins over the gateway's")
	s.apply(with(plain(), route("0.0.0.0/0", "10.0.2.250")))
	s.check(probe{from: "web1", to: behindAddr, at: "fw", sees: web1Addr})
	s.during("a route out through the gateway")
	s.apply(with(plain(), route("198.51.100.0/24", "203.0.113.1"), route("0.0.0.0/0", "10.0.2.250")))
	s.check(probe{from: "web1", to: internetAddr, at: "internet", sees: gatewayAddr})
	s.during("the extra routes removed")
	s.apply(with(plain(), func(r *dataplane.Router) { r.Gateway.NextHops = nil }))
	s.check(probe{from: "web1", to: behindAddr, near: "fw"})
}

// ecmp sends to many destinations, from many ports: with two next hops, all of them by the same one
// is one chance in billions.
func ecmp(s *scene) {
	s.cast("web1", "fw", "fw2")
	both := with(plain(),
		route("10.8.0.0/24", "10.0.2.250"), route("10.8.0.0/24", "10.0.2.251"),
		route("fd00:8::/64", "fd00:2::fa"), route("fd00:8::/64", "fd00:2::fb"))
	s.apply(both)
	for _, family := range []func(int) netip.Addr{sharedAddr, sharedAddr6} {
		if n := s.spread(family); n["fw"] == 0 || n["fw2"] == 0 {
			s.failf("of %d flows to %s and so on, %d went by fw and %d by fw2", shared, family(0), n["fw"], n["fw2"])
		}
	}
	s.during("after one of the next hops is taken away")
	s.apply(with(plain(), route("10.8.0.0/24", "10.0.2.251"), route("fd00:8::/64", "fd00:2::fb")))
	for _, family := range []func(int) netip.Addr{sharedAddr, sharedAddr6} {
		if n := s.spread(family); n["fw2"] != shared {
			s.failf("of %d flows to %s and so on, %d went by fw2, the only next hop", shared, family(0), n["fw2"])
		}
	}
}

// spread counts by which host flows to the shared addresses went. It looks at each flow twice: one
// that changes its way is broken. By UDP, because TCP itself changes its hash, and so asks for
// another way, when an answer takes long (sk_rethink_txhash).
func (s *scene) spread(family func(int) netip.Addr) map[string]int {
	by := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	ctx, cancel := s.soon()
	defer cancel()
	for i := range shared {
		wg.Go(func() {
			first, err := s.twice(ctx, netip.AddrPortFrom(family(i), servicePort))
			if err != nil {
				s.failf("to %s: %w", family(i), err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			by[first.Host]++
		})
	}
	wg.Wait()
	return by
}

func (s *scene) twice(ctx context.Context, to netip.AddrPort) (Seen, error) {
	c, err := s.hosts["web1"].Dial(ctx, dataplane.UDP, netip.AddrPort{}, to)
	if err != nil {
		return Seen{}, err
	}
	defer c.Close()
	first, err := c.Exchange(ctx, 0)
	if err != nil {
		return first, err
	}
	second, err := c.Exchange(ctx, 0)
	if err == nil && second != first {
		err = errors.New(fmt.Sprintln("a flow changed its way:", first, second))
	}
	return first, err
}

func ipv6(s *scene) {
	s.host("edge")
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		s.apply(with(busy(), snat(on)))
		s.check(
			probe{from: "web1", to: app1Addr6, at: "app1", sees: web1Addr6},
			probe{from: "web1", to: outsideAddr6, at: "outside", sees: web1Addr6},
			probe{from: "app1", to: internetAddr6, at: "internet", sees: app1Addr6},
			probe{from: "outside", to: web1Addr6, at: "web1", sees: outsideAddr6},
			probe{from: "internet", to: app1Addr6, at: "app1", sees: internetAddr6},
			probe{from: "fw", src: behindAddr6, to: internetAddr6, at: "internet", sees: behindAddr6},
			probe{from: "outside", to: behindAddr6, at: "fw", sees: outsideAddr6},
			probe{from: "web1", to: behindAddr6, at: "fw", sees: web1Addr6},
		)
	}
	s.during("a router of IPv6 alone")
	s.apply(sixOnly())
	s.check(
		probe{from: "web1", to: internetAddr6, at: "internet", sees: web1Addr6},
		probe{from: "web1", to: app1Addr6, at: "app1", sees: web1Addr6},
	)
}

// sixOnly is R without IPv4.
func sixOnly() dataplane.Router {
	return with(plain(), func(r *dataplane.Router) {
		for i := range r.Ports {
			r.Ports[i].Addrs = r.Ports[i].Addrs[1:]
		}
		r.Gateway.Addrs, r.Gateway.NextHops = r.Gateway.Addrs[1:], r.Gateway.NextHops[1:]
	})
}
