package namespace

import (
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/dump"
)

// observe reads what the router is in its namespace now, rules apart.
func observe(h *netlink.Handle) (state, error) {
	s := state{links: map[string]link{}, routes: map[routeKey]hops{}}
	names, owners, err := observeLinks(h, s.links)
	if err != nil {
		return s, err
	}
	s.owners = owners
	addrs, err := dump.Complete(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return s, opError("list addresses", "", err)
	}
	for _, a := range addrs {
		if a.LinkIndex == loopbackIndex && !a.IP.IsLoopback() {
			if s.lo == nil {
				s.lo = map[netip.Prefix]form{}
			}
			s.lo[prefix(a.IPNet)] = formOf(a.IP.To4() != nil, a.Scope, a.Flags)
		}
		if l, ours := s.links[names[a.LinkIndex]]; ours {
			l.addrs[prefix(a.IPNet)] = formOf(a.IP.To4() != nil, a.Scope, a.Flags)
		}
	}
	routes, err := dump.Complete(func() ([]netlink.Route, error) {
		return ownRoutes(h)
	})
	if err != nil {
		return s, opError("list routes", "", err)
	}
	for _, r := range routes {
		if h := ownHops(r, names, s.links); h != nil {
			key := routeKey{destination(r), r.Priority, r.Table}
			h = append(h, s.routes[key]...) // IPv6 may list the hops of one route apart
			slices.SortFunc(h, compareHops)
			s.routes[key] = h
		}
	}
	s.rules, err = observeRules(h)
	return s, err
}

// formOf returns the form of an address by what the kernel says of it.
func formOf(is4 bool, scope, flags int) form {
	f := form{noPrefixRoute: flags&unix.IFA_F_NOPREFIXROUTE != 0}
	if is4 {
		f.scope = uint8(scope)
	}
	return f
}

// ownRoutes lists the routes of all tables that the router's may be in.
func ownRoutes(h *netlink.Handle) (routes []netlink.Route, err error) {
	every := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	err = h.RouteListFilteredIter(netlink.FAMILY_ALL, every, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
		if ownTable(r.Table) {
			routes = append(routes, r)
		}
		return true
	})
	return routes, err
}

// observeLinks fills links with the router's own, and returns the names of all by their index, and
// the router's owners.
func observeLinks(h *netlink.Handle, links map[string]link) (names map[int]string, owners []string, err error) {
	all, err := dump.Complete(h.LinkList)
	if err != nil {
		return nil, nil, opError("list links", "", err)
	}
	names = make(map[int]string, len(all))
	for _, l := range all {
		a := l.Attrs()
		names[a.Index] = a.Name
		if a.Index == loopbackIndex {
			owners = ownersOf(a.AltNames)
		}
		if !ownDevice(a.Name) {
			continue
		}
		own := link{index: a.Index, mtu: a.MTU, up: a.RawFlags&unix.IFF_UP != 0, addrs: map[netip.Prefix]form{}}
		copy(own.mac[:], a.HardwareAddr)
		links[a.Name] = own
	}
	return names, owners, nil
}

// ownHops translates a route of one of the router's tables; nil if it is not the router's, but what
// the kernel derives from an address or a daemon's.
func ownHops(r netlink.Route, names map[int]string, links map[string]link) hops {
	if !ownProtocol(int(r.Protocol)) {
		return nil
	}
	var ways hops
	if len(r.MultiPath) == 0 {
		ways = hops{{addr(r.Gw), names[r.LinkIndex], addr(r.Src)}}
	}
	for _, nh := range r.MultiPath {
		ways = append(ways, hop{addr(nh.Gw), names[nh.LinkIndex], addr(r.Src)})
	}
	for _, w := range ways {
		if _, ours := links[w.dev]; ours || w.dev == "" { // a blackhole has no device, and would swallow the router's traffic
			return ways
		}
	}
	return nil
}

func destination(r netlink.Route) netip.Prefix {
	if r.Dst == nil {
		if r.Family == unix.AF_INET {
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return prefix(r.Dst)
}

func prefix(n *net.IPNet) netip.Prefix {
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr(n.IP), bits)
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// PortsByDevice returns a router's ports, those of the gateway and the transit included, by the
// names of their devices.
func PortsByDevice(r dataplane.Router) map[string]dataplane.Port {
	ports := make(map[string]dataplane.Port, len(r.Ports)+2)
	for _, p := range r.Ports {
		ports[dataplane.PortDevice(p.ID)] = p
	}
	if r.Gateway != nil {
		ports[dataplane.GatewayDevice(r.Gateway.ID)] = r.Gateway.Port
	}
	if r.Transit != nil {
		ports[dataplane.TransitDevice(r.Transit.ID)] = r.Transit.Port
	}
	return ports
}

// devicesOf lists the names that a port's device can have.
func devicesOf(port string) []string {
	return []string{dataplane.PortDevice(port), dataplane.GatewayDevice(port), dataplane.TransitDevice(port)}
}
