package l3test

import "github.com/l3kit/l3kit/l3"

// ofQoSPolicies: a project has one default policy at most; rules are of policies that exist, and
// each is the only one of its type and direction; and what has a policy has one that exists.
func (d *database) ofQoSPolicies() {
	defaults := map[string]string{}
	for _, p := range d.qosPolicies {
		d.sharedAs(l3.ObjectQoSPolicy, p.ID, p.Shared)
		if !p.IsDefault {
			continue
		}
		if other, twice := defaults[p.ProjectID]; twice {
			d.report("QoS policies %s and %s are both the default of project %s", p.ID, other, p.ProjectID)
		}
		defaults[p.ProjectID] = p.ID
	}
	type place struct {
		policy    string
		rules     l3.QoSRuleType
		direction string
	}
	seen := map[place]string{}
	for _, r := range d.qosRules {
		if p, ok := d.qosPolicies[r.PolicyID]; !ok || p.ProjectID != r.ProjectID {
			d.report("QoS rule %s of project %s is of QoS policy %q of project %s", r.ID, r.ProjectID, r.PolicyID, p.ProjectID)
		}
		at := place{r.PolicyID, r.Type, r.Direction}
		if other, twice := seen[at]; twice {
			d.report("QoS rules %s and %s of QoS policy %s are both of type %s and direction %q", r.ID, other, r.PolicyID, r.Type, r.Direction)
		}
		seen[at] = r.ID
	}
	has := func(kind l3.Kind, id, policy string) {
		if _, ok := d.qosPolicies[policy]; !ok && policy != "" {
			d.report("%s %s has QoS policy %s, which does not exist", kind, id, policy)
		}
	}
	for _, n := range d.networks {
		has(l3.KindNetwork, n.ID, n.QoSPolicyID)
	}
	for _, p := range d.ports {
		has(l3.KindPort, p.ID, p.QoSPolicyID)
	}
	for _, f := range d.floatingIPs {
		has(l3.KindFloatingIP, f.ID, f.QoSPolicyID)
	}
	for _, r := range d.routers {
		if r.Gateway != nil {
			has(l3.KindRouter, r.ID, r.Gateway.QoSPolicyID)
		}
	}
}
