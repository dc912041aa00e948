package service

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// CreateRBACPolicies shares networks with projects, or lets projects use them as external ones. An
// owner does it for single projects, an administrator also for everyone.
func (s *Service) CreateRBACPolicies(ctx context.Context, who l3.Caller, specs ...l3.RBACPolicySpec) ([]l3.RBACPolicy, error) {
	return create(ctx, s, who, policyKind(), specs, func(w *work, spec l3.RBACPolicySpec) (l3.RBACPolicy, error) {
		return s.createRBACPolicy(ctx, w, who, spec)
	})
}

func (s *Service) createRBACPolicy(ctx context.Context, w *work, who l3.Caller, spec l3.RBACPolicySpec) (l3.RBACPolicy, error) {
	const rule = "create_rbac_policy"
	owner, err := s.project(who, rule, spec.ProjectID)
	if err != nil {
		return l3.RBACPolicy{}, err
	}
	p := l3.RBACPolicy{
		Meta: s.newMeta(owner, "", ""), ObjectType: or(spec.ObjectType, ""), ObjectID: or(spec.ObjectID, ""),
		Action: or(spec.Action, ""), TargetProject: or(spec.TargetProject, ""),
	}
	if err := checkRBACPolicy(p); err != nil {
		return l3.RBACPolicy{}, err
	}
	n, to, err := networkKind().find(ctx, s, w, who, p.ObjectID)
	if err != nil {
		return l3.RBACPolicy{}, err
	}
	if !s.Allows(who, rule, to) {
		return l3.RBACPolicy{}, notTheirNetwork()
	}
	target := givenAttribute{"target_tenant", p.TargetProject == everyone}
	if err := s.mayGive(who, rule, to, target); err != nil {
		return l3.RBACPolicy{}, err
	}
	if err := s.checkQuota(ctx, w, owner, "rbac_policy"); err != nil {
		return l3.RBACPolicy{}, err
	}
	others, err := policiesOf(ctx, w, n.ID)
	if err != nil {
		return l3.RBACPolicy{}, err
	}
	if err := unlike(p, others); err != nil {
		return l3.RBACPolicy{}, err
	}
	if err := w.RBACPolicies().Insert(ctx, p); err != nil {
		return l3.RBACPolicy{}, err
	}
	return p, s.followPolicies(ctx, w, n, append(others, p))
}

// ownsNetwork refuses to change a policy whose network the caller may not share: an administrator
// may have made the policy for a project that does not own it, which can only delete it.
func (s *Service) ownsNetwork(ctx context.Context, tx l3.Tx, who l3.Caller, p l3.RBACPolicy) error {
	n, err := tx.Networks().Get(ctx, p.ObjectID)
	if err != nil {
		return err
	}
	to, err := relationToNetwork(ctx, tx, who, n)
	if err == nil && !s.Allows(who, "create_rbac_policy", to) {
		err = notTheirNetwork()
	}
	return err
}

func notTheirNetwork() error {
	return invalid("Invalid input for operation: Only admins can manipulate policies on networks they do not own.")
}

func checkRBACPolicy(p l3.RBACPolicy) error {
	switch {
	case p.ObjectType != "network":
		return invalid("Invalid input for operation: '%s' is not a valid RBAC object type.", p.ObjectType)
	case p.ObjectID == "":
		return invalid("Invalid input for object_id. Reason: it is missing.")
	case p.Action != l3.AccessAsShared && p.Action != l3.AccessAsExternal:
		return badRequest("InvalidActionForType", "Invalid action '%s' for object type 'network'. Valid actions: ('%s', '%s')",
			p.Action, l3.AccessAsShared, l3.AccessAsExternal)
	case p.TargetProject == "":
		return invalid("Invalid input for target_tenant. Reason: it is missing.")
	}
	return text("target_tenant", &p.TargetProject)
}

// unlike refuses a policy that is there already.
func unlike(p l3.RBACPolicy, others []l3.RBACPolicy) error {
	same := func(o l3.RBACPolicy) bool {
		return o.ID != p.ID && o.ObjectID == p.ObjectID && o.Action == p.Action && o.TargetProject == p.TargetProject
	}
	if slices.ContainsFunc(others, same) {
		return conflict("DuplicateRbacPolicy", "An RBAC policy already exists with those values.")
	}
	return nil
}

