package l3

import (
	"context"
	"errors"
	"slices"
)

// The functions below find a resource that the policy lets the caller see. Any other is answered
// for as if it did not exist. They also return how it is related to the caller.

func (s *Service) network(ctx context.Context, tx Tx, who Caller, id string) (Network, Relation, error) {
	absent := notFound("NetworkNotFound", "Network %s could not be found.", id)
	n, err := found(ctx, tx.Networks(), id, absent)
	if err != nil {
		return Network{}, 0, err
	}
	to, err := relationToNetwork(ctx, tx, who, n)
	return visible(s, who, "get_network", n, to, err, absent)
}

func (s *Service) subnet(ctx context.Context, tx Tx, who Caller, id string) (Subnet, Relation, error) {
	absent := notFound("SubnetNotFound", "Subnet %s could not be found.", id)
	sub, err := found(ctx, tx.Subnets(), id, absent)
	if err != nil {
		return Subnet{}, 0, err
	}
	to, err := relationOnNetwork(ctx, tx, who, sub.ProjectID, sub.NetworkID)
	return visible(s, who, "get_subnet", sub, to, err, absent)
}

func (s *Service) port(ctx context.Context, tx Tx, who Caller, id string) (Port, Relation, error) {
	absent := notFound("PortNotFound", "Port %s could not be found.", id)
	p, err := found(ctx, tx.Ports(), id, absent)
	if err != nil {
		return Port{}, 0, err
	}
	to, err := relationOnNetwork(ctx, tx, who, p.ProjectID, p.NetworkID)
	return visible(s, who, "get_port", p, to, err, absent)
}

func (s *Service) router(ctx context.Context, tx Tx, who Caller, id string) (Router, Relation, error) {
	absent := notFound("RouterNotFound", "Router %s could not be found", id)
	r, err := found(ctx, tx.Routers(), id, absent)
	return visible(s, who, "get_router", r, who.to(r.ProjectID), err, absent)
}

func (s *Service) floatingIP(ctx context.Context, tx Tx, who Caller, id string) (FloatingIP, Relation, error) {
	absent := notFound("FloatingIPNotFound", "Floating IP %s could not be found", id)
	f, err := found(ctx, tx.FloatingIPs(), id, absent)
	return visible(s, who, "get_floatingip", f, who.to(f.ProjectID), err, absent)
}

func (s *Service) securityGroup(ctx context.Context, tx Tx, who Caller, id string) (SecurityGroup, Relation, error) {
	absent := notFound("SecurityGroupNotFound", "Security group %s does not exist", id)
	g, err := found(ctx, tx.SecurityGroups(), id, absent)
	return visible(s, who, "get_security_group", g, who.to(g.ProjectID), err, absent)
}

func (s *Service) securityGroupRule(ctx context.Context, tx Tx, who Caller, id string) (SecurityGroupRule, Relation, error) {
	absent := notFound("SecurityGroupRuleNotFound", "Security group rule %s does not exist", id)
	r, err := found(ctx, tx.SecurityGroupRules(), id, absent)
	return visible(s, who, "get_security_group_rule", r, who.to(r.ProjectID), err, absent)
}

func (s *Service) rbacPolicy(ctx context.Context, tx Tx, who Caller, id string) (RBACPolicy, Relation, error) {
	absent := notFound("RbacPolicyNotFound", "RBAC policy of type network with ID %s not found", id)
	p, err := found(ctx, tx.RBACPolicies(), id, absent)
	return visible(s, who, "get_rbac_policy", p, who.to(p.ProjectID), err, absent)
}

// found gets a resource; absent is the error when it does not exist.
func found[R any](ctx context.Context, table Table[R], id string, absent error) (R, error) {
	r, err := table.Get(ctx, id)
	if errors.Is(err, ErrAbsent) {
		err = absent
	}
	return r, err
}

// visible passes on a resource that the caller may get, and nothing of any other.
func visible[R any](s *Service, who Caller, rule string, r R, to Relation, err, absent error) (R, Relation, error) {
	if err == nil && !s.Allows(who, rule, to) {
		err = absent
	}
	if err != nil {
		var none R
		return none, 0, err
	}
	return r, to, nil
}

