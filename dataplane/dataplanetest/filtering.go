package dataplanetest

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// filteringClauses are the rows about packets that no router forwards.
func filteringClauses() []clause {
	return []clause{
		{
			name: "P17-spoofed-from-outside",
			why: "A packet from outside whose source is in an internal subnet, or is one of the router's own addresses, is dropped where it enters, SNAT on or off " +
				"(RFC 2827, RFC 3704). Otherwise whoever is outside speaks to a server in the name of its neighbours, through the server's own floating IP.",
			test: spoofedOutside,
		}, {
			name: "P17-spoofed-from-inside",
			why: "A packet from inside in the name of the router itself is dropped. Another internal source is routed, also by a port that is not its own: workloads " +
				"with several ports answer that way.",
			test: spoofedInside,
		}, {
			name: "P18-link-local",
			why: "What is sent to a link-local address stays on the link (RFC 3927 2.7, RFC 4291 2.5.6). " +
				"The metadata address is one: without a metadata proxy the router " +
				"refuses it. When it is forwarded instead, the provider's network gets every instance's requests for its configuration, and may answer them.",
			test: linkLocal,
		}, {
			name: "P19-nothing-leaves-untranslated",
			why: "With SNAT on, no packet leaves by the gateway with an internal source: " +
				"not the answer to a source that is not routed inside, and not a connection whose " +
				"route inside is gone. The upstream router would learn private addresses, and drop the packet or misdirect its answer.",
			test: nothingUntranslated,
		},
	}
}

var (
	unrouted = addr("192.0.2.77")      // no route but the default one leads there
	fipHost  = addr("10.0.1.99")       // that nobody has
	metadata = addr("169.254.169.254") // RFC 3927 by its prefix; the address is a convention of clouds

	metadata6 = addr("fe80::a9fe:a9fe")
)

// spoofedOutside sends in the name of hosts inside, and of the router, from the external network.
func spoofedOutside(s *scene) {
	s.attach(Workload{
		Name: "liar", Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext-net"}, Addrs: prefixes("203.0.113.60/24", "2001:db8:1::60/64")}},
		Local: append(addrs("10.0.1.1", "10.0.3.1", fip2.String(), "fd00:1::99", "fd00:2::1", "fd00:3::10"), web1Addr, db1Addr, fipHost),
		Routes: []dataplane.Route{
			{Dest: netip.MustParsePrefix("10.0.2.0/24"), NextHop: gatewayAddr},
			{Dest: netip.MustParsePrefix("fd00::/16"), NextHop: addr("2001:db8:1::2")},
		},
	})
	s.attach(Workload{ // in the name of the gateway
		Name: "twin", Ports: []dataplane.Port{{Network: dataplane.Network{ID: "ext-net"}, Addrs: prefixes("203.0.113.61/24")}},
		Local: []netip.Addr{gatewayAddr},
	})
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		s.apply(with(busy(), snat(on)))
		var probes []probe
		for _, src := range []netip.Addr{web1Addr, db1Addr, fipHost, addr("10.0.1.1"), addr("10.0.3.1"), fip2} {
			probes = append(probes, probe{from: "liar", src: src, to: fip1, near: "web1"})
			if !on {
				probes = append(probes, probe{from: "liar", src: src, to: app1Addr, near: "app1"})
			}
		}
		for _, src := range addrs("fd00:1::99", "fd00:2::1", "fd00:3::10") {
			probes = append(probes, probe{from: "liar", src: src, to: web1Addr6, near: "web1"}, probe{from: "liar", src: src, to: app1Addr6, near: "app1"})
		}
		probes = append(probes, probe{from: "twin", src: gatewayAddr, to: fip1, near: "web1"})
		s.check(probes...)
		s.during("SNAT %t, the same host in its own name", on)
		s.check(
			probe{from: "liar", to: fip1, at: "web1", sees: addr("203.0.113.60"), as: web1Addr},
			probe{from: "liar", to: app1Addr6, at: "app1", sees: addr("2001:db8:1::60")},
		)
	}
}

