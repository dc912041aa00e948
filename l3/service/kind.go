package service

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// kind is what resources of all kinds have in common: how they are made, found, listed, shown,
// changed and deleted.
type kind[R any, P l3.Resource[R]] struct {
	name           string // in the policy's rules: security_group
	absent, saying string // Neutron's refusal of an ID that no resource has, and its message
	table          func(l3.Tx) l3.Table[R]
	// relation is how a resource is related to the caller, and scope bounds a list to those that a
	// rule allows it; nil: by their owner alone.
	relation func(ctx context.Context, tx l3.Tx, who l3.Caller, r R) (l3.Relation, error)
	scope    func(s *Service, ctx context.Context, tx l3.Tx, who l3.Caller, rule string) ([]l3.Filter, error)
	// query replaces filters of a list, whose scope is set, that the store cannot answer as they
	// are; nil: it can.
	query func(ctx context.Context, tx l3.Tx, who l3.Caller, q *l3.Query) error
	// status depends on whether a host is alive, which the attribute host names; nil: it does not.
	status func(P) l3.Status
	host   string
	// show fills in what follows from other resources; nil: nothing does.
	show func(s *Service, ctx context.Context, tx l3.Tx, who l3.Caller, list []R) error
}

// find gets a resource that the policy lets the caller see, and how it is related to the caller.
// Any other is answered for as if it did not exist.
func (k kind[R, P]) find(ctx context.Context, s *Service, tx l3.Tx, who l3.Caller, id string) (R, l3.Relation, error) {
	var none R
	absent := notFound(k.absent, k.saying, id)
	r, err := found(ctx, k.table(tx), id, absent)
	if err != nil {
		return none, 0, err
	}
	to := relationToProject(who, P(&r).Base().ProjectID)
	if k.relation != nil {
		if to, err = k.relation(ctx, tx, who, r); err != nil {
			return none, 0, err
		}
	}
	if !s.Allows(who, "get_"+k.name, to) {
		return none, 0, absent
	}
	return r, to, nil
}

func (k kind[R, P]) showOne(ctx context.Context, s *Service, tx l3.Tx, who l3.Caller, r *R) error {
	if k.show == nil {
		return nil
	}
	one := []R{*r}
	err := k.show(s, ctx, tx, who, one)
	*r = one[0]
	return err
}

// get answers with a resource that the caller may see.
func (k kind[R, P]) get(ctx context.Context, s *Service, who l3.Caller, id string) (r R, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		if r, _, err = k.find(ctx, s, tx, who, id); err != nil {
			return err
		}
		return k.showOne(ctx, s, tx, who, &r)
	})
	return r, err
}

// list lists the resources that the caller may see.
func (k kind[R, P]) list(ctx context.Context, s *Service, who l3.Caller, q l3.Query) (list []R, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		q := q // the transaction may run again
		rule := "get_" + k.name
		if k.scope == nil {
			q.Scope = s.ownScope(who, rule)
		} else if q.Scope, err = k.scope(s, ctx, tx, who, rule); err != nil {
			return err
		}
		q.Filters = slices.Clone(q.Filters)
		if k.query != nil {
			if err := k.query(ctx, tx, who, &q); err != nil {
				return err
			}
		}
		d := derived[R]{field: "status", list: k.table(tx).List, id: func(r *R) string { return P(r).Base().ID }}
		d.fill = func(list []R) error {
			if k.show == nil {
				return nil
			}
			return k.show(s, ctx, tx, who, list)
		}
		if k.status == nil {
			list, err = d.all(ctx, q)
			return err
		}
		d.value = func(r *R) any { return string(k.status(r)) }
		list, err = d.live(ctx, s, tx, q, k.host)
		return err
	})
	return list, err
}

