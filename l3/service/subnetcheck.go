package service

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// Neutron's limits for a subnet.
const (
	maxNameservers = 5
	maxHostRoutes  = 20
)

// checkSubnet holds a subnet to what does not depend on other resources.
func checkSubnet(sub l3.Subnet) error {
	if err := texts(&sub.Name, &sub.Description); err != nil {
		return err
	}
	if v := version(sub.CIDR.Addr()); sub.IPVersion != v {
		return invalid("Invalid input for cidr. Reason: '%s' does not match the ip_version '%d'.", sub.CIDR, sub.IPVersion)
	}
	if spare := sub.CIDR.Addr().BitLen() - sub.CIDR.Bits(); sub.EnableDHCP && spare < 2 {
		return invalid("Invalid input for enable_dhcp. Reason: Subnet has a prefix length that is incompatible with DHCP service enabled.")
	}
	for _, check := range []func(l3.Subnet) error{checkGateway, checkPools, checkModes, checkNameservers, checkHostRoutes, checkServiceTypes} {
		if err := check(sub); err != nil {
			return err
		}
	}
	return nil
}

// checkGateway allows one outside the subnet: hosts reach it by a route on the link.
func checkGateway(sub l3.Subnet) error {
	g := sub.GatewayIP
	switch {
	case !g.IsValid():
		return nil
	case !plain(g) || version(g) != sub.IPVersion:
		return invalid("Invalid input for gateway_ip. Reason: '%s' does not match the ip_version '%d'.", g, sub.IPVersion)
	case sub.CIDR.Contains(g) && !hosts(sub.CIDR).Contains(g), g.IsUnspecified() || g.IsMulticast() || g.IsLoopback():
		return invalid("Invalid input for gateway_ip. Reason: Gateway is not valid on subnet.")
	}
	return nil
}

func checkPools(sub l3.Subnet) error {
	all := hosts(sub.CIDR)
	for i, pool := range sub.AllocationPools {
		switch {
		case !plain(pool.First) || !plain(pool.Last) || version(pool.First) != sub.IPVersion || version(pool.Last) != sub.IPVersion,
			pool.Last.Less(pool.First):
			return badRequest("InvalidAllocationPool", "The allocation pool %s is not valid.", pool)
		case !all.Contains(pool.First) || !all.Contains(pool.Last):
			return badRequest("OutOfBoundsAllocationPool", "The allocation pool %s spans beyond the subnet cidr %s.", pool, sub.CIDR)
		case i > 0 && pool.Overlaps(sub.AllocationPools[i-1]): // they are sorted
			return conflict("OverlappingAllocationPools", "Found overlapping allocation pools: %s %s for subnet %s.",
				sub.AllocationPools[i-1], pool, sub.CIDR)
		}
	}
	for _, pool := range sub.AllocationPools {
		if pool.Contains(sub.GatewayIP) {
			return conflict("GatewayConflictWithAllocationPools", "Gateway ip %s conflicts with allocation pool %s.", sub.GatewayIP, pool)
		}
	}
	return nil
}

// checkModes holds the IPv6 modes to each other: what makes an address from a MAC address needs 64
// bits for it (RFC 4862 §5.5.3).
func checkModes(sub l3.Subnet) error {
	ra, address := sub.IPv6RAMode, sub.IPv6AddressMode
	for _, m := range []struct {
		name string
		mode l3.IPv6Mode
	}{{"ipv6_ra_mode", ra}, {"ipv6_address_mode", address}} {
		switch {
		case m.mode == "":
		case m.mode != l3.IPv6SLAAC && m.mode != l3.IPv6DHCPv6Stateful && m.mode != l3.IPv6DHCPv6Stateless:
			return invalid("Invalid input for %s. Reason: '%s' is not one of %s, %s, %s.",
				m.name, m.mode, l3.IPv6SLAAC, l3.IPv6DHCPv6Stateful, l3.IPv6DHCPv6Stateless)
		case sub.IPVersion == 4:
			return invalid("Invalid input for %s. Reason: it is not valid when ip_version is 4.", m.name)
		case !sub.EnableDHCP:
			return invalid("Invalid input for %s. Reason: it cannot be set when enable_dhcp is set to False.", m.name)
		}
	}
	switch {
	case ra != "" && address != "" && ra != address:
		return invalid("Invalid input for ipv6_address_mode. Reason: ipv6_ra_mode set to '%s' with ipv6_address_mode set to '%s' is not valid."+
			" If both attributes are set, they must be the same value.", ra, address)
	case autoAddressed(sub) && sub.CIDR.Bits() != 64:
		return invalid("Invalid input for cidr. Reason: Invalid CIDR %s for IPv6 address mode."+
			" The EUI-64 address format requires the prefix to be /64.", sub.CIDR)
	}
	return nil
}

func checkNameservers(sub l3.Subnet) error {
	if len(sub.DNSNameservers) > maxNameservers {
		return badRequest("DNSNameServersExhausted",
			"Unable to complete operation for %s. The number of DNS nameservers exceeds the limit %d.", sub.ID, maxNameservers)
	}
	for i, server := range sub.DNSNameservers {
		a, err := netip.ParseAddr(server)
		switch {
		case err != nil || !plain(a):
			return invalid("Invalid input for dns_nameservers. Reason: '%s' is not a valid IP address.", server)
		case version(a) != sub.IPVersion:
			return invalid("Invalid input for dns_nameservers. Reason: '%s' does not match the ip_version '%d'.", server, sub.IPVersion)
		case slices.Contains(sub.DNSNameservers[:i], server):
			return invalid("Invalid input for dns_nameservers. Reason: Duplicate nameserver '%s'.", server)
		}
	}
	return nil
}

func checkHostRoutes(sub l3.Subnet) error {
	if len(sub.HostRoutes) > maxHostRoutes {
		return badRequest("HostRoutesExhausted",
			"Unable to complete operation for %s. The number of host routes exceeds the limit %d.", sub.ID, maxHostRoutes)
	}
	for i, r := range sub.HostRoutes {
		switch {
		case !r.Destination.IsValid() || !plain(r.Destination.Addr()) || !plain(r.NextHop):
			return invalid("Invalid input for host_routes. Reason: destination and nexthop must be given.")
		case version(r.Destination.Addr()) != sub.IPVersion || version(r.NextHop) != sub.IPVersion:
			return invalid("Invalid input for host_routes. Reason: '%s via %s' does not match the ip_version '%d'.", r.Destination, r.NextHop, sub.IPVersion)
		case slices.Contains(sub.HostRoutes[:i], r):
			return invalid("Invalid input for host_routes. Reason: Duplicate hostroute '%s via %s'.", r.Destination, r.NextHop)
		}
	}
	return nil
}

// checkServiceTypes allows what Neutron takes for owners of ports.
func checkServiceTypes(sub l3.Subnet) error {
	for i, t := range sub.ServiceTypes {
		owner := slices.ContainsFunc([]string{"network:", "compute:", "baremetal:", "trunk:"}, func(p string) bool { return strings.HasPrefix(t, p) })
		switch {
		case !owner || len(t) > maxText || !clean(t):
			return badRequest("InvalidSubnetServiceType", "Subnet service type %q does not correspond to a valid device owner.", t)
		case slices.Contains(sub.ServiceTypes[:i], t):
			return invalid("Invalid input for service_types. Reason: Duplicate service type '%s'.", t)
		}
	}
	return nil
}