// spoofedInside sends in the name of the router, and of other hosts, from inside.
func spoofedInside(s *scene) {
	s.attach(Workload{
		Name: "liar", Ports: []dataplane.Port{{Network: dataplane.Network{ID: "app-net"}, Addrs: prefixes("10.0.2.77/24", "fd00:2::77/64")}},
		NextHops: addrs("10.0.2.1", "fd00:2::1"),
		Local:    addrs("10.0.1.1", "10.0.3.1", gatewayAddr.String(), fip1.String(), "fd00:1::1", "fd00:3::1", "2001:db8:1::2"),
	})
	s.attach(Workload{
		Name: "dual", NextHops: addrs("10.0.2.1", "fd00:2::1"),
		Ports: []dataplane.Port{
			{Network: dataplane.Network{ID: "web-net"}, Addrs: prefixes("10.0.1.20/24", "fd00:1::20/64")},
			{Network: dataplane.Network{ID: "app-net"}, Addrs: prefixes("10.0.2.20/24", "fd00:2::20/64")},
		},
	})
	for _, on := range []bool{true, false} {
		s.during("SNAT %t", on)
		s.apply(with(busy(), snat(on)))
		var probes []probe
		for _, own := range addrs("10.0.1.1", "10.0.3.1", gatewayAddr.String(), fip1.String()) {
			probes = append(probes, probe{from: "liar", src: own, to: db1Addr, near: "db1"}, probe{from: "liar", src: own, to: outsideAddr, near: "outside"})
		}
		for _, own := range addrs("fd00:1::1", "fd00:3::1", "2001:db8:1::2") {
			probes = append(probes, probe{from: "liar", src: own, to: web1Addr6, near: "web1"}, probe{from: "liar", src: own, to: outsideAddr6, near: "outside"})
		}
		s.check(probes...)
		s.during("SNAT %t, an internal source by another port", on)
		s.check(
			probe{from: "dual", src: addr("10.0.1.20"), to: db1Addr, at: "db1", sees: addr("10.0.1.20")},
			probe{from: "dual", src: addr("fd00:1::20"), to: addr("fd00:3::10"), at: "db1", sees: addr("fd00:1::20")},
		)
	}
}

// linkLocal sends to the metadata addresses, and has somebody wait for it in each place where it
// could be forwarded to.
func linkLocal(s *scene) {
	s.host("edge") // the way out
	s.attach(Workload{
		Name: "impostor", NextHops: addrs("10.0.2.1"), Local: []netip.Addr{metadata},
		Ports: []dataplane.Port{{Network: dataplane.Network{ID: "app-net"}, Addrs: prefixes("10.0.2.250/24")}},
	})
	s.attach(Workload{
		Name: "seeker", NextHops: addrs("10.0.1.1", "fd00:1::1"),
		Ports:  []dataplane.Port{{Network: dataplane.Network{ID: "web-net"}, Addrs: prefixes("10.0.1.30/24", "fd00:1::30/64")}},
		Routes: []dataplane.Route{{Dest: netip.PrefixFrom(metadata6, 128), NextHop: addr("fd00:1::1")}},
	})
	s.attach(Workload{
		Name: "neighbour", Ports: []dataplane.Port{{Network: dataplane.Network{ID: "web-net"}, Addrs: prefixes("10.0.1.31/24", "fe80::a9fe:a9fe/64")}},
	})
	routed := with(plain(), floating(fip1, web1Addr), route("169.254.0.0/16", "10.0.2.250"))
	for _, on := range []bool{true, false} {
		for _, r := range []dataplane.Router{with(plain(), floating(fip1, web1Addr)), routed} {
			s.during("SNAT %t, %d extra routes", on, len(r.Routes))
			s.apply(with(r, snat(on)))
			near := "edge"
			if len(r.Routes) > 0 {
				near = "impostor"
			}
			s.check(
				probe{from: "web1", to: metadata, refused: true, near: near},
				probe{from: "db1", to: addr("169.254.7.7"), refused: true, near: near},
				probe{from: "seeker", to: metadata6.WithZone("eth0"), refused: true, near: "neighbour"},
			)
		}
	}
}

// nothingUntranslated looks at what leaves while answers want to go where only the default route
// leads.
func nothingUntranslated(s *scene) {
	edge, err := s.host("edge").Watch()
	s.must(err)
	s.closeLater(edge)
	s.attach(Workload{
		Name: "odd", NextHops: addrs("10.0.1.1"), Local: []netip.Addr{unrouted},
		Ports: []dataplane.Port{{Network: dataplane.Network{ID: "web-net"}, Addrs: prefixes("10.0.1.30/24")}},
	})
	s.apply(busy())
	for _, to := range []struct {
		name string
		addr netip.Addr
	}{{"app1", app1Addr}, {"db1", db1Addr}, {"fw", behindAddr}} {
		s.check(probe{from: "odd", to: to.addr, at: to.name, sees: addr("10.0.1.30")}) // who answers from now on
		s.check(probe{from: "odd", src: unrouted, to: to.addr, at: to.name, sees: unrouted, oneWay: true})
	}
	s.during("after the route inside is gone")
	stream, err := s.host("web1").Stream(s.ctx, netip.AddrPort{}, netip.AddrPortFrom(behindAddr, servicePort), time.Millisecond)
	s.must(err)
	s.apply(with(plain(), floating(fip1, web1Addr), floating(fip2, app1Addr)))
	ctx, cancel := s.briefly()
	defer cancel()
	if err := stream.Pause(ctx, 1); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		s.fail(err)
	}
	stream.Stop(ctx)
	private := prefixes("10.0.0.0/8")[0]
	s.never(edge, "left untranslated", func(p Packet) bool { return !p.Sent && private.Contains(p.Src.Addr()) })
}
