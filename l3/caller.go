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
