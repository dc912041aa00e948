package l3

import (
	"math/big"
	"net/netip"
)

// Subnet is a block of addresses on a network.
type Subnet struct {
	Meta
	NetworkID       string         `json:"network_id"`
	IPVersion       int            `json:"ip_version"` // 4 or 6
	CIDR            netip.Prefix   `json:"cidr"`       // masked
	GatewayIP       netip.Addr     `json:"gateway_ip"` // zero: none
	AllocationPools []AddressRange `json:"allocation_pools"`
	EnableDHCP      bool           `json:"enable_dhcp"`
	DNSNameservers  []string       `json:"dns_nameservers"`
	HostRoutes      []Route        `json:"host_routes"`
	IPv6RAMode      IPv6Mode       `json:"ipv6_ra_mode"`
	IPv6AddressMode IPv6Mode       `json:"ipv6_address_mode"`
	ServiceTypes    []string       `json:"service_types"`
	SubnetPoolID    string         `json:"subnetpool_id"` // that CIDR was allocated from; empty: none

	External bool `json:"-"` // as its network
}

// AddressRange is all addresses from First to Last, both included.
type AddressRange struct {
	First netip.Addr `json:"start"`
	Last  netip.Addr `json:"end"`
}

// IPv6Mode says how hosts come by their IPv6 addresses; empty: not said.
type IPv6Mode string

// The IPv6 modes.
const (
	IPv6SLAAC           IPv6Mode = "slaac"            // made from the MAC address, EUI-64 (RFC 4291)
	IPv6DHCPv6Stateful  IPv6Mode = "dhcpv6-stateful"  // given out
	IPv6DHCPv6Stateless IPv6Mode = "dhcpv6-stateless" // made from the MAC address; options by DHCPv6
)

// SubnetSpec is what a caller says about a subnet; see [NetworkSpec].
type SubnetSpec struct {
	ProjectID       *string
	NetworkID       *string
	Name            *string
	Description     *string
	IPVersion       *int
	CIDR            *netip.Prefix
	GatewayIP       *netip.Addr // the zero Addr: none
	AllocationPools *[]AddressRange
	EnableDHCP      *bool
	DNSNameservers  *[]string
	HostRoutes      *[]Route
	IPv6RAMode      *IPv6Mode
	IPv6AddressMode *IPv6Mode
	ServiceTypes    *[]string
	// At creation: the pool, or the default pool of IPVersion, that CIDR is allocated from. Without
	// a CIDR any prefix is, of this length, or of the pool's default length.
	SubnetPoolID         *string
	UseDefaultSubnetPool *bool
	PrefixLen            *int
	Tags                 *[]string // at creation
}

// Contains reports whether an address is in the range.
func (r AddressRange) Contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Overlaps reports whether the ranges share an address.
func (r AddressRange) Overlaps(o AddressRange) bool {
	return r.Contains(o.First) || o.Contains(r.First)
}

// Size is how many addresses there are from the first to the last.
func (r AddressRange) Size() *big.Int {
	first, last := new(big.Int).SetBytes(r.First.AsSlice()), new(big.Int).SetBytes(r.Last.AsSlice())
	return last.Sub(last, first).Add(last, big.NewInt(1))
}

func (r AddressRange) String() string { return r.First.String() + "-" + r.Last.String() }
