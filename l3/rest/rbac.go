package rest

import (
	"github.com/l3kit/l3kit/l3"
)

func (a *api) rbacPolicies() {
	serve(a, collection[l3.RBACPolicy, l3.RBACPolicySpec]{
		path: "rbac-policies", one: "rbac_policy", many: "rbac_policies",
		table: rbacPolicyTable(), ids: func(p *l3.RBACPolicy) string { return p.ID },
		list: a.service.ListRBACPolicies, get: a.service.GetRBACPolicy, create: a.service.CreateRBACPolicies,
		update: a.service.UpdateRBACPolicy, delete: a.service.DeleteRBACPolicy,
	})
}

func rbacPolicyTable() table[l3.RBACPolicy, l3.RBACPolicySpec] {
	type (
		R = l3.RBACPolicy
		S = l3.RBACPolicySpec
	)
	target := func(r *R) string { return r.TargetProject }
	return append(identity(func(r *R) *l3.Meta { return &r.Meta }, func(s *S, v string) { s.ProjectID = &v }),
		field("object_type", label, inPost|needed|found, func(r *R) string { return r.ObjectType }, func(s *S, v string) { s.ObjectType = &v }).
			as("object_type", parseObjectType),
		field("object_id", anyUUID, inPost|needed|found, func(r *R) string { return r.ObjectID }, func(s *S, v string) { s.ObjectID = &v }),
		field("action", label, inPost|needed|found,
			func(r *R) string { return r.Action }, func(s *S, v string) { s.Action = &v }),
		field("target_tenant", label, given|needed|found, target, func(s *S, v string) { s.TargetProject = &v }).as("target_project", asWritten),
	)
}

// parseObjectType reads a filter.
func parseObjectType(text string) (any, error) {
	if text != "network" {
		return nil, &l3.Error{Kind: l3.ErrInvalid, Name: "InvalidInput",
			Message: "Invalid input for operation: '" + show(text) + "' is not a valid RBAC object type."}
	}
	return text, nil
}
