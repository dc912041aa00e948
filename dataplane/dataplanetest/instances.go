package dataplanetest

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// The stage of the clauses about instances of a distributed router. Other instances are workloads
// on the transit, which answer for what those would reach. The first is about an edge:
//
//	web1 .10, web2 .11, web3 .12 ── 10.0.1.0/24 ──┐
//	app1 .10, fw .250            ── 10.0.2.0/24 ──┼── edge .1 ── 169.254.64.0/18 ──┬── peer .2, another edge
//	    external network, with the floating IP of web1 ──┘                         └── hub .99, the centre
//
// stray is on the network of web1 and unknown to the edge: what is sent to it goes to hub, which
// has its address as well. The second is about the centre, with the edges edge1 and edge2.
var (
	fip4        = addr("203.0.113.104")
	web3Addr    = addr("10.0.1.12") // its floating IP is at the centre
	strayAddr   = addr("10.0.1.77")
	moverAddr   = addr("10.0.1.30")
	remoteWeb   = addr("10.0.1.20") // at peer
	remoteApp   = addr("10.0.2.20") // at peer, or edge2
	remoteApp2  = addr("10.0.2.21") // at edge2
	viaPeer     = addr("10.8.0.1")  // behind peer, or edge2
	beyond      = addr("192.0.2.9") // behind outside
	strayAddr6  = addr("fd00:1::77")
	remoteApp6  = addr("fd00:2::20")
	db1Addr6    = addr("fd00:3::10")
	viaPeer6    = addr("fd00:8::1")
	anycastAddr = addr("10.0.1.1") // of the leg on the network of web1, at every instance
	anycast6    = addr("fd00:1::1")
)

const (
	edgeMAC, centreMAC = 20, 30 // last bytes, on the transit
)

// edge is R on a host that has web1 to web3, app1 and fw.
func edge() dataplane.Router {
	return with(plain(), without("db"), floating(fip1, web1Addr), behind, func(r *dataplane.Router) {
		r.Ports[0].Anycast = &dataplane.Anycast{Neighbours: append(addrs("fd00:1::10"), web1Addr, web2Addr, web3Addr)}
		r.Ports[1].Anycast = &dataplane.Anycast{Neighbours: append(addrs("10.0.2.250", "fd00:2::10", "fd00:2::fa"), app1Addr)}
		r.Gateway = &dataplane.Gateway{
			Port: port("ext", 9), NextHops: addrs("203.0.113.1"), OnLink: prefixes("203.0.113.0/24"), FloatingIPsOnly: true, Hairpin: gatewayAddr,
		}
		r.Transit = &dataplane.Transit{
			Port: port("transit", edgeMAC, "169.254.64.1/18"),
			Routes: slices.Concat(
				to("169.254.64.2", "10.0.1.20/32", "10.0.2.20/32"), to("fe80::2", "fd00:2::20/128"),
				to("169.254.64.99", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"), to("fe80::99", "fd00:1::/64", "fd00:2::/64", "fd00:3::/64"),
			),
			Centre: addrs("169.254.64.99", "fe80::99"),
			External: slices.Concat(
				to("169.254.64.2", fip2.String()+"/32"),
				to("169.254.64.99", fip3.String()+"/32", gatewayAddr.String()+"/32", "203.0.113.0/24"), to("fe80::99", "2001:db8:1::2/128", "2001:db8:1::/64"),
			),
			Elsewhere: []netip.Addr{web3Addr},
		}
	})
}

// centre is the other part of R: web1 to web3 are at edge1, and remoteApp and remoteApp2 at edge2.
func centre() dataplane.Router {
	return with(plain(), floating(fip3, web3Addr), func(r *dataplane.Router) {
		r.ID = dataplane.CentreID(r.ID)
		for i := range r.Ports {
			r.Ports[i].Outside, r.Ports[i].MAC[4] = true, 1
		}
		r.Transit = &dataplane.Transit{
			Port: port("transit", centreMAC, "169.254.64.99/18"),
			Routes: slices.Concat(
				to("169.254.64.1", "10.0.1.10/32", "10.0.1.11/32", "10.0.1.12/32"), to("fe80::1", "fd00:1::10/128"),
				to("169.254.64.2", "10.0.2.20/32", "10.0.2.21/32"), to("fe80::2", "fd00:2::20/128"),
			),
			External:  to("169.254.64.1", fip1.String()+"/32"),
			Elsewhere: []netip.Addr{web1Addr, remoteApp},
		}
	})
}

// arrives moves a floating IP to an instance that knew it to be at another.
func arrives(a, fixed netip.Addr) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		t := r.Transit
		t.External = slices.DeleteFunc(t.External, func(x dataplane.Route) bool { return x.Dest == netip.PrefixFrom(a, a.BitLen()) })
		t.Elsewhere = slices.DeleteFunc(t.Elsewhere, func(e netip.Addr) bool { return e == fixed })
		floating(a, fixed)(r)
	}
}

