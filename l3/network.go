package l3

import (
	"github.com/l3kit/l3kit/dataplane"
)

// Network is an isolated layer-2 segment.
type Network struct {
	Meta
	AdminStateUp        bool      `json:"admin_state_up"`
	Status              Status    `json:"status"`
	Shared              bool      `json:"shared"` // every project may use it
	External            bool      `json:"router:external"`
	IsDefault           bool      `json:"is_default"`
	MTU                 int       `json:"mtu"`      // bytes
	Segments            []Segment `json:"segments"` // at least one; the first is the one that routers are attached to
	AvailabilityZones   []string  `json:"availability_zones"`
	AZHints             []string  `json:"availability_zone_hints"`
	PortSecurityEnabled bool      `json:"port_security_enabled"`
	DNSDomain           string    `json:"dns_domain"` // for whoever serves DNS; nothing here uses it
	QoSPolicyID         string    `json:"qos_policy_id"`

	// These follow from the subnets.
	Subnets          []string `json:"-"` // IDs, sorted
	IPv4AddressScope string   `json:"-"` // ID; empty: none
	IPv6AddressScope string   `json:"-"`
}

// Segment is how a network's frames cross between hosts.
type Segment struct {
	Type     dataplane.NetworkType `json:"provider:network_type"`
	Physical string                `json:"provider:physical_network"` // empty: none
	ID       uint32                `json:"provider:segmentation_id"`  // VLAN ID, VNI or GRE key; 0: none
}

// NetworkSpec is what a caller says about a network. Nil is left out: the default at creation, no
// change in an update.
type NetworkSpec struct {
	ProjectID           *string // at creation, by administrators
	Name                *string
	Description         *string
	AdminStateUp        *bool
	Shared              *bool
	External            *bool
	IsDefault           *bool
	MTU                 *int // 0: the largest that the segment's type allows
	Segments            *[]Segment
	AZHints             *[]string
	PortSecurityEnabled *bool
	DNSDomain           *string
	QoSPolicyID         *string   // empty: none
	Tags                *[]string // at creation
}

// IPAvailability is how many addresses a network has and how many are in use. Counts of IPv6
// subnets do not fit an int64, so they are kept as big as they are.
type IPAvailability struct {
	NetworkID   string                 `json:"network_id"`
	NetworkName string                 `json:"network_name"`
	ProjectID   string                 `json:"project_id"`
	TotalIPs    string                 `json:"total_ips"` // decimal
	UsedIPs     int                    `json:"used_ips"`
	Subnets     []SubnetIPAvailability `json:"subnet_ip_availability"`
}

// SubnetIPAvailability is the same for a subnet.
type SubnetIPAvailability struct {
	SubnetID   string `json:"subnet_id"`
	SubnetName string `json:"subnet_name"`
	CIDR       string `json:"cidr"`
	IPVersion  int    `json:"ip_version"`
	TotalIPs   string `json:"total_ips"` // decimal
	UsedIPs    int    `json:"used_ips"`
}
