package dataplanetest

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// edgeClauses are about what packets experience at an edge. Those of edges and centres together
// hold what was found when instances were first tried by hand (TRIED.md A, by its numbers): 3
// edge-transit and centre-forwards, 4 edge-gateway and edge-extra-routes, 5a and 5b edge-gateway,
// 5c edge-elsewhere, 6 centre-elsewhere, 7 edge-transit, 10 edge-one-more, 11 edge-errors-outside,
// 12 and 13 edge-transit, 14 centre-forwards. Those about frames (1, 2, 8, 9) are held by the tests
// of containment of each wiring.
func edgeClauses() []clause {
	return []clause{
		{
			name: "edge-neighbours",
			why: "At an edge only the neighbours of an anycast leg are on its link " +
				"(IFA_F_NOPREFIXROUTE keeps the kernel from assuming the whole subnet). The edge asks " +
				"for them alone, by ARP and neighbour discovery. What is sent to any other address of " +
				"the subnet goes over the transit: to the edge that has the address, or to the " +
				"centre. An edge that asks for every address is answered from other hosts, and their " +
				"traffic takes the wrong way.",
			test: edgeNeighbours,
		}, {
			name: "edge-gateway",
			why: "Only floating IPs pass the gateway of an edge: in, out and by hairpin. No other " +
				"internal host leaves by it, none is reached but by its floating IP, no internal " +
				"source arrives from outside (RFC 2827), and no IPv6 passes. Therefore the host needs " +
				"no external address of its own.",
			test: edgeGateway,
		}, {
			name: "edge-arp-outside",
			why: "Every ARP request of an edge on the external network has a floating IP as its " +
				"sender. If the gateway has no address that fits, the kernel takes one of another " +
				"device (inet_select_addr), and neighbours learn a private address that other tenants " +
				"have as well.",
			test: edgeARPOutside,
		}, {
			name: "edge-errors-outside",
			why: "An ICMP error about a packet to a floating IP comes from the floating IP, and leaves " +
				"by the gateway, even if the edge itself sends it. The kernel gives its own errors " +
				"the mark of the packet only if fwmark_reflect is on. Without it they go to the " +
				"centre, which cannot translate them.",
			test: edgeErrorsOutside,
		}, {
			name: "edge-transit",
			why: "An edge takes every source from the transit. All instances own the router's " +
				"addresses, and without accept_local the kernel drops a packet from one of its own as " +
				"martian (fib_validate_source). Answers return over the transit, also those of a host " +
				"with a floating IP here. A packet from the transit never returns to it: if two " +
				"instances believed an address to be at the other, it would circle until its TTL " +
				"ends. If its MTU is less than a leg's, senders hear so, from the leg's address.",
			test: edgeTransit,
		}, {
			name: "edge-elsewhere",
			why: "Some fixed addresses have their floating IP at the centre. What they send to a " +
				"floating IP goes to the centre untranslated, even if this edge has that floating IP: " +
				"its kernel would look in the table local first. So the server sees the client's " +
				"floating IP, wherever the client is (P7).",
			test: edgeElsewhere,
		}, {
			name: "edge-extra-routes",
			why: "An extra route whose next hop is here, or at another instance, is for all traffic. " +
				"If its next hop is outside, floating IPs take it, and everything else goes to the " +
				"centre. A default route inside comes before the ways to the outside, and after those " +
				"to other instances.",
			test: edgeExtraRoutes,
		},
	}
}

