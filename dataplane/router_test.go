package dataplane_test

import (
	"fmt"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

var (
	addr   = netip.MustParseAddr
	prefix = netip.MustParsePrefix
)

func mac(n int) dataplane.MAC {
	return dataplane.MAC{0xfa, 0x16, 0x3e, byte(n >> 16), byte(n >> 8), byte(n)}
}

func network(id string) dataplane.Network { return dataplane.Network{ID: id} }

// threeTier is the router that most tests begin with: web and app inside, dual stack; an appliance
// in app with a network behind it.
//
//	net-web 10.0.0.0/24 ─ web ┐
//	net-app 10.0.1.0/24 ─ app ┼ router ─ ext ─ net-ext 203.0.113.0/24
//	10.9.0.0/16 ─ 10.0.1.9 ───┘
func threeTier() dataplane.Router {
	return dataplane.Router{
		ID: "r1",
		Ports: []dataplane.Port{
			{ID: "web", Network: network("net-web"), MAC: mac(1), MTU: 1500, Addrs: []netip.Prefix{prefix("10.0.0.1/24"), prefix("2001:db8:0:1::1/64")}},
			{ID: "app", Network: network("net-app"), MAC: mac(2), MTU: 1500, Addrs: []netip.Prefix{prefix("10.0.1.1/24"), prefix("2001:db8:0:2::1/64")}},
		},
		Gateway: &dataplane.Gateway{
			Port: dataplane.Port{
				ID: "ext", Network: network("net-ext"), MAC: mac(3), MTU: 1500,
				Addrs: []netip.Prefix{prefix("203.0.113.2/24"), prefix("2001:db8:0:f::2/64")},
			},
			NextHops: []netip.Addr{addr("203.0.113.1"), addr("fe80::1")},
			SNAT:     true,
		},
		FloatingIPs: []dataplane.FloatingIP{
			{ID: "fip-5", Addr: addr("203.0.113.5"), Fixed: addr("10.0.0.5")},
			{ID: "fip-6", Addr: addr("203.0.113.6"), Fixed: addr("10.0.1.6")},
		},
		Routes: []dataplane.Route{{Dest: prefix("10.9.0.0/16"), NextHop: addr("10.0.1.9")}},
	}
}

// edge is threeTier on a host that has the workloads 10.0.0.5 and 10.0.0.7, 10.0.0.8, whose
// floating IP the centre has, and 10.0.1.9. Another edge, 169.254.64.2, has 10.0.1.6 and 10.0.1.7;
// the centre is 169.254.64.99.
func edge() dataplane.Router {
	r := threeTier()
	via := func(dest, hop string) dataplane.Route {
		return dataplane.Route{Dest: prefix(dest), NextHop: addr(hop)}
	}
	r.Ports[0].Anycast = &dataplane.Anycast{Neighbours: []netip.Addr{addr("10.0.0.5"), addr("10.0.0.7"), addr("10.0.0.8"), addr("2001:db8:0:1::5")}}
	r.Ports[1].Anycast = &dataplane.Anycast{Neighbours: []netip.Addr{addr("10.0.1.9")}}
	r.Gateway = &dataplane.Gateway{
		Port:            dataplane.Port{ID: "ext", Network: network("net-ext"), MAC: mac(13), MTU: 1500},
		NextHops:        []netip.Addr{addr("203.0.113.1")},
		OnLink:          []netip.Prefix{prefix("203.0.113.0/24")},
		FloatingIPsOnly: true,
		Hairpin:         addr("203.0.113.2"),
	}
	r.FloatingIPs = r.FloatingIPs[:1]
	r.Routes = append(r.Routes, via("192.0.2.0/24", "203.0.113.7"), via("10.0.1.128/25", "10.0.1.9"))
	r.Transit = &dataplane.Transit{
		Port: dataplane.Port{ID: "tr", Network: network("net-tr"), MAC: mac(21), MTU: 1500, Addrs: []netip.Prefix{prefix("169.254.64.1/18")}},
		Routes: []dataplane.Route{
			via("10.0.1.6/32", "169.254.64.2"), via("10.0.1.7/32", "169.254.64.2"), via("2001:db8:0:2::6/128", "fe80::2"),
			via("10.0.0.0/24", "169.254.64.99"), via("10.0.1.0/24", "169.254.64.99"), via("10.0.2.0/24", "169.254.64.99"),
			via("2001:db8:0:1::/64", "fe80::99"), via("2001:db8:0:2::/64", "fe80::99"),
		},
		Centre:    []netip.Addr{addr("169.254.64.99"), addr("fe80::99")},
		External:  []dataplane.Route{via("203.0.113.6/32", "169.254.64.2")},
		Elsewhere: []netip.Addr{addr("10.0.0.8")},
	}
	return r
}

// centre is the centre to the same edges.
func centre() dataplane.Router {
	r := threeTier()
	r.ID = dataplane.CentreID(r.ID)
	r.FloatingIPs = []dataplane.FloatingIP{{ID: "fip-8", Addr: addr("203.0.113.8"), Fixed: addr("10.0.0.8")}}
	via := func(dest, hop string) dataplane.Route {
		return dataplane.Route{Dest: prefix(dest), NextHop: addr(hop)}
	}
	for i := range r.Ports {
		r.Ports[i].Outside, r.Ports[i].MAC = true, mac(31)
	}
	r.Transit = &dataplane.Transit{
		Port: dataplane.Port{ID: "tr", Network: network("net-tr"), MAC: mac(31), MTU: 1500, Addrs: []netip.Prefix{prefix("169.254.64.99/18")}},
		Routes: []dataplane.Route{
			via("10.0.0.5/32", "169.254.64.1"), via("10.0.0.7/32", "169.254.64.1"), via("10.0.0.8/32", "169.254.64.1"),
			via("10.0.1.9/32", "169.254.64.1"), via("2001:db8:0:1::5/128", "fe80::1"),
			via("10.0.1.6/32", "169.254.64.2"), via("10.0.1.7/32", "169.254.64.2"), via("2001:db8:0:2::6/128", "fe80::2"),
		},
		Elsewhere: []netip.Addr{addr("10.0.0.5"), addr("10.0.1.6")},
	}
	return r
}

// manyFIPs is a valid router with so many floating IPs.
func manyFIPs(n int) dataplane.Router {
	r := threeTier()
	r.Ports[0].Addrs[0] = prefix("10.64.0.1/10")
	r.FloatingIPs = make([]dataplane.FloatingIP, n)
	fip, fixed := addr("198.18.0.1"), addr("10.65.0.1")
	for i := range r.FloatingIPs {
		r.FloatingIPs[i] = dataplane.FloatingIP{ID: fmt.Sprintf("fip-%d", i), Addr: fip, Fixed: fixed}
		fip, fixed = fip.Next(), fixed.Next()
	}
	return r
}

// genRouter draws valid routers: up to four internal ports, with and without gateway, single and
// dual stack; whole ones, and edges and centres of distributed ones.
func genRouter() *rapid.Generator[dataplane.Router] {
	return rapid.Custom(func(t *rapid.T) dataplane.Router {
		r := genPorts(t)
		switch rapid.SampledFrom([]string{"whole", "edge", "centre"}).Draw(t, "instance") {
		case "edge":
			makeEdge(t, &r)
		case "centre":
			makeCentre(t, &r)
		}
		r.Routes = genRoutes(t, extraHops(r))
		return r
	})
}

// genPorts draws a router without extra routes.
func genPorts(t *rapid.T) dataplane.Router {
	r := dataplane.Router{ID: "r"}
	port := func(n int, id, v4, v6 string, needs4 bool) dataplane.Port {
		p := dataplane.Port{ID: id, Network: network("net-" + id), MAC: mac(n), MTU: rapid.IntRange(1280, 9000).Draw(t, "mtu")}
		stack := rapid.SampledFrom([]string{"4", "6", "46"}).Draw(t, "stack")
		if needs4 || stack != "6" {
			p.Addrs = append(p.Addrs, prefix(v4))
		}
		if stack != "4" {
			p.Addrs = append(p.Addrs, prefix(v6))
		}
		return p
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "ports") {
		r.Ports = append(r.Ports, port(i, fmt.Sprintf("p%d", i), fmt.Sprintf("10.0.%d.1/24", i), fmt.Sprintf("2001:db8:0:%d::1/64", i), false))
	}
	if rapid.Bool().Draw(t, "gateway") {
		r.Gateway = &dataplane.Gateway{
			Port: port(100, "gw", "203.0.113.2/25", "2001:db8:0:ff::2/64", true),
			SNAT: rapid.Bool().Draw(t, "snat"),
		}
		if nh := rapid.SampledFrom([]string{"", "203.0.113.1", "192.0.2.1"}).Draw(t, "next hop"); nh != "" {
			r.Gateway.NextHops = append(r.Gateway.NextHops, addr(nh))
		}
		if rapid.Bool().Draw(t, "next hop of IPv6") {
			r.Gateway.NextHops = append(r.Gateway.NextHops, addr("fe80::1"))
		}
		if rapid.Bool().Draw(t, "a second subnet outside") {
			r.Gateway.OnLink = []netip.Prefix{prefix("203.0.114.0/24")}
		}
		r.FloatingIPs = genFIPs(t, r.Ports)
		r.PortForwardings = genForwardings(t, r)
	}
	return r
}

// extraHops are the neighbours that extra routes may go through.
func extraHops(r dataplane.Router) (hops []netip.Addr) {
	ports := slices.Clone(r.Ports)
	if r.Gateway != nil {
		ports = append(ports, r.Gateway.Port)
		if r.Gateway.FloatingIPsOnly && len(r.Gateway.OnLink) > 0 {
			hops = append(hops, addr("203.0.113.7"))
		}
	}
	for _, p := range ports {
		if p.Anycast != nil {
			hops = append(hops, p.Anycast.Neighbours...)
			continue
		}
		for _, a := range p.Addrs {
			hops = append(hops, a.Addr().Next(), a.Addr().Next().Next())
		}
	}
	if r.Transit != nil {
		remote := addr("2001:db8:0:1::3") // may be at another instance; see genTransit
		hops = slices.DeleteFunc(hops, func(a netip.Addr) bool { return a == remote && !onAnycast(r, a) })
		hops = append(hops, addr("169.254.64.2"), addr("fe80::2"))
	}
	return hops
}

// onAnycast says that an address is a neighbour of an anycast port.
func onAnycast(r dataplane.Router, a netip.Addr) bool {
	return slices.ContainsFunc(r.Ports, func(p dataplane.Port) bool { return p.Anycast != nil && slices.Contains(p.Anycast.Neighbours, a) })
}

// makeEdge makes a router that was drawn an edge: some of its workloads are here, and others behind
// the edge 169.254.64.2, or nowhere; the centre is 169.254.64.99.
func makeEdge(t *rapid.T, r *dataplane.Router) {
	r.PortForwardings = nil
	genTransit(t, r)
	r.Transit.Centre = []netip.Addr{addr("169.254.64.99")}
	if rapid.Bool().Draw(t, "IPv6 by the centre") {
		r.Transit.Centre = append(r.Transit.Centre, addr("fe80::99"))
	}
	for i := range r.Ports {
		p := &r.Ports[i]
		if rapid.IntRange(0, 4).Draw(t, "an ordinary leg") == 0 {
			continue
		}
		p.Anycast = &dataplane.Anycast{}
		for _, f := range r.FloatingIPs {
			if p.Addrs[0].Contains(f.Fixed) {
				p.Anycast.Neighbours = append(p.Anycast.Neighbours, f.Fixed)
			}
		}
		for _, a := range p.Addrs {
			for _, n := range []netip.Addr{a.Addr().Next(), a.Addr().Next().Next()} {
				if rapid.Bool().Draw(t, n.String()+" is here") {
					p.Anycast.Neighbours = append(p.Anycast.Neighbours, n)
				}
			}
		}
	}
	if g := r.Gateway; g != nil {
		hops := slices.DeleteFunc(g.NextHops, netip.Addr.Is6)
		*g = dataplane.Gateway{
			Port: g.Port, NextHops: hops, OnLink: append(g.OnLink, prefix("203.0.113.0/25")), FloatingIPsOnly: true, Hairpin: addr("203.0.113.2"),
		}
		g.Addrs = nil
	}
	for _, dest := range []string{"203.0.113.0/25", "203.0.113.2/32", "2001:db8:0:ff::/64"} {
		if !rapid.Bool().Draw(t, dest+" is reached by the centre") {
			continue
		}
		hop := addr("169.254.64.99")
		if prefix(dest).Addr().Is6() {
			hop = addr("fe80::99")
		}
		r.Transit.External = append(r.Transit.External, dataplane.Route{Dest: prefix(dest), NextHop: hop})
	}
}

// makeCentre makes a router that was drawn the centre of two edges.
func makeCentre(t *rapid.T, r *dataplane.Router) {
	genTransit(t, r)
	for i := range r.Ports {
		r.Ports[i].Outside = rapid.Bool().Draw(t, "a leg that counts as outside")
	}
}

// genTransit draws the way to another instance, and what is translated there.
func genTransit(t *rapid.T, r *dataplane.Router) {
	r.Transit = &dataplane.Transit{
		Port: dataplane.Port{ID: "tr", Network: network("net-tr"), MAC: mac(200), MTU: 1500, Addrs: []netip.Prefix{prefix("169.254.64.1/18")}},
	}
	for _, dest := range []string{
		"10.0.0.3/32", "10.0.1.7/32", "10.0.1.0/24", "10.0.7.0/24", "10.0.7.9/32", "2001:db8:0:1::3/128", "2001:db8:0:1::/64", "2001:db8:0:7::/64",
	} {
		if !rapid.Bool().Draw(t, dest+" is at another instance") {
			continue
		}
		hop := addr("169.254.64.2")
		if prefix(dest).Addr().Is6() {
			hop = addr("fe80::2")
		}
		r.Transit.Routes = append(r.Transit.Routes, dataplane.Route{Dest: prefix(dest), NextHop: hop})
	}
	for _, a := range []string{"10.0.0.2", "10.0.0.5", "10.0.1.7"} {
		here := slices.ContainsFunc(r.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Fixed == addr(a) }) ||
			slices.ContainsFunc(r.PortForwardings, func(f dataplane.PortForwarding) bool { return f.Fixed == addr(a) })
		if !here && rapid.Bool().Draw(t, a+" is translated elsewhere") {
			r.Transit.Elsewhere = append(r.Transit.Elsewhere, addr(a))
		}
	}
	for _, dest := range []string{"203.0.113.120/32", "203.0.113.121/32"} {
		if rapid.Bool().Draw(t, dest+" is at another edge") {
			r.Transit.External = append(r.Transit.External, dataplane.Route{Dest: prefix(dest), NextHop: addr("169.254.64.2")})
		}
	}
}

