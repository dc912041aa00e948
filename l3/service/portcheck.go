package service

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// Neutron's limits for a port.
const (
	maxFixedIPs     = 5
	maxAddressPairs = 10
	maxProfile      = 4095
)

// mayGivePort refuses what the policy does not let a caller give. The rule is create_port or
// update_port.
func (s *Service) mayGivePort(who l3.Caller, rule string, to l3.Relation, spec l3.PortSpec) error {
	if err := s.may(who, rule, to); err != nil {
		return err
	}
	address := slices.ContainsFunc(or(spec.FixedIPs, nil), func(f l3.FixedIPSpec) bool { return f.IPAddress.IsValid() })
	return s.mayGive(who, rule, to,
		givenAttribute{"binding:host_id", spec.HostID != nil},
		givenAttribute{"binding:profile", spec.Profile != nil},
		givenAttribute{"device_owner", trusted(or(spec.DeviceOwner, ""))},
		givenAttribute{"mac_address", spec.MAC != nil},
		givenAttribute{"port_security_enabled", spec.PortSecurityEnabled != nil},
		givenAttribute{"allowed_address_pairs", spec.AllowedAddressPairs != nil},
		givenAttribute{"fixed_ips:ip_address", address},
		givenAttribute{"fixed_ips", spec.FixedIPs != nil},
	)
}

// trusted says whether a port is of the network service itself.
func trusted(deviceOwner string) bool { return strings.HasPrefix(deviceOwner, "network:") }

// applyPort takes over and checks what needs no other resource.
func applyPort(p *l3.Port, spec l3.PortSpec) error {
	set(&p.Name, spec.Name)
	set(&p.Description, spec.Description)
	set(&p.AdminStateUp, spec.AdminStateUp)
	set(&p.DeviceID, spec.DeviceID)
	set(&p.DeviceOwner, spec.DeviceOwner)
	set(&p.Binding.HostID, spec.HostID)
	set(&p.Binding.VNICType, spec.VNICType)
	set(&p.PortSecurityEnabled, spec.PortSecurityEnabled)
	set(&p.QoSPolicyID, spec.QoSPolicyID)
	setDNS(&p.DNSName, spec.DNSName)
	setDNS(&p.DNSDomain, spec.DNSDomain)
	set(&p.AllowedAddressPairs, spec.AllowedAddressPairs)
	p.ExtraDHCPOpts = mergeDHCP(p.ExtraDHCPOpts, or(spec.ExtraDHCPOpts, nil))
	if err := setProfile(&p.Binding, spec.Profile); err != nil {
		return err
	}
	return checkPort(*p, spec)
}

func checkPort(p l3.Port, spec l3.PortSpec) error {
	for _, t := range []struct{ name, value string }{
		{"name", p.Name}, {"description", p.Description}, {"device_id", p.DeviceID}, {"device_owner", p.DeviceOwner},
		{"binding:host_id", p.Binding.HostID}, {"qos_policy_id", p.QoSPolicyID},
	} {
		if err := text(t.name, &t.value); err != nil {
			return err
		}
	}
	if spec.DNSName != nil || spec.DNSDomain != nil {
		if err := portDNS(p); err != nil {
			return err
		}
	}
	if given := spec.VNICType; given != nil && !slices.Contains(vnicTypes, *given) {
		return invalid("Invalid input for binding:vnic_type. Reason: '%s' is not in ['%s'].", *given, strings.Join(vnicTypes, "', '"))
	}
	if spec.MAC != nil && spec.MAC[0]&1 != 0 {
		return invalid("Invalid input for mac_address. Reason: '%s' is a multicast address.", spec.MAC)
	}
	if err := checkWishes(p, or(spec.FixedIPs, nil)); err != nil {
		return err
	}
	if err := checkPairs(p.AllowedAddressPairs); err != nil {
		return err
	}
	return checkDHCP(p.ExtraDHCPOpts)
}