// relationToNetwork is how a network is related to a caller. Callers that the policy is not asked
// about are related to nothing.
func relationToNetwork(ctx context.Context, tx Tx, who Caller, n Network) (Relation, error) {
	if who.Admin {
		return 0, nil
	}
	if to := who.toNetworkOf(n.ProjectID); to != 0 {
		return to, nil
	}
	policies, err := policiesFor(ctx, tx, who, oneOf("object_id", n.ID))
	var to Relation
	for _, p := range policies {
		to |= relationBy(p.Action)
	}
	return to, err
}

// relationOnNetwork is how a resource of a project on a network is related to a caller.
func relationOnNetwork(ctx context.Context, tx Tx, who Caller, project, networkID string) (Relation, error) {
	if who.Admin {
		return 0, nil
	}
	n, err := tx.Networks().Get(ctx, networkID)
	if err != nil {
		return 0, err
	}
	to, err := relationToNetwork(ctx, tx, who, n)
	return to&^RelationOwner | who.to(project), err
}

func relationBy(action string) Relation {
	if action == AccessAsShared {
		return RelationShared
	}
	return RelationExternal
}

// policiesFor lists the RBAC policies by which a caller sees what is not its own.
func policiesFor(ctx context.Context, tx Tx, who Caller, more ...Filter) ([]RBACPolicy, error) {
	return tx.RBACPolicies().List(ctx, Query{Filters: append(more, oneOf("target_project", everyone, who.Project))})
}

// The scopes below bound a list to what the policy lets a caller get; see [Query].

// ownScope is the scope of resources that are related to a caller by their owner alone.
func (s *Service) ownScope(who Caller, rule string) []Filter {
	switch {
	case s.Allows(who, rule, 0):
		return nil
	case s.Allows(who, rule, RelationOwner):
		return []Filter{ownProject(who)}
	}
	return []Filter{nothing()}
}

func (s *Service) networkScope(ctx context.Context, tx Tx, who Caller, rule string) ([]Filter, error) {
	if s.Allows(who, rule, 0) {
		return nil, nil
	}
	var scope []Filter
	if s.Allows(who, rule, RelationOwner) || s.Allows(who, rule, RelationNetworkOwner) {
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
func (s *Service) onNetworkScope(ctx context.Context, tx Tx, who Caller, rule string) ([]Filter, error) {
	if s.Allows(who, rule, 0) {
		return nil, nil
	}
	var scope []Filter
	if s.Allows(who, rule, RelationOwner) {
		scope = append(scope, ownProject(who))
	}
	networks, err := s.sharedNetworks(ctx, tx, who, rule)
	if err != nil {
		return nil, err
	}
	if s.Allows(who, rule, RelationNetworkOwner) {
		own, err := tx.Networks().List(ctx, Query{Scope: []Filter{ownProject(who)}})
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
func (s *Service) sharedNetworks(ctx context.Context, tx Tx, who Caller, rule string) ([]string, error) {
	var actions []string
	for _, action := range []string{AccessAsShared, AccessAsExternal} {
		if s.Allows(who, rule, relationBy(action)) {
			actions = append(actions, action)
		}
	}
	if actions == nil {
		return nil, nil
	}
	policies, err := policiesFor(ctx, tx, who, oneOf("action", actions...))
	ids := objects(policies)
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// ownProject finds what belongs to the caller's project. A caller without one owns nothing: what
// has no owner does not belong to it.
func ownProject(who Caller) Filter {
	if who.Project == "" {
		return nothing()
	}
	return oneOf("project_id", who.Project)
}

// orNothing returns a scope, or one that nothing is in when it is empty: an empty one holds
// everything.
func orNothing(scope []Filter) []Filter {
	if len(scope) == 0 {
		return []Filter{nothing()}
	}
	return scope
}

// nothing is a filter that nothing passes.
func nothing() Filter { return Filter{Field: "id", Op: In} }

func networkIDs(networks []Network) []string {
	ids := make([]string, len(networks))
	for i, n := range networks {
		ids[i] = n.ID
	}
	return ids
}

func objects(policies []RBACPolicy) []string {
	ids := make([]string, len(policies))
	for i, p := range policies {
		ids[i] = p.ObjectID
	}
	return ids
}
