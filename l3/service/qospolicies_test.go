package service_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

func (r *rig) policy(spec l3.QoSPolicySpec, limits ...l3.QoSRuleSpec) l3.QoSPolicy {
	r.Helper()
	if spec.Name == nil {
		spec.Name = new("p")
	}
	p := one(r.CreateQoSPolicies(r.Context(), r.admin, spec))(r)
	for _, l := range limits {
		one(r.CreateQoSRules(r.Context(), r.admin, p.ID, l3.QoSBandwidthLimit, l))(r)
	}
	return ok(r.GetQoSPolicy(r.Context(), r.admin, p.ID))(r)
}

func bandwidth(direction string, kbps, burst int) l3.QoSRuleSpec {
	return l3.QoSRuleSpec{Direction: &direction, MaxKbps: &kbps, MaxBurstKbps: &burst}
}

func (s forwardingSite) limits() []dataplane.Limit {
	s.Helper()
	return ok(s.DesiredOf(s.Context(), s.router.ID))(s.rig).Router.Limits
}

func (r *rig) setFIPPolicy(f l3.FloatingIP, id string) l3.FloatingIP {
	r.Helper()
	return ok(r.UpdateFloatingIP(r.Context(), r.member, f.ID, l3.FloatingIPSpec{QoSPolicyID: &id}, l3.If{}))(r)
}

func TestPoliciesLimitFloatingIPsAndGateways(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		limited, forwarding, free := r.fip(s.ext, r.port(r.member, s.in).ID), r.fip(s.ext, ""), r.fip(s.ext, r.port(r.member, s.in).ID)
		r.forward(forwarding, r.port(r.member, s.in), "tcp 80 8080")
		gateway := r.see(s.router.ID).Gateway.FixedIPs[0].IPAddress
		require.Empty(r, s.limits())

		p := r.policy(l3.QoSPolicySpec{Shared: new(true)}, bandwidth("egress", 1000, 0), bandwidth("ingress", 2000, 9000))
		require.Len(r, p.Rules, 2)
		want := func(l dataplane.Limit) []dataplane.Limit {
			return []dataplane.Limit{{Addr: l.Addr, Egress: dataplane.Bandwidth{Rate: 1000}, Ingress: dataplane.Bandwidth{Rate: 2000, Burst: 9000}}}
		}
		revision := func() uint64 { return r.see(s.router.ID).StateRevision }
		before := revision()
		limited = r.setFIPPolicy(limited, p.ID)
		require.Equal(r, p.ID, limited.QoSPolicyID)
		require.Equal(r, limited.PortID, r.seeFIP(limited.ID).PortID, "it stays bound")
		require.Equal(r, want(dataplane.Limit{Addr: limited.Address}), s.limits())
		require.Equal(r, before+1, revision())
		r.setFIPPolicy(limited, p.ID)
		require.Equal(r, before+1, revision(), "it has it already")

		r.setFIPPolicy(forwarding, p.ID)
		require.Len(r, s.limits(), 2)
		r.setFIPPolicy(forwarding, "")
		require.Len(r, s.limits(), 1)

		// The gateway's own.
		router := func(id string) l3.Router {
			r.Helper()
			return ok(r.UpdateRouter(r.Context(), r.member, s.router.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: s.ext.ID, QoSPolicyID: &id}}, l3.If{}))(r)
		}
		require.Equal(r, p.ID, router(p.ID).Gateway.QoSPolicyID)
		require.Contains(r, s.limits(), want(dataplane.Limit{Addr: gateway})[0])
		ok(r.UpdateRouter(r.Context(), r.member, s.router.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: s.ext.ID}}, l3.If{}))(r)
		require.Equal(r, p.ID, r.see(s.router.ID).Gateway.QoSPolicyID, "omitted keeps it")
		router("")
		require.Equal(r, want(dataplane.Limit{Addr: limited.Address}), s.limits())

		// A rule changes, goes, and comes back.
		rule := p.Rules[0]
		if rule.Direction != "egress" {
			rule = p.Rules[1]
		}
		before = revision()
		ok(r.UpdateQoSRule(r.Context(), r.admin, p.ID, l3.QoSBandwidthLimit, rule.ID, l3.QoSRuleSpec{MaxKbps: new(500)}, l3.If{}))(r)
		require.Equal(r, uint32(500), s.limits()[0].Egress.Rate)
		require.Equal(r, before+1, revision())
		require.NoError(r, r.DeleteQoSRule(r.Context(), r.admin, "", l3.QoSBandwidthLimit, rule.ID, l3.If{}), "by the rule's ID alone")
		require.True(r, s.limits()[0].Egress.IsZero())
		one(r.CreateQoSRules(r.Context(), r.admin, p.ID, l3.QoSMinimumBandwidth, l3.QoSRuleSpec{MinKbps: new(10)}))(r)
		one(r.CreateQoSRules(r.Context(), r.admin, p.ID, l3.QoSDSCPMarking, l3.QoSRuleSpec{DSCPMark: new(26)}))(r)
		require.True(r, s.limits()[0].Egress.IsZero(), "these limit nothing")
		_ = free
	})
}

