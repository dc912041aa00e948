package service

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// Compile derives what a router's host must realise; of a distributed router, the host of its
// centre. It is a pure function, and the order of the intent's lists is without effect.
//
// A port that is administratively down is left out, and with it the routes, floating IPs and port
// forwardings that need it. Of a router that is down nothing but the ID is left. What is returned without an error
// is valid; see [dataplane.Router.Validate].
func Compile(in Intent) (dataplane.Router, error) {
	switch {
	case in.Spread != nil && !in.Router.AdminStateUp:
		return dataplane.Router{ID: dataplane.CentreID(in.Router.ID)}, nil
	case !in.Router.AdminStateUp:
		return dataplane.Router{ID: in.Router.ID}, nil
	case in.Spread != nil:
		return in.compileCentre()
	}
	r, err := in.wiring(func(p *l3.Port) bool { return p.AdminStateUp })
	if err != nil {
		return dataplane.Router{}, err
	}
	connected := prefixes(r)
	for _, route := range in.Router.Routes {
		if contains(connected, route.NextHop) {
			r.Routes = append(r.Routes, dataplane.Route{Dest: route.Destination, NextHop: route.NextHop})
		}
	}
	slices.SortFunc(r.Routes, func(a, b dataplane.Route) int {
		return cmp.Or(a.Dest.Compare(b.Dest), a.NextHop.Compare(b.NextHop))
	})
	in.confine(&r)
	subnets := translatable(r)
	r.FloatingIPs, r.PortForwardings = in.translations(subnets), in.forwardings(subnets)
	in.limit(&r)
	if err := r.Validate(); err != nil {
		return dataplane.Router{}, fmt.Errorf("router %s: %w", in.Router.ID, err)
	}
	return r, nil
}

// wiring is the router's ports that keep says yes to.
func (in Intent) wiring(keep func(*l3.Port) bool) (dataplane.Router, error) {
	r := dataplane.Router{ID: in.Router.ID}
	for i := range in.Ports {
		p := &in.Ports[i]
		if !keep(p) {
			continue
		}
		port, err := in.port(p)
		if err != nil {
			return r, fmt.Errorf("router %s: port %s: %w", in.Router.ID, p.ID, err)
		}
		if p.DeviceOwner != l3.OwnerRouterGateway {
			r.Ports = append(r.Ports, port)
			continue
		}
		r.Gateway = &dataplane.Gateway{Port: port, NextHops: in.nextHops(p), SNAT: in.Router.EnableSNAT}
	}
	slices.SortFunc(r.Ports, func(a, b dataplane.Port) int { return cmp.Compare(a.ID, b.ID) })
	if r.Gateway != nil {
		r.Gateway.OnLink = in.onLink(r)
	}
	return r, nil
}

