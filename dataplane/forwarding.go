package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// PortForwarding leads what is sent to some ports of an external IPv4 address to ports of an
// internal one. Answers leave from the external address. Its other ports are refused, unless they
// are forwarded too, and an echo request to it is answered by the router. It does not change how
// the internal host opens connections: those leave with its floating IP, or with the gateway's
// address.
//
// Forwarding happens where the gateway with an address is. So of the instances of a distributed
// router only the centre can have forwardings.
type PortForwarding struct {
	ID string `json:"id"`
	// Addr is on the external network, or routed to the gateway. It may be an address of the
	// gateway, and not a floating IP. Several forwardings may share it.
	Addr       netip.Addr `json:"addr"`
	Proto      Proto      `json:"proto"`       // TCP, UDP or SCTP
	Ports      PortRange  `json:"ports"`       // of Addr
	Fixed      netip.Addr `json:"fixed"`       // in a subnet of one of the router's ports
	FixedPorts PortRange  `json:"fixed_ports"` // as many as Ports, in the same order, or one for all
}

// PortRange is the ports from First to Last. Its text is "8000-8099", or "80" for a single one.
type PortRange struct{ First, Last uint16 }

// SinglePort returns the range of one port.
func SinglePort(p uint16) PortRange { return PortRange{p, p} }

// ParsePortRange reads "8000-8099", or "80" for a single port.
func ParsePortRange(s string) (PortRange, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, err := parsePort(first)
	b, err2 := parsePort(last)
	if err != nil || err2 != nil || a > b || isRange && a == b {
		return PortRange{}, fmt.Errorf("%s is neither a port nor a range of ports such as 8000-8099", quote(s))
	}
	return PortRange{a, b}, nil
}

func parsePort(s string) (uint16, error) {
	p, err := strconv.ParseUint(s, 10, 16)
	if err != nil || strconv.FormatUint(p, 10) != s {
		return 0, fmt.Errorf("%s is no port", quote(s))
	}
	return uint16(p), nil
}

// String returns the form that ParsePortRange reads.
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// MarshalText writes the form that UnmarshalText reads.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what [ParsePortRange] reads.
func (r *PortRange) UnmarshalText(text []byte) error {
	v, err := ParsePortRange(string(text))
	if err != nil {
		return err
	}
	*r = v
	return nil
}

// Len returns the number of ports.
func (r PortRange) Len() int { return int(r.Last) - int(r.First) + 1 }

// Contains reports whether a port is in the range.
func (r PortRange) Contains(p uint16) bool { return r.First <= p && p <= r.Last }

// FixedPort returns the port that one of f.Ports leads to.
func (f PortForwarding) FixedPort(p uint16) uint16 {
	if f.FixedPorts.Len() == 1 {
		return f.FixedPorts.First
	}
	return f.FixedPorts.First + (p - f.Ports.First)
}

// Object names a forwarding as steps of a [Plan] do: by its external address, protocol and ports.
func (f PortForwarding) Object() string { return fmt.Sprintf("%s %s %s", f.Addr, f.Proto, f.Ports) }

// Target names where a forwarding leads, as the details of steps of a [Plan] do.
func (f PortForwarding) Target() string { return fmt.Sprintf("→ %s %s", f.Fixed, f.FixedPorts) }

// ForwardingAddrs lists the external addresses that a router answers for because of its forwardings
// alone, sorted: those that the gateway does not have.
func (r Router) ForwardingAddrs() []netip.Addr {
	var list []netip.Addr
	for _, f := range r.PortForwardings {
		if !r.Gateway.has(f.Addr) {
			list = append(list, f.Addr)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// has reports whether an address is one of the gateway's own.
func (g *Gateway) has(a netip.Addr) bool {
	return g != nil && slices.ContainsFunc(g.Addrs, func(p netip.Prefix) bool { return p.Addr() == a })
}

// compareForwardings sorts by what is forwarded.
func compareForwardings(a, b PortForwarding) int {
	return cmp.Or(
		a.Addr.Compare(b.Addr), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Ports.First, b.Ports.First), cmp.Compare(a.Ports.Last, b.Ports.Last),
		a.Fixed.Compare(b.Fixed), cmp.Compare(a.FixedPorts.First, b.FixedPorts.First), cmp.Compare(a.FixedPorts.Last, b.FixedPorts.Last),
		cmp.Compare(a.ID, b.ID))
}

// service is what port numbers belong to.
type service struct {
	addr  netip.Addr
	proto Proto
}

// forwardings finds the forwarding of a port.
type forwardings map[service][]PortForwarding // by their first port

func newForwardings(list []PortForwarding) forwardings {
	m := make(forwardings)
	for _, f := range list {
		s := service{f.Addr, f.Proto}
		m[s] = append(m[s], f)
	}
	for _, list := range m {
		slices.SortFunc(list, compareForwardings)
	}
	return m
}

func (m forwardings) find(a netip.Addr, proto Proto, port uint16) (PortForwarding, bool) {
	list := m[service{a, proto}]
	i, _ := slices.BinarySearchFunc(list, port, func(f PortForwarding, p uint16) int { return cmp.Compare(f.Ports.Last, p) })
	if i == len(list) || !list[i].Ports.Contains(port) {
		return PortForwarding{}, false
	}
	return list[i], true
}
