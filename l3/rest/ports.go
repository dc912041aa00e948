package rest

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

func (a *api) ports() {
	serve(a, collection[l3.Port, l3.PortSpec]{
		path: "ports", one: "port", many: "ports", kind: l3.KindPort, revisions: true,
		table: portTable(), ids: func(p *l3.Port) string { return p.ID },
		list: a.service.ListPorts, get: a.service.GetPort, create: a.service.CreatePorts, update: a.service.UpdatePort,
		delete: a.service.DeletePort,
	})
}

func portTable() table[l3.Port, l3.PortSpec] {
	type R = l3.Port
	type S = l3.PortSpec
	return append(standard[R, S](),
		field[R, S]("Name", label, given|found),
		field[R, S]("Description", label, given|found),
		field[R, S]("NetworkID", anyUUID, inPost|needed|found),
		field[R, S]("AdminStateUp", boolean, given|found),
		field[R, S]("Status", status, found),
		field[R, S]("MAC", macOrNo, given|found).parsedBy(orNothing(macOrNo.parse)),
		field[R, S]("FixedIPs", fixedIPs, given).by(fixedBy),
		shown[R, S]("ip_allocation", choice(immediate, none), 0, allocationOf).by(allocatedBy),
		field[R, S]("DeviceID", label, given|found),
		field[R, S]("DeviceOwner", label, given|found),

		field[R, S]("Binding.HostID", hostOrNone, given|found|guarded).taking(textOrNo.schema),
		field[R, S]("Binding.VNICType", label, given|found).storedOnly(elsewhere),
		field[R, S]("Binding.Profile", jsonDict, given|guarded), // migrating_to, if it has that, is a host that gets ready
		field[R, S]("Binding.VIFType", label, found|guarded),
		field[R, S]("Binding.VIFDetails", jsonDict, guarded),

		field[R, S]("PortSecurityEnabled", boolean, given|found).storedOnly(firewall),
		field[R, S]("SecurityGroups", list(anyUUID), given|filtered).emptiedByNull().storedOnly(firewall),
		field[R, S]("AllowedAddressPairs", list(addressPair), given).emptiedByNull().storedOnly(firewall),
		field[R, S]("ExtraDHCPOpts", list(dhcpOption), given).emptiedByNull().storedOnly(dhcp),
		field[R, S]("QoSPolicyID", uuidOrNo, given|found).storedOnly("policies limit floating IPs and gateways, not ports"),
		shown[R, S]("qos_network_policy_id", uuidOrNo, 0, func(r *R) string { return r.NetworkQoSPolicyID }),
		field[R, S]("DNSName", textOrNo, given|found).storedOnly(dns),
		field[R, S]("DNSDomain", textOrNo, given|found).storedOnly(dns),
		shown[R, S]("dns_assignment", list(dnsAssignment), 0, (*R).DNSAssignments),
	)
}

// When a port has its addresses: since it was made, or never.
const immediate, none = "immediate", "none"

func allocationOf(p *l3.Port) string {
	if len(p.FixedIPs) == 0 {
		return none
	}
	return immediate
}

// allocatedBy filters ports by whether they have addresses.
func allocatedBy(values []string) ([]l3.Filter, error) {
	with, without := slices.Contains(values, immediate), slices.Contains(values, none)
	switch {
	case with && without:
		return nil, nil
	case with:
		return []l3.Filter{{Field: "fixed_ips.subnet_id", Op: l3.Contains, Values: []any{""}}}, nil
	case without:
		return []l3.Filter{{Field: "fixed_ips.subnet_id", Op: l3.NotContains, Values: []any{""}}}, nil
	}
	return []l3.Filter{{Field: "id", Op: l3.In}}, nil
}

var (
	// hostOrNone is a host, or empty; requests may give null for that.
	hostOrNone = value[string]{label.schema, appendString, textOrNo.read, asWritten}

	macOrNo  = orNull(mac)
	fixedIPs = list(record(table[l3.FixedIP, l3.FixedIPSpec]{
		field[l3.FixedIP, l3.FixedIPSpec]("SubnetID", uuidOrNo, given),
		field[l3.FixedIP, l3.FixedIPSpec]("IPAddress", addrOrNo, given),
	}))
	fixedBy = pairs("fixed_ips", map[string]func(string) (any, error){
		"subnet_id": asWritten, "ip_address": address.parse, "ip_address_substr": asWritten,
	})

	addressPair = record(table[l3.AddressPair, l3.AddressPair]{
		field[l3.AddressPair, l3.AddressPair]("IPAddress", host, given|needed),
		field[l3.AddressPair, l3.AddressPair]("MAC", macOrNo, given),
	})
	dhcpOption = record(table[l3.DHCPOption, l3.DHCPOption]{
		field[l3.DHCPOption, l3.DHCPOption]("Name", label, given|needed),
		field[l3.DHCPOption, l3.DHCPOption]("Value", textOrNo, given),
		field[l3.DHCPOption, l3.DHCPOption]("IPVersion", ipVersion, given),
	})

	dnsAssignment = record(table[l3.DNSAssignment, any]{
		field[l3.DNSAssignment, any]("Hostname", label, 0),
		field[l3.DNSAssignment, any]("IPAddress", address, 0),
		field[l3.DNSAssignment, any]("FQDN", label, 0),
	})

	// host is an address, or a prefix of addresses. One of full length is an address.
	host = value[netip.Prefix]{
		schema: schema{"type": "string"},
		write: func(b []byte, p netip.Prefix) []byte {
			if p.IsSingleIP() {
				return appendAddr(b, p.Addr())
			}
			return appendPrefix(b, p)
		},
		read: func(v any) (netip.Prefix, error) {
			if a, err := readAddr(v); err == nil {
				return netip.PrefixFrom(a, a.BitLen()), nil
			}
			s, _ := v.(string)
			p, err := netip.ParsePrefix(s)
			if err != nil || p.Addr().Is4In6() {
				return netip.Prefix{}, fmt.Errorf("'%s' is neither an IP address nor a subnet", show(v))
			}
			return p.Masked(), nil
		},
		parse: asWritten,
	}
)
