package l3

import (
	"encoding/json"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// Port is an attachment to a network: a machine's, a router's, or the one that holds a floating
// IP's address.
type Port struct {
	Meta
	NetworkID     string        `json:"network_id"`
	AdminStateUp  bool          `json:"admin_state_up"`
	Status        Status        `json:"status"`      // while the host that it is bound to is alive
	MAC           dataplane.MAC `json:"mac_address"` // unique in the network
	FixedIPs      []FixedIP     `json:"fixed_ips"`
	DeviceID      string        `json:"device_id"`
	DeviceOwner   string        `json:"device_owner"`
	Binding       Binding       `json:"binding"`
	StateRevision uint64        `json:"generation,omitempty"` // of the owning router's [RouterState], with which it was plugged in; 0: it is not

	// These are validated and kept, so that clients work. Nothing here enforces them.
	PortSecurityEnabled bool          `json:"port_security_enabled"`
	SecurityGroups      []string      `json:"security_groups"`
	AllowedAddressPairs []AddressPair `json:"allowed_address_pairs"`
	ExtraDHCPOpts       []DHCPOption  `json:"extra_dhcp_opts"`
	QoSPolicyID         string        `json:"qos_policy_id"`
	DNSName             string        `json:"dns_name"`   // lower case; empty: each address has a name made of it
	DNSDomain           string        `json:"dns_domain"` // lower case, with the dot at its end; empty: [DefaultDNSDomain]

	NetworkQoSPolicyID string `json:"-"` // of the network
}

// Who owns a port, by its DeviceOwner.
const (
	OwnerRouterInterface      = "network:router_interface"
	OwnerDistributedInterface = "network:router_interface_distributed"
	OwnerRouterGateway        = "network:router_gateway"
	OwnerFloatingIP           = "network:floatingip"
)

// IsRouterInterface says that the port is a router's on an internal network.
func (p *Port) IsRouterInterface() bool {
	return p.DeviceOwner == OwnerRouterInterface || p.DeviceOwner == OwnerDistributedInterface
}

// FixedIP is an address of a port.
type FixedIP struct {
	SubnetID  string     `json:"subnet_id"`
	IPAddress netip.Addr `json:"ip_address"`
}

// Binding says where a port is plugged in. That of a router's port follows from where the router
// is; the host of any other is whoever plugs it who names it, and the VIF follows from that host.
type Binding struct {
	HostID     string          `json:"binding:host_id"`
	VNICType   string          `json:"binding:vnic_type"`
	VIFType    string          `json:"binding:vif_type"`
	VIFDetails json.RawMessage `json:"binding:vif_details,omitempty"` // an object; nil: {}
	Profile    json.RawMessage `json:"binding:profile,omitempty"`     // an object; nil: {}
}

// AddressPair is a source that a port may use beside its own.
type AddressPair struct {
	IPAddress netip.Prefix  `json:"ip_address"` // of full length: one address
	MAC       dataplane.MAC `json:"mac_address"`
}

// DHCPOption is one for the machine behind a port.
type DHCPOption struct {
	Name      string `json:"opt_name"`
	Value     string `json:"opt_value"`
	IPVersion int    `json:"ip_version"` // 4 or 6
}

// PortSpec is what a caller says about a port; see [NetworkSpec].
type PortSpec struct {
	ProjectID           *string
	NetworkID           *string
	Name                *string
	Description         *string
	AdminStateUp        *bool
	MAC                 *dataplane.MAC // in an update, the zero MAC: a new one is made
	FixedIPs            *[]FixedIPSpec // nil at creation: one address of each family that the network has
	DeviceID            *string
	DeviceOwner         *string
	HostID              *string
	VNICType            *string
	Profile             *json.RawMessage
	PortSecurityEnabled *bool
	SecurityGroups      *[]string
	AllowedAddressPairs *[]AddressPair
	ExtraDHCPOpts       *[]DHCPOption
	QoSPolicyID         *string
	DNSName             *string
	DNSDomain           *string
	Tags                *[]string // at creation
}

// FixedIPSpec asks for an address: a given one, any of a subnet, or both said.
type FixedIPSpec struct {
	SubnetID  string
	IPAddress netip.Addr
}
