package differential

import (
	"fmt"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, addr(s))
	}
	return out
}

// The router is always the same one, so that each draw leads from the state of the one before.
const routerID = "00000000-differential"

const (
	maxPorts    = 4
	mtu         = 1500
	gatewayID   = "gw"
	externalNet = "ext"
)

func portID(i int) string    { return fmt.Sprintf("p%d", i) }
func networkID(i int) string { return fmt.Sprintf("net%d", i) }

// portMAC is that of a port or of the gateway, which is the one after the last port.
func portMAC(i int) dataplane.MAC { return dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, byte(i)} }

// drawRouter draws valid routers of all shapes.
func drawRouter(t *rapid.T) dataplane.Router {
	r := dataplane.Router{ID: routerID}
	for i := range rapid.IntRange(0, maxPorts).Draw(t, "ports") {
		r.Ports = append(r.Ports, drawPort(t, i))
	}
	if rapid.SampledFrom([]bool{true, true, true, true, false}).Draw(t, "gateway") {
		r.Gateway = drawGateway(t)
		r.FloatingIPs = drawFloatingIPs(t, r)
		r.PortForwardings = drawForwardings(t, r)
	}
	r.Routes = drawRoutes(t, r)
	r.Metadata = rapid.IntRange(0, 3).Draw(t, "metadata") == 3
	r.Limits = drawLimits(t, r)
	return r
}

// allPorts lists a router's ports, its gateway's and that of the transit.
func allPorts(r dataplane.Router) []dataplane.Port {
	list := slices.Clone(r.Ports)
	if r.Gateway != nil {
		list = append(list, r.Gateway.Port)
	}
	if r.Transit != nil {
		list = append(list, r.Transit.Port)
	}
	return list
}

func drawPort(t *rapid.T, i int) dataplane.Port {
	p := dataplane.Port{ID: portID(i), Network: dataplane.Network{ID: networkID(i)}, MAC: portMAC(i), MTU: mtu}
	if i > 0 && rapid.IntRange(0, 7).Draw(t, "shares a network") == 7 {
		p.Network.ID = networkID(i - 1)
	}
	stack := rapid.SampledFrom([]string{"4", "46", "44", "6"}).Draw(t, "stack")
	if stack != "6" {
		subnet := rapid.SampledFrom([]string{"1/24", "254/24", "1/16", "1/30", "0/31", "1/31", "1/32"}).Draw(t, "subnet")
		p.Addrs = append(p.Addrs, prefix(fmt.Sprintf("10.%d.0.%s", i, subnet)))
	}
	switch stack {
	case "44":
		p.Addrs = append(p.Addrs, prefix(fmt.Sprintf("10.%d.0.1/24", 100+i)))
	case "46", "6":
		bits := rapid.SampledFrom([]int{64, 126, 127, 128}).Draw(t, "IPv6 subnet")
		p.Addrs = append(p.Addrs, prefix(fmt.Sprintf("2001:db8:%d::1/%d", i, bits)))
	}
	return p
}

func drawGateway(t *rapid.T) *dataplane.Gateway {
	g := &dataplane.Gateway{
		Port: dataplane.Port{ID: gatewayID, Network: dataplane.Network{ID: externalNet}, MAC: portMAC(maxPorts), MTU: mtu},
		SNAT: rapid.Bool().Draw(t, "SNAT"),
	}
	hop := func(label string, choices ...string) {
		if a := rapid.SampledFrom(choices).Draw(t, label); a != "" {
			g.NextHops = append(g.NextHops, addr(a))
		}
	}
	switch subnet := rapid.SampledFrom([]string{"203.0.113.2/24", "203.0.113.2/31", "203.0.113.2/32", ""}).Draw(t, "external subnet"); subnet {
	case "":
	case "203.0.113.2/24":
		g.Addrs = append(g.Addrs, prefix(subnet))
		hop("next hop", "203.0.113.1", "192.0.2.1", "")
	case "203.0.113.2/31":
		g.Addrs = append(g.Addrs, prefix(subnet), prefix("198.18.0.2/24")) // a second one, which nothing leaves by
		hop("next hop", "203.0.113.3", "198.18.0.1", "")
	default:
		g.Addrs = append(g.Addrs, prefix(subnet))
		hop("next hop", "203.0.113.1", "192.0.2.1", "")
	}
	if len(g.Addrs) > 0 && rapid.Bool().Draw(t, "a second subnet outside") {
		g.OnLink = append(g.OnLink, prefix("203.0.114.0/24"))
	}
	if rapid.IntRange(0, 2).Draw(t, "a second IPv6 subnet outside") == 2 {
		g.OnLink = append(g.OnLink, prefix("2001:db8:fd::/64"))
	}
	if len(g.Addrs) == 0 || rapid.Bool().Draw(t, "external IPv6") {
		g.Addrs = append(g.Addrs, prefix("2001:db8:ff::2/64"))
		hop("IPv6 next hop", "2001:db8:ff::1", "2001:db8:fe::1", "fe80::1", "")
	} else {
		hop("IPv6 next hop", "", "fe80::1")
	}
	return g
}

