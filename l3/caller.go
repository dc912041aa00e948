package l3

import "slices"

// Caller is who asks. The zero Caller may do nothing.
type Caller struct {
	Project string
	User    string
	Roles   []string
	Admin   bool // sees and may do everything
}

// System is the caller for whatever happens without a request.
func System() Caller { return Caller{Admin: true} }

// HasRole says whether the caller has a role.
func (c Caller) HasRole(role string) bool { return slices.Contains(c.Roles, role) }

// owns says whether the caller may change something of a project.
func (c Caller) owns(project string) bool { return c.Admin || project != "" && c.Project == project }
