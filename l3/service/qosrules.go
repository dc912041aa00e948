package service

import (
	"context"
	"errors"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// qosRuleKind is the rules of one type that a policy has; of any policy, if it is empty.
func qosRuleKind(policy string, t l3.QoSRuleType) kind[l3.QoSRule, *l3.QoSRule] {
	k := kind[l3.QoSRule, *l3.QoSRule]{name: "policy_" + string(t) + "_rule", absent: "QosRuleNotFound", table: l3.Tx.QoSRules}
	k.saying = "QoS rule %s for policy " + policy + " could not be found."
	if policy == "" {
		k.saying = "QoS rule of type alias_" + string(t) + "_rule with id %s could not be found."
	}
	k.relation = func(ctx context.Context, tx l3.Tx, who l3.Caller, r l3.QoSRule) (l3.Relation, error) {
		if r.Type != t || policy != "" && r.PolicyID != policy {
			return 0, notFound(k.absent, k.saying, r.ID)
		}
		return relationToShared(ctx, tx, who, r.PolicyID, r.ProjectID)
	}
	k.scope = func(s *Service, ctx context.Context, tx l3.Tx, who l3.Caller, rule string) ([]l3.Filter, error) {
		_, to, err := qosPolicyKind().find(ctx, s, tx, who, policy)
		if err == nil && !s.Allows(who, rule, to) {
			return []l3.Filter{nothing()}, nil
		}
		return []l3.Filter{oneOf("qos_policy_id", policy)}, err
	}
	k.query = func(_ context.Context, _ l3.Tx, _ l3.Caller, q *l3.Query) error {
		q.Filters = append(q.Filters, oneOf("type", string(t)))
		return nil
	}
	return k
}

// CreateQoSRules adds rules of a type to a policy.
func (s *Service) CreateQoSRules(ctx context.Context, who l3.Caller, policy string, t l3.QoSRuleType, specs ...l3.QoSRuleSpec) ([]l3.QoSRule, error) {
	return create(ctx, s, who, qosRuleKind(policy, t), specs, func(w *work, spec l3.QoSRuleSpec) (l3.QoSRule, error) {
		p, to, err := qosPolicyKind().find(ctx, s, w, who, policy)
		if err != nil {
			return l3.QoSRule{}, err
		}
		if err := s.may(who, "create_policy_"+string(t)+"_rule", to); err != nil {
			return l3.QoSRule{}, err
		}
		r := l3.QoSRule{Meta: s.newMeta(p.ProjectID, "", ""), PolicyID: p.ID, Type: t}
		if t != l3.QoSDSCPMarking {
			r.Direction = egress
		}
		applyQoSRule(&r, spec)
		if err := s.fits(ctx, w, p, r); err != nil {
			return r, err
		}
		if err := w.QoSRules().Insert(ctx, r); err != nil {
			return r, ruleCollided(err, r)
		}
		return r, s.qosChanged(ctx, w, who, p)
	})
}

func applyQoSRule(r *l3.QoSRule, spec l3.QoSRuleSpec) {
	set(&r.Direction, spec.Direction)
	set(&r.MaxKbps, spec.MaxKbps)
	set(&r.MaxBurstKbps, spec.MaxBurstKbps)
	set(&r.DSCPMark, spec.DSCPMark)
	set(&r.MinKbps, spec.MinKbps)
}

// fits refuses a rule that cannot stand beside the others of its policy.
func (s *Service) fits(ctx context.Context, w *work, p l3.QoSPolicy, r l3.QoSRule) error {
	if d := r.Direction; d != egress && d != ingress && r.Type != l3.QoSDSCPMarking {
		return invalid("Invalid input for direction. Reason: '%s' is not in ['ingress', 'egress'].", d)
	}
	if r.MaxKbps < 0 || r.MaxBurstKbps < 0 || r.MinKbps < 0 {
		return invalid("Invalid input for rule. Reason: rates are not negative.")
	}
	others, err := w.QoSRules().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("qos_policy_id", p.ID)}})
	if err != nil {
		return err
	}
	for _, o := range others {
		switch {
		case o.ID == r.ID:
		case o.Type == r.Type && o.Direction == r.Direction:
			return ruleConflict(r, o.ID)
		case contradicts(o, r) || contradicts(r, o):
			return ruleConflict(r, o.ID)
		}
	}
	return nil
}

// contradicts says that a limit is below a guaranteed minimum.
func contradicts(limit, least l3.QoSRule) bool {
	return limit.Type == l3.QoSBandwidthLimit && least.Type == l3.QoSMinimumBandwidth && limit.Direction == least.Direction && limit.MaxKbps < least.MinKbps
}

func ruleConflict(r l3.QoSRule, other string) error {
	return conflict("QoSRulesConflict", "Rule %s conflicts with rule %s which already exists in QoS Policy %s.", r.Type, other, r.PolicyID)
}

// ruleCollided says what it means when the store has a rule of the type and direction.
func ruleCollided(err error, r l3.QoSRule) error {
	if errors.Is(err, l3.ErrTaken) {
		return conflict("QoSRulesConflict", "Rule %s conflicts with another one which already exists in QoS Policy %s.", r.Type, r.PolicyID)
	}
	return err
}

