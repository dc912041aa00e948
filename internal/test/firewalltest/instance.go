package firewalltest

import (
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// The transit addresses of the example's instances: of the edge itself, of another one, and of the
// centre.
const (
	edgeAddr, otherAddr, centreAddr = "169.254.64.1", "169.254.64.2", "169.254.64.99"
	other6, centre6                 = "fe80::2", "fe80::99"
)

func via(dest, hop string) dataplane.Route {
	return dataplane.Route{Dest: netip.MustParsePrefix(dest), NextHop: Addr(hop)}
}

// RemoteFIP leads to the edge that has a floating IP of the example's.
func RemoteFIP(n int) dataplane.Route {
	return dataplane.Route{Dest: netip.PrefixFrom(FIP(n).Addr, 32), NextHop: Addr(otherAddr)}
}

// Remote leads to the edge that has the nth fixed address.
func Remote(n int) dataplane.Route {
	return dataplane.Route{Dest: netip.PrefixFrom(FIP(n).Fixed, 32), NextHop: Addr(otherAddr)}
}

// dualStack gives a router's internal ports IPv6.
func dualStack(r dataplane.Router) dataplane.Router {
	return Without(r, func(r *dataplane.Router) {
		r.Ports[0].Addrs = append(r.Ports[0].Addrs[:1:1], netip.MustParsePrefix("fd00:1::1/64"))
		r.Ports[1].Addrs = append(r.Ports[1].Addrs[:1:1], netip.MustParsePrefix("fd00:2::1/80"))
	})
}

func transit(addr string) *dataplane.Transit {
	return &dataplane.Transit{Port: dataplane.Port{ID: "tr", Addrs: []netip.Prefix{netip.MustParsePrefix(addr + "/18")}, MTU: 1500}}
}

// Edge is the example on a host that has floating IPs of its workloads. The fixed addresses
// 10.0.0.5 to 10.0.0.9, those of the floating IPs, and 10.1.0.9 are here, 10.1.0.7 and floating IP
// 1000 at another edge. 10.0.0.8 is translated by the centre.
func Edge(fips ...dataplane.FloatingIP) dataplane.Router {
	r := dualStack(Example(fips...))
	web := &dataplane.Anycast{Neighbours: []netip.Addr{Addr("fd00:1::5")}}
	known := map[netip.Addr]bool{}
	for _, f := range append(FIPs(5, 10), fips...) {
		if !known[f.Fixed] && r.Ports[0].Addrs[0].Contains(f.Fixed) {
			web.Neighbours = append(web.Neighbours, f.Fixed)
		}
		known[f.Fixed] = true
	}
	r.Ports[0].Anycast = web
	r.Ports[1].Anycast = &dataplane.Anycast{Neighbours: []netip.Addr{Addr("10.1.0.9")}}
	r.Gateway = &dataplane.Gateway{
		Port:            dataplane.Port{ID: "out", MTU: 1500},
		OnLink:          []netip.Prefix{netip.MustParsePrefix("203.0.0.0/16")},
		NextHops:        []netip.Addr{Addr("203.0.255.1")},
		FloatingIPsOnly: true,
		Hairpin:         Addr("203.0.255.2"),
	}
	r.Transit = transit(edgeAddr)
	r.Transit.Centre = []netip.Addr{Addr(centreAddr), Addr(centre6)}
	r.Transit.Routes = []dataplane.Route{
		via("10.0.0.0/16", centreAddr), via("10.1.0.0/24", centreAddr), via("10.2.0.0/24", centreAddr), via("10.1.0.7/32", otherAddr),
		via("fd00:1::/64", centre6), via("fd00:2::/80", centre6), via("fd00:3::/64", centre6), via("fd00:2::7/128", other6),
	}
	r.Transit.External = []dataplane.Route{RemoteFIP(1000)}
	r.Transit.Elsewhere = []netip.Addr{Addr("10.0.0.8")}
	return r
}

// Centre is the centre to the same edges. It has floating IPs of workloads on hosts that have none.
func Centre(fips ...dataplane.FloatingIP) dataplane.Router {
	r := dualStack(Example(fips...))
	r.ID = dataplane.CentreID(r.ID)
	r.Ports[0].Outside, r.Ports[1].Outside = true, true
	r.Gateway.NextHops = []netip.Addr{Addr("203.0.255.1")}
	r.Transit = transit(centreAddr)
	r.Transit.Routes = []dataplane.Route{
		via("10.0.0.5/32", edgeAddr), via("10.0.0.8/32", edgeAddr), via("10.1.0.9/32", edgeAddr), via("10.1.0.7/32", otherAddr), via("fd00:2::7/128", other6),
	}
	r.Transit.External = []dataplane.Route{via("203.0.0.5/32", edgeAddr), RemoteFIP(1000)}
	r.Transit.Elsewhere = []netip.Addr{Addr("10.0.0.5"), Addr("10.1.0.7")}
	return r
}

// CentreWithoutSNAT is the same centre, with a gateway that does not translate.
func CentreWithoutSNAT(fips ...dataplane.FloatingIP) dataplane.Router {
	r := Centre(fips...)
	r.Gateway.SNAT = false
	return r
}

// Instances are states of a distributed router, by their names.
func Instances(fips ...dataplane.FloatingIP) map[string]dataplane.Router {
	return map[string]dataplane.Router{
		"edge": Edge(fips...),
		"edge-without-gateway": Without(Edge(), func(r *dataplane.Router) {
			r.Gateway = nil
		}),
		"centre":              Centre(FIP(8)),
		"centre-without-snat": CentreWithoutSNAT(FIP(8)),
	}
}
