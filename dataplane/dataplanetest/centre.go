package dataplanetest

import (
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// centreClauses are about what packets experience at the centre.
func centreClauses() []clause {
	return []clause{
		{
			name: "centre-forwards",
			why: "The centre translates what leaves without a floating IP at an edge, has the floating " +
				"IPs that no edge has and the port forwardings, and asks by ARP for addresses that are listed nowhere. It " +
				"forwards between edges, and takes the router's own addresses as sources from the " +
				"transit.",
			test: centreForwards,
		}, {
			name: "centre-elsewhere",
			why: "No packet leaves the centre's gateway from a fixed address whose floating IP is at " +
				"an edge. Otherwise, while a floating IP moves, its connections would be seen from " +
				"the gateway's address, and their other ends would reset them.",
			test: centreElsewhere,
		},
	}
}

// centrally are probes of the centre.
func (s *scene) centrally(probes ...probe) {
	for i := range probes {
		probes[i].via = dataplane.CentreID("r1")
	}
	s.check(probes...)
}

func centreForwards(s *scene) {
	s.apply(with(centre(), behind, route("10.8.0.0/24", "169.254.64.2"), route("fd00:8::/64", "fe80::2"), forward("8080", web2Addr, "7000")))
	s.cast("edge", "app1", "db1", "fw", "outside", "internet", "edge1", "edge2")
	s.attach(Workload{
		Name: "other", Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext-net"}, Addrs: []netip.Prefix{netip.PrefixFrom(fip1, 24)}}},
	})
	s.during("inside")
	s.centrally(
		probe{from: "db1", to: web1Addr, at: "edge1", sees: db1Addr},
		probe{from: "db1", to: web1Addr6, at: "edge1", sees: db1Addr6},
		probe{from: "edge1", src: web2Addr, to: db1Addr, at: "db1", sees: web2Addr},
		probe{from: "edge1", src: web1Addr6, to: db1Addr6, at: "db1", sees: web1Addr6},
		probe{from: "edge2", src: remoteApp, to: web2Addr, at: "edge1", sees: remoteApp},
		probe{from: "edge2", src: remoteApp6, to: web1Addr6, at: "edge1", sees: remoteApp6},
		probe{from: "app1", to: db1Addr, at: "db1", sees: app1Addr},
		probe{from: "edge1", src: web2Addr, to: behindAddr, at: "fw", sees: web2Addr},
		probe{from: "db1", to: viaPeer, at: "edge2", sees: db1Addr},
		probe{from: "db1", to: viaPeer6, at: "edge2", sees: db1Addr6},
		probe{from: "edge1", src: web2Addr, to: viaPeer, at: "edge2", sees: web2Addr},
		probe{from: "edge1", src: anycastAddr, to: db1Addr, at: "db1", sees: anycastAddr, oneWay: true},
	)
	s.during("outwards and inwards")
	s.centrally(
		probe{from: "edge1", src: web2Addr, to: outsideAddr, at: "outside", sees: gatewayAddr},
		probe{from: "edge1", src: web2Addr, to: internetAddr, at: "internet", sees: gatewayAddr},
		probe{from: "edge1", src: web1Addr6, to: outsideAddr6, at: "outside", sees: web1Addr6},
		probe{from: "outside", to: web1Addr6, at: "edge1", sees: outsideAddr6},
		probe{from: "db1", to: outsideAddr, at: "outside", sees: gatewayAddr},
		probe{from: "edge1", src: web3Addr, to: outsideAddr, at: "outside", sees: fip3},
		probe{from: "outside", to: fip3, at: "edge1", sees: outsideAddr, as: web3Addr},
		probe{from: "outside", to: web2Addr, near: "edge1"},
		probe{from: "outside", to: db1Addr, near: "db1"},
	)
	s.during("hairpin")
	s.centrally(
		probe{from: "edge2", src: remoteApp2, to: fip3, at: "edge1", sees: gatewayAddr, as: web3Addr},
		probe{from: "db1", to: fip3, at: "edge1", sees: gatewayAddr, as: web3Addr},
		probe{from: "edge1", src: web3Addr, to: fip1, at: "other", sees: fip3},
		probe{from: "db1", to: fip1, at: "other", sees: gatewayAddr},
	)
	s.during("to a forwarded port")
	for _, proto := range []dataplane.Proto{dataplane.TCP, dataplane.UDP} {
		s.centrally(
			probe{from: "outside", proto: proto, to: forwardAddr, port: 8080, at: "edge1", sees: outsideAddr, as: web2Addr},
			probe{from: "db1", proto: proto, to: forwardAddr, port: 8080, at: "edge1", sees: gatewayAddr, as: web2Addr},
			probe{from: "edge2", src: remoteApp2, proto: proto, to: forwardAddr, port: 8080, at: "edge1", sees: gatewayAddr, as: web2Addr},
			probe{from: "outside", proto: proto, to: forwardAddr, port: 8081, refused: true, near: "edge1"},
		)
	}
	s.during("without SNAT")
	s.apply(with(centre(), snat(false)))
	s.centrally(
		probe{from: "db1", to: outsideAddr, at: "outside", sees: db1Addr},
		probe{from: "edge1", src: web2Addr, to: outsideAddr, at: "outside", sees: web2Addr},
		probe{from: "db1", to: fip1, at: "other", sees: gatewayAddr}, // its edge knows no way back to others
		probe{from: "edge1", src: web2Addr, to: fip1, at: "other", sees: gatewayAddr},
		probe{from: "edge1", src: web3Addr, to: fip1, at: "other", sees: fip3},
	)
}

func centreElsewhere(s *scene) {
	s.apply(centre())
	s.cast("edge", "outside", "internet", "edge1", "edge2")
	s.centrally(
		probe{from: "edge1", src: web1Addr, to: outsideAddr, near: "outside"},
		probe{from: "edge2", src: remoteApp, to: internetAddr, near: "internet"},
		probe{from: "edge1", src: web1Addr, to: db1Addr, at: "db1", sees: web1Addr},
		probe{from: "edge1", src: web1Addr6, to: outsideAddr6, at: "outside", sees: web1Addr6},
		probe{from: "edge2", src: remoteApp2, to: outsideAddr, at: "outside", sees: gatewayAddr},
	)
	s.during("after its floating IP has come here")
	s.apply(with(centre(), arrives(fip1, web1Addr)))
	s.centrally(
		probe{from: "edge1", src: web1Addr, to: outsideAddr, at: "outside", sees: fip1},
		probe{from: "edge2", src: remoteApp, to: internetAddr, near: "internet"},
	)
}