// GetQoSRule finds a rule of a policy, or of any that the caller sees if none is named.
func (s *Service) GetQoSRule(ctx context.Context, who l3.Caller, policy string, t l3.QoSRuleType, id string) (l3.QoSRule, error) {
	return qosRuleKind(policy, t).get(ctx, s, who, id)
}

// ListQoSRules lists the rules of a type that a policy has.
func (s *Service) ListQoSRules(ctx context.Context, who l3.Caller, policy string, t l3.QoSRuleType, q l3.Query) ([]l3.QoSRule, error) {
	return qosRuleKind(policy, t).list(ctx, s, who, q)
}

// UpdateQoSRule changes what is given. The routers that the policy concerns have it at once.
func (s *Service) UpdateQoSRule(
	ctx context.Context, who l3.Caller, policy string, t l3.QoSRuleType, id string, spec l3.QoSRuleSpec, cond l3.If,
) (l3.QoSRule, error) {
	return qosRuleKind(policy, t).change(ctx, s, who, id, cond, nil, func(w *work, r *l3.QoSRule) error {
		before := *r
		applyQoSRule(r, spec)
		p, err := w.QoSPolicies().Get(ctx, r.PolicyID)
		if err != nil {
			return err
		}
		if err := s.fits(ctx, w, p, *r); err != nil {
			return err
		}
		changed, err := put(ctx, w.QoSRules(), before, r, s.now())
		if err != nil || !changed {
			return ruleCollided(err, *r)
		}
		return s.qosChanged(ctx, w, who, p)
	})
}

// DeleteQoSRule ends a rule.
func (s *Service) DeleteQoSRule(ctx context.Context, who l3.Caller, policy string, t l3.QoSRuleType, id string, cond l3.If) error {
	return qosRuleKind(policy, t).remove(ctx, s, who, id, cond, nil, func(w *work, r l3.QoSRule) error {
		p, err := w.QoSPolicies().Get(ctx, r.PolicyID)
		if err != nil {
			return err
		}
		if err := w.QoSRules().Delete(ctx, r.ID); err != nil {
			return err
		}
		return s.qosChanged(ctx, w, who, p)
	})
}

// qosChanged is called after a rule of a policy has changed: the policy's revision grows, and the
// routers that it concerns are realised anew.
func (s *Service) qosChanged(ctx context.Context, w *work, who l3.Caller, p l3.QoSPolicy) error {
	p.UpdatedAt = s.now()
	if err := w.QoSPolicies().Update(ctx, &p); err != nil {
		return err
	}
	routers, err := routersOfQoSPolicies(ctx, w, p.ID)
	if err != nil {
		return err
	}
	return s.touchFor(ctx, w, who, routers...)
}

// routersOfQoSPolicies returns the sorted IDs of the routers that enforce one of the policies: for
// their gateway, or for a floating IP of theirs, by its own choice or because its external network
// has the policy.
func routersOfQoSPolicies(ctx context.Context, tx l3.Tx, policies ...string) ([]string, error) {
	networks, err := listOf(ctx, tx.Networks(), "qos_policy_id", policies)
	if err != nil {
		return nil, err
	}
	fips, err := listOf(ctx, tx.FloatingIPs(), "qos_policy_id", policies)
	if err != nil {
		return nil, err
	}
	routers, err := listOf(ctx, tx.Routers(), gatewayPolicy, policies)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(fips)+len(routers))
	for _, r := range routers {
		ids = append(ids, r.ID)
	}
	for _, f := range fips {
		ids = append(ids, f.RouterID)
	}
	inherited, err := routersInheriting(ctx, tx, networkIDs(networks))
	if err != nil {
		return nil, err
	}
	ids = append(ids, inherited...)
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" }), nil
}

// routersLimited are those of the routers that a policy with a bandwidth limit concerns.
func routersLimited(ctx context.Context, tx l3.Tx, among []string) ([]string, error) {
	rules, err := tx.QoSRules().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("type", string(l3.QoSBandwidthLimit))}})
	if err != nil || len(rules) == 0 {
		return nil, err
	}
	limited, err := routersOfQoSPolicies(ctx, tx, distinct(rules, func(r *l3.QoSRule) string { return r.PolicyID })...)
	return slices.DeleteFunc(limited, func(id string) bool { return !slices.Contains(among, id) }), err
}

// routersInheriting lists the routers with a gateway, or a floating IP, on one of the networks that
// has no policy of its own.
func routersInheriting(ctx context.Context, tx l3.Tx, networks []string) (ids []string, err error) {
	fips, err := listOf(ctx, tx.FloatingIPs(), "floating_network_id", networks, oneOf("qos_policy_id", ""))
	if err != nil {
		return nil, err
	}
	for _, f := range fips {
		ids = append(ids, f.RouterID)
	}
	gateways, err := listOf(ctx, tx.Ports(), "network_id", networks, oneOf("device_owner", l3.OwnerRouterGateway))
	if err != nil {
		return nil, err
	}
	routers, err := listOf(ctx, tx.Routers(), "id", routersOf(gateways))
	for _, r := range routers {
		if r.Gateway != nil && r.Gateway.QoSPolicyID == "" {
			ids = append(ids, r.ID)
		}
	}
	return ids, err
}