func genFIPs(t *rapid.T, ports []dataplane.Port) []dataplane.FloatingIP {
	var fips []dataplane.FloatingIP
	next := addr("203.0.113.64")
	for _, p := range ports {
		subnet := p.Addrs[0]
		if !subnet.Addr().Is4() {
			continue
		}
		for _, host := range rapid.SliceOfNDistinct(rapid.IntRange(5, 9), 0, 3, rapid.ID).Draw(t, "hosts with a floating IP") {
			b := subnet.Addr().As4()
			b[3] = byte(host)
			fips = append(fips, dataplane.FloatingIP{ID: "fip-" + next.String(), Addr: next, Fixed: netip.AddrFrom4(b)})
			next = next.Next()
		}
	}
	return fips
}

func genRoutes(t *rapid.T, neighbours []netip.Addr) []dataplane.Route {
	if len(neighbours) == 0 {
		return nil
	}
	dests := map[bool][]string{
		true:  {"10.9.0.0/16", "10.9.8.0/24", "10.0.1.128/25", "10.0.2.0/24", "198.51.100.0/24", "0.0.0.0/0"},
		false: {"2001:db8:9::/48", "2001:db8:9:1::/64", "2001:db8:0:1::/64", "::/0"},
	}
	draw := rapid.Custom(func(t *rapid.T) dataplane.Route {
		via := rapid.SampledFrom(neighbours).Draw(t, "via")
		return dataplane.Route{Dest: prefix(rapid.SampledFrom(dests[via.Is4()]).Draw(t, "dest")), NextHop: via}
	})
	return rapid.SliceOfNDistinct(draw, 0, 6, rapid.ID).Draw(t, "routes")
}

