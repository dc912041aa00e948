package namespace

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// want derives from a valid router what its namespace must hold.
func want(r dataplane.Router) state {
	return state{links: wantLinks(r), routes: wantRoutes(r), rules: wantRules(r), lo: wantLo(r)}
}

func wantLinks(r dataplane.Router) map[string]link {
	links := make(map[string]link, len(r.Ports)+2)
	for _, p := range r.Ports {
		l := wantLink(p, form{noPrefixRoute: p.Anycast != nil})
		if r.Metadata && hasIPv6(l.addrs) {
			l.addrs[metadata6] = form{}
		}
		links[dataplane.PortDevice(p.ID)] = l
	}
	if t := r.Transit; t != nil {
		l := wantLink(t.Port, form{scope: unix.RT_SCOPE_LINK}) // nobody else answers to it
		if transitSpeaksIPv6(r) {
			l.addrs[linkLocal(t.MAC)] = form{}
		}
		links[dataplane.TransitDevice(t.ID)] = l
	}
	if gw := r.Gateway; gw != nil {
		l := wantLink(gw.Port, form{})
		for _, f := range r.FloatingIPs {
			l.addrs[host(f.Addr)] = form{}
		}
		for _, a := range r.ForwardingAddrs() {
			l.addrs[host(a)] = form{}
		}
		isIPv6 := func(p netip.Prefix) bool { return p.Addr().Is6() }
		if slices.ContainsFunc(gw.NextHops, netip.Addr.Is6) || slices.ContainsFunc(gw.OnLink, isIPv6) {
			l.addrs[linkLocal(gw.MAC)] = form{}
		}
		links[dataplane.GatewayDevice(gw.ID)] = l
	}
	return links
}

func wantLink(p dataplane.Port, f form) link {
	l := link{mac: p.MAC, mtu: p.MTU, up: true, addrs: make(map[netip.Prefix]form, len(p.Addrs))}
	for _, a := range p.Addrs {
		l.addrs[a] = f
		if a.Addr().Is6() {
			l.addrs[linkLocal(p.MAC)] = form{}
		}
	}
	return l
}

// transitSpeaksIPv6 says that some IPv6 route goes over the transit.
func transitSpeaksIPv6(r dataplane.Router) bool {
	isIPv6 := func(x dataplane.Route) bool { return x.NextHop.Is6() }
	return slices.ContainsFunc(r.Transit.Centre, netip.Addr.Is6) || slices.ContainsFunc(r.Transit.Routes, isIPv6) ||
		isEdge(r) && slices.ContainsFunc(r.Transit.External, isIPv6) ||
		slices.ContainsFunc(r.Routes, func(x dataplane.Route) bool { return x.NextHop.Is6() && x.NextHop.IsLinkLocalUnicast() })
}

// routing gathers the routes of a router.
type routing struct {
	router   dataplane.Router
	routes   map[routeKey]hops
	external int // the table of the external network
	rest     int // the table of IPv4 that has no way in main
}

func newRouting(r dataplane.Router) *routing {
	w := &routing{router: r, routes: map[routeKey]hops{}, external: tableMain, rest: tableMain}
	if isEdge(r) {
		w.rest = tableRest
	}
	if r.Gateway != nil && r.Gateway.FloatingIPsOnly {
		w.external = tableFloating
	}
	return w
}

func wantRoutes(r dataplane.Router) map[routeKey]hops {
	w := newRouting(r)
	for _, p := range r.Ports {
		if p.Anycast != nil {
			for _, a := range p.Anycast.Neighbours {
				w.neighbour(p, a)
			}
		}
	}
	if r.Transit != nil {
		w.transit(r.Transit)
	}
	if r.Gateway != nil {
		w.gateway(r.Gateway)
	}
	w.extra(r.Routes)
	for _, h := range w.routes {
		slices.SortFunc(h, compareHops)
	}
	return w.routes
}

func (w *routing) add(key routeKey, h hop) {
	if have := w.routes[key]; !slices.Contains(have, h) {
		w.routes[key] = append(have, h)
	}
}

// neighbour leads to a host on the link of an anycast port.
func (w *routing) neighbour(p dataplane.Port, a netip.Addr) {
	h := hop{dev: dataplane.PortDevice(p.ID)}
	if i := slices.IndexFunc(p.Addrs, func(s netip.Prefix) bool { return s.Contains(a) }); i >= 0 && a.Is4() {
		h.src = p.Addrs[i].Addr()
	}
	w.add(routeKey{host(a), neighbourMetric, tableMain}, h)
}

// transit leads to other instances.
func (w *routing) transit(t *dataplane.Transit) {
	for _, x := range t.Routes {
		w.instance(x, tableMain)
	}
	for _, x := range t.External {
		w.outside(x)
	}
	for _, via := range t.Centre {
		centre := hop{via: via, dev: dataplane.TransitDevice(t.ID)}
		w.add(routeKey{anywhere(via), defaultMetric, w.following(via)}, centre)
		if via.Is4() {
			w.add(routeKey{anywhere(via), defaultMetric, tableToCentre}, centre)
		}
	}
}