// to makes routes with one next hop.
func to(hop string, dests ...string) (routes []dataplane.Route) {
	for _, d := range prefixes(dests...) {
		routes = append(routes, dataplane.Route{Dest: d, NextHop: addr(hop)})
	}
	return routes
}

// instance describes the workloads that play other instances.
func instance(name string) (Workload, bool) {
	on := func(hop string, router byte, local []netip.Addr, list ...string) (Workload, bool) {
		return Workload{
			Name: name, Local: local, NextHops: append(addrs(hop), linkLocalOf(port("", router).MAC)),
			Ports: []dataplane.Port{{Network: dataplane.Network{ID: "transit-net"}, Addrs: prefixes(list...)}},
		}, true
	}
	switch name {
	case "peer":
		return on("169.254.64.1", edgeMAC, []netip.Addr{
			remoteWeb, remoteApp, remoteApp6, moverAddr, fip2, fip4, viaPeer, viaPeer6, anycastAddr, anycast6,
		}, "169.254.64.2/18", "fe80::2/64")
	case "third":
		return on("169.254.64.1", edgeMAC, []netip.Addr{fip1}, "169.254.64.3/18", "fe80::3/64")
	case "hub":
		return on("169.254.64.1", edgeMAC, []netip.Addr{
			strayAddr, strayAddr6, db1Addr, db1Addr6, outsideAddr, outsideAddr6, internetAddr, internetAddr6, gatewayAddr, fip1, fip2, fip3, fip4, beyond,
		}, "169.254.64.99/18", "fe80::99/64")
	case "edge1":
		return on("169.254.64.99", centreMAC, []netip.Addr{
			web1Addr, web1Addr6, web2Addr, web3Addr, anycastAddr,
		}, "169.254.64.1/18", "fe80::1/64")
	case "edge2":
		return on("169.254.64.99", centreMAC, []netip.Addr{
			remoteApp, remoteApp2, remoteApp6, viaPeer, viaPeer6,
		}, "169.254.64.2/18", "fe80::2/64")
	}
	return Workload{}, false
}

// hears begins to listen at a workload, or ends the clause.
func (s *scene) hears(name string) Ear {
	l, ok := s.host(name).(Listener)
	if !ok {
		panic(abort{notApplicable("the harness cannot hear ARP")})
	}
	e, err := l.Listen()
	s.must(err)
	s.closeLater(e)
	return e
}

// asked returns what a router's port has asked its link for since the last call.
func (s *scene) asked(e Ear, p dataplane.Port) []ARP {
	heard, err := e.Heard()
	s.must(err)
	return slices.DeleteFunc(heard, func(a ARP) bool { return a.MAC != p.MAC })
}

// looks begins to watch a workload.
func (s *scene) looks(name string) Watch {
	w, err := s.host(name).Watch()
	s.must(err)
	s.closeLater(w)
	return w
}