// followPolicies makes a network's attributes what its policies, as they are now, stand for.
func (s *Service) followPolicies(ctx context.Context, w *work, n l3.Network, policies []l3.RBACPolicy) error {
	before := n.External
	n.Shared, n.External = false, false
	for _, p := range policies {
		switch p.Action {
		case l3.AccessAsShared:
			n.Shared = n.Shared || p.TargetProject == everyone
		case l3.AccessAsExternal:
			n.External = true
		}
	}
	if before && !n.External {
		if err := s.networkMayCeaseExternal(ctx, w, n.ID); err != nil {
			return err
		}
	}
	n.UpdatedAt = s.now() // its policies are its own
	return w.Networks().Update(ctx, &n)
}

// GetRBACPolicy finds a policy of the caller's project.
func (s *Service) GetRBACPolicy(ctx context.Context, who l3.Caller, id string) (l3.RBACPolicy, error) {
	return policyKind().get(ctx, s, who, id)
}

// ListRBACPolicies lists the policies of the caller's project.
func (s *Service) ListRBACPolicies(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.RBACPolicy, error) {
	return policyKind().list(ctx, s, who, q)
}

// UpdateRBACPolicy gives a policy another target. The former one must not depend on it.
func (s *Service) UpdateRBACPolicy(ctx context.Context, who l3.Caller, id string, spec l3.RBACPolicySpec, cond l3.If) (l3.RBACPolicy, error) {
	return policyKind().change(ctx, s, who, id, cond, nil, func(w *work, p *l3.RBACPolicy) error {
		before := *p
		if err := s.ownsNetwork(ctx, w, who, before); err != nil {
			return err
		}
		set(&p.TargetProject, spec.TargetProject)
		if err := checkRBACPolicy(*p); err != nil {
			return err
		}
		target := givenAttribute{"target_tenant", p.TargetProject == everyone}
		if err := s.mayGive(who, "update_rbac_policy", relationToProject(who, p.ProjectID), target); err != nil {
			return err
		}
		if changed, err := put(ctx, w.RBACPolicies(), before, p, s.now()); err != nil || !changed {
			return err
		}
		return s.policyLeft(ctx, w, before)
	})
}

// DeleteRBACPolicy deletes a policy on which nothing depends.
func (s *Service) DeleteRBACPolicy(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	return policyKind().remove(ctx, s, who, id, cond, nil, func(w *work, p l3.RBACPolicy) error {
		if err := w.RBACPolicies().Delete(ctx, p.ID); err != nil {
			return err
		}
		return s.policyLeft(ctx, w, p)
	})
}

// policyLeft is called when a policy is not any more what it was: who used the network by it must
// be able to by another one.
func (s *Service) policyLeft(ctx context.Context, w *work, was l3.RBACPolicy) error {
	n, err := w.Networks().Get(ctx, was.ObjectID)
	if err != nil {
		return err
	}
	stay, err := policiesOf(ctx, w, n.ID)
	if err != nil {
		return err
	}
	users := usersOfShared
	if was.Action == l3.AccessAsExternal {
		users = usersOfExternal
		if n.IsDefault && was.TargetProject == everyone {
			return policyInUse(n, "Default external networks must be shared to everyone.")
		}
	}
	dependents, err := users(ctx, w, n)
	if err != nil {
		return err
	}
	if was.TargetProject != everyone {
		dependents = slices.DeleteFunc(dependents, func(project string) bool { return project != was.TargetProject })
	}
	if len(uncovered(dependents, was.Action, stay)) > 0 { // which project, the owner of the policy may not know
		return policyInUse(n, "Another project uses the network.")
	}
	for _, p := range stay {
		if err := unlike(p, stay); err != nil {
			return err
		}
	}
	return s.followPolicies(ctx, w, n, stay)
}

func policyInUse(n l3.Network, details string) error {
	return conflict("RbacPolicyInUse", "RBAC policy on object %s cannot be removed because other objects depend on it.\nDetails: %s", n.ID, details)
}

// everyone is the target of a policy that is for every project.
const everyone = "*"
