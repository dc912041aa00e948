package l3

// QoSPolicy is a set of rules about the traffic of whatever it is given to: floating IPs, gateways of
// routers, and networks. An external network gives its policy to the floating IPs and gateways on it
// that have none of their own.
type QoSPolicy struct {
	Meta
	Shared    bool `json:"shared"`     // every project may use it
	IsDefault bool `json:"is_default"` // new networks of its project have it, unless they are given another

	Rules []QoSRule `json:"-"` // by ID
}

// QoSRule is a rule of a policy. A policy has at most one of each type in each direction. Its Name,
// Description and Tags are empty, and its owner is that of the policy.
type QoSRule struct {
	Meta
	PolicyID     string      `json:"qos_policy_id"`
	Type         QoSRuleType `json:"type"`
	Direction    string      `json:"direction"`      // egress or ingress, as the workload sees it; empty for DSCP marking
	MaxKbps      int         `json:"max_kbps"`       // of a bandwidth limit; 0: none
	MaxBurstKbps int         `json:"max_burst_kbps"` // kilobits; 0: what MaxKbps lets pass in a second
	DSCPMark     int         `json:"dscp_mark"`
	MinKbps      int         `json:"min_kbps"` // of a minimum bandwidth
}

// QoSRuleType is a type of rules, in Neutron's words.
type QoSRuleType string

// The types of rules. Only bandwidth limits have an effect; the others are kept for whoever plugs
// ports in.
const (
	QoSBandwidthLimit   QoSRuleType = "bandwidth_limit"
	QoSDSCPMarking      QoSRuleType = "dscp_marking"
	QoSMinimumBandwidth QoSRuleType = "minimum_bandwidth"
)

// QoSRuleTypes lists the types.
func QoSRuleTypes() []QoSRuleType {
	return []QoSRuleType{QoSBandwidthLimit, QoSDSCPMarking, QoSMinimumBandwidth}
}

// QoSPolicySpec is what a caller says about a policy; see [NetworkSpec].
type QoSPolicySpec struct {
	ProjectID   *string
	Name        *string
	Description *string
	Shared      *bool
	IsDefault   *bool
	Tags        *[]string // at creation
}

// QoSRuleSpec is what a caller says about a rule; see [NetworkSpec].
type QoSRuleSpec struct {
	Direction    *string // nil: egress
	MaxKbps      *int
	MaxBurstKbps *int
	DSCPMark     *int
	MinKbps      *int
}
