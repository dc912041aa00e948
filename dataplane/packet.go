package dataplane

import (
	"fmt"
	"net/netip"
)

// Proto is what a packet carries, as far as a router cares.
type Proto string

// The protocols that the model knows by name. Any other one is translated and forwarded by its
// addresses alone.
const (
	TCP  Proto = "tcp"
	UDP  Proto = "udp"
	SCTP Proto = "sctp"
	ICMP Proto = "icmp" // an echo request of the addresses' family
)

// Packet is the first packet of a connection, as it reaches the router.
type Packet struct {
	// In is the ID of the port that it arrives on, which may be the gateway's. Empty: the router
	// itself sends it.
	In string `json:"in,omitempty"`
	// Src may be zero or unspecified when the router itself sends: the kernel chooses then.
	Src     netip.Addr `json:"src"`
	Dst     netip.Addr `json:"dst"`
	Proto   Proto      `json:"proto,omitempty"`
	SrcPort uint16     `json:"src_port,omitempty"` // the identifier of an echo request
	DstPort uint16     `json:"dst_port,omitempty"`
}

// String prints "tcp 10.0.0.5:4711 → 203.0.113.5:80".
func (p Packet) String() string {
	proto := p.Proto
	if proto == "" {
		proto = "packet"
	}
	return string(proto) + " " + endpoint(p.Src, p.SrcPort) + " → " + endpoint(p.Dst, p.DstPort)
}

func endpoint(a netip.Addr, port uint16) string {
	switch {
	case !a.IsValid():
		return "?"
	case port == 0:
		return a.String()
	}
	return fmt.Sprint(netip.AddrPortFrom(a, port))
}