var vnicTypes = []string{
	"normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic", "vdpa", "accelerator-direct",
	"accelerator-direct-physical", "remote-managed",
}

func checkWishes(p l3.Port, want []l3.FixedIPSpec) error {
	if len(want) > maxFixedIPs && !trusted(p.DeviceOwner) {
		return invalid("Invalid input for fixed_ips. Reason: Exceeded maximum amount of fixed ips per port, which is %d.", maxFixedIPs)
	}
	for _, f := range want {
		if f.IPAddress.IsValid() && !plain(f.IPAddress) {
			return invalid("Invalid input for fixed_ips. Reason: '%s' is not a valid IP address.", f.IPAddress)
		}
	}
	return nil
}

func checkPairs(pairs []l3.AddressPair) error {
	if len(pairs) > maxAddressPairs {
		return badRequest("AllowedAddressPairExhausted", "The number of allowed address pair exceeds the maximum %d.", maxAddressPairs)
	}
	for i, pair := range pairs {
		switch a := pair.IPAddress.Addr(); {
		case !pair.IPAddress.IsValid():
			return badRequest("AllowedAddressPairsMissingIP", "AllowedAddressPair must contain ip_address")
		case !plain(a) || a.IsMulticast() || pair.IPAddress != pair.IPAddress.Masked():
			return invalid("Invalid input for allowed_address_pairs. Reason: '%s' is not a valid IP subnet.", pair.IPAddress)
		case pair.MAC[0]&1 != 0:
			return invalid("Invalid input for allowed_address_pairs. Reason: '%s' is a multicast address.", pair.MAC)
		case slices.Contains(pairs[:i], pair):
			return badRequest("DuplicateAddressPairInRequest",
				"Request contains duplicate address pair: mac_address %s ip_address %s.", pair.MAC, pair.IPAddress)
		}
	}
	return nil
}

// withMAC completes pairs that name no MAC address: it is the port's.
func withMAC(pairs []l3.AddressPair, m dataplane.MAC) []l3.AddressPair {
	complete := append([]l3.AddressPair{}, pairs...)
	for i := range complete {
		if complete[i].MAC == (dataplane.MAC{}) {
			complete[i].MAC = m
		}
	}
	return complete
}

// mergeDHCP changes the options that are given; one without a value goes.
func mergeDHCP(have, given []l3.DHCPOption) []l3.DHCPOption {
	merged := append([]l3.DHCPOption{}, have...)
	for _, o := range given {
		if o.IPVersion == 0 {
			o.IPVersion = 4
		}
		i := slices.IndexFunc(merged, func(m l3.DHCPOption) bool { return m.Name == o.Name && m.IPVersion == o.IPVersion })
		switch {
		case i < 0 && o.Value != "":
			merged = append(merged, o)
		case i >= 0 && o.Value != "":
			merged[i] = o
		case i >= 0:
			merged = slices.Delete(merged, i, i+1)
		}
	}
	return merged
}

func checkDHCP(options []l3.DHCPOption) error {
	for _, o := range options {
		if o.Name == "" {
			return invalid("Invalid input for extra_dhcp_opts. Reason: opt_name is missing.")
		}
		if o.IPVersion != 4 && o.IPVersion != 6 {
			return invalid("Invalid input for extra_dhcp_opts. Reason: ip_version is neither 4 nor 6.")
		}
		for _, t := range []string{o.Name, o.Value} {
			if err := text("extra_dhcp_opts", &t); err != nil {
				return err
			}
		}
	}
	return nil
}

// setProfile takes over an object, unless it says the same as the one that is there in other words.
func setProfile(b *l3.Binding, given *json.RawMessage) error {
	if given == nil {
		return nil
	}
	object, err := canonical(*given)
	if err != nil || len(object) > maxProfile || bytes.Contains(object, []byte(`\u0000`)) {
		return invalid("Invalid input for binding:profile. Reason: it is not an object of at most %d bytes.", maxProfile)
	}
	if have, err := canonical(b.Profile); err == nil && bytes.Equal(have, object) {
		return nil
	}
	b.Profile = object
	return nil
}

