package dataplanetest

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// talk is a connection that is open when a change comes.
type talk struct {
	name string
	from string
	src  netip.Addr
	to   netip.Addr
	sees netip.Addr // the source that the other end sees
	port uint16     // 0: that of the service
}

// The connections through the busy router.
var (
	in1       = talk{"outside to the first floating IP", "outside", netip.Addr{}, fip1, outsideAddr, 0}
	out1      = talk{"out by the first floating IP", "web1", netip.Addr{}, outsideAddr, fip1, 0}
	in2       = talk{"outside to the second floating IP", "outside", netip.Addr{}, fip2, outsideAddr, 0}
	out2      = talk{"out by the second floating IP", "app1", netip.Addr{}, outsideAddr, fip2, 0}
	shared1   = talk{"out by shared SNAT", "db1", netip.Addr{}, outsideAddr, gatewayAddr, 0}
	sharedFar = talk{"out by shared SNAT from behind an extra route", "fw", behindAddr, outsideAddr, gatewayAddr, 0}
	east      = talk{"east-west between hosts with floating IPs", "web1", netip.Addr{}, app1Addr, web1Addr, 0}
	west      = talk{"east-west from a host without one", "db1", netip.Addr{}, web1Addr, db1Addr, 0}
	hairpin1  = talk{"hairpin to the first floating IP", "db1", netip.Addr{}, fip1, gatewayAddr, 0}
	hairpin2  = talk{"hairpin between floating IPs", "app1", netip.Addr{}, fip1, fip2, 0}
	six       = talk{"IPv6 to the outside", "web1", netip.Addr{}, outsideAddr6, web1Addr6, 0}
	six2      = talk{"IPv6 from the outside", "outside", netip.Addr{}, web1Addr6, outsideAddr6, 0}

	forwarded1 = talk{"outside to a forwarded port", "outside", netip.Addr{}, forwardAddr, outsideAddr, 8080}
	forwarded2 = talk{"outside to another forwarded port", "outside", netip.Addr{}, forwardAddr, outsideAddr, 9005}
	forwarded3 = talk{"from inside to a forwarded port", "db1", netip.Addr{}, forwardAddr, gatewayAddr, 8080}

	former = talk{"out to an address that is nobody's floating IP yet", "db1", netip.Addr{}, fip3, gatewayAddr, 0}

	ownScope = talk{"out in one address scope", "fw", behindAddr, outsideAddr, behindAddr, 0}

	// With SNAT off.
	own    = talk{"out by the own address", "db1", netip.Addr{}, outsideAddr, db1Addr, 0}
	routed = talk{"routed from the outside", "outside", netip.Addr{}, db1Addr, outsideAddr, 0}
)

// change is a step from one router to another, with open connections.
type change struct {
	name     string
	from, to dataplane.Router
	survive  []talk
	end      []talk
	anew     []talk  // of those that end: the next datagram is the first of a new connection, and answered
	then     []probe // what holds for new connections
	converts bool    // a router into an instance, or back: its ways are others, and packets on them may get lost
}

const changeWhy = "Exactly the connections that a change touches end, at once and in both directions; every other connection survives without a lost packet. " +
	"When old ones go on, a floating IP that was given to somebody else still leads to the former owner. When others end, every change is an outage."

func changeClauses() []clause {
	var list []clause
	for _, c := range changes() {
		list = append(list, clause{name: "P15-" + c.name, why: changeWhy, test: c.test})
	}
	return list
}

