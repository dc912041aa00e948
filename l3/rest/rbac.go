package rest

import (
	"slices"

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
	type R = l3.RBACPolicy
	type S = l3.RBACPolicySpec
	return append(identity[R, S](),
		field[R, S]("ObjectType", label, inPost|needed|found).parsedBy(parseObjectType),
		field[R, S]("ObjectID", anyUUID, inPost|needed|found),
		field[R, S]("Action", label, inPost|needed|found),
		field[R, S]("TargetProject", label, given|needed|found).named("target_tenant"),
	)
}

// parseObjectType reads a filter.
func parseObjectType(text string) (any, error) {
	if !slices.Contains(l3.RBACObjectTypes(), text) {
		return nil, &l3.Error{Kind: l3.ErrInvalid, Name: "InvalidInput",
			Message: "Invalid input for operation: '" + show(text) + "' is not a valid RBAC object type."}
	}
	return text, nil
}