func TestExternalNetworksGiveTheirPolicy(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		other := r.router() // a router that nothing of this concerns
		own := r.policy(l3.QoSPolicySpec{Shared: new(true)}, bandwidth("egress", 100, 0))
		general := r.policy(l3.QoSPolicySpec{}, bandwidth("egress", 7000, 0))
		f, g := r.fip(s.ext, r.port(r.member, s.in).ID), r.fip(s.ext, r.port(r.member, s.in).ID)
		r.setFIPPolicy(g, own.ID)
		revision := r.see(s.router.ID).StateRevision
		ok(r.UpdateNetwork(r.Context(), r.admin, s.ext.ID, l3.NetworkSpec{QoSPolicyID: &general.ID}, l3.If{}))(r)
		require.Equal(r, general.ID, r.seeFIP(f.ID).NetworkQoSPolicyID)
		require.Empty(r, r.seeFIP(f.ID).QoSPolicyID)
		require.Equal(r, revision+1, r.see(s.router.ID).StateRevision)
		rates := map[string]uint32{}
		for _, l := range s.limits() {
			rates[l.Addr.String()] = l.Egress.Rate
		}
		gateway := r.see(s.router.ID).Gateway.FixedIPs[0].IPAddress
		require.Equal(r, map[string]uint32{f.Address.String(): 7000, g.Address.String(): 100, gateway.String(): 7000}, rates)

		// Rules of it concern these routers, and no others.
		revision, others := r.see(s.router.ID).StateRevision, r.see(other.ID).StateRevision
		ok(r.UpdateQoSRule(r.Context(), r.admin, general.ID, l3.QoSBandwidthLimit, general.Rules[0].ID, l3.QoSRuleSpec{MaxKbps: new(8000)}, l3.If{}))(r)
		require.Equal(r, revision+1, r.see(s.router.ID).StateRevision)
		require.Equal(r, others, r.see(other.ID).StateRevision)
		idle := r.policy(l3.QoSPolicySpec{}, bandwidth("egress", 1, 0))
		ok(r.UpdateQoSRule(r.Context(), r.admin, idle.ID, l3.QoSBandwidthLimit, idle.Rules[0].ID, l3.QoSRuleSpec{MaxKbps: new(2)}, l3.If{}))(r)
		require.Equal(r, revision+1, r.see(s.router.ID).StateRevision, "nothing has this policy")

		// While something has it, it stays.
		r.refused(r.DeleteQoSPolicy(r.Context(), r.admin, general.ID, l3.If{}), l3.ErrConflict, "QosPolicyInUse")
		r.refused(r.DeleteQoSPolicy(r.Context(), r.admin, own.ID, l3.If{}), l3.ErrConflict, "QosPolicyInUse")
		_, err := r.UpdateQoSPolicy(r.Context(), r.admin, own.ID, l3.QoSPolicySpec{Shared: new(false)}, l3.If{})
		r.refused(err, l3.ErrConflict, "InvalidSharedSetting")
		ok(r.UpdateNetwork(r.Context(), r.admin, s.ext.ID, l3.NetworkSpec{QoSPolicyID: new("")}, l3.If{}))(r)
		require.NoError(r, r.DeleteQoSPolicy(r.Context(), r.admin, general.ID, l3.If{}))
		require.Len(r, s.limits(), 1)
		_, err = r.GetQoSPolicy(r.Context(), r.admin, general.ID)
		r.refused(err, l3.ErrNotFound, "QosPolicyNotFound")
	})
}

