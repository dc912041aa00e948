package service_test

import (
	"github.com/l3kit/l3kit/l3"
)

// qosStep makes a request about policies. Its random numbers are of their own, so that the other
// requests of a walk are the same without it.
func (w *walk) qosStep() {
	others := w.rand
	w.rand = w.qosRand
	defer func() { w.rand = others }()
	w.run(pick(w, w.qosSteps()))
}

// qosSteps give policies to resources and take them away, and change policies and their rules.
func (w *walk) qosSteps() []step {
	router, external, fip, port := pick(w, w.routers), pick(w, w.external), pick(w, w.fips), pick(w, w.ports)
	ctx, n := w.Context(), w.rand.IntN(len(w.policies))
	given := pick(w, []string{"", w.policies[n].ID, w.policies[n].ID})
	return []step{
		{"policy of a floating IP", func() error {
			_, err := w.UpdateFloatingIP(ctx, w.member, fip.ID, l3.FloatingIPSpec{QoSPolicyID: &given}, l3.If{})
			return err
		}},
		{"policy of a gateway, a network or a port", func() (err error) {
			gateway := ok(w.GetRouter(ctx, w.admin, router.ID))(w.rig).Gateway
			switch of := w.rand.IntN(3); {
			case of == 0 && gateway != nil:
				_, err = w.setGateway(w.admin, router.ID, l3.GatewaySpec{NetworkID: gateway.NetworkID, QoSPolicyID: &given})
			case of == 1:
				_, err = w.UpdateNetwork(ctx, w.admin, external.ID, l3.NetworkSpec{QoSPolicyID: &given}, l3.If{})
			default:
				_, err = w.UpdatePort(ctx, w.member, port.ID, l3.PortSpec{QoSPolicyID: &given}, l3.If{})
			}
			return err
		}},
		{"rule", func() error {
			policy := w.policies[n].ID
			spec := bandwidth(pick(w, []string{"egress", "ingress"}), 1+w.rand.IntN(3), 0)
			rules := ok(w.ListQoSRules(ctx, w.admin, policy, l3.QoSBandwidthLimit, l3.Query{}))(w.rig)
			if len(rules) == 0 || w.rand.IntN(3) == 0 {
				_, err := w.CreateQoSRules(ctx, w.admin, policy, l3.QoSBandwidthLimit, spec)
				return err
			}
			rule := pick(w, rules).ID
			if w.rand.IntN(2) == 0 {
				return w.DeleteQoSRule(ctx, w.admin, policy, l3.QoSBandwidthLimit, rule, l3.If{})
			}
			_, err := w.UpdateQoSRule(ctx, w.admin, policy, l3.QoSBandwidthLimit, rule, spec, l3.If{})
			return err
		}},
		{"another policy", func() error {
			if err := w.DeleteQoSPolicy(ctx, w.admin, w.policies[n].ID, l3.If{}); err != nil {
				return err
			}
			w.policies[n] = w.policy(l3.QoSPolicySpec{Shared: new(true)}, bandwidth("ingress", 2000, 0))
			return nil
		}},
	}
}
