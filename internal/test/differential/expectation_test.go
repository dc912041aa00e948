package differential

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// expectation is what the model says of a trial.
type expectation struct {
	trial
	router dataplane.Router
	model  *dataplane.Model
	bare   *dataplane.Model // of the router without translation and filter
	// outward is of an edge, too, as it treats what is of its floating IPs.
	outward *dataplane.Model
	paths   []dataplane.Trace
}

func expect(r dataplane.Router, p trial) expectation {
	e := expectation{trial: p, router: r, model: dataplane.NewModel(r), bare: dataplane.NewModel(bare(unconfined4(r)))}
	if isEdge(r) {
		e.bare, e.outward = dataplane.NewModel(plain(r)), dataplane.NewModel(outward(r))
	}
	e.paths = e.model.Paths(p.Packet)
	if p.Kind == stray {
		e.paths = e.strayPaths()
	}
	return e
}

// bare is the router as it routes what is not to be translated: an answer, and what conntrack does
// not follow.
func bare(r dataplane.Router) dataplane.Router {
	if r.Gateway == nil {
		return r
	}
	g := *r.Gateway
	g.SNAT = false
	g.Addrs = slices.Clone(g.Addrs)
	for _, f := range r.FloatingIPs {
		g.Addrs = append(g.Addrs, netip.PrefixFrom(f.Addr, f.Addr.BitLen()))
	}
	for _, a := range r.ForwardingAddrs() {
		g.Addrs = append(g.Addrs, netip.PrefixFrom(a, a.BitLen()))
	}
	r.Gateway, r.FloatingIPs, r.PortForwardings, r.Limits = &g, nil, nil, nil
	return r
}

// strayPaths: what conntrack calls invalid is never translated. So it must not pass a gateway that
// translates (P9); anywhere else it is routed. IPv6 is not tracked.
func (e expectation) strayPaths() []dataplane.Trace {
	if isEdge(e.router) {
		paths := e.untranslatedPaths(e.Packet, e.Dst, true)
		for i, t := range paths {
			paths[i].Answered = false
			if t.Verdict == dataplane.Forwarded && e.Dst.Is4() && (e.In == gatewayID || t.Out == gatewayID) {
				paths[i] = dataplane.Trace{Packet: t.Packet, Verdict: dataplane.Dropped}
			}
		}
		return paths
	}
	paths := e.bare.Paths(e.Packet)
	for i, t := range paths {
		paths[i].Answered = false
		guarded := e.router.Gateway != nil && e.router.Gateway.SNAT && e.Dst.Is4()
		guarded = guarded && (e.In == gatewayID || t.Out == gatewayID) && !e.shares(e.In, t.Out)
		if t.Verdict == dataplane.Forwarded && (guarded || e.leaves(t.Out)) {
			paths[i] = dataplane.Trace{Packet: t.Packet, Verdict: dataplane.Dropped}
		}
	}
	return paths
}

// sourceOfAnother says that the kernel chose the source for one way, and took another then: it
// looks for the way again once it knows the source, which makes for another hash.
func (e expectation) sourceOfAnother(a answer) bool {
	return len(e.paths) > 1 && slices.ContainsFunc(e.paths, func(t dataplane.Trace) bool { return t.Packet.Src == a.Source })
}

// sourceByHistory says that the source which the kernel chose depends on what the router was
// before. Towards a next hop outside of its subnets, IPv4 takes the oldest address of the gateway's
// device (inet_select_addr), and that may be a floating IP's. IPv6, when it leaves by a port that
// has no address, takes that of another port, among equals the oldest (ipv6_dev_get_saddr).
func (e expectation) sourceByHistory(a answer) bool {
	t := e.paths[0]
	i := slices.IndexFunc(allPorts(e.router), func(p dataplane.Port) bool { return p.ID == t.Out })
	if i < 0 {
		return false
	}
	addrs := allPorts(e.router)[i].Addrs
	if e.Dst.Is6() {
		has6 := slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
		return !has6 && slices.ContainsFunc(allPorts(e.router), func(p dataplane.Port) bool { return holds(p, a.Source) })
	}
	inSubnet := slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Contains(t.NextHops[0]) })
	return t.Out == gatewayID && !inSubnet && (floatsTo(e.router, a.Source) || slices.Contains(e.router.ForwardingAddrs(), a.Source))
}

// holds says that an address is the port's own.
func holds(p dataplane.Port, own netip.Addr) bool {
	return slices.ContainsFunc(p.Addrs, func(a netip.Prefix) bool { return a.Addr() == own })
}

// floatsTo says that an address is a floating IP.
func floatsTo(r dataplane.Router, a netip.Addr) bool {
	return slices.ContainsFunc(r.FloatingIPs, func(f dataplane.FloatingIP) bool { return f.Addr == a })
}

// answersFor says that the router must answer for the destination's MAC where the packet comes in:
// the address is on that very port.
func (e expectation) answersFor() bool {
	if e.In == "" || !e.Dst.Is4() {
		return false
	}
	if e.In == gatewayID && (floatsTo(e.router, e.Dst) || slices.Contains(e.router.ForwardingAddrs(), e.Dst)) {
		return true
	}
	return slices.ContainsFunc(allPorts(e.router), func(p dataplane.Port) bool { return p.ID == e.In && holds(p, e.Dst) })
}