func edgeNeighbours(s *scene) {
	r := edge()
	s.apply(r)
	s.cast("web1", "web2", "app1", "stray", "peer", "hub")
	ear, watch := s.hears("stray"), s.looks("stray")
	s.check(probe{from: "peer", src: remoteApp, to: web2Addr, at: "web2", sees: remoteApp}) // who has not been heard of
	s.check(
		probe{from: "web1", to: app1Addr, at: "app1", sees: web1Addr},
		probe{from: "app1", to: web1Addr6, at: "web1", sees: app1Addr6},
		probe{from: "web1", to: remoteApp, at: "peer", sees: web1Addr},
		probe{from: "app1", to: remoteWeb, at: "peer", sees: app1Addr},
		probe{from: "web1", to: remoteApp6, at: "peer", sees: web1Addr6},
		probe{from: "app1", to: strayAddr, at: "hub", sees: app1Addr},
		probe{from: "app1", to: strayAddr6, at: "hub", sees: app1Addr6},
		probe{from: "web1", to: db1Addr, at: "hub", sees: web1Addr},
		probe{from: "web1", to: db1Addr6, at: "hub", sees: web1Addr6},
		probe{from: "hub", src: strayAddr, to: app1Addr, at: "app1", sees: strayAddr},
		probe{from: "hub", src: strayAddr6, to: app1Addr6, at: "app1", sees: strayAddr6},
		probe{from: "peer", src: remoteApp6, to: web1Addr6, at: "web1", sees: remoteApp6},
		probe{from: "peer", src: remoteApp, to: strayAddr, near: "stray"},
		probe{from: "peer", src: remoteApp6, to: strayAddr6, near: "stray"},
	)
	s.during("what was asked for on the link")
	leg := r.Ports[0]
	known := false
	for _, a := range s.asked(ear, leg) {
		known = known || a.Target == web2Addr
		if !slices.Contains(leg.Anycast.Neighbours, a.Target) && a.Target != leg.Addrs[0].Addr() {
			s.failf("%s asked for %s, which is no neighbour", a.Sender, a.Target)
		}
		if a.Sender != leg.Addrs[0].Addr() {
			s.failf("%s asked for %s, and not %s", a.Sender, a.Target, leg.Addrs[0].Addr())
		}
	}
	if !known {
		s.failf("nobody asked for %s", web2Addr)
	}
	strange := solicitedNode(strayAddr6)
	s.never(watch, "asked for what is no neighbour", func(p Packet) bool {
		return !p.Sent && p.ICMP != nil && p.ICMP.Type == solicited6 && p.Dst.Addr() == strange
	})
}

// stranger is a host outside that takes a floating IP for the way to everything. It has further
// addresses to send from.
func stranger(name, addr4, addr6 string, local ...netip.Addr) Workload {
	return Workload{
		Name: name, Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext-net"}, Addrs: prefixes(addr4+"/24", addr6+"/64")}}, Local: local,
		Routes: append(to(fip1.String(), "10.0.0.0/8", gatewayAddr.String()+"/32"),
			dataplane.Route{Dest: netip.MustParsePrefix("fd00::/16"), NextHop: linkLocalOf(port("", 9).MAC)}),
	}
}

