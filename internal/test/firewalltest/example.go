package firewalltest

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// Addr parses an address.
func Addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// FIP is the nth floating IP, for the nth fixed address.
func FIP(n int) dataplane.FloatingIP {
	return dataplane.FloatingIP{
		ID:    fmt.Sprintf("fip-%d", n),
		Addr:  netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)}),
		Fixed: netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}),
	}
}

// FIPs are the floating IPs from one number up to, but without, another.
func FIPs(from, to int) []dataplane.FloatingIP {
	var list []dataplane.FloatingIP
	for n := from; n < to; n++ {
		list = append(list, FIP(n))
	}
	return list
}

// Example is a router with two internal ports and a gateway that translates.
func Example(fips ...dataplane.FloatingIP) dataplane.Router {
	port := func(id, a string) dataplane.Port {
		return dataplane.Port{ID: id, Addrs: []netip.Prefix{netip.MustParsePrefix(a)}, MTU: 1500}
	}
	return dataplane.Router{
		ID:          "3f7f4b6e-7c41-4b43-9d0c-4d7a2f6b0001",
		Ports:       []dataplane.Port{port("web", "10.0.0.1/16"), port("db", "10.1.0.1/24")},
		Gateway:     &dataplane.Gateway{Port: port("out", "203.0.255.2/16"), SNAT: true},
		FloatingIPs: fips,
	}
}

// Without returns a changed copy of a router.
func Without(r dataplane.Router, change func(*dataplane.Router)) dataplane.Router {
	if r.Gateway != nil {
		g := *r.Gateway
		r.Gateway = &g
	}
	if r.Transit != nil {
		t := *r.Transit
		r.Transit = &t
	}
	r.FloatingIPs, r.PortForwardings, r.Limits = slices.Clone(r.FloatingIPs), slices.Clone(r.PortForwardings), slices.Clone(r.Limits)
	r.Ports = slices.Clone(r.Ports)
	change(&r)
	return r
}

// Scoped is a router with its first port in the address scope of the gateway, and the second in
// none.
func Scoped(r dataplane.Router) dataplane.Router {
	return Without(r, func(r *dataplane.Router) {
		r.Gateway.Scopes = dataplane.Scopes{IPv4: "red", IPv6: "blue"}
		r.Ports[0].Scopes = dataplane.Scopes{IPv4: "red", IPv6: "green"}
		r.Ports[0].Addrs = append(slices.Clone(r.Ports[0].Addrs), netip.MustParsePrefix("fd00:1::1/64"))
	})
}

// Routers are states that any other must lead to and come from, by their names. All but the smaller
// ones have the floating IPs.
func Routers(fips ...dataplane.FloatingIP) map[string]dataplane.Router {
	full := Example(fips...)
	return map[string]dataplane.Router{
		"full":       full,
		"limited":    Limited(fips...),
		"empty":      {ID: full.ID},
		"no-gateway": Without(full, func(r *dataplane.Router) { r.Gateway, r.FloatingIPs = nil, nil }),
		"snat-off":   Without(full, func(r *dataplane.Router) { r.Gateway.SNAT = false }),
		"ipv6-gateway": Without(full, func(r *dataplane.Router) {
			r.FloatingIPs = nil
			r.Gateway.Addrs = slices.Clone(r.Gateway.Addrs[:0])
		}),
		"dual-stack": Without(full, func(r *dataplane.Router) {
			r.Ports[0].Addrs = append(slices.Clone(r.Ports[0].Addrs), netip.MustParsePrefix("fd00:1::1/64"))
			r.Ports[1].Addrs = append(slices.Clone(r.Ports[1].Addrs), netip.MustParsePrefix("fd00:2::1/80"))
			r.Gateway.NextHops = []netip.Addr{Addr("fe80::1")}
		}),
		"ipv6-alone": Without(full, func(r *dataplane.Router) {
			r.Ports, r.Gateway, r.FloatingIPs = r.Ports[:1], nil, nil
			r.Ports[0].Addrs = []netip.Prefix{netip.MustParsePrefix("fd00:1::1/64")}
		}),
		"clamped": Without(full, func(r *dataplane.Router) {
			r.ClampMSS = true
			r.Ports[0].MTU, r.Gateway.MTU = 1400, 9000
			r.Ports[0].Addrs = append(slices.Clone(r.Ports[0].Addrs), netip.MustParsePrefix("fd00:1::1/64"))
		}),
		"scoped":              Scoped(full),
		"scoped-without-snat": Without(Scoped(full), func(r *dataplane.Router) { r.Gateway.SNAT = false }),
		"moved":               Without(Forwarding(fips...), func(r *dataplane.Router) { r.FloatingIPs[0].Fixed = Addr("10.0.9.9") }),
		"swapped": Without(full, func(r *dataplane.Router) {
			f := r.FloatingIPs
			f[0].Fixed, f[1].Fixed = f[1].Fixed, f[0].Fixed
		}),
	}
}
