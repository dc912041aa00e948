package l3

import "net/netip"

// FloatingIP is a public IPv4 address. It keeps its address until it is deleted, bound or not. Its
// Name is empty.
type FloatingIP struct {
	Meta
	NetworkID     string     `json:"floating_network_id"`
	SubnetID      string     `json:"subnet_id"` // that the address is of
	Address       netip.Addr `json:"floating_ip_address"`
	OwnPort       string     `json:"own_port_id"` // holds the address; hidden
	PortID        string     `json:"port_id"`     // bound to; empty: unbound
	FixedIP       netip.Addr `json:"fixed_ip_address"`
	RouterID      string     `json:"router_id"`     // that translates; empty: unbound
	Distributed   bool       `json:"distributed"`   // a distributed router translates it on the host of its port, if that can; false: at the centre
	StateRevision uint64     `json:"generation"`    // of the router's [RouterState], with which it is translated; 0: it is not
	DNSName       string     `json:"dns_name"`      // relative, lower case; for whoever serves DNS, like DNSDomain
	DNSDomain     string     `json:"dns_domain"`    // with the dot at its end; empty: no name
	QoSPolicyID   string     `json:"qos_policy_id"` // empty: that of the network, if it has one

	// Holder is the instance of a distributed router that translates; zero: none does yet, or the
	// router is not distributed.
	Holder Holder `json:"holder,omitzero"`

	// These follow from the router's [RouterState]. Status is stored as it is while Host is alive.
	Status       Status       `json:"status"`
	Host         string       `json:"host"` // of the router; empty: none, or it is DOWN anyway
	StatusReason string       `json:"-"`    // why Status is ERROR; an attribute of ours
	PortDetails  *PortDetails `json:"-"`    // of the port bound to; nil: unbound

	NetworkQoSPolicyID string `json:"-"` // of the external network

	PortForwardings []PortForwarding `json:"-"` // by ID; a floating IP that has some is bound to no port, and has a router
}

// Holder is a router, or an instance of one, on a host.
type Holder struct {
	Host     string `json:"host"`
	Instance string `json:"instance"` // as the host knows it; see [RouterState.Instance]
}

// PortDetails is what a floating IP shows of its port.
type PortDetails struct {
	Name         string `json:"name"`
	NetworkID    string `json:"network_id"`
	MAC          string `json:"mac_address"`
	AdminStateUp bool   `json:"admin_state_up"`
	Status       Status `json:"status"`
	DeviceID     string `json:"device_id"`
	DeviceOwner  string `json:"device_owner"`
}

// FloatingIPSpec is what a caller says about a floating IP; see [NetworkSpec].
type FloatingIPSpec struct {
	ProjectID   *string
	Description *string
	NetworkID   *string     // at creation
	SubnetID    *string     // at creation
	Address     *netip.Addr // at creation, by administrators
	PortID      *string     // empty: unbind
	FixedIP     *netip.Addr
	QoSPolicyID *string   // empty: none
	Distributed *bool     // nil: true
	DNSName     *string   // at creation, with DNSDomain
	DNSDomain   *string   // at creation
	Tags        *[]string // at creation
}
