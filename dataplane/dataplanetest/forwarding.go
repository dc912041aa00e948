package dataplanetest

import "github.com/l3kit/l3kit/dataplane"

func forwardingClauses() []clause {
	return []clause{{
		name: "P23-port-forwarding",
		why: "What is sent to a forwarded port of an external address arrives at the fixed address and port " +
			"with the client's own source, and the answer leaves as the external address; clients inside " +
			"reach it as they reach a floating IP. Other ports are refused, an echo is answered by the " +
			"router, and the internal host's own connections leave as if there were no forwarding. One " +
			"public address serves many hosts that way, and only where its owner says so.",
		test: portForwarding,
	}}
}

// portForwarding tries single ports, a range that leads to one port, one that leads to the same
// ports, and one that leads to others; only one port of each host has a listener.
func portForwarding(s *scene) {
	r := with(busy(), forward("7100-7103", web2Addr, "6998-7001"), forwardOf(gatewayAddr, "8443", web2Addr, "7000"))
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		s.apply(with(r, snat(on)))
		s.host("edge")
		own := web2Addr
		if on {
			own = gatewayAddr
		}
		s.check(
			probe{from: "outside", proto: dataplane.ICMP, to: forwardAddr, at: "r1"},
			probe{from: "web2", proto: dataplane.ICMP, to: forwardAddr, at: "r1"},
			probe{from: "web2", to: outsideAddr, at: "outside", sees: own},
			probe{from: "app1", to: outsideAddr, at: "outside", sees: fip2},
			probe{from: "outside", to: fip2, at: "app1", sees: outsideAddr, as: app1Addr},
		)
		for _, proto := range []dataplane.Proto{dataplane.TCP, dataplane.UDP} {
			s.check(
				probe{from: "outside", proto: proto, to: forwardAddr, port: 8080, at: "web2", sees: outsideAddr, as: web2Addr},
				probe{from: "internet", proto: proto, to: forwardAddr, port: 8080, at: "web2", sees: internetAddr, as: web2Addr},
				probe{from: "outside", proto: proto, to: forwardAddr, port: 9000, at: "app1", sees: outsideAddr, as: app1Addr},
				probe{from: "outside", proto: proto, to: forwardAddr, port: 9009, at: "app1", sees: outsideAddr, as: app1Addr},
				probe{from: "outside", proto: proto, to: forwardAddr, port: 7000, at: "web2", sees: outsideAddr, as: web2Addr},
				probe{from: "outside", proto: proto, to: forwardAddr, port: 7102, at: "web2", sees: outsideAddr, as: web2Addr},
				probe{from: "outside", proto: proto, to: gatewayAddr, port: 8443, at: "web2", sees: outsideAddr, as: web2Addr},

				probe{from: "db1", proto: proto, to: forwardAddr, port: 8080, at: "web2", sees: gatewayAddr, as: web2Addr},
				probe{from: "web2", proto: proto, to: forwardAddr, port: 8080, at: "web2", sees: gatewayAddr, as: web2Addr},
				probe{from: "web1", proto: proto, to: forwardAddr, port: 8080, at: "web2", sees: fip1, as: web2Addr},
				probe{from: "fw", src: behindAddr, proto: proto, to: forwardAddr, port: 9001, at: "app1", sees: gatewayAddr, as: app1Addr},
				probe{from: "app1", proto: proto, to: gatewayAddr, port: 8443, at: "web2", sees: fip2, as: web2Addr},
				probe{from: "r1", proto: proto, to: forwardAddr, port: 8080, at: "web2", sees: forwardAddr, as: web2Addr},

				probe{from: "outside", proto: proto, to: forwardAddr, port: 8081, refused: true, near: "web2"},
				probe{from: "outside", proto: proto, to: forwardAddr, port: 9010, refused: true, near: "app1"},
				probe{from: "outside", proto: proto, to: gatewayAddr, port: 8444, refused: true, near: "web2"},
				probe{from: "db1", proto: proto, to: forwardAddr, port: 8082, refused: true, near: "web2"},
			)
		}
	}
}
