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
	Owner       string       `json:"owner,omitempty"`
	Ports       []Port       `json:"ports,omitempty"`
	Gateway     *Gateway     `json:"gateway,omitempty"` // nil: no external network
	FloatingIPs []FloatingIP `json:"floating_ips,omitempty"`
	Routes      []Route      `json:"routes,omitempty"`
}

// Port is a router's interface on one network. Neutron calls an internal one qr and that of the
// gateway qg.
type Port struct {
	ID      string         `json:"id"`
	Network Network        `json:"network"`
	MAC     MAC            `json:"mac"`
	Addrs   []netip.Prefix `json:"addrs"` // the port's own address with the length of its subnet: 10.0.0.1/24
	MTU     int            `json:"mtu"`   // bytes; at least 68, and 1280 when the port has an IPv6 address (RFC 791, RFC 8200)
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
	// drops what would leave with one.
	SNAT bool `json:"snat"`
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
	NextHop netip.Addr   `json:"next_hop"` // in a subnet of one of the router's ports or of its gateway
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
	if g == nil {
		return netip.Addr{}
	}
	return g.addr4()
}

func (g *Gateway) addr4() netip.Addr {
	for _, p := range g.Addrs {
		if p.Addr().Is4() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}
