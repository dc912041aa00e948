package dataplane

import "net/netip"

// Router is what one host must realise: values only, nothing about how. The zero value of every
// list means none.
type Router struct {
	ID string `json:"id"` // names the router on the host; see [NamespaceName]
	// Owner says on whose behalf the router runs, such as the ID of a control plane's deployment.
	// The host keeps it with the router, so that a process which finds the router knows whose it
	// is; see [Dataplane.Inspect]. It makes no difference to packets. Empty: the host keeps what it
	// has. A host that cannot keep it (Linux before 5.5) realises the router without it.
	Owner           string           `json:"owner,omitempty"`
	Ports           []Port           `json:"ports,omitempty"`
	Gateway         *Gateway         `json:"gateway,omitempty"` // nil: no external network
	FloatingIPs     []FloatingIP     `json:"floating_ips,omitempty"`
	PortForwardings []PortForwarding `json:"port_forwardings,omitempty"`
	Limits          []Limit          `json:"limits,omitempty"` // at most one for an address
	Routes          []Route          `json:"routes,omitempty"`
	Transit         *Transit         `json:"transit,omitempty"` // nil: the whole router is on this host
	// Metadata makes the router answer workloads that ask for their metadata, at
	// [MetadataAddrs] and [MetadataPort], by the handler that the dataplane was opened with. Nobody
	// but hosts on the networks of Ports is answered; at the IPv6 address only those on the link of
	// a port with an IPv6 address. Without it, the addresses are refused as all link-local ones are.
	Metadata bool `json:"metadata,omitempty"`
	// ClampMSS lowers the maximum segment size (RFC 9293 3.7.1) that a TCP SYN or SYN-ACK announces
	// to what fits both ports that it passes, so that connections work where ICMP errors get lost
	// or hosts believe in an MTU that is too large. It never raises one, and leaves segments alone
	// that announce none. The router's own connections are not concerned: the kernel knows the
	// MTU of its ports.
	ClampMSS bool `json:"clamp_mss,omitempty"`
}

// Port is a router's interface on one network. Neutron calls an internal one qr and that of the
// gateway qg.
type Port struct {
	ID      string         `json:"id"`
	Network Network        `json:"network"`
	MAC     MAC            `json:"mac"`
	Addrs   []netip.Prefix `json:"addrs"` // the port's own address with the length of its subnet: 10.0.0.1/24
	MTU     int            `json:"mtu"`   // bytes; at least 68, and 1280 when the port has an IPv6 address (RFC 791, RFC 8200)
	Anycast *Anycast       `json:"anycast,omitempty"`
	// Outside makes wiring treat the port as if it were on another host, if the network has an
	// anycast port here: workloads do not take it for their gateway. The centre of a distributed
	// router has such ports, as an edge may run beside it.
	Outside bool `json:"outside,omitempty"`
	// Scopes are the address scopes of what is behind the port. An instance of a distributed router
	// has none.
	Scopes Scopes `json:"scopes,omitzero"`
	// Advertisement makes hosts on the link configure themselves for IPv6. Nil: they are told
	// nothing.
	Advertisement *Advertisement `json:"advertisement,omitempty"`
}

// Anycast makes a port of a distributed router one of several, on each host that has neighbours of
// it, with the same MAC and addresses. Wiring keeps the MAC on the host: no frame from it or to it
// crosses a tunnel or a physical network, nor does a question who has the port's addresses. The
// host's workloads take no other port for it, and nothing that is flooded from other hosts reaches
// it.
type Anycast struct {
	// Neighbours are the hosts on the port's link. Routes lead to whatever else is in its subnets.
	Neighbours []netip.Addr `json:"neighbours,omitempty"`
}

// Transit connects an instance of a distributed router to its other instances: its edges, which are
// where its workloads are, and the one centre, which does everything else. The instances trust each
// other: what one of them sends may have any source.
//
// The port has one IPv4 address, which is link-local (169.254.0.0/16, RFC 3927), and over IPv6 the
// link-local address of its MAC; so no packet but ARP and neighbour discovery shows them.
type Transit struct {
	Port
	// Routes lead to what other instances have, or reach: addresses, and subnets of the router. A
	// next hop is an instance's address on the transit; of IPv6, its link-local one. They precede
	// [Router.Routes].
	Routes []Route `json:"routes,omitempty"`
	// Centre are the centre's addresses on the transit, at most one of each family. Everything goes
	// there that has no way of its own. Empty: this instance is the centre. An instance that is not
	// sends nothing back to the transit that it has from there.
	Centre []netip.Addr `json:"centre,omitempty"`
	// External lead to the external network, and to the router's addresses there that other
	// instances have: its subnets and the centre's gateway, by the centre; single addresses are
	// floating IPs, or the gateway's. They precede [Router.Routes] to the same destination. The
	// centre reaches all of it by its gateway; to the single addresses it shows
	// [Gateway.HairpinAddr] for clients without a floating IP, also without SNAT.
	External []Route `json:"external,omitempty"`
	// Elsewhere lists fixed addresses that have their floating IP at another instance. An edge
	// leads what they send to a floating IP to the centre, untranslated; the centre lets nothing
	// out of its gateway that comes from them.
	Elsewhere []netip.Addr `json:"elsewhere,omitempty"`
}

