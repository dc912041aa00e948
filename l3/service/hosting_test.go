package service_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

func TestAgentRegistersByHeartbeat(t *testing.T) {
	onRigs(t, func(r *rig) {
		started := r.clock.Now().Add(-time.Minute)
		a := r.beat(agent.Heartbeat{Host: "h1", Binary: "l3kit-agent", StartedAt: started, Capabilities: agent.Capabilities{Routers: new(3)}})
		require.True(r, a.Alive && a.AdminStateUp && a.ResourcesSynced)
		require.Equal(r, []string{"L3 agent", "l3kit-agent", "h1", "nova"}, []string{a.Type, a.Binary, a.Host, a.AvailabilityZone})
		require.Equal(r, a, func() l3.Agent { got := ok(r.GetAgent(r.Context(), r.admin, a.ID))(r); got.Orphans = nil; return got }())
		r.clock.sleep(time.Minute)
		again := r.beat(agent.Heartbeat{Host: "h1", Binary: "l3kit-agent", StartedAt: started})
		require.Equal(r, a.ID, again.ID)
		require.Equal(r, a.CreatedAt, again.CreatedAt)
		require.Equal(r, r.clock.Now(), again.HeartbeatAt)
		r.clock.sleep(75 * time.Second)
		require.True(r, ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Alive)
		r.clock.sleep(time.Second)
		require.False(r, ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Alive)
		alive := func(is bool) l3.Query { return l3.Query{Filters: []l3.Filter{{Field: "alive", Values: []any{is}}}} }
		require.Empty(r, ok(r.ListAgents(r.Context(), r.admin, alive(true)))(r))
		require.Len(r, ok(r.ListAgents(r.Context(), r.admin, alive(false)))(r), 1)
		_, err := r.Heartbeat(r.Context(), agent.Heartbeat{})
		r.refused(err, l3.ErrInvalid, "InvalidInput")
	})
}

func TestAgentsAreForAdministrators(t *testing.T) {
	onRigs(t, func(r *rig) {
		a, router := r.agent("h1"), r.router()
		require.Equal(r, []l3.Agent{}, ok(r.ListAgents(r.Context(), r.member, l3.Query{}))(r), "a member gets an empty list")
		_, get := r.GetAgent(r.Context(), r.member, a.ID)
		_, put := r.UpdateAgent(r.Context(), r.member, a.ID, l3.AgentSpec{})
		for _, err := range []error{get, put, r.DeleteAgent(r.Context(), r.member, a.ID)} {
			r.refused(err, l3.ErrNotFound, "AgentNotFound")
		}
		_, on := r.RoutersOnAgent(r.Context(), r.member, a.ID)
		_, of := r.AgentsOfRouter(r.Context(), r.member, router.ID)
		add, remove := r.AddRouterToAgent(r.Context(), r.member, a.ID, router.ID), r.RemoveRouterFromAgent(r.Context(), r.member, a.ID, router.ID)
		for _, err := range []error{on, of, add, remove} {
			r.refused(err, l3.ErrForbidden, "PolicyNotAuthorized")
		}
	})
}

func TestAgentUpdate(t *testing.T) {
	onRigs(t, func(r *rig) {
		a := r.agent("h1")
		got := ok(r.UpdateAgent(r.Context(), r.admin, a.ID, l3.AgentSpec{AdminStateUp: new(false), Description: new("rack 4")}))(r)
		require.False(r, got.AdminStateUp)
		require.Equal(r, "rack 4", got.Description)
		require.Equal(r, got, r.agent("h1"), "a heartbeat changes nothing of that")
		_, err := r.UpdateAgent(r.Context(), r.admin, "nobody", l3.AgentSpec{})
		r.refused(err, l3.ErrNotFound, "AgentNotFound")
	})
}

