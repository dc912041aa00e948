package l3

import "time"

// Meta is what every resource has.
type Meta struct {
	ID          string    `json:"id"`         // UUID
	ProjectID   string    `json:"project_id"` // owner; empty: nobody's, so that only administrators see it
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Tags        []string  `json:"tags"`            // sorted, each once
	Revision    int       `json:"revision_number"` // grows with every change
	CreatedAt   time.Time `json:"created_at"`      // UTC, whole seconds
	UpdatedAt   time.Time `json:"updated_at"`      // UTC, whole seconds
}

// Base returns m: what a resource has in common with all others, whatever its type.
func (m *Meta) Base() *Meta { return m }

// Resource is a pointer to a resource that has a [Meta].
type Resource[R any] interface {
	*R
	Base() *Meta
}

// Kind names a type of resource, as collections are called in the API.
type Kind string

// The kinds of resources.
const (
	KindNetwork           Kind = "networks"
	KindSubnet            Kind = "subnets"
	KindPort              Kind = "ports"
	KindRouter            Kind = "routers"
	KindFloatingIP        Kind = "floatingips"
	KindPortForwarding    Kind = "port_forwardings"
	KindSecurityGroup     Kind = "security_groups"
	KindSecurityGroupRule Kind = "security_group_rules"
	KindRBACPolicy        Kind = "rbac_policies"
	KindSubnetPool        Kind = "subnetpools"
	KindAddressScope      Kind = "address_scopes"
	KindQoSPolicy         Kind = "policies"
	KindQoSRule           Kind = "qos_rules"
	KindAgent             Kind = "agents"
)

// Status is what the dataplane has, not what was asked for.
type Status string

// The statuses.
const (
	StatusActive Status = "ACTIVE" // realised, in its current revision
	StatusBuild  Status = "BUILD"  // a live host is applying it
	StatusDown   Status = "DOWN"   // not realised: nothing to realise it for, or nobody alive who could
	StatusError  Status = "ERROR"  // the host tried and could not

	// StatusNone is the status of a port that holds the address of a floating IP. It is plugged in
	// nowhere.
	StatusNone Status = "N/A"
)
