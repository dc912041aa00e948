package rest

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
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
	type (
		R = l3.Port
		S = l3.PortSpec
	)
	return append(standard(func(r *R) *l3.Meta { return &r.Meta }, func(s *S, v string) { s.ProjectID = &v }, func(s *S, v []string) { s.Tags = &v }),
		field("name", label, given|found, func(r *R) string { return r.Name }, func(s *S, v string) { s.Name = &v }),
		field("description", label, given|found, func(r *R) string { return r.Description }, func(s *S, v string) { s.Description = &v }),
		field("network_id", anyUUID, inPost|needed|found, func(r *R) string { return r.NetworkID }, func(s *S, v string) { s.NetworkID = &v }),
		field("admin_state_up", boolean, given|found, func(r *R) bool { return r.AdminStateUp }, func(s *S, v bool) { s.AdminStateUp = &v }),
		shown[R, S]("status", label, found, func(r *R) string { return string(r.Status) }),
		field("mac_address", macOrNo, given|found, func(r *R) dataplane.MAC { return r.MAC }, func(s *S, v dataplane.MAC) { s.MAC = &v }).
			as("mac_address", orNothing(macOrNo.parse)),
		field("fixed_ips", fixedIPs, given, func(r *R) []l3.FixedIP { return r.FixedIPs }, func(s *S, v []l3.FixedIPSpec) { s.FixedIPs = &v }).by(fixedBy),
		shown[R, S]("ip_allocation", choice(immediate, none), 0, allocationOf).by(allocatedBy),
		field("device_id", label, given|found, func(r *R) string { return r.DeviceID }, func(s *S, v string) { s.DeviceID = &v }),
		field("device_owner", label, given|found, func(r *R) string { return r.DeviceOwner }, func(s *S, v string) { s.DeviceOwner = &v }),

		field("binding:host_id", hostOrNone, given|found|guarded,
			func(r *R) string { return r.Binding.HostID }, func(s *S, v string) { s.HostID = &v }).
			as("binding.binding:host_id", asWritten).taking(textOrNo.schema),
		field("binding:vnic_type", label, given|found,
			func(r *R) string { return r.Binding.VNICType }, func(s *S, v string) { s.VNICType = &v }).as("binding.binding:vnic_type", asWritten),
		field("binding:profile", jsonDict, given|guarded,
			func(r *R) json.RawMessage { return r.Binding.Profile }, func(s *S, v json.RawMessage) { s.Profile = &v }),
		shown[R, S]("binding:vif_type", label, found|guarded, func(r *R) string { return r.Binding.VIFType }).
			as("binding.binding:vif_type", asWritten),
		shown[R, S]("binding:vif_details", jsonDict, guarded, func(r *R) json.RawMessage { return r.Binding.VIFDetails }),

		field("port_security_enabled", boolean, given|found,
			func(r *R) bool { return r.PortSecurityEnabled }, func(s *S, v bool) { s.PortSecurityEnabled = &v }),
		field("security_groups", list(anyUUID), given|filtered,
			func(r *R) []string { return r.SecurityGroups }, func(s *S, v []string) { s.SecurityGroups = &v }).emptiedByNull(),
		field("allowed_address_pairs", list(addressPair), given,
			func(r *R) []l3.AddressPair { return r.AllowedAddressPairs }, func(s *S, v []l3.AddressPair) { s.AllowedAddressPairs = &v }).
			emptiedByNull(),
		field("extra_dhcp_opts", list(dhcpOption), given,
			func(r *R) []l3.DHCPOption { return r.ExtraDHCPOpts }, func(s *S, v []l3.DHCPOption) { s.ExtraDHCPOpts = &v }).emptiedByNull(),
		field("qos_policy_id", uuidOrNo, given|found, func(r *R) string { return r.QoSPolicyID }, func(s *S, v string) { s.QoSPolicyID = &v }),
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
		field("subnet_id", uuidOrNo, given,
			func(r *l3.FixedIP) string { return r.SubnetID }, func(s *l3.FixedIPSpec, v string) { s.SubnetID = v }),
		field("ip_address", addrOrNo, given,
			func(r *l3.FixedIP) netip.Addr { return r.IPAddress }, func(s *l3.FixedIPSpec, v netip.Addr) { s.IPAddress = v }),
	}))
	fixedBy = pairs("fixed_ips", map[string]func(string) (any, error){
		"subnet_id": asWritten, "ip_address": address.parse, "ip_address_substr": asWritten,
	})

	addressPair = record(table[l3.AddressPair, l3.AddressPair]{
		field("ip_address", host, given|needed,
			func(r *l3.AddressPair) netip.Prefix { return r.IPAddress }, func(s *l3.AddressPair, v netip.Prefix) { s.IPAddress = v }),
		field("mac_address", macOrNo, given,
			func(r *l3.AddressPair) dataplane.MAC { return r.MAC }, func(s *l3.AddressPair, v dataplane.MAC) { s.MAC = v }),
	})
	dhcpOption = record(table[l3.DHCPOption, l3.DHCPOption]{
		field("opt_name", label, given|needed,
			func(r *l3.DHCPOption) string { return r.Name }, func(s *l3.DHCPOption, v string) { s.Name = v }),
		field("opt_value", textOrNo, given,
			func(r *l3.DHCPOption) string { return r.Value }, func(s *l3.DHCPOption, v string) { s.Value = v }),
		field("ip_version", ipVersion, given,
			func(r *l3.DHCPOption) int { return r.IPVersion }, func(s *l3.DHCPOption, v int) { s.IPVersion = v }),
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
