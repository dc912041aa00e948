package dataplanetest

import "github.com/l3kit/l3kit/dataplane"

func scopeClauses() []clause {
	return []clause{{
		name: "address-scopes",
		why: "Between ports in different address scopes of a family nothing is forwarded as it is, nor between one in a scope and one in none: " +
			"the same addresses may be on both sides. Floating IPs, forwarded ports and SNAT lead across. Hosts in the scope of the external " +
			"network keep their address outside in spite of SNAT, and are reached by it.",
		test: addressScopes,
	}}
}

// scope puts a port into address scopes; the gateway is the one after the last.
func scope(port int, four, six string) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		s := dataplane.Scopes{IPv4: four, IPv6: six}
		if port == len(r.Ports) {
			r.Gateway.Scopes = s
		} else {
			r.Ports[port].Scopes = s
		}
	}
}

// scopedRouter is the busy router, with a floating IP of db1 too, and its ports in address scopes.
func scopedRouter() dataplane.Router {
	return with(busy(), floating(fip3, db1Addr), scope(0, "red", "blue"), scope(1, "red", ""), scope(2, "green", "blue"), scope(3, "red", "blue"))
}

func addressScopes(s *scene) {
	s.host("edge")
	r := scopedRouter()
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		s.apply(with(r, snat(on)))
		s.check(
			probe{from: "web1", to: app1Addr, at: "app1", sees: web1Addr},
			probe{from: "fw", src: behindAddr, to: web2Addr, at: "web2", sees: behindAddr},
			probe{from: "web1", to: db1Addr, near: "db1"},
			probe{from: "db1", to: web1Addr, near: "web1"},
			probe{from: "db1", to: behindAddr, near: "fw"},
			probe{from: "fw", src: behindAddr, to: db1Addr, near: "db1"},

			probe{from: "web2", to: outsideAddr, at: "outside", sees: web2Addr},
			probe{from: "web2", to: internetAddr, at: "internet", sees: web2Addr},
			probe{from: "fw", src: behindAddr, to: outsideAddr, at: "outside", sees: behindAddr},
			probe{from: "outside", to: web2Addr, at: "web2", sees: outsideAddr},
			probe{from: "outside", to: web1Addr, at: "web1", sees: outsideAddr}, // which has a floating IP, too
			probe{from: "outside", to: behindAddr, at: "fw", sees: outsideAddr},
			probe{from: "outside", to: db1Addr, near: "db1"},

			probe{from: "web1", to: outsideAddr, at: "outside", sees: fip1},
			probe{from: "db1", to: outsideAddr, at: "outside", sees: fip3},
			probe{from: "outside", to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
			probe{from: "outside", to: fip3, at: "db1", sees: outsideAddr, as: db1Addr},
			probe{from: "web1", to: fip3, at: "db1", sees: fip1, as: db1Addr},
			probe{from: "web2", to: fip3, at: "db1", sees: gatewayAddr, as: db1Addr},
			probe{from: "db1", proto: dataplane.TCP, to: forwardAddr, port: 8080, at: "web2", sees: fip3, as: web2Addr},
			probe{from: "outside", proto: dataplane.UDP, to: forwardAddr, port: 8080, at: "web2", sees: outsideAddr, as: web2Addr},

			probe{from: "web1", to: addr("fd00:3::10"), at: "db1", sees: web1Addr6},
			probe{from: "db1", to: outsideAddr6, at: "outside", sees: addr("fd00:3::10")},
			probe{from: "outside", to: web1Addr6, at: "web1", sees: outsideAddr6},
			probe{from: "web1", to: app1Addr6, near: "app1"},
			probe{from: "app1", to: web1Addr6, near: "web1"},
			probe{from: "app1", to: outsideAddr6, near: "outside"},
			probe{from: "outside", to: app1Addr6, near: "app1"},

			probe{from: "r1", to: db1Addr, at: "db1", sees: addr("10.0.3.1")},
			probe{from: "outside", proto: dataplane.ICMP, to: forwardAddr, at: "r1"},
		)
	}
	s.during("without a floating IP")
	s.apply(with(r, unbound(fip3)))
	s.check(
		probe{from: "db1", to: outsideAddr, at: "outside", sees: gatewayAddr},
		probe{from: "db1", to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
	)
	s.apply(with(r, unbound(fip3), snat(false)))
	s.during("without a floating IP, SNAT false")
	s.check(
		probe{from: "db1", to: outsideAddr, near: "outside"},
		probe{from: "outside", to: db1Addr, near: "db1"},
	)
	s.during("none outside")
	s.apply(with(r, scope(3, "", ""), scope(0, "", "")))
	s.check(
		probe{from: "web2", to: outsideAddr, at: "outside", sees: gatewayAddr},
		probe{from: "outside", to: web2Addr, near: "web2"},
		probe{from: "web1", to: app1Addr, near: "app1"},
		probe{from: "web1", to: outsideAddr6, at: "outside", sees: web1Addr6},
		probe{from: "db1", to: outsideAddr6, near: "outside"},
	)
	s.during("no gateway")
	s.apply(with(r, noGateway))
	s.check(
		probe{from: "web1", to: app1Addr, at: "app1", sees: web1Addr},
		probe{from: "web1", to: db1Addr, near: "db1"},
		probe{from: "web1", to: app1Addr6, near: "app1"},
	)
}