func TestAvailabilityZones(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.beat(agent.Heartbeat{Host: "h1"})
		r.beat(agent.Heartbeat{Host: "h2"})
		east := r.beat(agent.Heartbeat{Host: "h3", AvailabilityZone: "east"})
		ok(r.UpdateAgent(r.Context(), r.admin, east.ID, l3.AgentSpec{AdminStateUp: new(false)}))(r)
		require.Equal(r, []l3.AvailabilityZone{
			{Name: "east", Resource: "network", State: "unavailable"}, {Name: "east", Resource: "router", State: "unavailable"},
			{Name: "nova", Resource: "network", State: "available"}, {Name: "nova", Resource: "router", State: "available"},
		}, ok(r.ListAvailabilityZones(r.Context(), r.member))(r))
	})
}

func TestHostingByHand(t *testing.T) {
	onRigs(t, func(r *rig) {
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		require.Empty(r, r.hostOf(router.ID), "there is no agent yet")
		require.Equal(r, l3.StatusDown, r.see(router.ID).Status)
		a, b := r.agent("h1"), r.agent("h2")
		require.Equal(r, "h1", r.hostOf(router.ID), "agents that come up take unhosted routers")

		add := func(agent, router string) error { return r.AddRouterToAgent(r.Context(), r.admin, agent, router) }
		remove := func(agent, router string) error { return r.RemoveRouterFromAgent(r.Context(), r.admin, agent, router) }
		r.refused(add("nobody", router.ID), l3.ErrNotFound, "AgentNotFound")
		r.refused(add(a.ID, "nobody"), l3.ErrNotFound, "RouterNotFound")
		r.refused(add(b.ID, router.ID), l3.ErrConflict, "RouterHostedByL3Agent")
		require.NoError(r, add(a.ID, router.ID), "it is there already")
		r.refused(remove(b.ID, router.ID), l3.ErrConflict, "RouterNotHostedByL3Agent")
		names := map[string]string{router.ID: "r"}
		r.notices(names)
		require.NoError(r, remove(a.ID, router.ID))
		require.NoError(r, add(b.ID, router.ID))
		require.Equal(r, []string{"h1 r 1 gone", "h2 r 2"}, r.notices(names))
		require.Equal(r, "h2", r.hostOf(router.ID))
		require.Equal(r, router.ID, ok(r.RoutersOnAgent(r.Context(), r.admin, b.ID))(r)[0].ID)
		require.Empty(r, ok(r.RoutersOnAgent(r.Context(), r.admin, a.ID))(r))

		empty := r.router()
		require.NoError(r, add(a.ID, empty.ID), "what has nothing to realise yet can be given a host")
		require.Empty(r, ok(r.DesiredOn(r.Context(), "h1"))(r))
		r.attach(empty, r.inside("10.0.2.0/24"))
		require.Equal(r, "h1", r.hostOf(empty.ID))
		require.Len(r, ok(r.DesiredOn(r.Context(), "h1"))(r), 1)
		require.Empty(r, ok(r.DesiredOn(r.Context(), "nobody"))(r))
	})
}

// TestRemovedFromItsAgent: the router stays without a host until somebody adds it to an agent, it
// changes, or an agent comes up.
func TestRemovedFromItsAgent(t *testing.T) {
	onRigs(t, func(r *rig) {
		a := r.agent("h1")
		subnet := r.inside("10.0.1.0/24")
		router := r.router()
		r.attach(router, subnet)
		remove := func() {
			r.Helper()
			require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, a.ID, router.ID))
			require.Zero(r, ok(r.Reschedule(r.Context(), 100))(r))
			require.Empty(r, r.hostOf(router.ID))
			got := r.see(router.ID)
			require.Equal(r, l3.StatusDown, got.Status)
			require.Equal(r, "The router was removed from its agent, and was not added to another", got.StatusReason)
		}
		remove()
		r.agent("h1")
		require.Empty(r, r.hostOf(router.ID), "a heartbeat of an agent that is up changes nothing")
		require.NoError(r, r.AddRouterToAgent(r.Context(), r.admin, a.ID, router.ID))
		require.Equal(r, l3.StatusBuild, r.see(router.ID).Status)
		remove()
		r.attach(router, r.inside("10.0.2.0/24"))
		require.Equal(r, "h1", r.hostOf(router.ID), "it changed")
		remove()
		r.agent("h2")
		require.NotEmpty(r, r.hostOf(router.ID), "an agent came up")
	})
}

