package service

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// shareable is a resource that RBAC policies share.
type shareable interface {
	base() *l3.Meta
	kind() string // in messages
	// relation is how the resource is related to a caller.
	relation(ctx context.Context, tx l3.Tx, who l3.Caller) (l3.Relation, error)
	// users are the projects, beside the owner, that use the resource by the action of a policy.
	users(ctx context.Context, tx l3.Tx, action string) ([]string, error)
	// mayShare refuses a new policy whose target could not use the resource.
	mayShare(ctx context.Context, tx l3.Tx, p l3.RBACPolicy) error
	// mayUnshare refuses to end a policy, whether or not somebody uses the resource by it.
	mayUnshare(p l3.RBACPolicy) error
	// follow makes the attributes of the resource what its policies, as they are now, stand for.
	follow(ctx context.Context, w *work, policies []l3.RBACPolicy) error
}

// seenShareable finds the resource that a policy is about, if the caller sees it.
func (s *Service) seenShareable(ctx context.Context, tx l3.Tx, who l3.Caller, objectType, id string) (shareable, l3.Relation, error) {
	switch objectType {
	case l3.ObjectSubnetPool:
		p, to, err := subnetPoolKind().find(ctx, s, tx, who, id)
		return &sharedPool{s, p}, to, err
	case l3.ObjectAddressScope:
		a, to, err := addressScopeKind().find(ctx, s, tx, who, id)
		return &sharedScope{s, a}, to, err
	case l3.ObjectQoSPolicy:
		p, to, err := qosPolicyKind().find(ctx, s, tx, who, id)
		return &sharedQoSPolicy{s, p}, to, err
	}
	n, to, err := networkKind().find(ctx, s, tx, who, id)
	return &sharedNetwork{s, n}, to, err
}

// shareableOf finds the resource that a policy is about.
func (s *Service) shareableOf(ctx context.Context, tx l3.Tx, p l3.RBACPolicy) (shareable, error) {
	switch p.ObjectType {
	case l3.ObjectSubnetPool:
		pool, err := tx.SubnetPools().Get(ctx, p.ObjectID)
		return &sharedPool{s, pool}, err
	case l3.ObjectAddressScope:
		a, err := tx.AddressScopes().Get(ctx, p.ObjectID)
		return &sharedScope{s, a}, err
	case l3.ObjectQoSPolicy:
		policy, err := tx.QoSPolicies().Get(ctx, p.ObjectID)
		return &sharedQoSPolicy{s, policy}, err
	}
	n, err := tx.Networks().Get(ctx, p.ObjectID)
	return &sharedNetwork{s, n}, err
}

// forEveryone reports whether one of the policies shares a resource with every project.
func forEveryone(policies []l3.RBACPolicy) bool { return slices.ContainsFunc(policies, isForEveryone) }

func isForEveryone(p l3.RBACPolicy) bool {
	return p.Action == l3.AccessAsShared && p.TargetProject == everyone
}

type sharedNetwork struct {
	s *Service
	l3.Network
}

func (n *sharedNetwork) base() *l3.Meta { return &n.Meta }
func (n *sharedNetwork) kind() string   { return "network" }

func (n *sharedNetwork) relation(ctx context.Context, tx l3.Tx, who l3.Caller) (l3.Relation, error) {
	return relationToNetwork(ctx, tx, who, n.Network)
}

func (n *sharedNetwork) users(ctx context.Context, tx l3.Tx, action string) ([]string, error) {
	if action == l3.AccessAsExternal {
		return usersOfExternal(ctx, tx, n.Network)
	}
	return usersOfShared(ctx, tx, n.Network)
}

func (n *sharedNetwork) mayShare(context.Context, l3.Tx, l3.RBACPolicy) error { return nil }

func (n *sharedNetwork) mayUnshare(p l3.RBACPolicy) error {
	if p.Action == l3.AccessAsExternal && n.IsDefault && p.TargetProject == everyone {
		return policyInUse(n, "Default external networks must be shared to everyone.")
	}
	return nil
}

func (n *sharedNetwork) follow(ctx context.Context, w *work, policies []l3.RBACPolicy) error {
	before := n.External
	n.Shared = forEveryone(policies)
	n.External = slices.ContainsFunc(policies, func(p l3.RBACPolicy) bool { return p.Action == l3.AccessAsExternal })
	if before && !n.External {
		if err := n.s.networkMayCeaseExternal(ctx, w, n.ID); err != nil {
			return err
		}
	}
	n.UpdatedAt = n.s.now() // its policies are its own
	return w.Networks().Update(ctx, &n.Network)
}