// The addresses that floating IPs are drawn from, in the external subnet and elsewhere. No next hop
// is among them.
var floating = addrs("203.0.113.5", "203.0.113.6", "198.51.100.5", "203.0.113.7", "10.9.8.5", "203.0.114.5")

func drawFloatingIPs(t *rapid.T, r dataplane.Router) []dataplane.FloatingIP {
	if !r.Gateway.HairpinAddr().IsValid() {
		return nil
	}
	fixed := slices.DeleteFunc(neighbours(r.Ports), netip.Addr.Is6)
	if len(fixed) == 0 {
		return nil
	}
	some := rapid.SliceOfNDistinct(rapid.SampledFrom(fixed), 0, min(len(fixed), len(floating)), rapid.ID).Draw(t, "hosts with a floating IP")
	order := rapid.Permutation(floating).Draw(t, "floating IPs")
	var fips []dataplane.FloatingIP
	for i, f := range some {
		fips = append(fips, dataplane.FloatingIP{ID: fmt.Sprintf("f%d", i), Addr: order[i], Fixed: f})
	}
	return fips
}

// neighbours lists some hosts of the ports' subnets, and no floating IP. It leaves out 10.x.0.3,
// which another subnet of the port has as its broadcast address: the kernel keeps that in its
// neighbour table when the subnet changes.
func neighbours(ports []dataplane.Port) []netip.Addr {
	var list []netip.Addr
	for _, p := range ports {
		for _, a := range p.Addrs {
			first := a.Masked().Addr()
			if a.Bits() < a.Addr().BitLen()-1 {
				first = first.Next() // neither the network's own address nor the routers' anycast address
			}
			for h, n := first, 0; a.Contains(h) && n < 12; h, n = h.Next(), n+1 {
				last := a.Addr().Is4() && a.Bits() <= 30 && !a.Contains(h.Next())
				if h != a.Addr() && !last && (n < 2 || n > 7) && !slices.Contains(floating, h) {
					list = append(list, h)
				}
			}
		}
	}
	return list
}

// Destinations of extra routes that are not made from the router's own subnets.
var (
	dests4 = []string{"10.9.0.0/16", "10.9.8.0/24", "192.0.2.0/24", "198.51.100.0/24", "10.0.0.0/8", "203.0.113.0/25", "203.0.114.0/24", "203.0.114.0/25", "0.0.0.0/0", "10.0.0.0/29"}
	dests6 = []string{"2001:db8:9::/48", "2001:db8:9:1::/64", "2001:db8:fe::/64", "::/0", "2001:db8::/32"}
)

func drawRoutes(t *rapid.T, r dataplane.Router) []dataplane.Route {
	ports := allPorts(r)
	via := neighbours(ports)
	if len(via) == 0 {
		return nil
	}
	dests := map[bool][]netip.Prefix{}
	for _, s := range slices.Concat(dests4, dests6) {
		d := prefix(s)
		dests[d.Addr().Is4()] = append(dests[d.Addr().Is4()], d)
	}
	for _, p := range ports {
		for _, a := range p.Addrs { // as long as a connected subnet, and an own address
			dests[a.Addr().Is4()] = append(dests[a.Addr().Is4()], a.Masked(), netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
	}
	for _, f := range r.FloatingIPs {
		dests[true] = append(dests[true], netip.PrefixFrom(f.Addr, 32), netip.PrefixFrom(f.Fixed, 32))
	}
	for _, f := range r.PortForwardings {
		dests[true] = append(dests[true], netip.PrefixFrom(f.Addr, 32), netip.PrefixFrom(f.Fixed, 32))
	}
	route := rapid.Custom(func(t *rapid.T) dataplane.Route {
		v := rapid.SampledFrom(via).Draw(t, "via")
		return dataplane.Route{Dest: rapid.SampledFrom(dests[v.Is4()]).Draw(t, "dest"), NextHop: v}
	})
	return rapid.SliceOfNDistinct(route, 0, 8, rapid.ID).Draw(t, "routes")
}