// instance leads to another instance.
func (w *routing) instance(x dataplane.Route, table int) {
	w.add(routeKey{x.Dest, transitMetric, table}, hop{via: x.NextHop, dev: dataplane.TransitDevice(w.router.Transit.ID)})
}

// outside leads to the external network by another instance. The centre has its gateway.
func (w *routing) outside(x dataplane.Route) {
	if isEdge(w.router) {
		w.instance(x, w.following(x.NextHop))
	}
}

// following is the table of what is not to precede the ways inside.
func (w *routing) following(a netip.Addr) int {
	if a.Is4() {
		return w.rest
	}
	return tableMain
}

func (w *routing) gateway(gw *dataplane.Gateway) {
	dev := dataplane.GatewayDevice(gw.ID)
	for _, subnet := range gw.OnLink {
		if !slices.ContainsFunc(gw.Addrs, func(a netip.Prefix) bool { return a.Masked() == subnet }) {
			w.add(routeKey{subnet, onLinkMetric, w.external}, hop{dev: dev, src: sourceTowards(gw, subnet.Addr())})
		}
	}
	for _, via := range gw.NextHops {
		way := hop{via: via, dev: dev}
		if !via.IsLinkLocalUnicast() && !onSubnet(gw.Port, via) {
			way.src = sourceTowards(gw, via)
			w.add(routeKey{host(via), defaultMetric, w.external}, hop{dev: dev, src: way.src})
		}
		w.add(routeKey{anywhere(via), defaultMetric, w.external}, way)
	}
}

// extra adds extra routes. At an edge they follow what is inside, unless they lead a part of that
// elsewhere. To a next hop on the link of a gateway for floating IPs only they are for those; for
// others the centre stands in.
func (w *routing) extra(routes []dataplane.Route) {
	inside := insideOf(w.router, len(routes))
	for _, x := range routes {
		key := routeKey{x.Dest, extraMetric, w.following(x.NextHop)}
		way := hop{via: x.NextHop, dev: deviceTowards(w.router, x.NextHop)}
		only := w.external == tableFloating && x.NextHop.Is4()
		switch {
		case inside.holds(x.Dest):
			key.table = tableMain
		case only:
			w.add(routeKey{x.Dest, extraMetric, tableFloating}, way)
		}
		if only && way.dev == dataplane.GatewayDevice(w.router.Gateway.ID) {
			i := slices.IndexFunc(w.router.Transit.Centre, netip.Addr.Is4)
			way = hop{via: w.router.Transit.Centre[i], dev: dataplane.TransitDevice(w.router.Transit.ID)}
		}
		w.add(key, way)
	}
}

// prefixes is a set of prefixes.
type prefixSet map[netip.Prefix]struct{}

// insideOf returns what is inside of an edge: the subnets of its ports, and where the transit
// leads. It is empty where extra routes have no other table to be in.
func insideOf(r dataplane.Router, routes int) prefixSet {
	inside := prefixSet{}
	if !isEdge(r) || routes == 0 {
		return inside
	}
	for _, p := range r.Ports {
		for _, a := range p.Addrs {
			inside[a.Masked()] = struct{}{}
		}
	}
	for _, x := range r.Transit.Routes {
		inside[x.Dest] = struct{}{}
	}
	return inside
}

// holds says that a prefix lies in one of the set.
func (s prefixSet) holds(p netip.Prefix) bool {
	for bits := p.Bits(); bits >= 0 && len(s) > 0; bits-- {
		outer, err := p.Addr().Prefix(bits)
		if _, ok := s[outer]; ok && err == nil {
			return true
		}
	}
	return false
}

// sourceTowards returns the source of the router's own packets to a neighbour of the gateway who is
// in none of its subnets. Over IPv4 the kernel would take any address, which may be a floating IP
// (inet_select_addr). A gateway for floating IPs only has no others.
func sourceTowards(gw *dataplane.Gateway, neighbour netip.Addr) netip.Addr {
	if neighbour.Is6() || gw.FloatingIPsOnly {
		return netip.Addr{}
	}
	return gw.HairpinAddr()
}

// deviceTowards returns the device in whose subnet a valid next hop is. What is link-local is on
// the transit.
func deviceTowards(r dataplane.Router, via netip.Addr) string {
	for _, p := range r.Ports {
		if onSubnet(p, via) {
			return dataplane.PortDevice(p.ID)
		}
	}
	if r.Transit != nil && (via.IsLinkLocalUnicast() || onSubnet(r.Transit.Port, via)) {
		return dataplane.TransitDevice(r.Transit.ID)
	}
	return dataplane.GatewayDevice(r.Gateway.ID)
}

func onSubnet(p dataplane.Port, a netip.Addr) bool {
	return slices.ContainsFunc(p.Addrs, func(subnet netip.Prefix) bool { return subnet.Contains(a) })
}