func edgeGateway(s *scene) {
	s.apply(edge())
	s.cast("edge", "web1", "web2", "app1", "peer", "hub", "outside")
	inside := append(addrs("10.0.1.1"), web2Addr, db1Addr, remoteApp)
	s.attach(stranger("stranger", "203.0.113.60", "2001:db8:1::60"))
	s.attach(stranger("liar", "203.0.113.61", "2001:db8:1::61", inside...))
	s.attach(Workload{ // the floating IP of another edge, as the external network has it
		Name: "other", Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext-net"}, Addrs: []netip.Prefix{netip.PrefixFrom(fip2, 24)}}},
	})
	outside := s.looks("outside")
	s.during("in and out")
	s.check(
		probe{from: "outside", to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
		probe{from: "internet", to: fip1, at: "web1", sees: internetAddr, as: web1Addr},
		probe{from: "web1", to: outsideAddr, at: "outside", sees: fip1},
		probe{from: "web1", to: internetAddr, at: "internet", sees: fip1},
		probe{from: "web1", to: fip2, at: "other", sees: fip1},
	)
	s.during("hairpin")
	s.check(
		probe{from: "web2", to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
		probe{from: "app1", to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
		probe{from: "web1", to: fip1, at: "web1", sees: fip1, as: web1Addr},
		probe{from: "peer", src: remoteApp, to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
		probe{from: "app1", to: fip2, at: "peer", sees: app1Addr},
	)
	s.during("everything else")
	s.never(outside, "came from others than the floating IP", func(p Packet) bool {
		return !p.Sent && prefixes("10.0.0.0/8")[0].Contains(p.Src.Addr())
	})
	s.check(
		probe{from: "web2", to: outsideAddr, at: "hub", sees: web2Addr},
		probe{from: "app1", to: internetAddr, at: "hub", sees: app1Addr},
		probe{from: "web1", to: outsideAddr6, at: "hub", sees: web1Addr6},
		probe{from: "web2", to: gatewayAddr, at: "hub", sees: web2Addr}, // the centre's
		probe{from: "web2", to: fip3, at: "hub", sees: web2Addr},
		probe{from: "stranger", to: web1Addr, near: "web1"},
		probe{from: "stranger", to: web2Addr, near: "web2"},
		probe{from: "stranger", to: db1Addr, near: "hub"},
		probe{from: "stranger", to: remoteApp, near: "peer"},
		probe{from: "stranger", to: gatewayAddr, near: "hub"},
		probe{from: "stranger", to: web1Addr6, near: "web1"},
		probe{from: "stranger", to: remoteApp6, near: "peer"},
	)
	s.during("a source that cannot be outside")
	for _, src := range inside {
		s.check(probe{from: "liar", src: src, to: fip1, near: "web1"})
	}
	s.check(probe{from: "liar", to: fip1, at: "web1", sees: addr("203.0.113.61"), as: web1Addr})
}

func edgeARPOutside(s *scene) {
	r := edge()
	s.cast("web1", "web2", "hub", "peer", "outside")
	ear := s.hears("outside")
	s.apply(r)
	s.check(
		probe{from: "web1", to: outsideAddr, at: "outside", sees: fip1},
		probe{from: "web2", to: outsideAddr, at: "hub", sees: web2Addr},
		probe{from: "peer", src: remoteApp, to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
	)
	ctx, cancel := s.briefly()
	defer cancel()
	_, _ = s.host("web1").Ask(ctx, netip.AddrPortFrom(addr("203.0.113.99"), servicePort)) // that nobody has
	s.complain(servicePort, [2]uint8{exceeded4, exceeded6}, complaint{from: "outside", to: fip1, ttl: 1, sender: fip1})
	heard := s.asked(ear, r.Gateway.Port)
	if len(heard) == 0 {
		s.failf("nothing was asked, so that nothing is proved")
	}
	for _, a := range heard {
		if !isFloating(r, a.Sender) && !a.Sender.IsUnspecified() { // the latter probes (RFC 5227)
			s.failf("%s asked for %s on the external network", a.Sender, a.Target)
		}
	}
}

func edgeErrorsOutside(s *scene) {
	narrow := with(edge(), func(r *dataplane.Router) { r.Ports[0].MTU = 1400 })
	s.apply(narrow)
	s.cast("edge", "internet", "outside")
	w := workload("web1")
	w.Ports[0].MTU = 1400
	s.attach(w)
	s.complain(closedPort, [2]uint8{unreachable4, unreachable6},
		complaint{from: "outside", to: fip1, sender: web1Addr, src: fip1},
		complaint{from: "internet", to: fip1, sender: web1Addr, src: fip1},
		complaint{from: "web1", to: outsideAddr, sender: outsideAddr},
	)
	s.complain(servicePort, [2]uint8{exceeded4, exceeded6},
		complaint{from: "outside", to: fip1, ttl: 1, sender: fip1},
		complaint{from: "internet", to: fip1, ttl: 2, sender: fip1},
		complaint{from: "web1", to: internetAddr, ttl: 1, sender: anycastAddr},
		complaint{from: "web1", to: internetAddr, ttl: 2, sender: addr("203.0.113.1")},
	)
	const large = 1040 // of payload: more than the port's MTU as a datagram, less than the gateway's
	s.complain(servicePort, [2]uint8{unreachable4, tooBig6},
		complaint{from: "outside", to: fip1, size: large, sender: fip1},
	)
}

func edgeTransit(s *scene) {
	s.apply(edge())
	s.cast("web1", "web2", "peer", "hub")
	s.during("the router's own addresses as sources")
	s.check(
		probe{from: "peer", src: anycastAddr, to: web2Addr, at: "web2", sees: anycastAddr, oneWay: true},
		probe{from: "peer", src: anycast6, to: web1Addr6, at: "web1", sees: anycast6, oneWay: true},
	)
	s.during("anybody's addresses as sources")
	s.check(
		probe{from: "hub", src: outsideAddr, to: web2Addr, at: "web2", sees: outsideAddr},
		probe{from: "hub", src: internetAddr, to: web1Addr, at: "web1", sees: internetAddr}, // who has a floating IP here
		probe{from: "hub", src: internetAddr6, to: web1Addr6, at: "web1", sees: internetAddr6},
		probe{from: "peer", src: remoteApp, to: web1Addr, at: "web1", sees: remoteApp},
	)
	s.during("back to the transit")
	s.check(
		probe{from: "peer", src: remoteApp, to: strayAddr, near: "hub"},
		probe{from: "peer", src: remoteApp, to: internetAddr, near: "hub"},
		probe{from: "peer", src: remoteApp6, to: strayAddr6, near: "hub"},
		probe{from: "peer", src: remoteApp6, to: internetAddr6, near: "hub"},
		probe{from: "hub", src: outsideAddr, to: remoteApp, near: "peer"},
	)
	s.during("a transit narrower than a leg")
	s.apply(with(edge(), func(r *dataplane.Router) { r.Transit.Port.MTU = narrowMTU }))
	const large = 1000 // of payload: more than narrowMTU as a datagram, less than the leg's MTU
	s.complain(servicePort, [2]uint8{unreachable4, tooBig6},
		complaint{from: "web1", to: remoteApp, size: large, sender: anycastAddr},
		complaint{from: "web1", to: remoteApp6, size: large, sender: anycast6},
		complaint{from: "web2", to: outsideAddr, size: large, sender: anycastAddr},
	)
}

func edgeElsewhere(s *scene) {
	s.apply(edge())
	s.cast("web1", "web2", "web3", "app1", "peer", "hub")
	s.check(
		probe{from: "web3", to: fip1, at: "hub", sees: web3Addr}, // here
		probe{from: "web3", to: fip2, at: "hub", sees: web3Addr}, // at another edge
		probe{from: "web3", to: fip3, at: "hub", sees: web3Addr}, // at the centre
		probe{from: "web3", to: outsideAddr, at: "hub", sees: web3Addr},
		probe{from: "web3", to: app1Addr, at: "app1", sees: web3Addr},
		probe{from: "web3", to: remoteApp, at: "peer", sees: web3Addr},
		probe{from: "hub", src: outsideAddr, to: web3Addr, at: "web3", sees: outsideAddr},
		probe{from: "hub", src: fip3, to: web1Addr, at: "web1", sees: fip3},
		probe{from: "web2", to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
		probe{from: "web2", to: fip2, at: "peer", sees: web2Addr},
	)
	s.during("after its floating IP has come here")
	s.apply(with(edge(), arrives(fip3, web3Addr)))
	s.check(
		probe{from: "web3", to: fip1, at: "web1", sees: fip3, as: web1Addr},
		probe{from: "web2", to: fip3, at: "web3", sees: gatewayAddr, as: web3Addr},
	)
	s.during("at an edge without a gateway")
	s.apply(withoutGateway())
	s.check(
		probe{from: "web3", to: fip2, at: "hub", sees: web3Addr},
		probe{from: "web2", to: fip2, at: "peer", sees: web2Addr},
		probe{from: "web1", to: fip1, at: "hub", sees: web1Addr},
	)
}

// withoutGateway is an edge on a host that serves no floating IP.
func withoutGateway() dataplane.Router { return with(edge(), noGateway) }

func edgeExtraRoutes(s *scene) {
	s.attach(Workload{
		Name: "outside", Local: []netip.Addr{beyond}, NextHops: addrs("203.0.113.1"),
		Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext-net"}, Addrs: prefixes("203.0.113.50/24")}},
	})
	s.apply(with(edge(), route("10.8.0.0/24", "169.254.64.2"), route("fd00:8::/64", "fe80::2"), route("192.0.2.0/24", outsideAddr.String()),
		route("10.0.2.128/25", "10.0.2.250")))
	s.attach(Workload{ // what a part of a subnet leads to
		Name: "fw", NextHops: addrs("10.0.2.1", "fd00:2::1"), Local: append(addrs("10.0.2.200"), behindAddr, behindAddr6, internetAddr),
		Ports: []dataplane.Port{{Network: dataplane.Network{ID: "app-net"}, Addrs: prefixes("10.0.2.250/24", "fd00:2::fa/64")}},
	})
	s.cast("web1", "web2", "app1", "peer", "hub")
	s.check(
		probe{from: "web2", to: behindAddr, at: "fw", sees: web2Addr},
		probe{from: "web1", to: behindAddr, at: "fw", sees: web1Addr},
		probe{from: "web1", to: behindAddr6, at: "fw", sees: web1Addr6},
		probe{from: "peer", src: remoteWeb, to: behindAddr, at: "fw", sees: remoteWeb},
		probe{from: "fw", src: behindAddr, to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
		probe{from: "web2", to: addr("10.0.2.200"), at: "fw", sees: web2Addr},
		probe{from: "web2", to: viaPeer, at: "peer", sees: web2Addr},
		probe{from: "web1", to: viaPeer, at: "peer", sees: web1Addr},
		probe{from: "web1", to: viaPeer6, at: "peer", sees: web1Addr6},
		probe{from: "web1", to: beyond, at: "outside", sees: fip1},
		probe{from: "web2", to: beyond, at: "hub", sees: web2Addr},
	)
	s.during("a default route inside")
	s.apply(with(edge(), route("0.0.0.0/0", "10.0.2.250")))
	s.check(
		probe{from: "web1", to: internetAddr, at: "fw", sees: web1Addr},
		probe{from: "web2", to: internetAddr, at: "fw", sees: web2Addr},
		probe{from: "app1", to: strayAddr, at: "hub", sees: app1Addr},
		probe{from: "web2", to: remoteApp, at: "peer", sees: web2Addr},
		probe{from: "web2", to: fip2, at: "peer", sees: web2Addr},
		probe{from: "web2", to: outsideAddr, at: "hub", sees: web2Addr},
		probe{from: "web1", to: outsideAddr6, at: "hub", sees: web1Addr6},
		probe{from: "outside", to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
	)
}
