package rest

import (
	"fmt"
	"net/netip"

	"github.com/l3kit/l3kit/l3"
)

func (a *api) subnets() {
	serve(a, collection[l3.Subnet, l3.SubnetSpec]{
		path: "subnets", one: "subnet", many: "subnets", kind: l3.KindSubnet, revisions: true,
		table: subnetTable(), ids: func(s *l3.Subnet) string { return s.ID },
		list: a.service.ListSubnets, get: a.service.GetSubnet, create: a.service.CreateSubnets, update: a.service.UpdateSubnet,
		delete: a.service.DeleteSubnet,
	})
}

func subnetTable() table[l3.Subnet, l3.SubnetSpec] {
	type (
		R = l3.Subnet
		S = l3.SubnetSpec
	)
	return append(standard(func(r *R) *l3.Meta { return &r.Meta }, func(s *S, v string) { s.ProjectID = &v }, func(s *S, v []string) { s.Tags = &v }),
		field("name", label, given|found, func(r *R) string { return r.Name }, func(s *S, v string) { s.Name = &v }),
		field("description", label, given|found, func(r *R) string { return r.Description }, func(s *S, v string) { s.Description = &v }),
		field("network_id", anyUUID, inPost|needed|found, func(r *R) string { return r.NetworkID }, func(s *S, v string) { s.NetworkID = &v }),
		field("ip_version", ipVersion, inPost|needed|found, func(r *R) int { return r.IPVersion }, func(s *S, v int) { s.IPVersion = &v }),
		field("cidr", cidr, inPost|found, func(r *R) netip.Prefix { return r.CIDR }, func(s *S, v netip.Prefix) { s.CIDR = &v }),
		field("gateway_ip", addrOrNo, given|found, func(r *R) netip.Addr { return r.GatewayIP }, func(s *S, v netip.Addr) { s.GatewayIP = &v }),
		field("allocation_pools", list(addressRange), given,
			func(r *R) []l3.AddressRange { return r.AllocationPools }, func(s *S, v []l3.AddressRange) { s.AllocationPools = &v }),
		field("enable_dhcp", boolean, given|found, func(r *R) bool { return r.EnableDHCP }, func(s *S, v bool) { s.EnableDHCP = &v }),
		field("dns_nameservers", texts, given|filtered, func(r *R) []string { return r.DNSNameservers }, func(s *S, v []string) { s.DNSNameservers = &v }).
			emptiedByNull(),
		field("host_routes", list(staticRoute), given, func(r *R) []l3.Route { return r.HostRoutes }, func(s *S, v []l3.Route) { s.HostRoutes = &v }).emptiedByNull(),
		field("ipv6_ra_mode", ipv6Mode, inPost|found,
			func(r *R) string { return string(r.IPv6RAMode) }, func(s *S, v string) { s.IPv6RAMode = mode(v) }),
		field("ipv6_address_mode", ipv6Mode, inPost|found,
			func(r *R) string { return string(r.IPv6AddressMode) }, func(s *S, v string) { s.IPv6AddressMode = mode(v) }),
		field("service_types", texts, given|filtered, func(r *R) []string { return r.ServiceTypes }, func(s *S, v []string) { s.ServiceTypes = &v }),
		shown[R, S]("router:external", boolean, filtered, func(r *R) bool { return r.External }),
		sought[R, S]("shared", func(values []string) ([]l3.Filter, error) {
			f, err := oneOf("shared", values, boolean.parse)
			return []l3.Filter{f}, err
		}),
		noPool[R, S](),
		noDefaultPool[R, S](),
		sought[R, S]("segment_id", allOrNone("")), // no subnet is of a single segment
	)
}

var (
	ipVersion = version()
	ipv6Mode  = orNull(choice(string(l3.IPv6SLAAC), string(l3.IPv6DHCPv6Stateful), string(l3.IPv6DHCPv6Stateless)))

	addressRange = record(table[l3.AddressRange, l3.AddressRange]{
		field("start", address, given|needed,
			func(r *l3.AddressRange) netip.Addr { return r.First }, func(s *l3.AddressRange, v netip.Addr) { s.First = v }),
		field("end", address, given|needed,
			func(r *l3.AddressRange) netip.Addr { return r.Last }, func(s *l3.AddressRange, v netip.Addr) { s.Last = v }),
	})
	staticRoute = record(table[l3.Route, l3.Route]{
		field("destination", cidr, given|needed,
			func(r *l3.Route) netip.Prefix { return r.Destination }, func(s *l3.Route, v netip.Prefix) { s.Destination = v }),
		field("nexthop", address, given|needed,
			func(r *l3.Route) netip.Addr { return r.NextHop }, func(s *l3.Route, v netip.Addr) { s.NextHop = v }),
	})
)

// noPool is the subnet pool of all subnets. Clients may say null; there is no other.
func noPool[R, S any]() attribute[R, S] {
	a := constant[R, S]("subnetpool_id", uuidOrNo, "", "")
	a.uses |= inPost
	a.read = func(_ *S, v any) error {
		id, err := uuidOrNo.read(v)
		if err == nil && id != "" {
			err = &l3.Error{Kind: l3.ErrNotFound, Name: "SubnetPoolNotFound", Message: "Subnet pool " + id + " could not be found."}
		}
		return err
	}
	return a
}

// noDefaultPool asks for an address range of the default subnet pool. There is none.
func noDefaultPool[R, S any]() attribute[R, S] {
	return attribute[R, S]{name: "use_default_subnetpool", uses: inPost, schema: boolean.schema, read: func(_ *S, v any) error {
		use, err := boolean.read(v)
		if err == nil && use {
			err = badForm("Bad subnets request: No default subnetpool found.")
		}
		return err
	}}
}

func mode(s string) *l3.IPv6Mode {
	m := l3.IPv6Mode(s)
	return &m
}

// version is 4 or 6.
func version() value[int] {
	v := integer(4, 6)
	read := v.read
	v.read = func(in any) (int, error) {
		n, err := read(in)
		if err == nil && n == 5 {
			err = fmt.Errorf("'%s' is not in [4, 6]", show(in))
		}
		return n, err
	}
	return v
}
