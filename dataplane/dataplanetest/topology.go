package dataplanetest

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// The stage of most clauses. The router R has three internal subnets, IPv4 and IPv6:
//
//	web1 .10, web2 .11 ─ 10.0.1.0/24, fd00:1::/64 ┐
//	app1 .10           ─ 10.0.2.0/24, fd00:2::/64 R ─ 203.0.113.0/24 ┬ outside .50
//	   fw .250, fw2 .251 ┘ (10.9.0.0/24 behind)   │   2001:db8:1::/64 └ edge .1 ─────┐
//	db1 .10            ─ 10.0.3.0/24, fd00:3::/64 ┘     internet .10 ─ 198.51.100.0/24 ┘
//
// outside and edge have routes to the internal subnets via R, as an external network without
// translation would: what keeps them out is R alone.
const servicePort = 7000 // of the echo service on every workload

var (
	gatewayAddr  = addr("203.0.113.2")
	outsideAddr  = addr("203.0.113.50")
	internetAddr = addr("198.51.100.10")
	fip1         = addr("203.0.113.101")
	fip2         = addr("203.0.113.102")
	fip3         = addr("203.0.113.103")
	forwardAddr  = addr("203.0.113.110") // of which ports are forwarded
	web1Addr     = addr("10.0.1.10")
	web2Addr     = addr("10.0.1.11")
	app1Addr     = addr("10.0.2.10")
	db1Addr      = addr("10.0.3.10")
	behindAddr   = addr("10.9.0.10") // behind fw

	web1Addr6     = addr("fd00:1::10")
	app1Addr6     = addr("fd00:2::10")
	behindAddr6   = addr("fd00:9::10")
	outsideAddr6  = addr("2001:db8:1::50")
	internetAddr6 = addr("2001:db8:2::10")
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, addr(s))
	}
	return out
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// port makes a router's port on the network of the same name.
func port(id string, n byte, list ...string) dataplane.Port {
	return dataplane.Port{
		ID: id, Network: dataplane.Network{ID: id + "-net"}, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, n},
		Addrs: prefixes(list...), MTU: 1500,
	}
}

// plain is R with SNAT, and nothing more.
func plain() dataplane.Router {
	return dataplane.Router{
		ID: "r1",
		Ports: []dataplane.Port{
			port("web", 1, "10.0.1.1/24", "fd00:1::1/64"),
			port("app", 2, "10.0.2.1/24", "fd00:2::1/64"),
			port("db", 3, "10.0.3.1/24", "fd00:3::1/64"),
		},
		Gateway: &dataplane.Gateway{
			Port:     port("ext", 9, gatewayAddr.String()+"/24", "2001:db8:1::2/64"),
			NextHops: addrs("203.0.113.1", "2001:db8:1::1"), SNAT: true,
		},
	}
}

// with changes a copy of a router.
func with(r dataplane.Router, changes ...func(*dataplane.Router)) dataplane.Router {
	r = r.Clone()
	for _, change := range changes {
		change(&r)
	}
	return r
}

func snat(on bool) func(*dataplane.Router) {
	return func(r *dataplane.Router) { r.Gateway.SNAT = on }
}

func floating(a, fixed netip.Addr) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: "fip-" + a.String(), Addr: a, Fixed: fixed})
	}
}

func unbound(a netip.Addr) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.FloatingIPs = slices.DeleteFunc(r.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Addr == a })
	}
}

func route(dest, via string) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.Routes = append(r.Routes, dataplane.Route{Dest: netip.MustParsePrefix(dest), NextHop: addr(via)})
	}
}

func without(portID string) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.Ports = slices.DeleteFunc(r.Ports, func(p dataplane.Port) bool { return p.ID == portID })
	}
}

// forward forwards ports of forwardAddr, of TCP and of UDP.
func forward(ports string, fixed netip.Addr, fixedPorts string) func(*dataplane.Router) {
	return forwardOf(forwardAddr, ports, fixed, fixedPorts)
}

func forwardOf(a netip.Addr, ports string, fixed netip.Addr, fixedPorts string) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		for _, proto := range []dataplane.Proto{dataplane.TCP, dataplane.UDP} {
			r.PortForwardings = append(r.PortForwardings, dataplane.PortForwarding{
				ID: fmt.Sprint("pf-", a, "-", proto, "-", ports), Addr: a, Proto: proto, Ports: portRange(ports), Fixed: fixed, FixedPorts: portRange(fixedPorts),
			})
		}
	}
}

// unforward takes forwardings of these ports away, or, if there are none given, all.
func unforward(ports string) func(*dataplane.Router) {
	return func(r *dataplane.Router) {
		r.PortForwardings = slices.DeleteFunc(r.PortForwardings, func(f dataplane.PortForwarding) bool { return ports == "" || f.Ports == portRange(ports) })
	}
}

func portRange(s string) dataplane.PortRange {
	r, err := dataplane.ParsePortRange(s)
	if err != nil {
		panic(err)
	}
	return r
}

