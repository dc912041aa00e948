package l3

// RBACPolicy shares a network, a subnet pool, an address scope or a QoS policy with a project. Its
// Name is empty.
type RBACPolicy struct {
	Meta
	ObjectType    string `json:"object_type"` // one of [RBACObjectTypes]
	ObjectID      string `json:"object_id"`
	Action        string `json:"action"`         // access_as_shared or access_as_external
	TargetProject string `json:"target_project"` // * is every project
}

// The types of objects that RBAC policies share.
const (
	ObjectNetwork      = "network"
	ObjectSubnetPool   = "subnetpool"
	ObjectAddressScope = "address_scope"
	ObjectQoSPolicy    = "qos_policy"
)

// RBACObjectTypes lists the types of objects.
func RBACObjectTypes() []string {
	return []string{ObjectNetwork, ObjectSubnetPool, ObjectAddressScope, ObjectQoSPolicy}
}

// The actions of RBAC policies. Only networks can be external.
const (
	AccessAsShared   = "access_as_shared"
	AccessAsExternal = "access_as_external"
)

// RBACPolicySpec is what a caller says about a policy; see [NetworkSpec].
type RBACPolicySpec struct {
	ProjectID     *string
	ObjectType    *string // at creation
	ObjectID      *string // at creation
	Action        *string // at creation
	TargetProject *string
}