// onLink are the subnets of the router's external network, but for those that it cannot have on its
// gateway's link: a subnet inside, and the transit, come before one that overlaps it; without an IPv4
// address the gateway finds no IPv4 neighbours; IPv6 needs an MTU; and instances of a distributed
// router would not see that a subnet is in another address scope.
func (in Intent) onLink(r dataplane.Router) []netip.Prefix {
	var list []netip.Prefix
	hasIPv4, attached := r.Gateway.HairpinAddr().IsValid(), inside(r)
	if in.Router.Distributed {
		attached = append(attached, transitPrefix)
	}
	for _, s := range in.Subnets {
		overlaps := slices.ContainsFunc(attached, func(p netip.Prefix) bool { return p.Overlaps(s.CIDR) })
		switch {
		case s.NetworkID != r.Gateway.Network.ID || overlaps:
		case s.CIDR.Addr().Is4() && !hasIPv4, s.CIDR.Addr().Is6() && r.Gateway.MTU < minMTU6:
		case in.Router.Distributed && s.CIDR.Addr().Is6() && in.apartFrom6(s):
		default:
			list = append(list, s.CIDR)
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return list
}

func (in Intent) port(p *l3.Port) (dataplane.Port, error) {
	network, ok := in.Networks[p.NetworkID]
	if !ok || len(network.Segments) == 0 {
		return dataplane.Port{}, fmt.Errorf("network %s is not known", p.NetworkID)
	}
	segment := network.Segments[0]
	out := dataplane.Port{
		ID:      p.ID,
		Network: dataplane.Network{ID: network.ID, Type: segment.Type, Physical: segment.Physical, Segment: segment.ID},
		MAC:     p.MAC,
		MTU:     network.MTU,
	}
	for i, ip := range p.FixedIPs {
		subnet, ok := in.Subnets[ip.SubnetID]
		if !ok {
			return dataplane.Port{}, fmt.Errorf("subnet %s is not known", ip.SubnetID)
		}
		bits := subnet.CIDR.Bits()
		another := func(before l3.FixedIP) bool { return before.SubnetID == ip.SubnetID }
		if p.DeviceOwner == l3.OwnerRouterGateway && slices.ContainsFunc(p.FixedIPs[:i], another) {
			bits = ip.IPAddress.BitLen() // see [dataplane.Gateway]
		}
		out.Addrs = append(out.Addrs, netip.PrefixFrom(ip.IPAddress, bits))
	}
	if p.DeviceOwner != l3.OwnerRouterGateway {
		out.Advertisement = in.advertisement(p)
	}
	return out, nil
}

// maxAdvertisedDNS is how many resolvers Neutron's routers advertise of a subnet.
const maxAdvertisedDNS = 3

// advertisement is what an interface advertises of its subnets that ask for it; nil if none does.
func (in Intent) advertisement(p *l3.Port) *dataplane.Advertisement {
	var a dataplane.Advertisement
	for _, ip := range p.FixedIPs {
		s := in.Subnets[ip.SubnetID]
		switch s.IPv6RAMode {
		case "":
			continue
		case l3.IPv6DHCPv6Stateful:
			a.Managed = true
		case l3.IPv6DHCPv6Stateless:
			a.Other = true
		}
		known := func(have dataplane.AdvertisedPrefix) bool { return have.Prefix == s.CIDR }
		if slices.ContainsFunc(a.Prefixes, known) {
			continue
		}
		a.Prefixes = append(a.Prefixes, dataplane.AdvertisedPrefix{Prefix: s.CIDR, Autonomous: s.IPv6RAMode != l3.IPv6DHCPv6Stateful})
		for _, text := range s.DNSNameservers {
			server, err := netip.ParseAddr(text)
			if err == nil && server.Is6() && len(a.DNS) < maxAdvertisedDNS && !slices.Contains(a.DNS, server) {
				a.DNS = append(a.DNS, server)
			}
		}
	}
	if len(a.Prefixes) == 0 {
		return nil
	}
	return &a
}

// nextHops are the default routes of a gateway: in each family the first of its subnets that has a
// gateway of its own.
func (in Intent) nextHops(p *l3.Port) []netip.Addr {
	var hops []netip.Addr
	for _, ip := range p.FixedIPs {
		hop := in.Subnets[ip.SubnetID].GatewayIP
		sameFamily := func(a netip.Addr) bool { return a.Is4() == hop.Is4() }
		if hop.IsValid() && !slices.ContainsFunc(hops, sameFamily) {
			hops = append(hops, hop)
		}
	}
	return hops
}

// translations are the floating IPs whose fixed address is in one of the subnets.
func (in Intent) translations(inside []netip.Prefix) []dataplane.FloatingIP {
	if len(inside) == 0 || len(in.FloatingIPs) == 0 {
		return nil
	}
	out := make([]dataplane.FloatingIP, 0, len(in.FloatingIPs))
	for i := range in.FloatingIPs {
		if f := &in.FloatingIPs[i]; contains(inside, f.FixedIP) {
			out = append(out, dataplane.FloatingIP{ID: f.ID, Addr: f.Address, Fixed: f.FixedIP})
		}
	}
	slices.SortFunc(out, func(a, b dataplane.FloatingIP) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// prefixes are the subnets that a router is connected to.
func prefixes(r dataplane.Router) []netip.Prefix {
	all := inside(r)
	if r.Gateway != nil {
		for _, a := range r.Gateway.Addrs {
			all = append(all, a.Masked())
		}
	}
	return all
}

func inside(r dataplane.Router) []netip.Prefix {
	var all []netip.Prefix
	for i := range r.Ports {
		for _, a := range r.Ports[i].Addrs {
			all = append(all, a.Masked())
		}
	}
	return all
}

// translatable are the subnets whose addresses floating IPs can stand for.
func translatable(r dataplane.Router) []netip.Prefix {
	if !r.Gateway.HairpinAddr().IsValid() {
		return nil
	}
	return slices.DeleteFunc(inside(r), func(p netip.Prefix) bool { return !p.Addr().Is4() })
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}
