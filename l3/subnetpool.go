package l3

import "net/netip"

// SubnetPool is address space that subnets are allocated from.
type SubnetPool struct {
	Meta
	IPVersion        int            `json:"ip_version"` // 4 or 6
	Prefixes         []netip.Prefix `json:"prefixes"`   // merged, sorted
	MinPrefixLen     int            `json:"min_prefixlen"`
	MaxPrefixLen     int            `json:"max_prefixlen"`
	DefaultPrefixLen int            `json:"default_prefixlen"` // of subnets that do not say
	// DefaultQuota is how much of the pool each project may have, in IPv4 addresses or in IPv6
	// prefixes of length 64. Zero is no limit, and so is nil: none was given.
	DefaultQuota   *int   `json:"default_quota"`
	IsDefault      bool   `json:"is_default"` // of its IP version
	Shared         bool   `json:"shared"`     // every project may use it
	AddressScopeID string `json:"address_scope_id"`
}

// SubnetPoolSpec is what a caller says about a subnet pool; see [NetworkSpec].
type SubnetPoolSpec struct {
	ProjectID        *string
	Name             *string
	Description      *string
	Prefixes         *[]netip.Prefix // in an update: they include the ones that the pool has
	MinPrefixLen     *int
	MaxPrefixLen     *int
	DefaultPrefixLen *int
	DefaultQuota     *int
	IsDefault        *bool
	Shared           *bool     // at creation
	AddressScopeID   *string   // empty: none
	Tags             *[]string // at creation
}

// OnboardedSubnet is a subnet that was made one of a pool's.
type OnboardedSubnet struct {
	ID   string       `json:"id"`
	CIDR netip.Prefix `json:"cidr"`
}