// Gateway is the port on the external network. A further address in a subnet in which it has one
// already has the full length: 203.0.113.4/24, 203.0.113.9/32.
type Gateway struct {
	Port
	// NextHops are the default routes, at most one per address family. One that lies in none of the
	// gateway's subnets is reached on the link.
	NextHops []netip.Addr `json:"next_hops,omitempty"`
	// OnLink lists the subnets of the external network. Hosts in them are neighbours on the link,
	// whether or not the gateway has an address in each. Those of its own addresses need not be
	// named.
	OnLink []netip.Prefix `json:"on_link,omitempty"`
	// SNAT lets hosts without a floating IP reach the external network from the gateway's first
	// IPv4 address, keeps the external network from opening connections to internal addresses, and
	// drops what would leave with one. Ports in the gateway's address scope are not concerned; see
	// [Scopes].
	SNAT bool `json:"snat"`
	// FloatingIPsOnly makes the gateway that of the floating IPs, and of nothing else: it has no
	// address of its own, and drops what is not from one of them, or to one. NextHops and OnLink
	// are theirs alone, as are [Router.Routes] to next hops on its link; other traffic goes to
	// [Transit.Centre] instead. IPv6 does not pass it.
	FloatingIPsOnly bool `json:"floating_ips_only,omitempty"`
	// Hairpin is what [Gateway.HairpinAddr] returns of a gateway for floating IPs only. It need not
	// be an address of this host.
	Hairpin netip.Addr `json:"hairpin,omitzero"`
}

// FloatingIP is a public IPv4 address that stands for one internal one, both ways.
type FloatingIP struct {
	ID    string     `json:"id"`
	Addr  netip.Addr `json:"addr"`  // on the external network, or routed to the gateway
	Fixed netip.Addr `json:"fixed"` // in a subnet of one of the router's ports; one floating IP at most for each
}

// Route is an extra route. Routes with the same destination share its traffic (ECMP, by flow). A
// connected subnet wins over an extra route to the same destination, an extra route over the
// gateway's default route.
type Route struct {
	Dest    netip.Prefix `json:"dest"`
	NextHop netip.Addr   `json:"next_hop"` // in a subnet of one of the router's ports or of its gateway; on the transit, also link-local
}

// NetworkType is the way in which a network's frames cross between hosts, in Neutron's words.
type NetworkType string

// The network types that wiring may know. A driver refuses the ones it cannot carry.
const (
	NetworkLocal  NetworkType = "local"  // stays on the host
	NetworkFlat   NetworkType = "flat"   // untagged on a physical network
	NetworkVLAN   NetworkType = "vlan"   // tagged on a physical network
	NetworkVXLAN  NetworkType = "vxlan"  // tunnelled, RFC 7348
	NetworkGeneve NetworkType = "geneve" // tunnelled, RFC 8926
	NetworkGRE    NetworkType = "gre"    // tunnelled, RFC 2890
)

// Network is what wiring needs to know to attach a port to its network.
type Network struct {
	ID       string      `json:"id"`
	Type     NetworkType `json:"type,omitempty"`     // empty: local
	Physical string      `json:"physical,omitempty"` // physical network of a flat or VLAN network; the driver maps it to a device
	Segment  uint32      `json:"segment,omitempty"`  // VLAN ID 1–4094, VXLAN or Geneve VNI 1–16777215, GRE key; 0 for flat and local
}

// SNATAddr is the address that hosts without a floating IP leave with: the gateway's first IPv4
// address. It is the zero Addr when the gateway has none, or does not translate.
func (g *Gateway) SNATAddr() netip.Addr {
	if g == nil || !g.SNAT {
		return netip.Addr{}
	}
	return g.addr4()
}

// HairpinAddr is the address that an internal client without a floating IP shows to a server that
// it reaches by a floating IP: the gateway's first IPv4 address, whether or not it translates
// otherwise, so that the answer comes back through the router.
func (g *Gateway) HairpinAddr() netip.Addr {
	switch {
	case g == nil:
		return netip.Addr{}
	case g.FloatingIPsOnly:
		return g.Hairpin
	}
	return g.addr4()
}

// Guarded says that the external network opens no connections to internal IPv4 addresses, other
// than by floating IPs, and that nothing leaves with an internal address.
func (g *Gateway) Guarded() bool { return g != nil && (g.SNAT || g.FloatingIPsOnly) }

// edge says that the router is one instance of several, and not the centre.
func (t *Transit) edge() bool { return t != nil && len(t.Centre) > 0 }

func (g *Gateway) addr4() netip.Addr {
	for _, p := range g.Addrs {
		if p.Addr().Is4() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}