// TestDisabledAgentHostsNothing: its routers leave at once, for other agents where one fits.
func TestDisabledAgentHostsNothing(t *testing.T) {
	onRigs(t, func(r *rig) {
		a := r.agent("h1", "public")
		gated, plain := r.routerTo(r.external("public", "203.0.113.0/24")), r.router()
		r.attach(plain, r.inside("10.0.1.0/24"))
		r.agent("h2", "private")
		names := map[string]string{gated.ID: "gated", plain.ID: "plain"}
		r.notices(names)
		ok(r.UpdateAgent(r.Context(), r.admin, a.ID, l3.AgentSpec{AdminStateUp: new(false)}))(r)
		require.ElementsMatch(r, []string{"h1 gated 1 gone", "h1 plain 1 gone", "h2 plain 2"}, r.notices(names))
		require.Equal(r, "h2", r.hostOf(plain.ID))
		require.Empty(r, r.hostOf(gated.ID))
		got := r.see(gated.ID)
		require.Equal(r, l3.StatusDown, got.Status)
		require.Contains(r, got.StatusReason, "No agent can host the router: no agent reaches the external network")

		b := r.agent("h2", "private")
		ok(r.UpdateAgent(r.Context(), r.admin, b.ID, l3.AgentSpec{AdminStateUp: new(false)}))(r)
		require.Empty(r, r.hostOf(plain.ID))
		got = r.see(plain.ID)
		require.Contains(r, got.StatusReason, "No agent can host the router: no agent is alive and enabled: h")
		require.Contains(r, got.StatusReason, "h2 is disabled")
		ok(r.UpdateAgent(r.Context(), r.admin, b.ID, l3.AgentSpec{AdminStateUp: new(true)}))(r)
		require.Equal(r, "h2", r.hostOf(plain.ID))
	})
}

func TestHostingUnfitAgent(t *testing.T) {
	onRigs(t, func(r *rig) {
		right, wrong, east := r.agent("h1", "public"), r.agent("h2", "private"), r.beat(agent.Heartbeat{Host: "h3", AvailabilityZone: "east"})
		router := r.router(l3.RouterSpec{
			Gateway: &l3.GatewaySpec{NetworkID: r.external("public", "203.0.113.0/24").ID}, AZHints: &[]string{"nova"},
		})
		require.Equal(r, "h1", r.hostOf(router.ID))
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, right.ID, router.ID))
		for _, unfit := range []l3.Agent{wrong, east} {
			r.refused(r.AddRouterToAgent(r.Context(), r.admin, unfit.ID, router.ID), l3.ErrConflict, "InvalidL3Agent")
		}
		ok(r.UpdateAgent(r.Context(), r.admin, right.ID, l3.AgentSpec{AdminStateUp: new(false)}))(r)
		r.refused(r.AddRouterToAgent(r.Context(), r.admin, right.ID, router.ID), l3.ErrConflict, "InvalidL3Agent")
		ok(r.UpdateAgent(r.Context(), r.admin, right.ID, l3.AgentSpec{AdminStateUp: new(true)}))(r)
		require.Equal(r, "h1", r.hostOf(router.ID), "an agent that is enabled again takes unhosted routers")
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, right.ID, router.ID))
		r.clock.sleep(76 * time.Second)
		r.refused(r.AddRouterToAgent(r.Context(), r.admin, right.ID, router.ID), l3.ErrConflict, "InvalidL3Agent")
	})
}

func TestHostingPicksTheAgentWithTheFewestRouters(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		r.agent("h2")
		ext := r.external("public", "203.0.113.0/24")
		hosts := map[string]int{}
		for range 6 {
			hosts[r.hostOf(r.routerTo(ext).ID)]++
		}
		require.Equal(r, map[string]int{"h1": 3, "h2": 3}, hosts)
	})
}