// canonical writes an object with its keys sorted; none is the same as an empty one.
func canonical(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return json.RawMessage("{}"), nil
	}
	object := map[string]any{}
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	if object == nil {
		object = map[string]any{}
	}
	return json.Marshal(object)
}

// keepsOwner holds clients off what routers and floating IPs do with their ports.
func keepsOwner(operation string, before, p l3.Port) error {
	if p.DeviceOwner == before.DeviceOwner && p.DeviceID == before.DeviceID {
		return nil
	}
	const name = "UnsupportedPortDeviceOwner"
	for _, owner := range []string{l3.OwnerRouterInterface, l3.OwnerDistributedInterface, l3.OwnerRouterGateway, l3.OwnerFloatingIP} {
		if before.DeviceOwner == owner {
			return conflict(name, "Operation %s is not supported for device_owner %s on port %s: it changes with the router or the floating IP.",
				operation, owner, p.ID)
		}
	}
	if slices.Contains(serviceOwners, p.DeviceOwner) {
		return conflict(name, "Operation %s is not supported for device_owner %s: such ports come with a router or a floating IP.",
			operation, p.DeviceOwner)
	}
	return nil
}

// serviceOwners are the owners of ports that clients cannot make: those that exist here, and those
// by which Neutron and its clients find the ports of distributed and highly available routers.
var serviceOwners = []string{
	l3.OwnerRouterInterface, l3.OwnerDistributedInterface, l3.OwnerRouterGateway, l3.OwnerFloatingIP,
	"network:router_centralized_snat", "network:ha_router_replicated_interface",
}

// madeFrom says whether a host made an address for itself from a MAC address.
func madeFrom(m dataplane.MAC, a netip.Addr) bool {
	return a.Is6() && a == eui64(netip.PrefixFrom(a, 64), m)
}

// groupsAtCreation gives a new port the groups that are asked for, or else the default group of its
// project, unless port security is off or the port is the network service's own.
func (s *Service) groupsAtCreation(ctx context.Context, w *work, who l3.Caller, p *l3.Port, asked *[]string) error {
	switch {
	case asked != nil:
		return s.changeGroups(ctx, w, who, p, asked)
	case !p.PortSecurityEnabled || trusted(p.DeviceOwner) || p.ProjectID == "":
		return nil
	}
	p.SecurityGroups = []string{defaultGroup(p.ProjectID)}
	return nil
}

// changeGroups gives a port the groups that are asked for.
func (s *Service) changeGroups(ctx context.Context, w *work, who l3.Caller, p *l3.Port, asked *[]string) error {
	if asked != nil {
		groups := append([]string{}, *asked...)
		slices.Sort(groups)
		for i, id := range groups {
			if i > 0 && id == groups[i-1] {
				return badRequest("HTTPBadRequest", "Invalid input for security_groups. Reason: Duplicate items in the list: '%s'.", id)
			}
			if _, _, err := groupKind().find(ctx, s, w, who, id); err != nil && !slices.Contains(p.SecurityGroups, id) {
				return err
			}
		}
		p.SecurityGroups = groups
		if len(groups) > 0 && !p.PortSecurityEnabled {
			return badRequest("PortSecurityAndIPRequiredForSecurityGroups",
				"Port security must be enabled and port must have an IP address in order to use security groups.")
		}
	}
	return secured(*p)
}

// secured refuses groups and address pairs on a port without port security.
func secured(p l3.Port) error {
	switch {
	case p.PortSecurityEnabled:
	case len(p.SecurityGroups) > 0:
		return conflict("PortSecurityPortHasSecurityGroup",
			"Port has security group associated. Cannot disable port security or IP address until security group is removed.")
	case len(p.AllowedAddressPairs) > 0:
		return conflict("AddressPairAndPortSecurityRequired",
			"Port Security must be enabled in order to have allowed address pairs on a port.")
	}
	return nil
}
