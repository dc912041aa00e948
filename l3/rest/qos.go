package rest

import (
	"context"
	"fmt"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

func (a *api) qos() {
	serve(a, collection[l3.QoSPolicy, l3.QoSPolicySpec]{
		path: "qos/policies", one: "policy", many: "policies", revisions: true,
		table: qosPolicyTable(), ids: func(p *l3.QoSPolicy) string { return p.ID },
		list: a.service.ListQoSPolicies, get: a.service.GetQoSPolicy, create: a.service.CreateQoSPolicies,
		update: a.service.UpdateQoSPolicy, delete: a.service.DeleteQoSPolicy,
	})
	a.tags("/v2.0/policies/{id}", "policy", l3.KindQoSPolicy) // where Neutron has them
	for _, t := range l3.QoSRuleTypes() {
		one := string(t) + "_rule"
		serveParts(a, func(policy string) collection[l3.QoSRule, l3.QoSRuleSpec] {
			c := a.qosRules(policy, t)
			c.path, c.one, c.many = "qos/policies/{parent}/"+one+"s", one, one+"s"
			return c
		})
		serveParts(a, func(string) collection[l3.QoSRule, l3.QoSRuleSpec] { // a rule by its own ID alone
			c := a.qosRules("", t)
			c.path, c.one, c.many = "qos/alias_"+one+"s", "alias_"+one, "alias_"+one+"s"
			c.list, c.create = nil, nil
			return c
		})
	}
	a.qosRuleTypes()
}

// qosRules are those of a type that a policy has; of any policy, if it is empty.
func (a *api) qosRules(policy string, t l3.QoSRuleType) collection[l3.QoSRule, l3.QoSRuleSpec] {
	return collection[l3.QoSRule, l3.QoSRuleSpec]{
		table: qosRuleTable(t), ids: func(r *l3.QoSRule) string { return r.ID },
		list: func(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.QoSRule, error) {
			return a.service.ListQoSRules(ctx, who, policy, t, q)
		},
		get: func(ctx context.Context, who l3.Caller, id string) (l3.QoSRule, error) {
			return a.service.GetQoSRule(ctx, who, policy, t, id)
		},
		create: func(ctx context.Context, who l3.Caller, specs ...l3.QoSRuleSpec) ([]l3.QoSRule, error) {
			return a.service.CreateQoSRules(ctx, who, policy, t, specs...)
		},
		update: func(ctx context.Context, who l3.Caller, id string, spec l3.QoSRuleSpec, cond l3.If) (l3.QoSRule, error) {
			return a.service.UpdateQoSRule(ctx, who, policy, t, id, spec, cond)
		},
		delete: func(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
			return a.service.DeleteQoSRule(ctx, who, policy, t, id, cond)
		},
	}
}

func qosPolicyTable() table[l3.QoSPolicy, l3.QoSPolicySpec] {
	type R = l3.QoSPolicy
	type S = l3.QoSPolicySpec
	return append(standard[R, S](),
		field[R, S]("Name", label, given|needed|found),
		field[R, S]("Description", label, given|found),
		field[R, S]("Shared", boolean, given|found),
		field[R, S]("IsDefault", boolean, given|found),
		shown[R, S]("rules", list(record(qosRuleOfPolicy())), 0, func(r *R) []l3.QoSRule { return r.Rules }),
	)
}

const largestRate = 1<<31 - 1

var (
	direction = choice("egress", "ingress")
	rate      = integer(0, largestRate)
	// dscp is a code point that has a meaning (RFC 2474 and those that followed it).
	dscp = func() value[int] {
		v := integer(0, 56)
		read := v.read
		v.read = func(x any) (int, error) {
			n, err := read(x)
			if err == nil && !slices.Contains([]int{0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 46, 48, 56}, n) {
				err = invalidMark(n)
			}
			return n, err
		}
		return v
	}()
)

func invalidMark(n int) error { return fmt.Errorf("'%d' is not a DSCP mark that has a meaning", n) }

func qosRuleTable(t l3.QoSRuleType) table[l3.QoSRule, l3.QoSRuleSpec] {
	type R = l3.QoSRule
	type S = l3.QoSRuleSpec
	id := field[R, S]("ID", anyUUID, found)
	switch t {
	case l3.QoSBandwidthLimit:
		return table[R, S]{
			id,
			field[R, S]("MaxKbps", rate, given|needed|found),
			field[R, S]("MaxBurstKbps", rate, given|found),
			field[R, S]("Direction", direction, given|found),
		}
	case l3.QoSDSCPMarking:
		return table[R, S]{id, field[R, S]("DSCPMark", dscp, given|needed|found).storedOnly("packets keep their mark")}
	}
	return table[R, S]{
		id,
		field[R, S]("MinKbps", rate, given|needed|found).storedOnly("no bandwidth is reserved"),
		field[R, S]("Direction", direction, given|found).storedOnly("no bandwidth is reserved"),
	}
}

// qosRuleOfPolicy is what a policy shows of its rules, whatever their type.
func qosRuleOfPolicy() table[l3.QoSRule, any] {
	type R = l3.QoSRule
	of := func(types ...l3.QoSRuleType) func(*R) bool {
		return func(r *R) bool { return slices.Contains(types, r.Type) }
	}
	return table[R, any]{
		field[R, any]("ID", anyUUID, 0),
		field[R, any]("PolicyID", anyUUID, 0),
		field[R, any]("Type", word[l3.QoSRuleType](label), 0),
		field[R, any]("Direction", direction, 0).only(of(l3.QoSBandwidthLimit, l3.QoSMinimumBandwidth)),
		field[R, any]("MaxKbps", rate, 0).only(of(l3.QoSBandwidthLimit)),
		field[R, any]("MaxBurstKbps", rate, 0).only(of(l3.QoSBandwidthLimit)),
		field[R, any]("DSCPMark", rate, 0).only(of(l3.QoSDSCPMarking)),
		field[R, any]("MinKbps", rate, 0).only(of(l3.QoSMinimumBandwidth)),
	}
}

// qosRuleTypes registers the list of types.
func (a *api) qosRuleTypes() {
	type R = struct {
		Type l3.QoSRuleType `json:"type"`
	}
	const rule = "get_rule_type"
	t := table[R, any]{field[R, any]("Type", word[l3.QoSRuleType](label), filtered)}
	serve(a, collection[R, any]{path: "qos/rule-types", one: "rule_type", many: "rule_types", table: t,
		list: func(_ context.Context, who l3.Caller, q l3.Query) (list []R, err error) {
			if !a.service.Allows(who, rule, l3.RelationOwner) {
				return nil, nil
			}
			for _, t := range l3.QoSRuleTypes() {
				if !slices.ContainsFunc(q.Filters, func(f l3.Filter) bool { return !slices.Contains(f.Values, any(string(t))) }) {
					list = append(list, R{t})
				}
			}
			return list, nil
		},
		get: func(_ context.Context, who l3.Caller, name string) (R, error) {
			if !a.service.Allows(who, rule, l3.RelationOwner) || !slices.Contains(l3.QoSRuleTypes(), l3.QoSRuleType(name)) {
				return R{}, &l3.Error{Kind: l3.ErrNotFound, Name: "QosRuleTypeNotFound", Message: "QoS rule type " + show(name) + " could not be found."}
			}
			return R{l3.QoSRuleType(name)}, nil
		},
	})
}
