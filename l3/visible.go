package l3

import (
	"context"
	"errors"
)

// These find a resource that the caller may see: his project's, on his project's networks, or shared with him. For all else they answer as if
// it did not exist.

func (s *Service) network(ctx context.Context, tx Tx, who Caller, id string) (Network, error) {
	absent := notFound("NetworkNotFound", "Network %s could not be found.", id)
	n, err := found(ctx, tx.Networks(), id, absent)
	if err != nil || who.owns(n.ProjectID) {
		return n, err
	}
	policies, err := policiesFor(ctx, tx, who, oneOf("object_id", id))
	if err == nil && len(policies) == 0 {
		err = absent
	}
	return n, err
}

func (s *Service) subnet(ctx context.Context, tx Tx, who Caller, id string) (Subnet, error) {
	absent := notFound("SubnetNotFound", "Subnet %s could not be found.", id)
	sub, err := found(ctx, tx.Subnets(), id, absent)
	if err != nil || who.owns(sub.ProjectID) {
		return sub, err
	}
	if _, err = s.network(ctx, tx, who, sub.NetworkID); errors.Is(err, ErrNotFound) {
		err = absent
	}
	return sub, err
}

func (s *Service) port(ctx context.Context, tx Tx, who Caller, id string) (Port, error) {
	absent := notFound("PortNotFound", "Port %s could not be found.", id)
	p, err := found(ctx, tx.Ports(), id, absent)
	if err != nil || who.owns(p.ProjectID) {
		return p, err
	}
	owns, err := ownsNetwork(ctx, tx, who, p.NetworkID)
	if err == nil && !owns {
		err = absent
	}
	return p, err
}

func (s *Service) securityGroup(ctx context.Context, tx Tx, who Caller, id string) (SecurityGroup, error) {
	absent := notFound("SecurityGroupNotFound", "Security group %s does not exist", id)
	g, err := found(ctx, tx.SecurityGroups(), id, absent)
	return owned(who, g, g.Meta, err, absent)
}

func (s *Service) securityGroupRule(ctx context.Context, tx Tx, who Caller, id string) (SecurityGroupRule, error) {
	absent := notFound("SecurityGroupRuleNotFound", "Security group rule %s does not exist", id)
	r, err := found(ctx, tx.SecurityGroupRules(), id, absent)
	return owned(who, r, r.Meta, err, absent)
}

func (s *Service) rbacPolicy(ctx context.Context, tx Tx, who Caller, id string) (RBACPolicy, error) {
	absent := notFound("RbacPolicyNotFound", "RBAC policy of type network with ID %s not found", id)
	p, err := found(ctx, tx.RBACPolicies(), id, absent)
	return owned(who, p, p.Meta, err, absent)
}

// found gets a resource; absent is the error when it is not there.
func found[R any](ctx context.Context, table Table[R], id string, absent error) (R, error) {
	r, err := table.Get(ctx, id)
	if errors.Is(err, ErrAbsent) {
		err = absent
	}
	return r, err
}

// owned lets only a resource of the caller's project pass.
func owned[R any](who Caller, r R, m Meta, err, absent error) (R, error) {
	if err == nil && !who.owns(m.ProjectID) {
		err = absent
	}
	return r, err
}

func ownsNetwork(ctx context.Context, tx Tx, who Caller, id string) (bool, error) {
	if who.Admin {
		return true, nil
	}
	n, err := tx.Networks().Get(ctx, id)
	return err == nil && who.owns(n.ProjectID), err
}

// policiesFor lists the RBAC policies by which a caller sees what is not his.
func policiesFor(ctx context.Context, tx Tx, who Caller, more ...Filter) ([]RBACPolicy, error) {
	return tx.RBACPolicies().List(ctx, Query{Filters: append(more, oneOf("target_project", everyone, who.Project))})
}

// The scopes bound a list to what the caller may see; see [Query].

func ownScope(who Caller) []Filter {
	if who.Admin {
		return nil
	}
	return []Filter{ownProject(who)}
}

func networkScope(ctx context.Context, tx Tx, who Caller) ([]Filter, error) {
	if who.Admin {
		return nil, nil
	}
	policies, err := policiesFor(ctx, tx, who)
	return []Filter{ownProject(who), oneOf("id", objects(policies)...)}, err
}

func subnetScope(ctx context.Context, tx Tx, who Caller) ([]Filter, error) {
	if who.Admin {
		return nil, nil
	}
	scope, err := networkScope(ctx, tx, who)
	if err != nil {
		return nil, err
	}
	visible, err := tx.Networks().List(ctx, Query{Scope: scope})
	return []Filter{ownProject(who), oneOf("network_id", networkIDs(visible)...)}, err
}

func portScope(ctx context.Context, tx Tx, who Caller) ([]Filter, error) {
	if who.Admin {
		return nil, nil
	}
	own, err := tx.Networks().List(ctx, Query{Scope: ownScope(who)})
	return []Filter{ownProject(who), oneOf("network_id", networkIDs(own)...)}, err
}

// ownProject finds what belongs to the caller's project. A caller without one owns nothing: what has no owner is not his.
func ownProject(who Caller) Filter {
	if who.Project == "" {
		return Filter{Field: "id", Op: In}
	}
	return oneOf("project_id", who.Project)
}

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