func TestQoSRefusals(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		hidden := r.policy(l3.QoSPolicySpec{})
		shared := r.policy(l3.QoSPolicySpec{Shared: new(true)}, bandwidth("egress", 1000, 0))
		_, err := r.CreateQoSPolicies(ctx, r.member, l3.QoSPolicySpec{Name: new("mine")})
		r.refused(err, l3.ErrForbidden, "PolicyNotAuthorized")
		_, err = r.GetQoSPolicy(ctx, r.member, hidden.ID)
		r.refused(err, l3.ErrNotFound, "QosPolicyNotFound")
		list := ok(r.ListQoSPolicies(ctx, r.member, l3.Query{}))(r)
		require.Len(r, list, 1)
		require.Equal(r, shared.ID, list[0].ID)
		_, err = r.ListQoSRules(ctx, r.member, hidden.ID, l3.QoSBandwidthLimit, l3.Query{})
		r.refused(err, l3.ErrNotFound, "QosPolicyNotFound")
		_, err = r.CreateQoSRules(ctx, r.member, shared.ID, l3.QoSBandwidthLimit, bandwidth("ingress", 1, 0))
		r.refused(err, l3.ErrForbidden, "PolicyNotAuthorized")
		_, err = r.CreateQoSRules(ctx, r.admin, shared.ID, l3.QoSBandwidthLimit, bandwidth("egress", 1, 0))
		r.refused(err, l3.ErrConflict, "QoSRulesConflict")
		_, err = r.CreateQoSRules(ctx, r.admin, shared.ID, l3.QoSMinimumBandwidth, l3.QoSRuleSpec{MinKbps: new(1001)})
		r.refused(err, l3.ErrConflict, "QoSRulesConflict")
		_, err = r.CreateQoSRules(ctx, r.admin, shared.ID, l3.QoSBandwidthLimit, bandwidth("any", 1, 0))
		r.refused(err, l3.ErrInvalid, "InvalidInput")
		_, err = r.GetQoSRule(ctx, r.admin, hidden.ID, l3.QoSBandwidthLimit, shared.Rules[0].ID)
		r.refused(err, l3.ErrNotFound, "QosRuleNotFound")
		_, err = r.GetQoSRule(ctx, r.admin, shared.ID, l3.QoSDSCPMarking, shared.Rules[0].ID)
		r.refused(err, l3.ErrNotFound, "QosRuleNotFound")

		ext := r.external("public", "203.0.113.0/24")
		_, err = r.CreateFloatingIPs(ctx, r.member, l3.FloatingIPSpec{NetworkID: &ext.ID, QoSPolicyID: &hidden.ID})
		r.refused(err, l3.ErrNotFound, "QosPolicyNotFound")
		_, err = r.CreateRouters(ctx, r.member, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: ext.ID, QoSPolicyID: &hidden.ID}})
		r.refused(err, l3.ErrNotFound, "QosPolicyNotFound")

		// A default policy is one in a project, and new networks have it.
		general := r.policy(l3.QoSPolicySpec{IsDefault: new(true), ProjectID: &r.member.Project})
		_, err = r.CreateQoSPolicies(ctx, r.admin, l3.QoSPolicySpec{Name: new("another"), IsDefault: new(true), ProjectID: &r.member.Project})
		r.refused(err, l3.ErrConflict, "QoSPolicyDefaultAlreadyExists")
		require.Equal(r, general.ID, r.network(r.member).QoSPolicyID)
		require.Empty(r, one(r.CreateNetworks(ctx, r.member, l3.NetworkSpec{QoSPolicyID: new("")}))(r).QoSPolicyID)
	})
}

