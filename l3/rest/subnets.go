package rest

import (
	"fmt"

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
	type R = l3.Subnet
	type S = l3.SubnetSpec
	return append(standard[R, S](),
		field[R, S]("Name", label, given|found),
		field[R, S]("Description", label, given|found),
		field[R, S]("NetworkID", anyUUID, inPost|needed|found),
		field[R, S]("IPVersion", ipVersion, inPost|needed|found),
		field[R, S]("CIDR", cidr, inPost|found).unlessNull().taking(cidr.schema.nullable()),
		field[R, S]("GatewayIP", addrOrNo, given|found),
		field[R, S]("AllocationPools", list(addressRange), given),
		field[R, S]("EnableDHCP", boolean, given|found).storedOnly(dhcp),
		field[R, S]("DNSNameservers", texts, given|filtered).emptiedByNull().storedOnly(dhcp),
		field[R, S]("HostRoutes", list(staticRoute), given).emptiedByNull().storedOnly(dhcp),
		field[R, S]("IPv6RAMode", ipv6Mode, inPost|found),
		field[R, S]("IPv6AddressMode", ipv6Mode, inPost|found),
		field[R, S]("ServiceTypes", texts, given|filtered),
		shown[R, S]("router:external", boolean, filtered, func(r *R) bool { return r.External }),
		sought[R, S]("shared", func(values []string) ([]l3.Filter, error) {
			f, err := oneOf("shared", values, boolean.parse)
			return []l3.Filter{f}, err
		}),
		field[R, S]("SubnetPoolID", uuidOrNo, inPost|found),
		notShown(custom("use_default_subnetpool", boolean, inPost, unset[R, bool], func(s *S, v bool) { s.UseDefaultSubnetPool = &v })),
		notShown(custom("prefixlen", integer(0, 128), inPost, unset[R, int], func(s *S, v int) { s.PrefixLen = &v })),
		sought[R, S]("segment_id", allOrNone("")), // no subnet is of a single segment
	)
}

var (
	ipVersion = version()
	ipv6Mode  = word[l3.IPv6Mode](orNull(choice(string(l3.IPv6SLAAC), string(l3.IPv6DHCPv6Stateful), string(l3.IPv6DHCPv6Stateless))))

	addressRange = record(table[l3.AddressRange, l3.AddressRange]{
		field[l3.AddressRange, l3.AddressRange]("First", address, given|needed),
		field[l3.AddressRange, l3.AddressRange]("Last", address, given|needed),
	})
	staticRoute = record(table[l3.Route, l3.Route]{
		field[l3.Route, l3.Route]("Destination", cidr, given|needed),
		field[l3.Route, l3.Route]("NextHop", address, given|needed),
	})
)

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
