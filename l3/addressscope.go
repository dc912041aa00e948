package l3

// AddressScope is a set of subnet pools whose prefixes do not overlap. Routers route between
// subnets of one scope without NAT, and between scopes not at all. Its Description and Tags are
// empty.
type AddressScope struct {
	Meta
	IPVersion int  `json:"ip_version"` // 4 or 6
	Shared    bool `json:"shared"`     // every project may use it
}

// AddressScopeSpec is what a caller says about an address scope; see [NetworkSpec].
type AddressScopeSpec struct {
	ProjectID *string
	Name      *string
	IPVersion *int // at creation
	Shared    *bool
}