type sharedPool struct {
	s *Service
	l3.SubnetPool
}

func (p *sharedPool) base() *l3.Meta { return &p.Meta }
func (p *sharedPool) kind() string   { return "subnet pool" }

func (p *sharedPool) relation(ctx context.Context, tx l3.Tx, who l3.Caller) (l3.Relation, error) {
	return relationToShared(ctx, tx, who, p.ID, p.ProjectID)
}

func (p *sharedPool) users(ctx context.Context, tx l3.Tx, _ string) ([]string, error) {
	subnets, err := subnetsOfPool(ctx, tx, p.ID)
	users := make([]string, len(subnets))
	for i := range subnets {
		users[i] = subnets[i].ProjectID
	}
	return strangers(users, p.ProjectID), err
}

// mayShare refuses a pool of an address scope that the target cannot use.
func (p *sharedPool) mayShare(ctx context.Context, tx l3.Tx, policy l3.RBACPolicy) error {
	if p.AddressScopeID == "" {
		return nil
	}
	scope, err := tx.AddressScopes().Get(ctx, p.AddressScopeID)
	if err != nil || scope.ProjectID == policy.TargetProject {
		return err
	}
	n, err := tx.RBACPolicies().Count(ctx, oneOf("object_id", scope.ID), oneOf("target_project", everyone, policy.TargetProject))
	if err == nil && n == 0 {
		err = invalid("Invalid input for operation: Failed to create RBAC policy on object %s because"+
			" target project doesn't have access to associated address scope.", p.ID)
	}
	return err
}

func (p *sharedPool) mayUnshare(l3.RBACPolicy) error { return nil }

func (p *sharedPool) follow(ctx context.Context, w *work, policies []l3.RBACPolicy) error {
	p.Shared, p.UpdatedAt = forEveryone(policies), p.s.now()
	return w.SubnetPools().Update(ctx, &p.SubnetPool)
}

type sharedScope struct {
	s *Service
	l3.AddressScope
}

func (a *sharedScope) base() *l3.Meta { return &a.Meta }
func (a *sharedScope) kind() string   { return "address scope" }

func (a *sharedScope) relation(ctx context.Context, tx l3.Tx, who l3.Caller) (l3.Relation, error) {
	return relationToShared(ctx, tx, who, a.ID, a.ProjectID)
}

func (a *sharedScope) users(ctx context.Context, tx l3.Tx, _ string) ([]string, error) {
	pools, err := poolsOfScope(ctx, tx, a.ID)
	users := make([]string, len(pools))
	for i := range pools {
		users[i] = pools[i].ProjectID
	}
	return strangers(users, a.ProjectID), err
}

func (a *sharedScope) mayShare(context.Context, l3.Tx, l3.RBACPolicy) error { return nil }
func (a *sharedScope) mayUnshare(l3.RBACPolicy) error                       { return nil }

func (a *sharedScope) follow(ctx context.Context, w *work, policies []l3.RBACPolicy) error {
	a.Shared, a.UpdatedAt = forEveryone(policies), a.s.now()
	return w.AddressScopes().Update(ctx, &a.AddressScope)
}

type sharedQoSPolicy struct {
	s *Service
	l3.QoSPolicy
}

func (p *sharedQoSPolicy) base() *l3.Meta { return &p.Meta }
func (p *sharedQoSPolicy) kind() string   { return "QoS policy" }

func (p *sharedQoSPolicy) relation(ctx context.Context, tx l3.Tx, who l3.Caller) (l3.Relation, error) {
	return relationToShared(ctx, tx, who, p.ID, p.ProjectID)
}

func (p *sharedQoSPolicy) users(ctx context.Context, tx l3.Tx, _ string) ([]string, error) {
	given, err := usersOfQoSPolicy(ctx, tx, p.ID)
	users := make([]string, len(given))
	for i, u := range given {
		users[i] = u.project
	}
	return strangers(users, p.ProjectID), err
}

func (p *sharedQoSPolicy) mayShare(context.Context, l3.Tx, l3.RBACPolicy) error { return nil }
func (p *sharedQoSPolicy) mayUnshare(l3.RBACPolicy) error                       { return nil }

func (p *sharedQoSPolicy) follow(ctx context.Context, w *work, policies []l3.RBACPolicy) error {
	p.Shared, p.UpdatedAt = forEveryone(policies), p.s.now()
	return w.QoSPolicies().Update(ctx, &p.QoSPolicy)
}