func changes() []change {
	base := busy()
	quiet := with(base, snat(false))
	moved := with(base, unbound(fip1), floating(fip1, addr("10.0.1.11")))
	rate := dataplane.Bandwidth{Rate: 100_000}
	generous := with(base, limit(fip1, rate, rate), limit(gatewayAddr, rate, rate), limit(forwardAddr, rate, rate))
	otherGateway := addr("203.0.113.4")
	readdressed := with(base, func(r *dataplane.Router) { r.Gateway.Addrs = prefixes("203.0.113.4/24", "2001:db8:1::2/64") })
	elsewhere := with(base, unbound(fip1), unbound(fip2), func(r *dataplane.Router) {
		r.Gateway = &dataplane.Gateway{
			Port: port("ext2", 10, "192.0.2.2/24"), NextHops: addrs("192.0.2.1"), SNAT: true,
		}
	})
	return append(instanceChanges(), []change{
		{
			name: "floating-ip-bound", from: base, to: with(base, floating(fip3, db1Addr)),
			survive: []talk{in1, out1, in2, out2, sharedFar, east, west, hairpin2, six, six2},
			end:     []talk{shared1, hairpin1}, // its host shows another address from now on
			anew:    []talk{shared1, hairpin1},
			then: []probe{
				{from: "db1", to: outsideAddr, at: "outside", sees: fip3},
				{from: "outside", to: fip3, at: "db1", sees: outsideAddr, as: db1Addr},
			},
		}, {
			name: "address-scope-changed", from: with(scopedRouter(), unbound(fip3)), to: with(scopedRouter(), unbound(fip3), scope(1, "green", "blue")),
			survive: []talk{in1, out1, in2, out2, shared1, hairpin1, six},
			end:     []talk{east, ownScope},
			then: []probe{
				{from: "web1", to: app1Addr, near: "app1"},
				{from: "db1", to: app1Addr, at: "app1", sees: db1Addr},
				{from: "web1", to: app1Addr6, at: "app1", sees: web1Addr6},
				{from: "fw", src: behindAddr, to: outsideAddr, at: "outside", sees: gatewayAddr},
			},
		}, {
			// To those inside, the address is the floating IP's from then on, whoever else has it
			// outside.
			name: "floating-ip-taken-over", from: base, to: with(base, floating(fip3, web2Addr)),
			survive: []talk{in1, out1, shared1, sharedFar, east, hairpin1, hairpin2, six},
			end:     []talk{former},
			anew:    []talk{former},
			then:    []probe{{from: "db1", to: fip3, at: "web2", sees: gatewayAddr, as: web2Addr}},
		}, {
			name: "floating-ip-unbound", from: base, to: with(base, unbound(fip1)),
			survive: []talk{in2, out2, shared1, sharedFar, east, west, six, six2},
			end:     []talk{in1, out1, hairpin1, hairpin2},
			then: []probe{
				{from: "web1", to: outsideAddr, at: "outside", sees: gatewayAddr},
				{from: "outside", to: fip1, near: "web1"},
			},
		}, {
			name: "floating-ip-moved", from: base, to: moved,
			survive: []talk{in2, out2, shared1, sharedFar, east, west, six, six2},
			end:     []talk{in1, out1, hairpin1, hairpin2},
			then: []probe{
				{from: "outside", to: fip1, at: "web2", sees: outsideAddr, as: web2Addr},
				{from: "web1", to: outsideAddr, at: "outside", sees: gatewayAddr},
				{from: "web2", to: outsideAddr, at: "outside", sees: fip1},
			},
		}, {
			name: "floating-ips-swapped", from: base, to: with(base, unbound(fip1), unbound(fip2), floating(fip2, web1Addr), floating(fip1, app1Addr)),
			survive: []talk{shared1, sharedFar, east, west, six, six2},
			end:     []talk{in1, in2, out1, out2, hairpin1, hairpin2},
			then: []probe{
				{from: "outside", to: fip2, at: "web1", sees: outsideAddr, as: web1Addr},
				{from: "outside", to: fip1, at: "app1", sees: outsideAddr, as: app1Addr},
			},
		}, {
			name: "limits-come", from: base, to: generous,
			survive: []talk{in1, out1, shared1, east, hairpin1, forwarded1},
		}, {
			name: "limits-change", from: generous, to: with(generous, unlimited(fip1), unlimited(gatewayAddr),
				limit(fip1, dataplane.Bandwidth{}, dataplane.Bandwidth{Rate: 200_000}), limit(fip2, dataplane.Bandwidth{Rate: 200_000}, dataplane.Bandwidth{})),
			survive: []talk{in1, out1, shared1, east, hairpin1, forwarded1},
		}, {
			name: "limits-go", from: generous, to: base,
			survive: []talk{in1, out1, shared1, east, hairpin1, forwarded1},
		}, {
			name: "forwarding-moved", from: base, to: with(base, unforward("8080"), forward("8080", web1Addr, "7000")),
			survive: []talk{in1, out2, shared1, hairpin1, forwarded2},
			end:     []talk{forwarded1, forwarded3},
			anew:    []talk{forwarded1, forwarded3},
			then:    []probe{{from: "outside", proto: dataplane.TCP, to: forwardAddr, port: 8080, at: "web1", sees: outsideAddr, as: web1Addr}},
		}, {
			name: "forwarding-removed", from: base, to: with(base, unforward("9000-9009")),
			survive: []talk{in2, out1, shared1, forwarded1, forwarded3},
			end:     []talk{forwarded2},
			then:    []probe{{from: "outside", proto: dataplane.TCP, to: forwardAddr, port: 9005, refused: true, near: "app1"}},
		}, {
			name: "forwarding-added", from: base, to: with(base, forward("9010", db1Addr, "7000")),
			survive: []talk{in1, shared1, forwarded1, forwarded2, forwarded3},
			then: []probe{
				{from: "outside", proto: dataplane.UDP, to: forwardAddr, port: 9010, at: "db1", sees: outsideAddr, as: db1Addr},
				{from: "db1", to: outsideAddr, at: "outside", sees: gatewayAddr},
			},
		}, {
			name: "forwarding-address-bound", from: base, to: with(base, unforward(""), floating(forwardAddr, web2Addr)),
			survive: []talk{in1, out1, shared1, hairpin2, six},
			end:     []talk{forwarded1, forwarded2, forwarded3},
			then:    []probe{{from: "outside", to: forwardAddr, at: "web2", sees: outsideAddr, as: web2Addr}},
		}, {
			name: "snat-off", from: base, to: quiet,
			survive: []talk{in1, out1, in2, out2, east, west, hairpin1, hairpin2, six, six2},
			end:     []talk{shared1, sharedFar},
			then:    []probe{{from: "db1", to: outsideAddr, at: "outside", sees: db1Addr}},
		}, {
			name: "snat-on", from: quiet, to: base,
			survive: []talk{in1, out1, in2, out2, east, west, hairpin1, hairpin2, six, six2},
			end:     []talk{own, routed},
			then:    []probe{{from: "db1", to: outsideAddr, at: "outside", sees: gatewayAddr}, {from: "outside", to: db1Addr, near: "db1"}},
		}, {
			name: "gateway-readdressed", from: base, to: readdressed,
			survive: []talk{in1, out1, in2, out2, east, west, hairpin2, six, six2},
			end:     []talk{shared1, sharedFar, hairpin1},
			then: []probe{
				{from: "db1", to: outsideAddr, at: "outside", sees: otherGateway},
				{from: "outside", to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
			},
		}, {
			name: "gateway-replaced", from: base, to: elsewhere,
			survive: []talk{east, west},
			end:     []talk{in1, out1, shared1, sharedFar, hairpin1, hairpin2, six},
			then:    []probe{{from: "db1", to: addr("192.0.2.1"), at: "elsewhere", sees: addr("192.0.2.2")}},
		}, {
			name: "gateway-cleared", from: base, to: with(base, noGateway),
			survive: []talk{east, west},
			end:     []talk{in1, out1, in2, out2, shared1, sharedFar, hairpin1, hairpin2, six, six2},
			then:    []probe{{from: "db1", to: outsideAddr, near: "outside"}},
		}, {
			name: "port-removed", from: base, to: with(base, without("db")),
			survive: []talk{in1, out1, in2, out2, sharedFar, east, hairpin2, six, six2},
			end:     []talk{shared1, west, hairpin1},
		}, {
			name: "port-and-route-added", from: with(base, without("db"), func(r *dataplane.Router) { r.Routes = nil }), to: base,
			survive: []talk{in1, out1, in2, out2, east, hairpin2, six, six2},
			then:    []probe{{from: "db1", to: outsideAddr, at: "outside", sees: gatewayAddr}, {from: "web1", to: behindAddr, at: "fw", sees: web1Addr}},
		},
	}...)
}

func (c change) test(s *scene) {
	s.attach(Workload{
		Name:  "elsewhere",
		Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext2-net"}, Addrs: prefixes("192.0.2.1/24")}},
	})
	s.cast("web1", "web2", "app1", "db1", "fw", "outside")
	if c.from.Transit != nil || c.to.Transit != nil {
		s.cast("web3", "peer", "hub")
	}
	if slices.Contains(c.end, former) {
		s.attach(Workload{
			Name:  "former",
			Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext-net"}, Addrs: []netip.Prefix{netip.PrefixFrom(fip3, 24)}}},
		})
	}
	s.apply(c.from)
	s.apply(c.from) // a dataplane may take another way from a router that it has found as it left it
	kept, gone, anew := s.begin(c.survive, !c.converts), s.begin(c.end, false), s.begin(c.anew, false)
	kept.pause(s)
	s.apply(c.to)
	gone.expectEnded(s)
	anew.expectAnew(s)
	kept.pause(s)
	kept.expectUnharmed(s)
	s.during("new connections")
	s.check(c.then...)
}
