package l3

import "slices"

// Caller is who asks. What it may do is up to the [Policy]; by default a caller without roles may
// do nothing.
type Caller struct {
	Project string
	User    string
	Roles   []string
	Admin   bool // sees and may do everything, whatever the policy says
}

// System is the caller for whatever happens without a request.
func System() Caller { return Caller{Admin: true} }

// HasRole reports whether the caller has a role.
func (c Caller) HasRole(role string) bool { return slices.Contains(c.Roles, role) }

// toNetworkOf returns how a network of a project, which nobody shares, is related to the caller.
func (c Caller) toNetworkOf(project string) Relation {
	if c.to(project) == 0 {
		return 0
	}
	return RelationOwner | RelationNetworkOwner
}

// to returns how a resource of a project is related to the caller.
func (c Caller) to(project string) Relation {
	if project != "" && c.Project == project {
		return RelationOwner
	}
	return 0
}
