package dataplane

import (
	"net/netip"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"
)

func (c *checker) internalPort(path string, p *Port) {
	if len(p.Addrs) == 0 {
		c.fault(path+".Addrs", "an internal port needs an address")
	}
	c.port(path, p, PortDevice(p.ID), internal)
}

func (c *checker) gatewayPort(g *Gateway) { c.port("Gateway", &g.Port, GatewayDevice(g.ID), gateway) }

func (c *checker) port(path string, p *Port, device string, role role) {
	c.id(path+".ID", p.ID)
	if validID(p.ID) {
		c.portID(path+".ID", p.ID, device)
	}
	c.network(path+".Network", p.Network, role)
	c.mac(path+".MAC", p.Network.ID, p.MAC)
	c.mtu(path+".MTU", p)
	for i, a := range p.Addrs {
		c.addr(index(path+".Addrs", i), path, a, role)
	}
	if p.Anycast != nil && role != internal {
		c.fault(path+".Anycast", "is for internal ports only")
	}
	switch {
	case p.Advertisement == nil:
	case role != internal:
		c.fault(path+".Advertisement", "is for internal ports only")
	default:
		c.advertisement(path+".Advertisement", p)
	}
	if p.Outside && (role != internal || p.Anycast != nil) {
		c.fault(path+".Outside", "is for internal ports that are not anycast only")
	}
}

// portID refuses two ports with one ID, and two whose IDs are the same when they are cut to the
// length of a device's name.
func (c *checker) portID(path, id, device string) {
	if taken := unique(c.ports, id, path); taken != "" {
		c.fault(path, "%s is also %s", quote(id), taken)
	} else if taken := unique(c.devices, device, path); taken != "" {
		c.fault(path, "%s would name its device %s, as does %s", quote(id), device, taken)
	}
}

func (c *checker) mac(path, network string, m MAC) {
	switch {
	case m == MAC{}:
		c.fault(path, "is missing")
	case m[0]&1 != 0:
		c.fault(path, "%s is a multicast address", m)
	default:
		if taken := unique(c.macs, station{network, m}, path); taken != "" {
			c.fault(path, "%s is also %s, on the same network", m, taken)
		}
	}
}

// mtu holds ports to the limits of RFC 791, RFC 8200 and the kernel (IP_MAX_MTU). Under 1280 Linux
// takes IPv6 away from a device.
func (c *checker) mtu(path string, p *Port) {
	const minIPv4, most = 68, 65535
	isIPv6 := func(a netip.Prefix) bool { return a.Addr().Is6() }
	switch {
	case p.MTU < minIPv4 || p.MTU > most:
		c.fault(path, "%d is not between %d and %d", p.MTU, minIPv4, most)
	case p.MTU < minMTU6 && slices.ContainsFunc(p.Addrs, isIPv6):
		c.fault(path, "%d is less than %d, which IPv6 needs", p.MTU, minMTU6)
	}
}

func (c *checker) addr(path, port string, a netip.Prefix, role role) {
	host := a.Addr()
	switch why := unusable(host); {
	case why != "":
		c.fault(path, "%s", why)
		return
	case host.Is6() && host.IsLinkLocalUnicast():
		c.fault(path, "%s is a link-local address, which the kernel gives by itself", host)
		return
	case a.Bits() <= 0:
		c.fault(path, "%s needs the length of its subnet, 1 to %d", host, host.BitLen())
		return
	}
	if why := reserved(host, a); why != "" {
		c.fault(path, "%s", why)
	}
	if taken := unique(c.held, host, path); taken != "" {
		c.fault(path, "%s is also %s", host, taken)
		return
	}
	c.subnets = append(c.subnets, subnet{path: path, port: port, addr: a, role: role})
}

// overlaps refuses subnets that share addresses. Two prefixes overlap only when one contains the
// other; sorted, the one that contains comes first. Further addresses of the gateway in one subnet
// have the full prefix length: the kernel would take away those of the subnet's own length together
// with the first.
func (c *checker) overlaps() {
	order := make([]int, len(c.subnets))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return c.subnets[i].addr.Masked().Compare(c.subnets[j].addr.Masked()) })
	var outer int
	for k, i := range order {
		if k == 0 || !c.subnets[outer].addr.Overlaps(c.subnets[i].addr) {
			outer = i
			continue
		}
		if inner := &c.subnets[i]; inner.role == gateway && c.subnets[outer].role == gateway && inner.addr.IsSingleIP() {
			continue
		}
		first, second := &c.subnets[min(outer, i)], &c.subnets[max(outer, i)]
		if first.port == second.port && first.addr.Masked() == second.addr.Masked() {
			c.fault(second.path, "%s is in the same subnet as %s of this port", second.addr.Addr(), first.addr.Addr())
		} else {
			c.fault(second.path, "%s overlaps %s of %s", second.addr.Masked(), first.addr.Masked(), first.path)
		}
	}
}

