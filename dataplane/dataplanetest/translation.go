package dataplanetest

import (
	"github.com/l3kit/l3kit/dataplane"
)

// translationClauses are the rows about who may talk to whom, and under what address.
func translationClauses() []clause {
	return []clause{
		{
			name: "P1-east-west",
			why: "Traffic between internal subnets is routed with source and destination unchanged, also when either end has a floating IP, with SNAT " +
				"on or off. A server that sees a translated neighbour cannot tell its clients apart, and security groups stop to match.",
			test: eastWest,
		}, {
			name: "P2-shared-snat",
			why:  "With SNAT on, an internal host without a floating IP leaves with the gateway's address, and replies come back: that is how it has internet.",
			test: func(s *scene) {
				s.apply(plain())
				s.host("edge")
				s.check(
					probe{from: "web1", to: outsideAddr, at: "outside", sees: gatewayAddr},
					probe{from: "app1", to: internetAddr, at: "internet", sees: gatewayAddr},
				)
			},
		}, {
			name: "P3-snat-behind-extra-route",
			why: "Hosts behind an extra route leave with the gateway's address as those of connected subnets do. Translating by connected subnets alone leaves " +
				"them without internet; translating by anything that is not external breaks hairpin (P7) and east-west (P1), so all three are looked at together.",
			test: snatBehindRoute,
		}, {
			name: "P4-snat-off",
			why:  "With SNAT off, internal hosts leave with their own address: the external network routes it, and asked for no translation.",
			test: func(s *scene) {
				s.apply(with(plain(), snat(false), behind))
				s.host("edge")
				s.check(
					probe{from: "web1", to: outsideAddr, at: "outside", sees: web1Addr},
					probe{from: "app1", to: internetAddr, at: "internet", sees: app1Addr},
					probe{from: "fw", src: behindAddr, to: outsideAddr, at: "outside", sees: behindAddr},
				)
			},
		}, {
			name: "P5-floating-ip-out",
			why:  "A host with a floating IP leaves with it, SNAT on or off. Others know the host by that address, and their firewalls let it in.",
			test: bothSNAT(
				probe{from: "web1", to: outsideAddr, at: "outside", sees: fip1},
				probe{from: "web1", to: internetAddr, at: "internet", sees: fip1},
				probe{from: "app1", to: outsideAddr, at: "outside", sees: fip2},
			),
		}, {
			name: "P6-floating-ip-in",
			why:  "What is sent to a floating IP arrives at its fixed address with the client's own source, and the answer leaves as the floating IP.",
			test: bothSNAT(
				probe{from: "outside", to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
				probe{from: "internet", to: fip1, at: "web1", sees: internetAddr, as: web1Addr},
				probe{from: "outside", to: fip2, at: "app1", sees: outsideAddr, as: app1Addr},
			),
		}, {
			name: "P7-hairpin",
			why: "An internal client reaches an internal server by its floating IP, also in its own subnet, also itself. The server sees the client's floating IP " +
				"or the gateway's address: if it saw the client's own, it would answer on the link, from an address that the client never asked.",
			test: bothSNAT(
				probe{from: "web2", to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
				probe{from: "db1", to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
				probe{from: "app1", to: fip1, at: "web1", sees: fip2, as: web1Addr},
				probe{from: "web1", to: fip2, at: "app1", sees: fip1, as: app1Addr},
				probe{from: "web1", to: fip1, at: "web1", sees: fip1, as: web1Addr},
				probe{from: "fw", src: behindAddr, to: fip2, at: "app1", sees: gatewayAddr, as: app1Addr},
			),
		}, {
			name: "P8-from-the-router",
			why:  "What the router's own namespace sends to a floating IP arrives at the fixed address: health checks and metadata proxies live there.",
			test: bothSNAT(
				probe{from: "r1", to: fip1, at: "web1", sees: fip1, as: web1Addr},
				probe{from: "r1", to: fip2, at: "app1", sees: fip2, as: app1Addr},
			),
		}, {
			name: "P9-from-outside",
			why: "With SNAT on, nobody outside opens a connection to an internal address: tenants who share an external network would be in each other's subnets. " +
				"With SNAT off, the addresses are routed, by the operator's wish.",
			test: fromOutside,
		}, {
			name: "P10-own-addresses",
			why: "A router answers an echo to each of its own addresses, from everywhere, and serves nothing else. That is how people find out whether it lives, " +
				"and all that they may find out.",
			test: ownAddresses,
		}, {
			name: "P14-overlapping-routers",
			why:  "Two routers with the same subnets and the same fixed addresses never meet: every tenant may number its network as it likes.",
			test: overlapping,
		},
	}
}

// bothSNAT tries probes on the busy router with SNAT on, and off.
func bothSNAT(probes ...probe) func(*scene) {
	return func(s *scene) {
		for _, on := range []bool{true, false} {
			s.during("SNAT %t", on)
			s.apply(with(busy(), snat(on)))
			s.host("edge")
			s.check(probes...)
		}
	}
}

func eastWest(s *scene) {
	s.cast("web1", "app1")
	for _, on := range []bool{true, false} {
		for _, r := range []dataplane.Router{
			plain(),
			with(plain(), floating(fip1, web1Addr)),
			with(plain(), floating(fip1, web1Addr), floating(fip2, app1Addr)),
		} {
			s.during("SNAT %t, %d floating IPs", on, len(r.FloatingIPs))
			s.apply(with(r, snat(on)))
			s.check(
				probe{from: "web1", to: app1Addr, at: "app1", sees: web1Addr},
				probe{from: "app1", to: web1Addr, at: "web1", sees: app1Addr},
			)
		}
	}
	s.during("without a gateway")
	s.apply(with(plain(), noGateway))
	s.check(probe{from: "web1", to: app1Addr, at: "app1", sees: web1Addr})
}

func snatBehindRoute(s *scene) {
	s.apply(busy())
	s.host("edge")
	s.check(
		probe{from: "fw", src: behindAddr, to: outsideAddr, at: "outside", sees: gatewayAddr},
		probe{from: "fw", src: behindAddr, to: internetAddr, at: "internet", sees: gatewayAddr},
		probe{from: "fw", src: behindAddr, to: fip1, at: "web1", sees: gatewayAddr, as: web1Addr},
		probe{from: "fw", src: behindAddr, to: web1Addr, at: "web1", sees: behindAddr},
		probe{from: "web1", to: behindAddr, at: "fw", sees: web1Addr},
	)
}

func fromOutside(s *scene) {
	s.host("edge")
	for _, r := range []dataplane.Router{with(plain(), behind), busy()} {
		s.during("SNAT on, %d floating IPs", len(r.FloatingIPs))
		s.apply(r)
		s.check(
			probe{from: "outside", to: web1Addr, near: "web1"},
			probe{from: "internet", to: app1Addr, near: "app1"},
			probe{from: "outside", to: db1Addr, near: "db1"},
			probe{from: "outside", to: behindAddr, near: "fw"},
		)
	}
	s.during("SNAT off")
	s.apply(with(busy(), snat(false)))
	s.check(
		probe{from: "outside", to: db1Addr, at: "db1", sees: outsideAddr},
		probe{from: "internet", to: db1Addr, at: "db1", sees: internetAddr},
		probe{from: "outside", to: behindAddr, at: "fw", sees: outsideAddr},
	)
}

func ownAddresses(s *scene) {
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		s.apply(with(busy(), snat(on)))
		s.host("edge")
		own := addrs("10.0.1.1", "10.0.2.1", "10.0.3.1", gatewayAddr.String(), "fd00:1::1", "fd00:2::1", "2001:db8:1::2")
		var probes []probe
		for _, from := range []string{"web1", "db1", "outside", "internet", "r1"} {
			for _, a := range own {
				probes = append(probes, probe{from: from, to: a, at: "r1"})
			}
		}
		s.check(probes...)
		// A floating IP is answered for by its fixed address.
		s.check(probe{from: "outside", proto: dataplane.ICMP, to: fip1, at: "web1", sees: outsideAddr, as: web1Addr})
	}
}

// overlapping puts a second router beside the first, with subnets and hosts of the same addresses
// on networks of their own.
func overlapping(s *scene) {
	gateway2, fipTwin := addr("203.0.113.3"), addr("203.0.113.111")
	twin := with(plain(), floating(fipTwin, web1Addr), func(r *dataplane.Router) {
		r.ID = "r2"
		for i := range r.Ports {
			r.Ports[i].ID = "twin-" + r.Ports[i].ID
			r.Ports[i].Network.ID = "twin-" + r.Ports[i].Network.ID
		}
		g := r.Gateway
		g.ID, g.MAC[5], g.Addrs = "twin-ext", 19, prefixes("203.0.113.3/24", "2001:db8:1::3/64")
	})
	s.apply(with(plain(), floating(fip1, web1Addr)))
	s.apply(twin)
	for _, name := range []string{"web1", "app1"} {
		s.host(name)
		w := workload(name)
		w.Name = "twin-" + name
		w.Ports[0].Network.ID = "twin-" + w.Ports[0].Network.ID
		s.attach(w)
	}
	s.check(
		probe{from: "outside", to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
		probe{from: "outside", to: fipTwin, at: "twin-web1", sees: outsideAddr, as: web1Addr, via: "r2"},
		probe{from: "web1", to: app1Addr, at: "app1", sees: web1Addr},
		probe{from: "twin-web1", to: app1Addr, at: "twin-app1", sees: web1Addr, via: "r2"},
		probe{from: "app1", to: outsideAddr, at: "outside", sees: gatewayAddr},
		probe{from: "twin-app1", to: outsideAddr, at: "outside", sees: gateway2, via: "r2"},
		probe{from: "web1", to: outsideAddr, at: "outside", sees: fip1},
		probe{from: "twin-web1", to: outsideAddr, at: "outside", sees: fipTwin, via: "r2"},
	)
	s.during("from one to the other by floating IP")
	s.check(probe{from: "app1", to: fipTwin, at: "twin-web1", sees: gatewayAddr, as: web1Addr, via: "r1 and r2"})
	s.during("after the other is deleted")
	s.remove("r2")
	s.check(
		probe{from: "outside", to: fip1, at: "web1", sees: outsideAddr, as: web1Addr},
		probe{from: "web1", to: app1Addr, at: "app1", sees: web1Addr},
	)
}
