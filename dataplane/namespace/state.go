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
	rules  []rule                // of policy routing, in the kernel's order
	lo     map[netip.Prefix]form // addresses of lo beside the loopback ones, which the router answers for
	owners []string              // on whose behalf the router runs, as the namespace says; see ownerName
}

type link struct {
	index int // 0 as wanted
	mac   dataplane.MAC
	mtu   int
	up    bool
	addrs map[netip.Prefix]form
}

// routeKey is what the kernel tells routes apart by.
type routeKey struct {
	dest   netip.Prefix
	metric int
	table  int
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
// routes have 0 (IPv4) and 256 (IPv6, IP6_RT_PRIO_ADDRCONF), so that they win over a way by the
// transit, that over an extra route, and an extra route over the gateway's default. The neighbours
// of an anycast port, and a subnet of the external network that the gateway has no address in, are
// connected too.
const (
	holdMetric      = 1 // while addresses change, see holdSubnets
	neighbourMetric = 256
	onLinkMetric    = 384
	transitMetric   = 448
	extraMetric     = 512
	defaultMetric   = 1024
)

// linkLocal is the address that a device which speaks IPv6 must have (RFC 4291 §2.1), made from its
// MAC (appendix A). The kernel would make the same one, but in its own time, and keep it when the
// MAC changes; so it is told not to.
func linkLocal(m dataplane.MAC) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{
		0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5],
	}), 64)
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
	return strings.HasPrefix(name, "qr-") || strings.HasPrefix(name, "qg-") || strings.HasPrefix(name, "qt-")
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
	s := k.dest.String()
	if k.dest.Bits() == 0 {
		s = fmt.Sprintf("default (%s)", family(k.dest.Addr()))
	}
	if k.table != tableMain {
		s += " table " + tableName(k.table)
	}
	return s
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
	return cmp.Or(cmp.Compare(a.table, b.table), comparePrefixes(a.dest, b.dest), cmp.Compare(a.metric, b.metric))
}