func TestHostingFollowsTheGateway(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1", "public")
		r.agent("h2", "private")
		public, private := r.external("public", "203.0.113.0/24"), r.external("private", "198.51.100.0/24")
		router := r.routerTo(public, r.inside("10.0.1.0/24"))
		require.Equal(r, "h1", r.hostOf(router.ID))
		names := map[string]string{router.ID: "r"}
		r.notices(names)
		ok(r.setGateway(r.member, router.ID, l3.GatewaySpec{NetworkID: private.ID}))(r)
		require.Equal(r, []string{"h1 r 1 gone", "h2 r 2"}, r.notices(names))
		ok(r.setGateway(r.member, router.ID, l3.GatewaySpec{}))(r)
		require.Equal(r, "h2", r.hostOf(router.ID), "a router does not move without need")
	})
}

func TestReportOfAnEarlierEpochOrGenerationChangesNothing(t *testing.T) {
	onRigs(t, func(r *rig) {
		a := r.agent("h1")
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		b := r.agent("h2")
		first := r.report(router.ID)
		require.Equal(r, "h1", first.Host)
		before := r.see(router.ID)
		require.Equal(r, l3.StatusActive, before.Status)

		r.attach(router, r.inside("10.0.2.0/24"))
		require.Equal(r, l3.StatusBuild, r.see(router.ID).Status, "the current revision is not applied yet")
		say := func(host string, epoch, revision uint64, problem string) l3.Status {
			r.Helper()
			require.NoError(r, r.Report(r.Context(), agent.Report{Host: host, RouterID: router.ID, Epoch: epoch, Revision: revision, Error: problem}))
			return r.see(router.ID).Status
		}
		now := ok(r.DesiredOf(r.Context(), router.ID))(r)
		require.Equal(r, l3.StatusBuild, say("h1", now.Epoch, first.Revision, ""), "an old revision")
		require.Equal(r, l3.StatusBuild, say("h1", now.Epoch, now.Revision+1, ""), "one that is yet to come")
		require.Equal(r, l3.StatusBuild, say("h2", now.Epoch, now.Revision, ""), "not its host")
		require.Equal(r, l3.StatusError, say("h1", now.Epoch, now.Revision, "full"))
		require.Equal(r, l3.StatusActive, say("h1", now.Epoch, now.Revision, ""), "the second try")
		require.Equal(r, l3.StatusActive, say("h1", now.Epoch, first.Revision, "late"))
		// It got an interface and was in BUILD, ERROR, and ACTIVE.
		require.Equal(r, before.Revision+3, r.see(router.ID).Revision, "reports that change nothing do not grow the revision")

		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, a.ID, router.ID))
		require.NoError(r, r.AddRouterToAgent(r.Context(), r.admin, b.ID, router.ID))
		require.Equal(r, l3.StatusBuild, r.see(router.ID).Status, "the new host has to apply it first")
		require.Equal(r, l3.StatusBuild, say("h1", now.Epoch, now.Revision, ""), "an earlier host")
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, b.ID, router.ID))
		require.NoError(r, r.AddRouterToAgent(r.Context(), r.admin, a.ID, router.ID))
		require.Equal(r, l3.StatusBuild, say("h1", now.Epoch, now.Revision, ""), "the same host in an earlier epoch")
		require.Equal(r, l3.StatusActive, say("h1", now.Epoch+2, now.Revision, ""))
		require.NoError(r, r.Report(r.Context(), agent.Report{Host: "h1", RouterID: "nobody", Epoch: 1, Revision: 1}))
	})
}

func TestStatusIsDownWithoutALiveAgent(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		r.report(router.ID)
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status)
		r.clock.sleep(76 * time.Second)
		require.Equal(r, l3.StatusDown, r.see(router.ID).Status)
		r.agent("h1")
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status, "heard again; nothing changed meanwhile")
	})
}
