package service

import (
	"context"
	"errors"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// found gets a resource; absent is the error when it does not exist.
func found[R any](ctx context.Context, table l3.Table[R], id string, absent error) (R, error) {
	r, err := table.Get(ctx, id)
	if errors.Is(err, l3.ErrAbsent) {
		err = absent
	}
	return r, err
}

// relationToNetwork is how a network is related to a caller. Callers that the policy is not asked
// about are related to nothing.
func relationToNetwork(ctx context.Context, tx l3.Tx, who l3.Caller, n l3.Network) (l3.Relation, error) {
	if who.Admin {
		return 0, nil
	}
	if to := relationToNetworkOfProject(who, n.ProjectID); to != 0 {
		return to, nil
	}
	policies, err := policiesFor(ctx, tx, who, oneOf("object_id", n.ID))
	var to l3.Relation
	for _, p := range policies {
		to |= relationBy(p.Action)
	}
	return to, err
}

// relationToShared is how a resource of a project, other than a network, that policies can share is
// related to a caller.
func relationToShared(ctx context.Context, tx l3.Tx, who l3.Caller, id, project string) (l3.Relation, error) {
	if who.Admin {
		return 0, nil
	}
	if to := relationToProject(who, project); to != 0 {
		return to, nil
	}
	policies, err := policiesFor(ctx, tx, who, oneOf("object_id", id))
	if len(policies) == 0 {
		return 0, err
	}
	return l3.RelationShared, err
}

// relationOnNetwork is how a resource of a project on a network is related to a caller.
func relationOnNetwork(ctx context.Context, tx l3.Tx, who l3.Caller, project, networkID string) (l3.Relation, error) {
	if who.Admin {
		return 0, nil
	}
	n, err := tx.Networks().Get(ctx, networkID)
	if err != nil {
		return 0, err
	}
	to, err := relationToNetwork(ctx, tx, who, n)
	return to&^l3.RelationOwner | relationToProject(who, project), err
}

func relationBy(action string) l3.Relation {
	if action == l3.AccessAsShared {
		return l3.RelationShared
	}
	return l3.RelationExternal
}

// policiesFor lists the RBAC policies by which a caller sees what is not its own.
func policiesFor(ctx context.Context, tx l3.Tx, who l3.Caller, more ...l3.Filter) ([]l3.RBACPolicy, error) {
	return tx.RBACPolicies().List(ctx, l3.Query{Filters: append(more, oneOf("target_project", everyone, who.Project))})
}

// The scopes below bound a list to what the policy lets a caller get; see [Query].

// ownScope is the scope of resources that are related to a caller by their owner alone.
func (s *Service) ownScope(who l3.Caller, rule string) []l3.Filter {
	switch {
	case s.Allows(who, rule, 0):
		return nil
	case s.Allows(who, rule, l3.RelationOwner):
		return []l3.Filter{ownProject(who)}
	}
	return []l3.Filter{nothing()}
}

// sharedScope is the scope of resources of a type, other than networks, that policies can share.
func (s *Service) sharedScope(ctx context.Context, tx l3.Tx, who l3.Caller, rule, objectType string) ([]l3.Filter, error) {
	if s.Allows(who, rule, 0) {
		return nil, nil
	}
	var scope []l3.Filter
	if s.Allows(who, rule, l3.RelationOwner) {
		scope = append(scope, ownProject(who))
	}
	if s.Allows(who, rule, l3.RelationShared) {
		policies, err := policiesFor(ctx, tx, who, oneOf("object_type", objectType))
		if err != nil {
			return nil, err
		}
		if len(policies) > 0 {
			scope = append(scope, oneOf("id", objects(policies)...))
		}
	}
	return orNothing(scope), nil
}

// sharedQuery replaces filters of a list by whether a resource is shared, which means, unless the
// caller sees all: with its project.
func sharedQuery(ctx context.Context, tx l3.Tx, who l3.Caller, q *l3.Query, objectType string) error {
	for i, f := range q.Filters {
		if f.Field != "shared" || q.Scope == nil || f.Op != l3.In || len(f.Values) != 1 {
			continue
		}
		policies, err := policiesFor(ctx, tx, who, oneOf("action", l3.AccessAsShared), oneOf("object_type", objectType))
		if err != nil {
			return err
		}
		q.Filters[i] = oneOf("id", objects(policies)...)
		if f.Values[0] != true {
			q.Filters[i].Op = l3.NotIn
		}
	}
	return nil
}

// sharedWith returns those of the resources with the IDs that are shared with a caller's project.
func sharedWith(ctx context.Context, tx l3.Tx, who l3.Caller, ids []string) (map[string]bool, error) {
	policies, err := listOf(ctx, tx.RBACPolicies(), "object_id", ids, oneOf("action", l3.AccessAsShared), oneOf("target_project", everyone, who.Project))
	shared := make(map[string]bool, len(policies))
	for _, p := range policies {
		shared[p.ObjectID] = true
	}
	return shared, err
}

func (s *Service) networkScope(ctx context.Context, tx l3.Tx, who l3.Caller, rule string) ([]l3.Filter, error) {
	if s.Allows(who, rule, 0) {
		return nil, nil
	}
	var scope []l3.Filter
	if s.Allows(who, rule, l3.RelationOwner) || s.Allows(who, rule, l3.RelationNetworkOwner) {
		scope = append(scope, ownProject(who))
	}
	ids, err := s.sharedNetworks(ctx, tx, who, rule)
	if len(ids) > 0 {
		scope = append(scope, oneOf("id", ids...))
	}
	return orNothing(scope), err
}

// onNetworkScope is the scope of subnets and ports, which are related to a caller by their network
// too.
func (s *Service) onNetworkScope(ctx context.Context, tx l3.Tx, who l3.Caller, rule string) ([]l3.Filter, error) {
	if s.Allows(who, rule, 0) {
		return nil, nil
	}
	var scope []l3.Filter
	if s.Allows(who, rule, l3.RelationOwner) {
		scope = append(scope, ownProject(who))
	}
	networks, err := s.sharedNetworks(ctx, tx, who, rule)
	if err != nil {
		return nil, err
	}
	if s.Allows(who, rule, l3.RelationNetworkOwner) {
		own, err := tx.Networks().List(ctx, l3.Query{Scope: []l3.Filter{ownProject(who)}})
		if err != nil {
			return nil, err
		}
		networks = append(networks, networkIDs(own)...)
	}
	if len(networks) > 0 {
		scope = append(scope, oneOf("network_id", networks...))
	}
	return orNothing(scope), nil
}

// sharedNetworks returns the IDs of networks that a rule allows a caller because they are shared
// with it, or external.
func (s *Service) sharedNetworks(ctx context.Context, tx l3.Tx, who l3.Caller, rule string) ([]string, error) {
	var actions []string
	for _, action := range []string{l3.AccessAsShared, l3.AccessAsExternal} {
		if s.Allows(who, rule, relationBy(action)) {
			actions = append(actions, action)
		}
	}
	if actions == nil {
		return nil, nil
	}
	policies, err := policiesFor(ctx, tx, who, oneOf("action", actions...), oneOf("object_type", l3.ObjectNetwork))
	ids := objects(policies)
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// ownProject finds what belongs to the caller's project. A caller without one owns nothing: what
// has no owner does not belong to it.
func ownProject(who l3.Caller) l3.Filter {
	if who.Project == "" {
		return nothing()
	}
	return oneOf("project_id", who.Project)
}

// orNothing returns a scope, or one that nothing is in when it is empty: an empty one holds
// everything.
func orNothing(scope []l3.Filter) []l3.Filter {
	if len(scope) == 0 {
		return []l3.Filter{nothing()}
	}
	return scope
}

// nothing is a filter that nothing passes.
func nothing() l3.Filter { return l3.Filter{Field: "id", Op: l3.In} }

func networkIDs(networks []l3.Network) []string {
	ids := make([]string, len(networks))
	for i, n := range networks {
		ids[i] = n.ID
	}
	return ids
}

func objects(policies []l3.RBACPolicy) []string {
	ids := make([]string, len(policies))
	for i, p := range policies {
		ids[i] = p.ObjectID
	}
	return ids
}

// relationToNetworkOfProject returns how a network of a project, which nobody shares, is related to
// the caller.
func relationToNetworkOfProject(c l3.Caller, project string) l3.Relation {
	if relationToProject(c, project) == 0 {
		return 0
	}
	return l3.RelationOwner | l3.RelationNetworkOwner
}

// relationToProject returns how a resource of a project is related to the caller.
func relationToProject(c l3.Caller, project string) l3.Relation {
	if project != "" && c.Project == project {
		return l3.RelationOwner
	}
	return 0
}
