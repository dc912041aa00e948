package service

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/uuid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// Spread is where a distributed router is: its instances, and what is known to be on their hosts.
type Spread struct {
	Transit dataplane.Network `json:"transit"`
	MTU     int               `json:"mtu"` // of the transit
	Centre  Instance          `json:"centre"`
	Edges   []Instance        `json:"edges"` // one for each host
	// Located are the ports and virtual addresses on the hosts of edges. An address is on one host.
	Located []Located `json:"located"`
}

// Instance is a router's part on one host, as others know it.
type Instance struct {
	Host   string        `json:"host"`
	Number uint16        `json:"number"` // 1–16382, unique among the router's instances: its address on the transit
	MAC    dataplane.MAC `json:"mac"`    // on the transit, and on an edge's external network
	// External says that an edge's host reaches the router's external network.
	External bool `json:"external"`
}

// Located is an address, or a port without one, on a host.
type Located struct {
	NetworkID string     `json:"network_id"`
	Host      string     `json:"host"`
	Addr      netip.Addr `json:"addr"` // zero: none
}

// transitPrefix is the subnet of every transit. No two of them meet.
var transitPrefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{169, 254, 64}), 18)

// addr4 is the instance's address on the transit.
func (i Instance) addr4() netip.Addr {
	b := transitPrefix.Addr().As4()
	binary.BigEndian.PutUint16(b[2:], binary.BigEndian.Uint16(b[2:])+i.Number)
	return netip.AddrFrom4(b)
}