func noGateway(r *dataplane.Router) {
	r.Gateway, r.FloatingIPs, r.PortForwardings, r.Limits = nil, nil, nil, nil
}

// behind is the routes to what lies behind fw.
func behind(r *dataplane.Router) {
	route("10.9.0.0/24", "10.0.2.250")(r)
	route("fd00:9::/64", "fd00:2::fa")(r)
}

// busy is R with everything: floating IPs of web1 and app1, ports forwarded to web2, and to app1 as
// well, and the extra routes.
func busy() dataplane.Router {
	return with(plain(), floating(fip1, web1Addr), floating(fip2, app1Addr), behind,
		forward("8080", web2Addr, "7000"), forward("9000-9009", app1Addr, "7000"), forward("6998-7002", web2Addr, "6998-7002"))
}

// workloads describes the hosts by name.
func workload(name string) Workload {
	guest := func(network string, list ...string) dataplane.Port {
		return dataplane.Port{Network: dataplane.Network{ID: network + "-net"}, Addrs: prefixes(list...)}
	}
	inside := func(network string, subnet int, host string) Workload {
		return Workload{
			Name:     name,
			Ports:    []dataplane.Port{guest(network, fmt.Sprintf("10.0.%d.%s/24", subnet, host), fmt.Sprintf("fd00:%d::%s/64", subnet, host))},
			NextHops: addrs(fmt.Sprintf("10.0.%d.1", subnet), fmt.Sprintf("fd00:%d::1", subnet)),
		}
	}
	toInside := []dataplane.Route{
		{Dest: netip.MustParsePrefix("10.0.0.0/8"), NextHop: gatewayAddr},
		{Dest: netip.MustParsePrefix("fd00::/16"), NextHop: addr("2001:db8:1::2")},
	}
	narrow := func(list ...string) dataplane.Port {
		p := guest("narrow", list...)
		p.MTU = narrowMTU
		return p
	}
	switch name {
	case "web1":
		return inside("web", 1, "10")
	case "web2":
		return inside("web", 1, "11")
	case "app1":
		return inside("app", 2, "10")
	case "web3":
		return inside("web", 1, "12")
	case "stray":
		return inside("web", 1, "77")
	case "mover":
		return inside("web", 1, "30")
	case "db1":
		return inside("db", 3, "10")
	case "fw", "fw2":
		w := Workload{Name: name, NextHops: addrs("10.0.2.1", "fd00:2::1"), Local: []netip.Addr{behindAddr, behindAddr6}}
		w.Ports = []dataplane.Port{guest("app", "10.0.2.250/24", "fd00:2::fa/64")}
		if name == "fw2" {
			w.Ports = []dataplane.Port{guest("app", "10.0.2.251/24", "fd00:2::fb/64")}
		}
		for i := range shared {
			w.Local = append(w.Local, sharedAddr(i), sharedAddr6(i))
		}
		return w
	case "outside":
		return Workload{
			Name: name, Ports: []dataplane.Port{guest("ext", "203.0.113.50/24", "2001:db8:1::50/64")},
			NextHops: addrs("203.0.113.1", "2001:db8:1::1"), Routes: toInside,
		}
	case "edge":
		return Workload{
			Name: name, Routes: toInside,
			Ports: []dataplane.Port{guest("ext", "203.0.113.1/24", "2001:db8:1::1/64"), guest("far", "198.51.100.1/24", "2001:db8:2::1/64")},
		}
	case "internet":
		return Workload{
			Name: name, Ports: []dataplane.Port{guest("far", "198.51.100.10/24", "2001:db8:2::10/64")},
			NextHops: addrs("198.51.100.1", "2001:db8:2::1"),
		}
	case "strait": // in place of edge: a narrow link on the way to internet
		return Workload{
			Name: name, Routes: toInside, NextHops: addrs("192.0.2.2", "2001:db8:3::2"),
			Ports: []dataplane.Port{guest("ext", "203.0.113.1/24", "2001:db8:1::1/64"), narrow("192.0.2.1/24", "2001:db8:3::1/64")},
		}
	case "strait2":
		return Workload{
			Name: name, NextHops: addrs("192.0.2.1", "2001:db8:3::1"),
			Ports: []dataplane.Port{narrow("192.0.2.2/24", "2001:db8:3::2/64"), guest("far", "198.51.100.1/24", "2001:db8:2::1/64")},
		}
	}
	if w, ok := instance(name); ok {
		return w
	}
	panic("no workload " + name)
}

const (
	narrowMTU = 1300 // bytes; IPv6 needs 1280 at least
	shared    = 32   // addresses that both fw and fw2 answer for
)

func sharedAddr(i int) netip.Addr  { return addr(fmt.Sprintf("10.8.0.%d", i+1)) }
func sharedAddr6(i int) netip.Addr { return addr(fmt.Sprintf("fd00:8::%x", i+1)) }
