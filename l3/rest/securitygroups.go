package rest

import (
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

func (a *api) securityGroups() {
	serve(a, collection[l3.SecurityGroup, l3.SecurityGroupSpec]{
		path: "security-groups", one: "security_group", many: "security_groups", kind: l3.KindSecurityGroup, revisions: true,
		table: securityGroupTable(), ids: func(g *l3.SecurityGroup) string { return g.ID },
		list: a.service.ListSecurityGroups, get: a.service.GetSecurityGroup, create: a.service.CreateSecurityGroups,
		update: a.service.UpdateSecurityGroup, delete: a.service.DeleteSecurityGroup,
	})
	serve(a, collection[l3.SecurityGroupRule, l3.SecurityGroupRuleSpec]{
		path: "security-group-rules", one: "security_group_rule", many: "security_group_rules", kind: l3.KindSecurityGroupRule, revisions: true,
		table: securityGroupRuleTable(), ids: func(r *l3.SecurityGroupRule) string { return r.ID },
		list: a.service.ListSecurityGroupRules, get: a.service.GetSecurityGroupRule, create: a.service.CreateSecurityGroupRules,
		delete: a.service.DeleteSecurityGroupRule,
	})
}

func securityGroupTable() table[l3.SecurityGroup, l3.SecurityGroupSpec] {
	type R = l3.SecurityGroup
	type S = l3.SecurityGroupSpec
	rules := list(record(securityGroupRuleTable()))
	return append(standard[R, S](),
		field[R, S]("Name", label, given|found),
		field[R, S]("Description", label, given|found),
		field[R, S]("Stateful", boolean, given|found).storedOnly(firewall),
		constant[R, S]("shared", boolean, "false", false), // by RBAC policies, which are for networks alone
		shown[R, S]("security_group_rules", rules, 0, func(r *R) []l3.SecurityGroupRule { return r.Rules }),
	)
}

func securityGroupRuleTable() table[l3.SecurityGroupRule, l3.SecurityGroupRuleSpec] {
	type R = l3.SecurityGroupRule
	type S = l3.SecurityGroupRuleSpec
	return append(standard[R, S](),
		field[R, S]("Description", textOrNo, inPost|found),
		field[R, S]("SecurityGroupID", groupRef, inPost|needed|found),
		field[R, S]("Direction", choice("ingress", "egress"), inPost|needed|found).storedOnly(firewall),
		field[R, S]("EtherType", label, inPost|found).storedOnly(firewall),
		field[R, S]("Protocol", protocol, inPost|found).taking(protocol.schema.or("integer")).storedOnly(firewall),
		field[R, S]("PortRangeMin", portOrNo, inPost|found).storedOnly(firewall),
		field[R, S]("PortRangeMax", portOrNo, inPost|found).storedOnly(firewall),
		field[R, S]("RemoteIPPrefix", sourceOrNo, inPost|found).storedOnly(firewall),
		shown[R, S]("normalized_cidr", sourceOrNo, found, func(r *R) netip.Prefix { return r.RemoteIPPrefix.Masked() }).
			as("remote_ip_prefix", sourceOrNo.parse),
		field[R, S]("RemoteGroupID", orNull(groupRef), inPost|found).storedOnly(firewall),
		noAddressGroup[R, S](),
	)
}

var (
	// protocol is a name such as tcp, or a number, which is kept as text; null is any.
	protocol = func() value[string] {
		v := textOrNo
		read := v.read
		v.read = func(in any) (string, error) {
			if n, ok := in.(json.Number); ok {
				in = n.String()
			}
			s, err := read(in)
			return strings.ToLower(s), err
		}
		return v
	}()

	// groupRef names a security group. Whatever is not its ID names one that does not exist.
	groupRef = func() value[string] {
		v := label
		v.read = func(in any) (string, error) {
			id, err := label.read(in)
			if err == nil && id == "" {
				err = &l3.Error{Kind: l3.ErrNotFound, Name: "SecurityGroupNotFound", Message: "Security group  does not exist"}
			}
			return id, err
		}
		return v
	}()

	portOrType = integer(0, 65535)
	// portOrNo is a port, or an ICMP type or code.
	portOrNo = func() value[*int] {
		v := orNil(portOrType)
		read := v.read
		v.read = func(in any) (*int, error) {
			n, err := read(in)
			if err != nil {
				err = &l3.Error{Kind: l3.ErrInvalid, Name: "SecurityGroupInvalidPortValue", Message: "Invalid value for port " + show(in)}
			}
			return n, err
		}
		return v
	}()

	// sourceOrNo is a prefix, of which clients may give an address alone, or one with bits beyond
	// the prefix.
	sourceOrNo = func() value[netip.Prefix] {
		v := orNull(value[netip.Prefix]{cidr.schema, appendPrefix, host.read, canonical(host.read)})
		read := v.read
		v.read = func(in any) (netip.Prefix, error) {
			if in == "" {
				in = nil
			}
			p, err := read(in)
			if err != nil {
				err = &l3.Error{Kind: l3.ErrInvalid, Name: "InvalidCIDR", Message: "Invalid CIDR " + show(in) + " given as IP prefix."}
			}
			return p, err
		}
		return v
	}()
)

// noAddressGroup is the address group of all rules: null. There are none.
func noAddressGroup[R, S any]() attribute[R, S] {
	a := constant[R, S]("remote_address_group_id", textOrNo, "", "")
	a.uses |= inPost
	a.read = func(_ *S, v any) error {
		id, err := textOrNo.read(v)
		if err == nil && v != nil {
			err = &l3.Error{Kind: l3.ErrNotFound, Name: "AddressGroupNotFound", Message: "Address group " + id + " could not be found."}
		}
		return err
	}
	return a
}