// onLinkSubnets checks the subnets of the external network. Over IPv4 no neighbour can be found
// without an address of one's own; over IPv6 the link-local one does.
func (c *checker) onLinkSubnets(g *Gateway) {
	seen := make(map[netip.Prefix]string, len(g.OnLink))
	for i, p := range g.OnLink {
		path := index("Gateway.OnLink", i)
		if why := unusableDest(p); why != "" {
			c.fault(path, "%s", why)
			continue
		}
		if taken := unique(seen, p, path); taken != "" {
			c.fault(path, "%s is also %s", p, taken)
			continue
		}
		switch {
		case p.Bits() == 0:
			c.fault(path, "%s is every address", p)
			continue
		case p.Addr().Is4() && !g.hasFamily(p.Addr()) && !g.FloatingIPsOnly:
			c.fault(path, "%s: the gateway has no address of this family", p)
		case p.Addr().Is6() && g.MTU < minMTU6:
			c.fault(path, "%s needs an MTU of %d, and the gateway has %d", p, minMTU6, g.MTU)
		}
		for _, s := range c.subnets {
			if s.role != gateway && s.addr.Overlaps(p) {
				c.fault(path, "%s overlaps %s of %s", p, s.addr.Masked(), s.path)
			}
		}
		c.onLink = append(c.onLink, subnet{path: path, port: "Gateway", addr: p, role: gateway, bare: true})
	}
}

func (c *checker) network(path string, n Network, role role) {
	c.id(path+".ID", n.ID)
	c.segment(path, n)
	if n.Type == "" {
		n.Type = NetworkLocal
	}
	first, ok := c.networks[n.ID]
	switch {
	case !ok:
		c.networks[n.ID] = attachment{n, path, role}
	case first.network != n:
		c.fault(path, "differs from %s, which has the same ID", first.path)
	case first.role != role:
		needs := role
		if needs == internal {
			needs = first.role
		}
		c.fault(path, "%s is also the network of %s: %s needs one of its own", quote(n.ID), first.path, needs)
	}
}

// segment holds a network to what its type has room for: IEEE 802.1Q, RFC 7348 (VXLAN), RFC 8926
// (Geneve), RFC 2890 (GRE).
func (c *checker) segment(path string, n Network) {
	const maxVLAN, maxVNI = 4094, 1<<24 - 1
	low, high, physical := uint32(0), uint32(0), false
	switch n.Type {
	case "", NetworkLocal:
	case NetworkFlat:
		physical = true
	case NetworkVLAN:
		low, high, physical = 1, maxVLAN, true
	case NetworkVXLAN, NetworkGeneve:
		low, high = 1, maxVNI
	case NetworkGRE:
		high = 1<<32 - 1
	default:
		c.fault(path+".Type", "%s is none of local, flat, vlan, vxlan, geneve, gre", quote(string(n.Type)))
		return
	}
	switch {
	case n.Segment >= low && n.Segment <= high:
	case high == 0:
		c.fault(path+".Segment", "%d on a network that has none", n.Segment)
	default:
		c.fault(path+".Segment", "%d is not between %d and %d", n.Segment, low, high)
	}
	switch {
	case n.Physical == "" && n.Type == NetworkVLAN:
		c.fault(path+".Physical", "is missing, and a VLAN needs one")
	case n.Physical == "":
	case !physical:
		c.fault(path+".Physical", "%s on a network that is neither flat nor vlan", quote(n.Physical))
	case len(n.Physical) > maxPhysicalLen:
		c.fault(path+".Physical", "%s is longer than %d characters", quote(n.Physical), maxPhysicalLen)
	case !printable(n.Physical):
		c.fault(path+".Physical", "%s has characters that cannot be printed", quote(n.Physical))
	}
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsGraphic(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

func index(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