// create makes a resource of each spec in one transaction: all or none.
func create[S, R any, P l3.Resource[R]](
	ctx context.Context, s *Service, who l3.Caller, k kind[R, P], specs []S, fn func(*work, S) (R, error),
) ([]R, error) {
	var made []R
	err := s.update(ctx, func(w *work) error {
		made = make([]R, len(specs))
		for i, spec := range specs {
			var err error
			if made[i], err = fn(w, spec); err != nil {
				return err
			}
		}
		if k.show == nil {
			return nil
		}
		return k.show(s, ctx, w, who, made)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// change changes a resource by fn, unless may refuses; nil: as the policy says.
func (k kind[R, P]) change(
	ctx context.Context, s *Service, who l3.Caller, id string, cond l3.If, may func(l3.Relation) error, fn func(*work, *R) error,
) (r R, err error) {
	err = s.update(ctx, func(w *work) error {
		var to l3.Relation
		if r, to, err = k.find(ctx, s, w, who, id); err != nil {
			return err
		}
		if may == nil {
			err = s.may(who, "update_"+k.name, to)
		} else {
			err = may(to)
		}
		if err != nil {
			return err
		}
		if err := checkIf(cond, *P(&r).Base()); err != nil {
			return err
		}
		if err := fn(w, &r); err != nil {
			return err
		}
		return k.showOne(ctx, s, w, who, &r)
	})
	return r, err
}

// remove deletes a resource by fn, unless the policy refuses, or may, which may be nil.
func (k kind[R, P]) remove(
	ctx context.Context, s *Service, who l3.Caller, id string, cond l3.If, may func(R, l3.Relation) error, fn func(*work, R) error,
) error {
	return s.update(ctx, func(w *work) error {
		r, to, err := k.find(ctx, s, w, who, id)
		if err != nil {
			return err
		}
		if err := s.may(who, "delete_"+k.name, to); err != nil {
			return err
		}
		if may != nil {
			if err := may(r, to); err != nil {
				return err
			}
		}
		if err := checkIf(cond, *P(&r).Base()); err != nil {
			return err
		}
		return fn(w, r)
	})
}

func networkKind() kind[l3.Network, *l3.Network] {
	return kind[l3.Network, *l3.Network]{
		name: "network", absent: "NetworkNotFound", saying: "Network %s could not be found.", table: l3.Tx.Networks,
		relation: relationToNetwork, scope: (*Service).networkScope, query: networkQuery, show: (*Service).showNetworks,
	}
}

func subnetKind() kind[l3.Subnet, *l3.Subnet] {
	return kind[l3.Subnet, *l3.Subnet]{
		name: "subnet", absent: "SubnetNotFound", saying: "Subnet %s could not be found.", table: l3.Tx.Subnets,
		relation: func(ctx context.Context, tx l3.Tx, who l3.Caller, sub l3.Subnet) (l3.Relation, error) {
			return relationOnNetwork(ctx, tx, who, sub.ProjectID, sub.NetworkID)
		},
		scope: (*Service).onNetworkScope, query: subnetQuery, show: (*Service).showSubnets,
	}
}

func portKind() kind[l3.Port, *l3.Port] {
	return kind[l3.Port, *l3.Port]{
		name: "port", absent: "PortNotFound", saying: "Port %s could not be found.", table: l3.Tx.Ports,
		relation: func(ctx context.Context, tx l3.Tx, who l3.Caller, p l3.Port) (l3.Relation, error) {
			return relationOnNetwork(ctx, tx, who, p.ProjectID, p.NetworkID)
		},
		scope: (*Service).onNetworkScope, show: (*Service).showPorts,
		host: "binding.binding:host_id", status: func(p *l3.Port) l3.Status { return p.Status },
	}
}

func routerKind() kind[l3.Router, *l3.Router] {
	return kind[l3.Router, *l3.Router]{
		name: "router", absent: "RouterNotFound", saying: "Router %s could not be found", table: l3.Tx.Routers,
		show: (*Service).showRouters, host: "host", status: func(r *l3.Router) l3.Status { return r.Status },
	}
}

func floatingIPKind() kind[l3.FloatingIP, *l3.FloatingIP] {
	return kind[l3.FloatingIP, *l3.FloatingIP]{
		name: "floatingip", absent: "FloatingIPNotFound", saying: "Floating IP %s could not be found", table: l3.Tx.FloatingIPs,
		show: (*Service).showFloatingIPs, host: "host", status: func(f *l3.FloatingIP) l3.Status { return f.Status },
	}
}

func groupKind() kind[l3.SecurityGroup, *l3.SecurityGroup] {
	return kind[l3.SecurityGroup, *l3.SecurityGroup]{
		name: "security_group", absent: "SecurityGroupNotFound", saying: "Security group %s does not exist",
		table: l3.Tx.SecurityGroups, show: (*Service).showGroups,
	}
}

func ruleKind() kind[l3.SecurityGroupRule, *l3.SecurityGroupRule] {
	return kind[l3.SecurityGroupRule, *l3.SecurityGroupRule]{
		name: "security_group_rule", absent: "SecurityGroupRuleNotFound", saying: "Security group rule %s does not exist",
		table: l3.Tx.SecurityGroupRules, query: ruleQuery,
	}
}

func subnetPoolKind() kind[l3.SubnetPool, *l3.SubnetPool] {
	return kind[l3.SubnetPool, *l3.SubnetPool]{
		name: "subnetpool", absent: "SubnetPoolNotFound", saying: "Subnet pool %s could not be found.", table: l3.Tx.SubnetPools,
		relation: func(ctx context.Context, tx l3.Tx, who l3.Caller, p l3.SubnetPool) (l3.Relation, error) {
			return relationToShared(ctx, tx, who, p.ID, p.ProjectID)
		},
		scope: func(s *Service, ctx context.Context, tx l3.Tx, who l3.Caller, rule string) ([]l3.Filter, error) {
			return s.sharedScope(ctx, tx, who, rule, l3.ObjectSubnetPool)
		},
		query: func(ctx context.Context, tx l3.Tx, who l3.Caller, q *l3.Query) error {
			return sharedQuery(ctx, tx, who, q, l3.ObjectSubnetPool)
		},
		show: (*Service).showSubnetPools,
	}
}

func addressScopeKind() kind[l3.AddressScope, *l3.AddressScope] {
	return kind[l3.AddressScope, *l3.AddressScope]{
		name: "address_scope", absent: "AddressScopeNotFound", saying: "Address scope %s could not be found.", table: l3.Tx.AddressScopes,
		relation: func(ctx context.Context, tx l3.Tx, who l3.Caller, a l3.AddressScope) (l3.Relation, error) {
			return relationToShared(ctx, tx, who, a.ID, a.ProjectID)
		},
		scope: func(s *Service, ctx context.Context, tx l3.Tx, who l3.Caller, rule string) ([]l3.Filter, error) {
			return s.sharedScope(ctx, tx, who, rule, l3.ObjectAddressScope)
		},
		query: func(ctx context.Context, tx l3.Tx, who l3.Caller, q *l3.Query) error {
			return sharedQuery(ctx, tx, who, q, l3.ObjectAddressScope)
		},
		show: (*Service).showAddressScopes,
	}
}

func policyKind() kind[l3.RBACPolicy, *l3.RBACPolicy] {
	return kind[l3.RBACPolicy, *l3.RBACPolicy]{
		name: "rbac_policy", absent: "RbacPolicyNotFound", saying: "RBAC policy of type network with ID %s not found", table: l3.Tx.RBACPolicies,
	}
}

// put stores a resource, unless it is what it was before.
func put[R any, P l3.Resource[R]](ctx context.Context, table l3.Table[R], before R, after P, now time.Time) (changed bool, err error) {
	if reflect.DeepEqual(before, *after) {
		return false, nil
	}
	after.Base().UpdatedAt = now
	return true, table.Update(ctx, after)
}

// fixed refuses to change an attribute that is given at creation alone.
func fixed[T comparable](attribute string, have T, given *T) error {
	if given == nil || *given == have {
		return nil
	}
	return badRequest("HTTPBadRequest", "Cannot update read-only attribute %s", attribute)
}
