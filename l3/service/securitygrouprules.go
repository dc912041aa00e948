package service

import (
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

const ingress, egress = "ingress", "egress"

var etherTypes = []string{"IPv4", "IPv6"}

// CreateSecurityGroupRules adds rules to groups. The groups' revisions grow.
func (s *Service) CreateSecurityGroupRules(ctx context.Context, who l3.Caller, specs ...l3.SecurityGroupRuleSpec) ([]l3.SecurityGroupRule, error) {
	return create(ctx, s, who, ruleKind(), specs, func(w *work, spec l3.SecurityGroupRuleSpec) (l3.SecurityGroupRule, error) {
		const rule = "create_security_group_rule"
		if _, err := s.project(who, rule, spec.ProjectID); err != nil {
			return l3.SecurityGroupRule{}, err
		}
		g, to, err := groupKind().find(ctx, s, w, who, spec.SecurityGroupID)
		if err != nil {
			return l3.SecurityGroupRule{}, err
		}
		if err := s.may(who, rule, to); err != nil {
			return l3.SecurityGroupRule{}, err
		}
		r, err := ruleOf(s.newMeta(g.ProjectID, "", or(spec.Description, "")), spec)
		if err != nil {
			return l3.SecurityGroupRule{}, err
		}
		if r.Tags, err = newTags(or(spec.Tags, nil)); err != nil {
			return l3.SecurityGroupRule{}, err
		}
		if r.RemoteGroupID != "" {
			if _, _, err := groupKind().find(ctx, s, w, who, r.RemoteGroupID); err != nil {
				return l3.SecurityGroupRule{}, err
			}
		}
		if err := ruleIsNew(ctx, w, r); err != nil {
			return l3.SecurityGroupRule{}, err
		}
		if err := s.checkQuota(ctx, w, g.ProjectID, "security_group_rule"); err != nil {
			return l3.SecurityGroupRule{}, err
		}
		if err := w.SecurityGroupRules().Insert(ctx, r); err != nil {
			return l3.SecurityGroupRule{}, err
		}
		g.UpdatedAt = s.now()
		return r, w.SecurityGroups().Update(ctx, &g)
	})
}

func ruleOf(m l3.Meta, spec l3.SecurityGroupRuleSpec) (l3.SecurityGroupRule, error) {
	r := l3.SecurityGroupRule{
		Meta: m, SecurityGroupID: spec.SecurityGroupID, Direction: strings.ToLower(spec.Direction), EtherType: spec.EtherType,
		Protocol: spec.Protocol, PortRangeMin: spec.PortRangeMin, PortRangeMax: spec.PortRangeMax,
		RemoteIPPrefix: spec.RemoteIPPrefix.Masked(), RemoteGroupID: spec.RemoteGroupID,
	}
	if r.EtherType == "" {
		r.EtherType = etherTypes[0]
	}
	var err error
	if r.EtherType, err = readEtherType(r.EtherType); err != nil {
		return r, err
	}
	if r.Protocol, err = readProtocol(r.Protocol); err != nil {
		return r, err
	}
	return r, checkRule(r)
}

func readEtherType(s string) (string, error) {
	i := slices.IndexFunc(etherTypes, func(t string) bool { return strings.EqualFold(t, s) })
	if i < 0 {
		return "", badRequest("SecurityGroupRuleInvalidEtherType",
			"Security group rule for ethertype '%s' not supported. Allowed values are ['IPv4', 'IPv6'].", s)
	}
	return etherTypes[i], nil
}

func readProtocol(s string) (string, error) {
	s = strings.ToLower(s)
	if _, ok := protocolNumber(s); !ok {
		return "", badRequest("SecurityGroupRuleInvalidProtocol",
			"Security group rule protocol %s not supported. Only protocol values [None, '%s'] and integer representations [0 to 255] are supported.",
			s, strings.Join(slices.Sorted(maps.Keys(protocols)), "', '"))
	}
	return s, nil
}

func checkRule(r l3.SecurityGroupRule) error {
	if r.Direction != ingress && r.Direction != egress {
		return invalid("Invalid input for direction. Reason: '%s' is not in ['ingress', 'egress'].", r.Direction)
	}
	if err := text("description", &r.Description); err != nil {
		return err
	}
	if r.RemoteIPPrefix.IsValid() {
		a := r.RemoteIPPrefix.Addr()
		switch {
		case r.RemoteGroupID != "":
			return badRequest("SecurityGroupMultipleRemoteEntites", "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.")
		case !plain(a) || a.Is4() != (r.EtherType == etherTypes[0]):
			return badRequest("SecurityGroupRuleParameterConflict", "Conflicting value ethertype %s for CIDR %s", r.EtherType, r.RemoteIPPrefix)
		}
	}
	return checkProtocol(r)
}

// Numbers of protocols whose ranges mean something (IANA).
const (
	protoICMP    = 1
	protoTCP     = 6
	protoUDP     = 17
	protoDCCP    = 33
	protoICMPv6  = 58
	protoSCTP    = 132
	protoUDPLite = 136
)

// protocols are the names that Neutron knows.
var protocols = map[string]int{
	"ah": 51, "dccp": protoDCCP, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": protoICMP, "igmp": 2, "ip": 0, "ipip": 4, "ospf": 89,
	"pgm": 113, "rsvp": 46, "sctp": protoSCTP, "tcp": protoTCP, "udp": protoUDP, "udplite": protoUDPLite, "vrrp": 112,
	"icmpv6": protoICMPv6, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": protoICMPv6, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43,
}

// ofIPv6 are the numbers of protocols that IPv4 does not carry: encapsulation, extension headers,
// ICMPv6.
var ofIPv6 = []int{41, 43, 44, protoICMPv6, 59, 60}

// protocolNumber is -1 for any protocol; ok is false for none that is known.
func protocolNumber(protocol string) (n int, ok bool) {
	if protocol == "" {
		return -1, true
	}
	if n, ok = protocols[protocol]; ok {
		return n, true
	}
	n, err := strconv.Atoi(protocol)
	return n, err == nil && n >= 0 && n <= 255
}

func checkProtocol(r l3.SecurityGroupRule) error {
	number, _ := protocolNumber(r.Protocol)
	switch {
	case r.EtherType == etherTypes[0] && slices.Contains(ofIPv6, number):
		return badRequest("SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype %s for protocol %s.", r.EtherType, r.Protocol)
	case r.PortRangeMin == nil && r.PortRangeMax == nil:
		return nil
	}
	switch number {
	case -1:
		return badRequest("SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.")
	case protoTCP, protoUDP, protoSCTP, protoDCCP, protoUDPLite:
		return checkPortRange(r.PortRangeMin, r.PortRangeMax)
	case protoICMP, protoICMPv6:
		return checkICMP(r.PortRangeMin, r.PortRangeMax)
	}
	return badRequest("SecurityGroupInvalidProtocolForPort",
		"Ports cannot be specified for protocol %d. Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE.", number)
}

func checkPortRange(first, last *int) error {
	for _, p := range []*int{first, last} {
		if p != nil && (*p < 1 || *p > 65535) {
			return badRequest("SecurityGroupInvalidPortValue", "Invalid value for port %d", *p)
		}
	}
	if first == nil || last == nil || *first > *last {
		return badRequest("SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max")
	}
	return nil
}

// checkICMP takes the range for a type and a code, as Neutron does.
func checkICMP(kind, code *int) error {
	for _, v := range []struct {
		field, attribute string
		value            *int
	}{{"port_range_min", "type", kind}, {"port_range_max", "code", code}} {
		if v.value != nil && (*v.value < 0 || *v.value > 255) {
			return badRequest("SecurityGroupInvalidIcmpValue", "Invalid value for ICMP %s (%s) %d. It must be 0 to 255.", v.attribute, v.field, *v.value)
		}
	}
	if kind == nil {
		return badRequest("SecurityGroupMissingIcmpType",
			"ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", *code)
	}
	return nil
}

// ruleIsNew refuses a rule that its group has already, by whatever name it calls the protocol.
func ruleIsNew(ctx context.Context, tx l3.Tx, r l3.SecurityGroupRule) error {
	rules, err := tx.SecurityGroupRules().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("security_group_id", r.SecurityGroupID)}})
	for _, o := range rules {
		if reflect.DeepEqual(bare(o), bare(r)) {
			return conflict("SecurityGroupRuleExists", "Security group rule already exists. Rule id is %s.", o.ID)
		}
	}
	return err
}