// genPacket draws packets that such a router may meet: from and to addresses that it knows, hosts
// beside them, and strangers.
func genPacket(r dataplane.Router) *rapid.Generator[dataplane.Packet] {
	in := []string{""}
	addrs := []netip.Addr{addr("198.51.100.9"), addr("10.9.8.7"), addr("10.9.0.1"), addr("2001:db8:9:1::7"), addr("2001:db8:e::9"), addr("192.0.2.1"),
		addr("203.0.114.9"), addr("169.254.169.254"), addr("fe80::a9fe:a9fe")}
	ports := r.Ports
	if r.Gateway != nil {
		ports = append([]dataplane.Port{r.Gateway.Port}, ports...)
	}
	for _, p := range ports {
		in = append(in, p.ID)
		for _, a := range p.Addrs {
			host := a.Addr()
			addrs = append(addrs, host)
			for range 5 { // beyond the neighbours, to where hosts with floating IPs are
				host = host.Next()
				addrs = append(addrs, host)
			}
		}
	}
	for _, f := range r.FloatingIPs {
		addrs = append(addrs, f.Addr, f.Fixed)
	}
	for _, f := range r.PortForwardings {
		addrs = append(addrs, f.Addr)
	}
	if tr := r.Transit; tr != nil {
		in = append(in, tr.ID, tr.ID) // there it differs most
		addrs = append(addrs, tr.Addrs[0].Addr(), addr("169.254.64.2"), addr("fe80::2"), addr("10.0.7.9"), addr("203.0.113.2"), addr("203.0.113.120"))
		for _, route := range slices.Concat(tr.Routes, tr.External) {
			addrs = append(addrs, route.Dest.Addr())
		}
		addrs = append(addrs, tr.Elsewhere...)
	}
	return rapid.Custom(func(t *rapid.T) dataplane.Packet {
		return dataplane.Packet{
			In:      rapid.SampledFrom(in).Draw(t, "in"),
			Src:     rapid.SampledFrom(addrs).Draw(t, "src"),
			Dst:     rapid.SampledFrom(addrs).Draw(t, "dst"),
			Proto:   rapid.SampledFrom([]dataplane.Proto{dataplane.TCP, dataplane.UDP, dataplane.ICMP}).Draw(t, "proto"),
			SrcPort: 40000,
			DstPort: rapid.Uint16Range(79, 91).Draw(t, "port"),
		}
	})
}
