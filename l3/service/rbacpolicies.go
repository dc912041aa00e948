package service

import (
	"context"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// CreateRBACPolicies shares networks, subnet pools, address scopes and QoS policies with projects, or
// lets projects use networks as external ones. An owner does it for single projects, an administrator
// also for everyone.
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
	object, to, err := s.seenShareable(ctx, w, who, p.ObjectType, p.ObjectID)
	if err != nil {
		return l3.RBACPolicy{}, err
	}
	if !s.Allows(who, rule, to) {
		return l3.RBACPolicy{}, notTheirs(p.ObjectType)
	}
	target := givenAttribute{"target_tenant", p.TargetProject == everyone}
	if err := s.mayGive(who, rule, to, target); err != nil {
		return l3.RBACPolicy{}, err
	}
	if err := s.checkQuota(ctx, w, owner, "rbac_policy"); err != nil {
		return l3.RBACPolicy{}, err
	}
	if err := object.mayShare(ctx, w, p); err != nil {
		return l3.RBACPolicy{}, err
	}
	others, err := policiesOf(ctx, w, p.ObjectID)
	if err != nil {
		return l3.RBACPolicy{}, err
	}
	if err := unlike(p, others); err != nil {
		return l3.RBACPolicy{}, err
	}
	if err := w.RBACPolicies().Insert(ctx, p); err != nil {
		return l3.RBACPolicy{}, err
	}
	return p, object.follow(ctx, w, append(others, p))
}

// ownsObject refuses to change a policy whose object the caller may not share: an administrator may
// have made the policy for a project that does not own it, which can only delete it.
func (s *Service) ownsObject(ctx context.Context, tx l3.Tx, who l3.Caller, p l3.RBACPolicy) error {
	object, err := s.shareableOf(ctx, tx, p)
	if err != nil {
		return err
	}
	to, err := object.relation(ctx, tx, who)
	if err == nil && !s.Allows(who, "create_rbac_policy", to) {
		err = notTheirs(p.ObjectType)
	}
	return err
}

func notTheirs(objectType string) error {
	what := "objects"
	if objectType == l3.ObjectNetwork {
		what = "networks"
	}
	return invalid("Invalid input for operation: Only admins can manipulate policies on %s they do not own.", what)
}

func checkRBACPolicy(p l3.RBACPolicy) error {
	actions := []string{l3.AccessAsShared}
	if p.ObjectType == l3.ObjectNetwork {
		actions = append(actions, l3.AccessAsExternal)
	}
	switch {
	case !slices.Contains(l3.RBACObjectTypes(), p.ObjectType):
		return invalid("Invalid input for operation: '%s' is not a valid RBAC object type.", p.ObjectType)
	case p.ObjectID == "":
		return invalid("Invalid input for object_id. Reason: it is missing.")
	case !slices.Contains(actions, p.Action):
		return badRequest("InvalidActionForType", "Invalid action '%s' for object type '%s'. Valid actions: ('%s')",
			p.Action, p.ObjectType, strings.Join(actions, "', '"))
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
		if err := s.ownsObject(ctx, w, who, before); err != nil {
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
		changed, err := put(ctx, w.RBACPolicies(), before, p, s.now())
		if err != nil || !changed {
			return err
		}
		object, err := s.shareableOf(ctx, w, before)
		if err != nil {
			return err
		}
		if err := object.mayShare(ctx, w, *p); err != nil {
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

// policyLeft is called when a policy is not any more what it was: who used the object by it must be
// able to by another one.
func (s *Service) policyLeft(ctx context.Context, w *work, was l3.RBACPolicy) error {
	object, err := s.shareableOf(ctx, w, was)
	if err != nil {
		return err
	}
	stay, err := policiesOf(ctx, w, was.ObjectID)
	if err != nil {
		return err
	}
	if err := object.mayUnshare(was); err != nil {
		return err
	}
	dependents, err := object.users(ctx, w, was.Action)
	if err != nil {
		return err
	}
	if was.TargetProject != everyone {
		dependents = slices.DeleteFunc(dependents, func(project string) bool { return project != was.TargetProject })
	}
	if len(uncovered(dependents, was.Action, stay)) > 0 { // which project, the owner of the policy may not know
		return policyInUse(object, "Another project uses the "+object.kind()+".")
	}
	for _, p := range stay {
		if err := unlike(p, stay); err != nil {
			return err
		}
	}
	return object.follow(ctx, w, stay)
}

func policyInUse(object shareable, details string) error {
	return conflict("RbacPolicyInUse", "RBAC policy on object %s cannot be removed because other objects depend on it.\nDetails: %s", object.base().ID, details)
}

// everyone is the target of a policy that is for every project.
const everyone = "*"
