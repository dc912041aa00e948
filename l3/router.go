package l3

import "net/netip"

// Router joins subnets, and to an external network.
type Router struct {
	Meta
	AdminStateUp bool         `json:"admin_state_up"`
	Gateway      *GatewayInfo `json:"external_gateway_info"`
	Routes       []Route      `json:"routes"`
	AZHints      []string     `json:"availability_zone_hints"`
	FlavorID     string       `json:"flavor_id"`
	Distributed  bool         `json:"distributed"` // routes on the hosts where its workloads are
	HA           bool         `json:"ha"`          // false: others are refused

	// EnableSNAT is kept while there is no gateway, because omitting enable_snat keeps the stored
	// value.
	EnableSNAT bool `json:"enable_snat"`

	// These follow from the router's [RouterState] and from the agent that hosts it. Status is
	// stored as it is while Host is alive.
	Status            Status   `json:"status"`
	Host              string   `json:"host"` // without which it is DOWN; empty: none
	StatusReason      string   `json:"-"`    // why Status is DOWN or ERROR; an attribute of ours
	AvailabilityZones []string `json:"-"`    // of the agent
	StateRevision     uint64   `json:"-"`    // as RouterState.Revision
}

// GatewayInfo is a router's attachment to an external network.
type GatewayInfo struct {
	NetworkID   string    `json:"network_id"`
	PortID      string    `json:"port_id"`
	EnableSNAT  bool      `json:"enable_snat"`
	QoSPolicyID string    `json:"qos_policy_id"` // of its IPv4 addresses; empty: that of the network, if it has one
	FixedIPs    []FixedIP `json:"external_fixed_ips"`
}

// Route is a static route.
type Route struct {
	Destination netip.Prefix `json:"destination"`
	NextHop     netip.Addr   `json:"nexthop"`
}

// RouterSpec is what a caller says about a router; see [NetworkSpec].
type RouterSpec struct {
	ProjectID    *string
	Name         *string
	Description  *string
	AdminStateUp *bool
	Gateway      *GatewaySpec // one without a network: none
	Routes       *[]Route     // in an update
	AZHints      *[]string    // at creation
	FlavorID     *string
	Distributed  *bool
	HA           *bool
	Tags         *[]string // at creation
}

// GatewaySpec asks for a gateway. Nil is left out: what is stored stays.
type GatewaySpec struct {
	NetworkID   string // empty: no gateway
	EnableSNAT  *bool
	QoSPolicyID *string // empty: none
	FixedIPs    *[]FixedIPSpec
}

// InterfaceSpec names what to attach to a router, or to detach: a subnet, a port, or at detaching
// both.
type InterfaceSpec struct{ SubnetID, PortID string }

// Interface is the answer to attaching and detaching.
type Interface struct {
	RouterID  string   `json:"id"`
	ProjectID string   `json:"project_id"`
	PortID    string   `json:"port_id"`
	NetworkID string   `json:"network_id"`
	SubnetID  string   `json:"subnet_id"`
	SubnetIDs []string `json:"subnet_ids"`
	Tags      []string `json:"tags"`
}
