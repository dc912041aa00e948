package service

import (
	"context"
	"errors"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

func qosPolicyKind() kind[l3.QoSPolicy, *l3.QoSPolicy] {
	return kind[l3.QoSPolicy, *l3.QoSPolicy]{
		name: "policy", absent: "QosPolicyNotFound", saying: "QoS policy %s could not be found.", table: l3.Tx.QoSPolicies,
		relation: func(ctx context.Context, tx l3.Tx, who l3.Caller, p l3.QoSPolicy) (l3.Relation, error) {
			return relationToShared(ctx, tx, who, p.ID, p.ProjectID)
		},
		scope: func(s *Service, ctx context.Context, tx l3.Tx, who l3.Caller, rule string) ([]l3.Filter, error) {
			return s.sharedScope(ctx, tx, who, rule, l3.ObjectQoSPolicy)
		},
		query: func(ctx context.Context, tx l3.Tx, who l3.Caller, q *l3.Query) error {
			return sharedQuery(ctx, tx, who, q, l3.ObjectQoSPolicy)
		},
		show: (*Service).showQoSPolicies,
	}
}

// showQoSPolicies fills in the rules of policies, and whether they are shared with the caller.
func (*Service) showQoSPolicies(ctx context.Context, tx l3.Tx, who l3.Caller, list []l3.QoSPolicy) error {
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	rules, err := listOf(ctx, tx.QoSRules(), "qos_policy_id", ids)
	if err != nil {
		return err
	}
	shared, err := sharedWith(ctx, tx, who, ids)
	for i := range list {
		list[i].Shared = list[i].Shared || shared[list[i].ID]
		list[i].Rules = slices.DeleteFunc(slices.Clone(rules), func(r l3.QoSRule) bool { return r.PolicyID != list[i].ID })
	}
	return err
}

// CreateQoSPolicies makes policies without rules.
func (s *Service) CreateQoSPolicies(ctx context.Context, who l3.Caller, specs ...l3.QoSPolicySpec) ([]l3.QoSPolicy, error) {
	return create(ctx, s, who, qosPolicyKind(), specs, func(w *work, spec l3.QoSPolicySpec) (l3.QoSPolicy, error) {
		const rule = "create_policy"
		owner, err := s.project(who, rule, spec.ProjectID)
		if err != nil {
			return l3.QoSPolicy{}, err
		}
		if err := s.may(who, rule, relationToProject(who, owner)); err != nil {
			return l3.QoSPolicy{}, err
		}
		p := l3.QoSPolicy{
			Meta:   s.newMeta(owner, or(spec.Name, ""), or(spec.Description, "")),
			Shared: or(spec.Shared, false), IsDefault: or(spec.IsDefault, false),
		}
		if p.Tags, err = newTags(or(spec.Tags, nil)); err != nil {
			return p, err
		}
		if err := checkQoSPolicy(ctx, w, p); err != nil {
			return p, err
		}
		if err := w.QoSPolicies().Insert(ctx, p); err != nil || !p.Shared {
			return p, err
		}
		return p, s.shareWithEveryone(ctx, w, l3.ObjectQoSPolicy, p.Meta, l3.AccessAsShared)
	})
}

func checkQoSPolicy(ctx context.Context, w *work, p l3.QoSPolicy) error {
	if err := texts(&p.Name, &p.Description); err != nil || !p.IsDefault {
		return err
	}
	other, err := defaultQoSPolicy(ctx, w, p.ProjectID)
	if err != nil || other == "" || other == p.ID {
		return err
	}
	return conflict("QoSPolicyDefaultAlreadyExists", "A default QoS policy exists for project %s.", p.ProjectID)
}

// defaultQoSPolicy returns the ID of the policy that a project's new networks have; empty: none.
func defaultQoSPolicy(ctx context.Context, tx l3.Tx, project string) (string, error) {
	list, err := tx.QoSPolicies().List(ctx, l3.Query{Filters: []l3.Filter{
		oneOf("project_id", project), {Field: "is_default", Op: l3.In, Values: []any{true}},
	}})
	if err != nil || len(list) == 0 {
		return "", err
	}
	return list[0].ID, nil
}

// GetQoSPolicy finds a policy of the caller's project, or a shared one.
func (s *Service) GetQoSPolicy(ctx context.Context, who l3.Caller, id string) (l3.QoSPolicy, error) {
	return qosPolicyKind().get(ctx, s, who, id)
}

// ListQoSPolicies lists the policies of the caller's project, and shared ones.
func (s *Service) ListQoSPolicies(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.QoSPolicy, error) {
	return qosPolicyKind().list(ctx, s, who, q)
}

// UpdateQoSPolicy changes what is given. A policy that other projects use stays shared with them.
func (s *Service) UpdateQoSPolicy(ctx context.Context, who l3.Caller, id string, spec l3.QoSPolicySpec, cond l3.If) (l3.QoSPolicy, error) {
	return qosPolicyKind().change(ctx, s, who, id, cond, nil, func(w *work, p *l3.QoSPolicy) error {
		before := *p
		if err := fixed("project_id", p.ProjectID, spec.ProjectID); err != nil {
			return err
		}
		set(&p.Name, spec.Name)
		set(&p.Description, spec.Description)
		set(&p.Shared, spec.Shared)
		set(&p.IsDefault, spec.IsDefault)
		if err := checkQoSPolicy(ctx, w, *p); err != nil {
			return err
		}
		if before.Shared && !p.Shared {
			if err := stopSharing(ctx, w, &sharedQoSPolicy{s, *p}, "QoS policy "+p.ID); err != nil {
				return err
			}
		}
		if !before.Shared && p.Shared {
			if err := s.shareWithEveryone(ctx, w, l3.ObjectQoSPolicy, p.Meta, l3.AccessAsShared); err != nil {
				return err
			}
		}
		_, err := put(ctx, w.QoSPolicies(), before, p, s.now())
		return err
	})
}

// DeleteQoSPolicy deletes a policy that nothing has, with its rules.
func (s *Service) DeleteQoSPolicy(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	return qosPolicyKind().remove(ctx, s, who, id, cond, nil, func(w *work, p l3.QoSPolicy) error {
		users, err := usersOfQoSPolicy(ctx, w, p.ID)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return conflict("QosPolicyInUse", "QoS Policy %s is used by %s %s.", p.ID, users[0].kind, users[0].id)
		}
		rules, err := w.QoSRules().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("qos_policy_id", p.ID)}})
		if err != nil {
			return err
		}
		for _, r := range rules {
			if err := w.QoSRules().Delete(ctx, r.ID); err != nil {
				return err
			}
		}
		if err := unshare(ctx, w, p.ID, l3.AccessAsShared); err != nil {
			return err
		}
		return w.QoSPolicies().Delete(ctx, p.ID)
	})
}

