package l3

// RBACPolicy shares a network with a project. Its Name is empty.
type RBACPolicy struct {
	Meta
	ObjectType    string `json:"object_type"` // network
	ObjectID      string `json:"object_id"`
	Action        string `json:"action"`         // access_as_shared or access_as_external
	TargetProject string `json:"target_project"` // * is every project
}

// The actions of RBAC policies.
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