// TestAgentThatLeavesLimitsOut is of an older version: it says that it has realised the router.
func TestAgentThatLeavesLimitsOut(t *testing.T) {
	onRigs(t, func(r *rig) {
		s := newForwardingSite(r)
		f, free := r.fip(s.ext, r.port(r.member, s.in).ID), r.router()
		forwards := agent.Capabilities{PortForwarding: true}
		r.beat(agent.Heartbeat{Host: "h1", Capabilities: forwards})
		p := r.policy(l3.QoSPolicySpec{Shared: new(true)}, bandwidth("egress", 1000, 0))
		r.report(s.router.ID)
		require.Equal(r, l3.StatusActive, r.see(s.router.ID).Status, "it has no limits")
		r.setFIPPolicy(f, p.ID)
		a := r.report(s.router.ID)
		failed := func() {
			r.Helper()
			seen := r.see(s.router.ID)
			require.Equal(r, l3.StatusError, seen.Status)
			require.Contains(r, seen.StatusReason, "h1 is of a version that does not know bandwidth limits")
			require.Equal(r, l3.StatusActive, r.see(free.ID).Status)
		}
		failed()
		beat := agent.Heartbeat{Host: "h1", Instance: "i", Machine: "m", Capabilities: forwards, Inventory: &agent.Inventory{
			Seq: 1, Routers: []agent.RunningRouter{{ID: s.router.ID, Epoch: a.Epoch, Revision: a.Revision}},
		}}
		beat.Deployment = ok(r.Deployment(r.Context()))(r).ID
		r.beat(beat)
		failed()
		beat.Inventory.Seq, beat.Capabilities.Limits = 2, true
		r.beat(beat)
		require.Equal(r, l3.StatusActive, r.see(s.router.ID).Status, "it was replaced")
		beat.Inventory.Seq, beat.Capabilities.Limits = 3, false
		r.beat(beat)
		failed()

		// Without the rule the router is complete.
		rule := p.Rules[0]
		require.NoError(r, r.DeleteQoSRule(r.Context(), r.admin, p.ID, l3.QoSBandwidthLimit, rule.ID, l3.If{}))
		r.report(s.router.ID)
		require.Equal(r, l3.StatusActive, r.see(s.router.ID).Status)
		one(r.CreateQoSRules(r.Context(), r.admin, p.ID, l3.QoSBandwidthLimit, bandwidth("ingress", 1000, 0)))(r)

		// A router with limits moves to an agent that knows them, if there is one.
		for _, h := range []string{"h2", "h3", "h4"} {
			r.beat(agent.Heartbeat{Host: h, Capabilities: forwards})
		}
		r.beat(agent.Heartbeat{Host: "h5", Capabilities: agent.Capabilities{Limits: true}})
		ok(r.UpdateAgent(r.Context(), r.admin, ok(r.AgentsOfRouter(r.Context(), r.admin, s.router.ID))(r)[0].ID, l3.AgentSpec{AdminStateUp: new(false)}))(r)
		require.Equal(r, "h5", r.hostOf(s.router.ID))
	})
}

// TestQoSPoliciesAreShared with everyone, and with single projects.
func TestQoSPoliciesAreShared(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx, stranger := r.Context(), r.other
		sees := func(who l3.Caller, p l3.QoSPolicy, shared bool) {
			r.Helper()
			got := ok(r.GetQoSPolicy(ctx, who, p.ID))(r)
			require.Equal(r, shared, got.Shared)
			require.Equal(r, got.Rules, ok(r.ListQoSRules(ctx, who, p.ID, l3.QoSBandwidthLimit, l3.Query{}))(r))
			for filter, want := range map[bool]int{shared: 1, !shared: 0} {
				q := l3.Query{Filters: []l3.Filter{{Field: "id", Values: []any{p.ID}}, {Field: "shared", Values: []any{filter}}}}
				require.Len(r, ok(r.ListQoSPolicies(ctx, who, q))(r), want)
			}
		}
		unseen := func(who l3.Caller, p l3.QoSPolicy) {
			r.Helper()
			_, err := r.GetQoSPolicy(ctx, who, p.ID)
			r.refused(err, l3.ErrNotFound, "QosPolicyNotFound")
			_, err = r.GetQoSRule(ctx, who, "", l3.QoSBandwidthLimit, p.Rules[0].ID)
			require.Error(r, err)
			require.Empty(r, ok(r.ListQoSPolicies(ctx, who, l3.Query{Filters: []l3.Filter{{Field: "id", Values: []any{p.ID}}}}))(r))
		}
		share := func(p l3.QoSPolicy, target string) (l3.RBACPolicy, error) {
			list, err := r.CreateRBACPolicies(ctx, r.admin, l3.RBACPolicySpec{
				ObjectType: new(l3.ObjectQoSPolicy), ObjectID: &p.ID, Action: new(l3.AccessAsShared), TargetProject: &target,
			})
			return append(list, l3.RBACPolicy{})[0], err
		}
		policies := func(p l3.QoSPolicy) []l3.RBACPolicy {
			return ok(r.ListRBACPolicies(ctx, r.admin, l3.Query{Filters: []l3.Filter{{Field: "object_id", Values: []any{p.ID}}}}))(r)
		}

		p := r.policy(l3.QoSPolicySpec{}, bandwidth("egress", 1000, 0))
		unseen(r.member, p)
		single := ok(share(p, r.member.Project))(r)
		sees(r.member, p, true)
		sees(r.admin, p, false)
		unseen(stranger, p)
		_, err := share(p, r.member.Project)
		r.refused(err, l3.ErrConflict, "DuplicateRbacPolicy")
		_, err = r.CreateRBACPolicies(ctx, r.admin, l3.RBACPolicySpec{
			ObjectType: new(l3.ObjectQoSPolicy), ObjectID: &p.ID, Action: new(l3.AccessAsExternal), TargetProject: new("*"),
		})
		r.refused(err, l3.ErrInvalid, "InvalidActionForType")

		// Who uses it keeps it.
		n := one(r.CreateNetworks(ctx, r.member, l3.NetworkSpec{QoSPolicyID: &p.ID}))(r)
		r.refused(r.DeleteRBACPolicy(ctx, r.admin, single.ID, l3.If{}), l3.ErrConflict, "RbacPolicyInUse")
		set := func(shared bool) error {
			_, err := r.UpdateQoSPolicy(ctx, r.admin, p.ID, l3.QoSPolicySpec{Shared: &shared}, l3.If{})
			return err
		}
		require.NoError(r, set(true))
		sees(stranger, p, true)
		require.Len(r, policies(p), 2)
		require.NoError(r, set(true), "again")
		require.Len(r, policies(p), 2)
		require.NoError(r, r.DeleteRBACPolicy(ctx, r.admin, single.ID, l3.If{}), "everyone's policy does as well")
		r.refused(set(false), l3.ErrConflict, "InvalidSharedSetting")
		r.refused(r.DeleteRBACPolicy(ctx, r.admin, policies(p)[0].ID, l3.If{}), l3.ErrConflict, "RbacPolicyInUse")
		ok(share(p, r.member.Project))(r)
		require.NoError(r, set(false), "the project's own policy does as well")
		sees(r.member, p, true)
		sees(r.admin, p, false)
		unseen(stranger, p)
		ok(r.UpdateNetwork(ctx, r.member, n.ID, l3.NetworkSpec{QoSPolicyID: new("")}, l3.If{}))(r)

		// The policies go with it.
		ok(share(p, "*"))(r)
		sees(r.admin, p, true)
		require.NoError(r, r.DeleteQoSPolicy(ctx, r.admin, p.ID, l3.If{}))
		require.Empty(r, policies(p))
		born := r.policy(l3.QoSPolicySpec{Shared: new(true)}, bandwidth("egress", 1000, 0))
		require.NoError(r, r.DeleteRBACPolicy(ctx, r.admin, policies(born)[0].ID, l3.If{}))
		unseen(r.member, born)
		sees(r.admin, born, false)
	})
}

