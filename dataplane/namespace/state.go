package namespace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// state is what a router is in its namespace, rules apart: as wanted, or as observed.
type state struct {
	links  map[string]link // by name; only those that a router has
	routes map[routeKey]hops
	strays map[netip.Prefix]struct{} // addresses of lo beside the loopback ones, which the router would answer for
	owners []string                  // on whose behalf the router runs, as the namespace says; see ownerName
}

type link struct {
	index int // 0 as wanted
	mac   dataplane.MAC
	mtu   int
	up    bool
	addrs map[netip.Prefix]struct{}
}

// routeKey is what the kernel tells routes of one table apart by.
type routeKey struct {
	dest   netip.Prefix
	metric int
}

// hops are the ways of a route, sorted. A single one without an address means that the destination
// itself is on the link.
type hops []hop

type hop struct {
	via netip.Addr // the zero Addr if the destination is on the link
	dev string
	src netip.Addr // of packets that the router itself sends; the zero Addr if the kernel is to choose. Hops of one route have the same
}

// Metrics keep routes to equal destinations apart, and the more specific intent in front. Connected
// routes have 0 (IPv4) and 256 (IPv6, IP6_RT_PRIO_ADDRCONF), so that they win over an extra route,
// and an extra route wins over the gateway's default. A subnet of the external network that the
// gateway has no address in is connected too.
const (
	holdMetric    = 1 // while addresses change, see holdSubnets
	onLinkMetric  = 384
	extraMetric   = 512
	defaultMetric = 1024
)

// want derives from a valid router what its namespace must hold.
func want(r dataplane.Router) state {
	s := state{links: map[string]link{}, routes: map[routeKey]hops{}}
	for _, p := range r.Ports {
		s.links[dataplane.PortDevice(p.ID)] = wantLink(p, nil)
	}
	if gw := r.Gateway; gw != nil {
		dev := dataplane.GatewayDevice(gw.ID)
		l := wantLink(gw.Port, r.FloatingIPs)
		s.links[dev] = l
		isIPv6 := func(p netip.Prefix) bool { return p.Addr().Is6() }
		if slices.ContainsFunc(gw.NextHops, netip.Addr.Is6) || slices.ContainsFunc(gw.OnLink, isIPv6) {
			l.addrs[linkLocal(gw.MAC)] = struct{}{}
		}
		for _, subnet := range gw.OnLink {
			if !slices.ContainsFunc(gw.Addrs, func(a netip.Prefix) bool { return a.Masked() == subnet }) {
				s.routes[routeKey{subnet, onLinkMetric}] = hops{{dev: dev, src: sourceTowards(gw, subnet.Addr())}}
			}
		}
		for _, via := range gw.NextHops {
			way := hop{via: via, dev: dev}
			if !via.IsLinkLocalUnicast() && !onSubnet(gw.Port, via) {
				way.src = sourceTowards(gw, via)
				s.routes[routeKey{host(via), defaultMetric}] = hops{{dev: dev, src: way.src}}
			}
			s.routes[routeKey{anywhere(via), defaultMetric}] = hops{way}
		}
	}
	for _, x := range r.Routes {
		key := routeKey{x.Dest, extraMetric}
		s.routes[key] = append(s.routes[key], hop{via: x.NextHop, dev: deviceTowards(r, x.NextHop)})
	}
	for _, h := range s.routes {
		slices.SortFunc(h, compareHops)
	}
	return s
}

func wantLink(p dataplane.Port, fips []dataplane.FloatingIP) link {
	l := link{mac: p.MAC, mtu: p.MTU, up: true, addrs: make(map[netip.Prefix]struct{}, len(p.Addrs)+len(fips))}
	for _, a := range p.Addrs {
		l.addrs[a] = struct{}{}
		if a.Addr().Is6() {
			l.addrs[linkLocal(p.MAC)] = struct{}{}
		}
	}
	for _, f := range fips {
		l.addrs[host(f.Addr)] = struct{}{}
	}
	return l
}

// linkLocal is the address that a device which speaks IPv6 must have (RFC 4291 §2.1), made from its
// MAC (appendix A). The kernel would make the same one, but in its own time, and keep it when the
// MAC changes; so it is told not to.
func linkLocal(m dataplane.MAC) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{
		0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5],
	}), 64)
}

// sourceTowards returns the source of the router's own packets to a neighbour of the gateway who is
// in none of its subnets. Over IPv4 the kernel would take any address, which may be a floating IP
// (inet_select_addr).
func sourceTowards(gw *dataplane.Gateway, neighbour netip.Addr) netip.Addr {
	if neighbour.Is6() {
		return netip.Addr{}
	}
	return gw.HairpinAddr()
}

// deviceTowards returns the device in whose subnet a valid next hop is.
func deviceTowards(r dataplane.Router, via netip.Addr) string {
	for _, p := range r.Ports {
		if onSubnet(p, via) {
			return dataplane.PortDevice(p.ID)
		}
	}
	return dataplane.GatewayDevice(r.Gateway.ID)
}

func onSubnet(p dataplane.Port, a netip.Addr) bool {
	return slices.ContainsFunc(p.Addrs, func(subnet netip.Prefix) bool { return subnet.Contains(a) })
}

// host is the prefix that holds one address.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// anywhere is the destination of the default route of an address's family.
func anywhere(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// ownDevice says whether a device of that name in a router's namespace is the router's.
func ownDevice(name string) bool {
	return strings.HasPrefix(name, "qr-") || strings.HasPrefix(name, "qg-")
}

// ownProtocol says whether routes of that protocol (rtnetlink(7)) are the router's: those that
// people and this package make. Routing daemons have numbers of their own.
func ownProtocol(p int) bool {
	return p == unix.RTPROT_STATIC || p == unix.RTPROT_BOOT || p == unix.RTPROT_UNSPEC
}

func compareHops(a, b hop) int {
	return cmp.Or(a.via.Compare(b.via), strings.Compare(a.dev, b.dev), a.src.Compare(b.src))
}

func (h hops) onLink() bool { return len(h) == 1 && !h[0].via.IsValid() }

func (h hops) through(dev string) bool {
	return slices.ContainsFunc(h, func(h hop) bool { return h.dev == dev })
}

func (h hops) String() string {
	ways := make([]string, len(h))
	for i, hop := range h {
		ways[i] = hop.String()
	}
	return strings.Join(ways, ", ")
}

func (h hop) String() string {
	s := "dev " + h.dev
	if h.via.IsValid() {
		s = "via " + h.via.String() + " " + s
	}
	if h.src.IsValid() {
		s += " src " + h.src.String()
	}
	return s
}

func (k routeKey) String() string {
	if k.dest.Bits() == 0 {
		return fmt.Sprintf("default (%s)", family(k.dest.Addr()))
	}
	return k.dest.String()
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func compareKeys(a, b routeKey) int {
	return cmp.Or(comparePrefixes(a.dest, b.dest), cmp.Compare(a.metric, b.metric))
}