// mayUseQoSPolicy refuses a policy that the caller does not see. An empty ID is none.
func (s *Service) mayUseQoSPolicy(ctx context.Context, tx l3.Tx, who l3.Caller, id *string) error {
	if or(id, "") == "" {
		return nil
	}
	_, _, err := qosPolicyKind().find(ctx, s, tx, who, *id)
	return err
}

// qosUser is what has a policy.
type qosUser struct{ kind, id, project string }

// usersOfQoSPolicy lists what a policy was given to.
func usersOfQoSPolicy(ctx context.Context, tx l3.Tx, policy string) (users []qosUser, err error) {
	here := l3.Query{Filters: []l3.Filter{oneOf("qos_policy_id", policy)}}
	networks, err := tx.Networks().List(ctx, here)
	ports, err2 := tx.Ports().List(ctx, here)
	fips, err3 := tx.FloatingIPs().List(ctx, here)
	routers, err4 := tx.Routers().List(ctx, l3.Query{Filters: []l3.Filter{oneOf(gatewayPolicy, policy)}})
	for _, n := range networks {
		users = append(users, qosUser{"network", n.ID, n.ProjectID})
	}
	for _, p := range ports {
		users = append(users, qosUser{"port", p.ID, p.ProjectID})
	}
	for _, f := range fips {
		users = append(users, qosUser{"floatingip", f.ID, f.ProjectID})
	}
	for _, r := range routers {
		users = append(users, qosUser{"router", r.ID, r.ProjectID})
	}
	return users, errors.Join(err, err2, err3, err4)
}

// gatewayPolicy is the attribute of a router with the policy of its gateway.
const gatewayPolicy = "external_gateway_info.qos_policy_id"