// TestQoSPoliciesOfPorts exist, are visible to whoever gives them, and stay while ports have them.
func TestQoSPoliciesOfPorts(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		hidden, shared, general := r.policy(l3.QoSPolicySpec{}), r.policy(l3.QoSPolicySpec{Shared: new(true)}), r.policy(l3.QoSPolicySpec{Shared: new(true)})
		sub := r.inside("10.0.0.0/24")
		absent := "5b1bd6ea-2a4f-4bb2-8f2f-2b8f6f9b8f51"
		for _, id := range []string{hidden.ID, absent} {
			_, err := r.CreatePorts(ctx, r.member, l3.PortSpec{NetworkID: &sub.NetworkID, QoSPolicyID: &id})
			r.refused(err, l3.ErrNotFound, "QosPolicyNotFound")
		}
		p := one(r.CreatePorts(ctx, r.member, l3.PortSpec{NetworkID: &sub.NetworkID, QoSPolicyID: &shared.ID}))(r)
		require.Equal(r, shared.ID, p.QoSPolicyID)
		require.Empty(r, p.NetworkQoSPolicyID)
		give := func(who l3.Caller, id string) (l3.Port, error) {
			return r.UpdatePort(ctx, who, p.ID, l3.PortSpec{QoSPolicyID: &id}, l3.If{})
		}
		for _, id := range []string{hidden.ID, absent} {
			_, err := give(r.member, id)
			r.refused(err, l3.ErrNotFound, "QosPolicyNotFound")
		}
		ok(r.UpdateNetwork(ctx, r.member, sub.NetworkID, l3.NetworkSpec{QoSPolicyID: &general.ID}, l3.If{}))(r)
		p = ok(r.GetPort(ctx, r.member, p.ID))(r)
		require.Equal(r, []string{shared.ID, general.ID}, []string{p.QoSPolicyID, p.NetworkQoSPolicyID})
		r.refused(r.DeleteQoSPolicy(ctx, r.admin, shared.ID, l3.If{}), l3.ErrConflict, "QosPolicyInUse")
		ok(give(r.admin, hidden.ID))(r)
		require.Equal(r, hidden.ID, ok(give(r.member, hidden.ID))(r).QoSPolicyID, "the port has it already")
		require.NoError(r, r.DeleteQoSPolicy(ctx, r.admin, shared.ID, l3.If{}))
		require.Empty(r, ok(give(r.member, ""))(r).QoSPolicyID)
		require.NoError(r, r.DeleteQoSPolicy(ctx, r.admin, hidden.ID, l3.If{}))
	})
}