// bare is what a rule does.
func bare(r l3.SecurityGroupRule) l3.SecurityGroupRule {
	n, _ := protocolNumber(r.Protocol)
	if n == protoICMP && r.EtherType == etherTypes[1] {
		n = protoICMPv6
	}
	r.Meta, r.Protocol = l3.Meta{}, strconv.Itoa(n)
	if r.RemoteIPPrefix.Bits() == 0 {
		r.RemoteIPPrefix = netip.Prefix{} // every address, as without a prefix
	}
	return r
}

// GetSecurityGroupRule finds a rule of the caller's project.
func (s *Service) GetSecurityGroupRule(ctx context.Context, who l3.Caller, id string) (l3.SecurityGroupRule, error) {
	return ruleKind().get(ctx, s, who, id)
}

// ListSecurityGroupRules lists the rules of the caller's project.
func (s *Service) ListSecurityGroupRules(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.SecurityGroupRule, error) {
	if err := s.firstUse(ctx, who, q.Filters...); err != nil {
		return nil, err
	}
	return ruleKind().list(ctx, s, who, q)
}

// ruleQuery reads the filters for what rules have no other values of, as rules are read.
func ruleQuery(_ context.Context, _ l3.Tx, _ l3.Caller, q *l3.Query) error {
	for i := range q.Filters {
		f := &q.Filters[i]
		read := map[string]func(string) (string, error){"ethertype": readEtherType, "protocol": readProtocol}[f.Field]
		if read == nil {
			continue
		}
		f.Values = slices.Clone(f.Values)
		for j, v := range f.Values {
			text, ok := v.(string)
			if !ok || text == "" { // what is null
				continue
			}
			var err error
			if f.Values[j], err = read(text); err != nil {
				return err
			}
		}
	}
	return nil
}

// DeleteSecurityGroupRule deletes a rule. The group's revision grows.
func (s *Service) DeleteSecurityGroupRule(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	return ruleKind().remove(ctx, s, who, id, cond, nil, func(w *work, r l3.SecurityGroupRule) error {
		if err := w.SecurityGroupRules().Delete(ctx, id); err != nil {
			return err
		}
		g, err := w.SecurityGroups().Get(ctx, r.SecurityGroupID)
		if err != nil {
			return err
		}
		g.UpdatedAt = s.now()
		return w.SecurityGroups().Update(ctx, &g)
	})
}
