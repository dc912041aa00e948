package l3

import "net/netip"

// SecurityGroup is kept so that clients work. Nothing here enforces it.
type SecurityGroup struct {
	Meta
	Stateful bool                `json:"stateful"`
	Rules    []SecurityGroupRule `json:"-"` // sorted by ID; follows from the rules
}

// SecurityGroupRule is a rule of a group. Its Name is empty.
type SecurityGroupRule struct {
	Meta
	SecurityGroupID string       `json:"security_group_id"`
	Direction       string       `json:"direction"` // ingress or egress
	EtherType       string       `json:"ethertype"` // IPv4 or IPv6
	Protocol        string       `json:"protocol"`  // empty: any
	PortRangeMin    *int         `json:"port_range_min"`
	PortRangeMax    *int         `json:"port_range_max"`
	RemoteIPPrefix  netip.Prefix `json:"remote_ip_prefix"` // zero: any
	RemoteGroupID   string       `json:"remote_group_id"`
}

// SecurityGroupSpec is what a caller says about a security group; see [NetworkSpec].
type SecurityGroupSpec struct {
	ProjectID   *string
	Name        *string
	Description *string
	Stateful    *bool
	Tags        *[]string // at creation
}

// SecurityGroupRuleSpec is what a caller says about a new rule. Rules do not change.
type SecurityGroupRuleSpec struct {
	ProjectID       *string
	Description     *string
	SecurityGroupID string
	Direction       string
	EtherType       string // empty: IPv4
	Protocol        string
	PortRangeMin    *int
	PortRangeMax    *int
	RemoteIPPrefix  netip.Prefix
	RemoteGroupID   string
	Tags            *[]string
}