// addr6 is the link-local address of the instance's MAC (RFC 4291 appendix A).
func (i Instance) addr6() netip.Addr {
	m := i.MAC
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// towards is the instance's address of the same family as a.
func (i Instance) towards(a netip.Addr) netip.Addr {
	if a.Is4() {
		return i.addr4()
	}
	return i.addr6()
}

// spreading is the work of compiling one instance of a distributed router.
type spreading struct {
	Intent
	whole  dataplane.Router    // as a central router would be
	inside []netip.Prefix      // subnets of its interfaces
	outer  []netip.Prefix      // subnets on its gateway's link
	edges  map[string]Instance // by host
	homes  map[netip.Addr]string
	served map[netip.Addr]string // hosts whose edges have the floating IPs, by fixed address
	led    map[netip.Addr]bool   // fixed addresses that ports are forwarded to, by the centre
}

// CompileEdge derives what a host with workloads of a distributed router must realise, as [Compile]
// derives the router's centre. It is a pure function, and the order of lists is without effect.
func CompileEdge(in Intent, host string) (dataplane.Router, error) {
	if !in.Router.AdminStateUp {
		return dataplane.Router{ID: in.Router.ID}, nil
	}
	sp, err := in.spreading()
	if err != nil {
		return dataplane.Router{}, err
	}
	here, ok := sp.edges[host]
	if !ok {
		return dataplane.Router{}, fmt.Errorf("router %s: no edge on host %s", in.Router.ID, host)
	}
	r := dataplane.Router{ID: in.Router.ID, Transit: sp.transit(here, "edge "+host)}
	r.Ports = sp.legs(host)
	centre := in.Spread.Centre
	for _, s := range sp.inside {
		r.Transit.Routes = append(r.Transit.Routes, dataplane.Route{Dest: s, NextHop: centre.towards(s.Addr())})
	}
	r.Transit.Centre = []netip.Addr{centre.addr4()}
	if slices.ContainsFunc(sp.inside, func(s netip.Prefix) bool { return s.Addr().Is6() }) {
		r.Transit.Centre = append(r.Transit.Centre, centre.addr6())
	}
	sp.translate(&r, here)
	sp.route(&r, func(hop netip.Addr) (netip.Addr, nearness) {
		home := sp.homes[hop]
		switch {
		case home == host && onNeighbour(r.Ports, hop):
			return hop, direct
		case home != "":
			return sp.edges[home].towards(hop), remote
		case r.Gateway != nil && hop.Is4() && contains(sp.outer, hop):
			return hop, direct
		}
		return centre.towards(hop), remote
	})
	return sp.finish(r)
}

// compileCentre derives what the host of a distributed router's centre must realise.
func (in Intent) compileCentre() (dataplane.Router, error) {
	sp, err := in.spreading()
	if err != nil {
		return dataplane.Router{}, err
	}
	centre := in.Spread.Centre
	r := dataplane.Router{ID: dataplane.CentreID(in.Router.ID), Gateway: sp.whole.Gateway, Transit: sp.transit(centre, "centre")}
	for _, p := range sp.whole.Ports {
		p.MAC, p.Outside = centreMAC(p.ID), true
		p.ID = derivedID(p.ID, "centre")
		r.Ports = append(r.Ports, p)
	}
	sp.translate(&r, centre)
	sp.route(&r, func(hop netip.Addr) (netip.Addr, nearness) {
		if home := sp.homes[hop]; home != "" {
			return sp.edges[home].towards(hop), remote
		}
		return hop, direct
	})
	return sp.finish(r)
}

func (in Intent) spreading() (*spreading, error) {
	whole, err := in.wiring(func(p *l3.Port) bool { return p.AdminStateUp })
	if err != nil {
		return nil, err
	}
	sp := &spreading{
		Intent: in, whole: whole, inside: inside(whole),
		edges: make(map[string]Instance, len(in.Spread.Edges)), homes: make(map[netip.Addr]string, len(in.Spread.Located)), served: map[netip.Addr]string{},
		led: map[netip.Addr]bool{},
	}
	if g := whole.Gateway; g != nil {
		sp.outer = slices.Clone(g.OnLink)
		for _, a := range g.Addrs {
			sp.outer = append(sp.outer, a.Masked())
		}
		slices.SortFunc(sp.outer, netip.Prefix.Compare)
		sp.outer = slices.Compact(sp.outer)
	}
	for _, e := range in.Spread.Edges {
		sp.edges[e.Host] = e
	}
	own := make(map[netip.Addr]bool, len(whole.Ports))
	attached := map[string][]netip.Prefix{} // by network, whose other subnets may overlap those of another
	for _, p := range whole.Ports {
		for _, a := range p.Addrs {
			own[a.Addr()] = true
			attached[p.Network.ID] = append(attached[p.Network.ID], a.Masked())
		}
	}
	for _, l := range in.Spread.Located {
		if _, edge := sp.edges[l.Host]; edge && contains(attached[l.NetworkID], l.Addr) && !own[l.Addr] && !in.led(l.Addr, sp.inside) {
			sp.homes[l.Addr] = l.Host
		}
	}
	for i := range in.PortForwardings {
		sp.led[in.PortForwardings[i].FixedIP] = true
	}
	for i := range in.FloatingIPs {
		f := &in.FloatingIPs[i]
		if sp.led[f.FixedIP] {
			continue // one instance knows all connections of an address
		}
		if home := sp.homes[f.FixedIP]; f.Distributed && home != "" && sp.edges[home].External {
			sp.served[f.FixedIP] = home
		}
	}
	return sp, nil
}

// led says that an extra route leads an address of an internal subnet elsewhere: the route is more
// specific than the subnet. A next hop is always a neighbour.
func (in Intent) led(a netip.Addr, inside []netip.Prefix) bool {
	for _, r := range in.Router.Routes {
		if r.NextHop == a {
			return false
		}
	}
	for _, r := range in.Router.Routes {
		if !r.Destination.Contains(a) {
			continue
		}
		for _, s := range inside {
			if s.Contains(a) && r.Destination.Bits() > s.Bits() {
				return true
			}
		}
	}
	return false
}

func (sp *spreading) transit(i Instance, id string) *dataplane.Transit {
	t := &dataplane.Transit{Port: dataplane.Port{
		ID: derivedID(sp.Router.ID, id), Network: sp.Spread.Transit, MAC: i.MAC, MTU: sp.Spread.MTU,
		Addrs: []netip.Prefix{netip.PrefixFrom(i.addr4(), transitPrefix.Bits())},
	}}
	for a, home := range sp.homes {
		if home != i.Host || i == sp.Spread.Centre {
			t.Routes = append(t.Routes, dataplane.Route{Dest: netip.PrefixFrom(a, a.BitLen()), NextHop: sp.edges[home].towards(a)})
		}
	}
	return t
}

// anyTransit is what every instance's transit has in common: nothing of the router may overlap it.
func (in Intent) anyTransit() *dataplane.Transit {
	last := Instance{Number: mostInstances, MAC: dataplane.MAC{instanceMAC}}
	return &dataplane.Transit{Port: dataplane.Port{
		ID: derivedID(in.Router.ID, "transit"), Network: dataplane.Network{ID: transitID(in.Router.ID)}, MAC: last.MAC, MTU: minMTU6,
		Addrs: []netip.Prefix{netip.PrefixFrom(last.addr4(), transitPrefix.Bits())},
	}}
}

// legs are the anycast ports of an edge: on the networks that have something on the host.
func (sp *spreading) legs(host string) []dataplane.Port {
	networks := map[string]bool{}
	for _, l := range sp.Spread.Located {
		if l.Host == host {
			networks[l.NetworkID] = true
		}
	}
	var legs []dataplane.Port
	for _, p := range sp.whole.Ports {
		if !networks[p.Network.ID] {
			continue
		}
		p.Anycast = &dataplane.Anycast{}
		for _, l := range sp.Spread.Located {
			on := func(s netip.Prefix) bool { return s.Contains(l.Addr) }
			if l.Host == host && l.NetworkID == p.Network.ID && sp.homes[l.Addr] == host && slices.ContainsFunc(p.Addrs, on) {
				p.Anycast.Neighbours = append(p.Anycast.Neighbours, l.Addr)
			}
		}
		slices.SortFunc(p.Anycast.Neighbours, netip.Addr.Compare)
		legs = append(legs, p)
	}
	return legs
}

// translate gives an instance its floating IPs, and what it needs to know of the others'. That
// of an address which is nowhere listed may be asked for on any host.
func (sp *spreading) translate(r *dataplane.Router, i Instance) {
	t, centre := r.Transit, i == sp.Spread.Centre
	for _, f := range sp.translations(translatable(sp.whole)) {
		home := sp.served[f.Fixed]
		switch {
		case home == i.Host && !centre && home != "", home == "" && centre:
			r.FloatingIPs = append(r.FloatingIPs, f)
		case centre:
			t.Elsewhere = append(t.Elsewhere, f.Fixed)
			sp.lead(t, f.Addr, sp.edges[home])
		case home != "":
			sp.lead(t, f.Addr, sp.edges[home])
		default:
			sp.lead(t, f.Addr, sp.Spread.Centre)
			if at := sp.homes[f.Fixed]; at == "" || at == i.Host {
				t.Elsewhere = append(t.Elsewhere, f.Fixed)
			}
		}
	}
	if centre {
		r.PortForwardings = sp.forwardings(translatable(sp.whole))
	} else {
		sp.answerByCentre(t, i)
	}
	if !centre && sp.whole.Gateway != nil {
		for _, a := range sp.whole.Gateway.Addrs {
			sp.lead(t, a.Addr(), sp.Spread.Centre)
		}
		for _, s := range sp.outer {
			if !s.IsSingleIP() {
				t.External = append(t.External, dataplane.Route{Dest: s, NextHop: sp.Spread.Centre.towards(s.Addr())})
			}
		}
	}
	if centre || len(r.FloatingIPs) == 0 {
		return
	}
	g := sp.whole.Gateway
	r.Gateway = &dataplane.Gateway{
		Port:            dataplane.Port{ID: derivedID(g.ID, i.Host), Network: g.Network, MAC: i.MAC, MTU: g.MTU},
		FloatingIPsOnly: true, Hairpin: g.HairpinAddr(),
	}
	for _, s := range sp.outer {
		if s.Addr().Is4() && !s.IsSingleIP() {
			r.Gateway.OnLink = append(r.Gateway.OnLink, s)
		}
	}
	r.Gateway.NextHops = slices.DeleteFunc(slices.Clone(g.NextHops), netip.Addr.Is6)
}

// answerByCentre has an edge lead to the centre what addresses there send to floating IPs, if ports
// are forwarded to them: it may be an answer to a connection that the centre has forwarded.
func (sp *spreading) answerByCentre(t *dataplane.Transit, i Instance) {
	for _, pf := range sp.forwardings(translatable(sp.whole)) {
		if at := sp.homes[pf.Fixed]; (at == "" || at == i.Host) && !slices.Contains(t.Elsewhere, pf.Fixed) {
			t.Elsewhere = append(t.Elsewhere, pf.Fixed)
		}
	}
}

// lead leads to an address on the external network that another instance has.
func (sp *spreading) lead(t *dataplane.Transit, a netip.Addr, to Instance) {
	t.External = append(t.External, dataplane.Route{Dest: netip.PrefixFrom(a, a.BitLen()), NextHop: to.towards(a)})
}

// nearness says how an instance reaches a next hop.
type nearness int

const (
	direct nearness = iota // on a link of its own
	remote                 // through another instance
)

// route gives an instance the router's extra routes. Of next hops to the same destination those on
// its own links come before those of other instances, which would send the packet back.
func (sp *spreading) route(r *dataplane.Router, via func(hop netip.Addr) (netip.Addr, nearness)) {
	byDest := map[netip.Prefix][2][]netip.Addr{}
	for _, x := range sp.Router.Routes {
		if !contains(sp.inside, x.NextHop) && !contains(sp.outer, x.NextHop) {
			continue
		}
		hop, near := via(x.NextHop)
		hops := byDest[x.Destination]
		if !slices.Contains(hops[near], hop) {
			hops[near] = append(hops[near], hop)
		}
		byDest[x.Destination] = hops
	}
	for dest, hops := range byDest {
		chosen := hops[direct]
		if len(chosen) == 0 {
			chosen = hops[remote]
		}
		for _, hop := range chosen {
			r.Routes = append(r.Routes, dataplane.Route{Dest: dest, NextHop: hop})
		}
	}
}

// finish puts lists in order, and checks the result.
func (sp *spreading) finish(r dataplane.Router) (dataplane.Router, error) {
	byRoute := func(a, b dataplane.Route) int {
		return cmp.Or(a.Dest.Compare(b.Dest), a.NextHop.Compare(b.NextHop))
	}
	sp.limit(&r)
	slices.SortFunc(r.Routes, byRoute)
	slices.SortFunc(r.Transit.Routes, byRoute)
	slices.SortFunc(r.Transit.External, byRoute)
	slices.SortFunc(r.Transit.Elsewhere, netip.Addr.Compare)
	if err := r.Validate(); err != nil {
		return dataplane.Router{}, fmt.Errorf("router %s: %w", r.ID, err)
	}
	return r, nil
}

func onNeighbour(legs []dataplane.Port, a netip.Addr) bool {
	return slices.ContainsFunc(legs, func(p dataplane.Port) bool { return slices.Contains(p.Anycast.Neighbours, a) })
}

// instanceMAC is the first byte of MAC addresses that the API's ports do not have: locally
// administered, as theirs (IEEE 802 8.4).
const instanceMAC = 0xfe

// centreMAC is the MAC address of a centre's port on an internal network, in place of that which
// the edges have there.
func centreMAC(portID string) dataplane.MAC {
	sum := sha256.Sum256([]byte(portID))
	return dataplane.MAC(slices.Concat([]byte{instanceMAC}, sum[:5]))
}

// derivedID is the ID of a port that an instance has instead of, or beside, one of the API's. A
// host may have several instances, whose devices must differ in the first characters of the ID.
func derivedID(id, of string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("l3kit/"+id+"/"+of)).String()
}
