package service_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

func (r *rig) seePort(who l3.Caller, id string) l3.Port {
	r.Helper()
	return ok(r.GetPort(r.Context(), who, id))(r)
}

// fails has the host of a router say that it could not apply what it must realise now.
func (r *rig) fails(routerID, why string) {
	r.Helper()
	a := ok(r.DesiredOf(r.Context(), routerID))(r)
	require.NoError(r, r.Report(r.Context(), agent.Report{Host: a.Host, RouterID: routerID, Epoch: a.Epoch, Revision: a.Revision, Error: why}))
}

// TestPortsOfRoutersFollowTheirHost: they are ACTIVE once the host has applied the router with
// them, on that host, and as long as it lives.
func TestPortsOfRoutersFollowTheirHost(t *testing.T) {
	onRigs(t, func(r *rig) {
		a := r.beat(agent.Heartbeat{Host: "h1", Capabilities: agent.Capabilities{Wiring: "ovs"}})
		made := r.router(l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: r.external("", "203.0.113.0/24").ID}})
		first := r.attach(made, r.inside("10.0.1.0/24")).PortID
		gateway := r.see(made.ID).Gateway.PortID
		for _, id := range []string{first, gateway} {
			p := r.seePort(r.admin, id)
			require.Equal(r, l3.StatusDown, p.Status, "not realised yet")
			require.Equal(r, "h1", p.Binding.HostID)
			require.Equal(r, "ovs", p.Binding.VIFType)
			require.JSONEq(r, `{"connectivity": "l2", "port_filter": false}`, string(p.Binding.VIFDetails))
		}
		revision := r.seePort(r.admin, first).Revision
		r.report(made.ID)
		for _, id := range []string{first, gateway} {
			require.Equal(r, l3.StatusActive, r.seePort(r.admin, id).Status)
		}
		require.Equal(r, l3.StatusActive, r.seePort(r.member, first).Status, "members see it too")
		require.Equal(r, revision+1, r.seePort(r.admin, first).Revision, "its status has changed")

		second := r.attach(made, r.inside("10.0.2.0/24")).PortID
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, first).Status, "it is there all the time")
		require.Equal(r, l3.StatusDown, r.seePort(r.admin, second).Status)
		r.fails(made.ID, "no")
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, first).Status, "the former version is in force")
		require.Equal(r, l3.StatusDown, r.seePort(r.admin, second).Status)
		r.report(made.ID)
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, second).Status)

		up := func(id string, is bool) l3.Status {
			return ok(r.UpdatePort(r.Context(), r.admin, id, l3.PortSpec{AdminStateUp: &is}, l3.If{}))(r).Status
		}
		require.Equal(r, l3.StatusDown, up(second, false))
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, first).Status)
		r.report(made.ID)
		require.Equal(r, l3.StatusDown, up(second, true), "not yet")
		r.report(made.ID)
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, second).Status)

		_, err := r.UpdatePort(r.Context(), r.admin, first, l3.PortSpec{HostID: new("elsewhere")}, l3.If{})
		r.refused(err, l3.ErrInvalid, "BadRequest")
		ok(r.UpdatePort(r.Context(), r.admin, first, l3.PortSpec{HostID: new("h1")}, l3.If{}))(r)

		_, err = r.UpdateRouter(r.Context(), r.member, made.ID, l3.RouterSpec{AdminStateUp: new(false)}, l3.If{})
		require.NoError(r, err)
		p := r.seePort(r.admin, first)
		require.Equal(r, []any{l3.StatusDown, "", "unbound"}, []any{p.Status, p.Binding.HostID, p.Binding.VIFType})
		_, err = r.UpdateRouter(r.Context(), r.member, made.ID, l3.RouterSpec{AdminStateUp: new(true)}, l3.If{})
		require.NoError(r, err)
		require.Equal(r, l3.StatusDown, r.seePort(r.admin, first).Status)
		r.report(made.ID)
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, first).Status)

		r.clock.sleep(76 * time.Second)
		p = r.seePort(r.admin, first)
		require.Equal(r, []any{l3.StatusDown, "h1"}, []any{p.Status, p.Binding.HostID}, "its host is not heard")
		b := r.beat(agent.Heartbeat{Host: "h2", Capabilities: agent.Capabilities{Wiring: "bridge"}})
		require.Equal(r, 1, ok(r.Reschedule(r.Context(), 10))(r))
		p = r.seePort(r.admin, first)
		require.Equal(r, []any{l3.StatusDown, "h2", "bridge"}, []any{p.Status, p.Binding.HostID, p.Binding.VIFType})
		r.report(made.ID)
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, first).Status)

		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, b.ID, made.ID))
		p = r.seePort(r.admin, first)
		require.Equal(r, []any{l3.StatusDown, ""}, []any{p.Status, p.Binding.HostID})
		require.NoError(r, r.DeleteAgent(r.Context(), r.admin, a.ID))
	})
}

// TestFailureLeavesWhatRuns: when a host fails to apply a revision, the ports and the floating IPs
// of the one that runs stay ACTIVE. When it fails to repair the one that runs, none is.
func TestFailureLeavesWhatRuns(t *testing.T) {
	onRigs(t, func(r *rig) {
		beat := func(seq uint64, running ...agent.RunningRouter) {
			r.beat(agent.Heartbeat{Host: "h1", Instance: "i", StartedAt: r.clock.Now(), Inventory: &agent.Inventory{Seq: seq, Routers: running}})
		}
		beat(1)
		public, first, second := r.external("", "203.0.113.0/24"), r.inside("10.0.1.0/24"), r.inside("10.0.2.0/24")
		made := r.routerTo(public)
		ports := []string{r.attach(made, first).PortID, ""}
		fips := []string{r.fip(public, r.port(r.member, first).ID).ID, ""}
		old := r.report(made.ID)
		are := func(router l3.Status, want ...l3.Status) {
			r.Helper()
			require.Equal(r, router, r.see(made.ID).Status)
			for i := range ports {
				f := ok(r.GetFloatingIP(r.Context(), r.member, fips[i]))(r)
				require.Equal(r, want[2*i:2*i+2], []l3.Status{r.seePort(r.admin, ports[i]).Status, f.Status}, "%d: %s", i, f.StatusReason)
				require.Equal(r, want[2*i+1] == l3.StatusError, f.StatusReason != "")
			}
		}
		ports[1], fips[1] = r.attach(made, second).PortID, r.fip(public, r.port(r.member, second).ID).ID
		are(l3.StatusBuild, l3.StatusActive, l3.StatusActive, l3.StatusDown, l3.StatusDown)
		r.fails(made.ID, "full")
		are(l3.StatusError, l3.StatusActive, l3.StatusActive, l3.StatusDown, l3.StatusError)
		beat(2, agent.RunningRouter{ID: made.ID, Epoch: old.Epoch, Revision: old.Revision})
		are(l3.StatusError, l3.StatusActive, l3.StatusActive, l3.StatusDown, l3.StatusError)
		beat(3, agent.RunningRouter{ID: made.ID})
		are(l3.StatusError, l3.StatusDown, l3.StatusError, l3.StatusDown, l3.StatusError)

		now := r.report(made.ID)
		are(l3.StatusActive, l3.StatusActive, l3.StatusActive, l3.StatusActive, l3.StatusActive)
		r.fails(made.ID, "full")
		are(l3.StatusError, l3.StatusDown, l3.StatusError, l3.StatusDown, l3.StatusError)
		beat(4, agent.RunningRouter{ID: made.ID, Epoch: now.Epoch, Revision: now.Revision})
		are(l3.StatusActive, l3.StatusActive, l3.StatusActive, l3.StatusActive, l3.StatusActive)
	})
}

// TestFloatingIPsFollowTheirSubnetsPort: while it is down nothing is translated, and then not until
// the host has applied the router with it.
func TestFloatingIPsFollowTheirSubnetsPort(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		public, sub := r.external("", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		made := r.routerTo(public)
		port, f := r.attach(made, sub).PortID, r.fip(public, r.port(r.member, sub).ID)
		r.report(made.ID)
		up := func(is bool) {
			ok(r.UpdatePort(r.Context(), r.admin, port, l3.PortSpec{AdminStateUp: &is}, l3.If{}))(r)
		}
		is := func(want l3.Status) {
			r.Helper()
			require.Equal(r, want, r.seePort(r.admin, port).Status)
			require.Equal(r, want, ok(r.GetFloatingIP(r.Context(), r.member, f.ID))(r).Status)
		}
		is(l3.StatusActive)
		up(false)
		is(l3.StatusDown)
		r.report(made.ID)
		is(l3.StatusDown)
		up(true)
		is(l3.StatusDown)
		r.report(made.ID)
		is(l3.StatusActive)
	})
}

// TestPortsThatAreNotRouters: what clients plug in is theirs, and the port of a floating IP is
// plugged in nowhere, as in Neutron.
func TestPortsThatAreNotRouters(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		public := r.external("", "203.0.113.0/24")
		sub := r.inside("10.0.1.0/24")
		made := r.routerTo(public, sub)
		p := one(r.CreatePorts(r.Context(), r.admin, l3.PortSpec{NetworkID: &sub.NetworkID, HostID: new("h1"), ProjectID: new("p1")}))(r)
		f := r.fip(public, p.ID)
		r.report(made.ID)
		own := one(r.ListPorts(r.Context(), r.admin, l3.Query{Filters: []l3.Filter{{Field: "device_id", Values: []any{f.ID}}}}))(r)
		require.Equal(r, []any{l3.StatusNone, "", "unbound"}, []any{own.Status, own.Binding.HostID, own.Binding.VIFType})
		got := r.seePort(r.admin, p.ID)
		require.Equal(r, []any{l3.StatusDown, "h1"}, []any{got.Status, got.Binding.HostID}, "nobody says that it is plugged in")
	})
}

// TestInventoryCorrectsPorts: what runs while a later version fails is what the ports are ACTIVE
// by.
func TestInventoryCorrectsPorts(t *testing.T) {
	onRigs(t, func(r *rig) {
		beat := func(seq uint64, running ...agent.RunningRouter) {
			r.beat(agent.Heartbeat{Host: "h1", Instance: "i", StartedAt: r.clock.Now(), Inventory: &agent.Inventory{Seq: seq, Routers: running}})
		}
		beat(1)
		made := r.routerTo(r.external("", "203.0.113.0/24"))
		port := r.attach(made, r.inside("10.0.1.0/24")).PortID
		now := r.report(made.ID)
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, port).Status)
		beat(2)
		require.Equal(r, l3.StatusDown, r.seePort(r.admin, port).Status, "it does not run, whatever was reported")
		beat(3, agent.RunningRouter{ID: made.ID, Epoch: now.Epoch, Revision: now.Revision})
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, port).Status)
	})
}

// TestRouterOnItsWayIsBuild: as long as a live agent has a router, or will have it, it is BUILD
// until it is ACTIVE.
func TestRouterOnItsWayIsBuild(t *testing.T) {
	onRigs(t, func(r *rig) {
		a, b := r.agent("h1"), r.agent("h2")
		first, second := r.external("", "203.0.113.0/24"), r.external("", "198.51.100.0/24")
		made := r.router(l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: first.ID}})
		require.Equal(r, l3.StatusBuild, made.Status, "right after it was made")
		r.report(made.ID)
		changed := ok(r.UpdateRouter(r.Context(), r.member, made.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: second.ID}}, l3.If{}))(r)
		require.Equal(r, l3.StatusBuild, changed.Status)
		r.report(made.ID)
		require.Equal(r, l3.StatusActive, r.see(made.ID).Status)

		bare := r.router()
		require.Equal(r, l3.StatusActive, bare.Status)
		got := ok(r.UpdateRouter(r.Context(), r.member, bare.ID, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: first.ID}}, l3.If{}))(r)
		require.Equal(r, l3.StatusBuild, got.Status)

		from, to := a, b
		if r.hostOf(made.ID) == "h2" {
			from, to = b, a
		}
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, from.ID, made.ID))
		require.Equal(r, l3.StatusDown, r.see(made.ID).Status, "it waits for an agent that is named")
		require.NoError(r, r.AddRouterToAgent(r.Context(), r.admin, to.ID, made.ID))
		require.Equal(r, l3.StatusBuild, r.see(made.ID).Status)
		r.report(made.ID)
		require.Equal(r, l3.StatusActive, r.see(made.ID).Status)
		require.NoError(r, r.DeleteAgent(r.Context(), r.admin, to.ID))
		require.Equal(r, l3.StatusBuild, r.see(made.ID).Status, "the other has taken it")
		require.Equal(r, from.Host, r.hostOf(made.ID))
	})
}

// TestRouterWithoutHostExplainsItself: to its owner without what only administrators see, to them
// with it, and in the log.
func TestRouterWithoutHostExplainsItself(t *testing.T) {
	onRigs(t, func(r *rig) {
		var log bytes.Buffer
		svc, err := service.New(service.Config{Store: r.store, Now: r.clock.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(r, err)
		r.Service = svc
		reason := func(who l3.Caller, id string) string {
			got := ok(r.GetRouter(r.Context(), who, id))(r)
			require.Equal(r, l3.StatusDown, got.Status)
			return got.StatusReason
		}
		said := func(text string) {
			r.Helper()
			require.Contains(r, log.String(), text)
			log.Reset()
		}
		public := r.external("physnett", "203.0.113.0/24")
		made := r.router(l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: public.ID}})
		require.Equal(r, l3.StatusDown, made.Status)
		require.Equal(r, "No agent can host the router: no agent has registered", made.StatusReason)
		said(made.ID)

		a := r.agent("h1", "physnet")
		ok(r.Reschedule(r.Context(), 10))(r)
		require.Equal(r, "No agent can host the router: no agent reaches the external network "+public.ID, reason(r.member, made.ID))
		require.Equal(r, "No agent can host the router: no agent reaches the external network "+public.ID+
			`: it is on the physical network "physnett", and the hosts have ["physnet"]`, reason(r.admin, made.ID))
		said("physnett")
		ok(r.Reschedule(r.Context(), 10))(r)
		require.Empty(r, log.String(), "said once")

		// One that was just made explains itself at once.
		next := r.router(l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: public.ID}})
		require.Contains(r, next.StatusReason, "no agent reaches")
		said(next.ID)

		ok(r.UpdateAgent(r.Context(), r.admin, a.ID, l3.AgentSpec{AdminStateUp: new(false)}))(r)
		ok(r.Reschedule(r.Context(), 10))(r)
		require.Equal(r, "No agent can host the router: no agent is alive and enabled", reason(r.member, made.ID))
		require.Equal(r, "No agent can host the router: no agent is alive and enabled: h1 is disabled", reason(r.admin, made.ID))
		log.Reset()

		ok(r.UpdateAgent(r.Context(), r.admin, a.ID, l3.AgentSpec{AdminStateUp: new(true)}))(r)
		r.agent("h1", "physnet", "physnett")
		require.Equal(r, l3.StatusBuild, r.see(made.ID).Status)
		require.Empty(r, r.see(made.ID).StatusReason)
		r.report(made.ID)

		last := r.clock.Now().Format(time.RFC3339)
		r.clock.sleep(76 * time.Second)
		require.Equal(r, "The agent that hosts the router is not heard", reason(r.member, made.ID))
		require.Equal(r, "The agent that hosts the router is not heard: host h1, last heard at "+last, reason(r.admin, made.ID))
		r.agent("h2", "other")
		ok(r.Reschedule(r.Context(), 10))(r)
		require.Equal(r, "The agent that hosts the router is not heard. No other agent can host it: no agent reaches the external network "+public.ID,
			reason(r.member, made.ID))
		require.Contains(r, log.String(), "an agent is not heard any more")
		said("a router's host is not heard, and no other agent can host it")
		ok(r.Reschedule(r.Context(), 10))(r)
		require.Empty(r, log.String(), "said once")

		r.agent("h1", "physnett")
		require.Equal(r, l3.StatusActive, r.see(made.ID).Status)
		require.Empty(r, r.see(made.ID).StatusReason)

		// Nobody at all is heard.
		r.clock.sleep(76 * time.Second)
		_, err = r.Reschedule(r.Context(), 10)
		require.ErrorIs(r, err, service.ErrSilence)
		said("an agent is not heard any more")
	})
}

// TestRouterInAZoneWithoutAgentsExplainsItself: the zone has lost its agent.
func TestRouterInAZoneWithoutAgentsExplainsItself(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		a := r.beat(agent.Heartbeat{Host: "h2", AvailabilityZone: "east"})
		made := r.router(l3.RouterSpec{AZHints: &[]string{"east"}, Gateway: &l3.GatewaySpec{NetworkID: r.external("", "203.0.113.0/24").ID}})
		require.Equal(r, "h2", r.hostOf(made.ID))
		require.NoError(r, r.DeleteAgent(r.Context(), r.admin, a.ID))
		got := r.see(made.ID)
		require.Equal(r, l3.StatusDown, got.Status)
		require.Equal(r, "No agent can host the router: no agent works in the availability zones east", got.StatusReason)
	})
}

// TestUnhostedRouterIsDownWhenTheLastAgentDies: it has no host, and now none could take it.
func TestUnhostedRouterIsDownWhenTheLastAgentDies(t *testing.T) {
	onRigs(t, func(r *rig) {
		a := r.agent("h1")
		made := r.routerTo(r.external("", "203.0.113.0/24"))
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, a.ID, made.ID))
		require.Contains(r, r.see(made.ID).StatusReason, "was removed from its agent")
		r.clock.sleep(76 * time.Second)
		_, err := r.Reschedule(r.Context(), 10)
		require.ErrorIs(r, err, service.ErrSilence)
		got := r.see(made.ID)
		require.Equal(r, l3.StatusDown, got.Status)
		require.Contains(r, got.StatusReason, "no agent is alive and enabled")
	})
}

// TestListsByStatusAreWhatResourcesShow: whatever the hosts report and whichever die, a list by
// status, or sorted by it, is the resources that show that status. So is one by whether an agent is
// alive.
func TestListsByStatusAreWhatResourcesShow(t *testing.T) {
	onRigs(t, func(r *rig) {
		rng := rand.New(rand.NewPCG(1, 2))
		ctx := r.Context()
		ok(r.SetQuota(ctx, r.admin, "p1", map[string]int{"router": -1, "network": -1, "subnet": -1}))(r)
		hosts := []string{"h1", "h2", "h3"}
		for _, h := range hosts {
			r.agent(h, "one")
		}
		here, nowhere := r.external("one", "203.0.113.0/24"), r.external("two", "198.51.100.0/24")
		var routers []l3.Router
		var ports []l3.Port
		var fips []l3.FloatingIP
		for i := range 6 {
			sub := r.inside(fmt.Sprintf("10.0.%d.0/24", i))
			routers = append(routers, r.routerTo(here, sub))
			ports = append(ports, r.port(r.member, sub))
			fips = append(fips, r.fip(here, ""))
		}
		routers = append(routers, r.router(), r.routerTo(nowhere))
		seen := map[string]bool{}
		want := []string{"routers ACTIVE", "routers BUILD", "routers DOWN", "routers ERROR", "ports ACTIVE", "ports DOWN", "ports N/A",
			"floatingips ACTIVE", "floatingips DOWN", "floatingips ERROR", "agents true", "agents false"}
		missing := func(s string) bool { return !seen[s] }
		const least, most = 40, 600
		for step := 0; step < least || slices.ContainsFunc(want, missing); step++ {
			require.Less(r, step, most, "the walk has seen nothing but %v", seen)
			made := routers[rng.IntN(6)]
			switch rng.IntN(11) {
			case 0:
				r.clock.sleep(30 * time.Second)
			case 1, 2:
				r.agent(hosts[rng.IntN(3)], "one")
			case 3, 4, 5:
				if a, err := r.DesiredOf(ctx, made.ID); err == nil {
					require.NoError(r, r.Report(ctx, agent.Report{Host: a.Host, RouterID: made.ID, Epoch: a.Epoch, Revision: a.Revision}))
				}
			case 6:
				if _, err := r.DesiredOf(ctx, made.ID); err == nil {
					r.fails(made.ID, "no")
				}
			case 7, 9:
				i := rng.IntN(len(fips))
				fips[i] = r.rebind(fips[i], []string{"", ports[i].ID}[min(rng.IntN(4), 1)])
			case 8:
				up := rng.IntN(3) > 0
				ok(r.UpdateRouter(ctx, r.member, made.ID, l3.RouterSpec{AdminStateUp: &up}, l3.If{}))(r)
			case 10:
				_, _ = r.Reschedule(ctx, 3) // ErrSilence is fine
			}
			listed(r, seen, "routers", r.ListRouters, r.GetRouter, func(x l3.Router) (string, any) { return x.ID, string(x.Status) })
			listed(r, seen, "ports", r.ListPorts, r.GetPort, func(x l3.Port) (string, any) { return x.ID, string(x.Status) })
			listed(r, seen, "floatingips", r.ListFloatingIPs, r.GetFloatingIP, func(x l3.FloatingIP) (string, any) { return x.ID, string(x.Status) })
			listed(r, seen, "agents", r.ListAgents, r.GetAgent, func(x l3.Agent) (string, any) { return x.ID, x.Alive })
		}
	})
}

type lister[R any] = func(ctx context.Context, who l3.Caller, q l3.Query) ([]R, error)

func listed[R any](
	r *rig, seen map[string]bool, kind string, list lister[R], get func(ctx context.Context, who l3.Caller, id string) (R, error), of func(R) (id string, value any),
) {
	r.Helper()
	field := "status"
	if kind == "agents" {
		field = "alive"
	}
	shown := map[any][]string{}
	for _, x := range ok(list(r.Context(), r.admin, l3.Query{}))(r) {
		id, value := of(x)
		_, again := of(ok(get(r.Context(), r.admin, id))(r))
		require.Equal(r, again, value, "%s %s: a list and a get agree", kind, id)
		shown[value] = append(shown[value], id)
		seen[fmt.Sprint(kind, " ", value)] = true
	}
	ids := func(q l3.Query) (found []string) {
		for _, x := range ok(list(r.Context(), r.admin, q))(r) {
			id, _ := of(x)
			found = append(found, id)
		}
		return found
	}
	values := []any{"ACTIVE", "BUILD", "DOWN", "ERROR", "N/A"}
	if kind == "agents" {
		values = []any{false, true}
	}
	var all []string
	for _, v := range values {
		require.Equal(r, shown[v], ids(l3.Query{Filters: []l3.Filter{{Field: field, Values: []any{v}}}}), "%s with %s %v", kind, field, v)
		all = append(all, shown[v]...)
		var page []string
		for marker := ""; ; {
			some := ids(l3.Query{Filters: []l3.Filter{{Field: field, Values: []any{v}}}, Limit: 2, Marker: marker})
			if len(some) == 0 {
				break
			}
			page = append(page, some...)
			marker = some[len(some)-1]
		}
		require.Equal(r, shown[v], page, "%s with %s %v, in pages", kind, field, v)
	}
	require.Equal(r, all, ids(l3.Query{Sort: []l3.Sort{{Field: field}}}), "%s sorted by %s", kind, field)
	slices.Sort(all)
	require.Equal(r, all, ids(l3.Query{Filters: []l3.Filter{{Field: field, Values: values}}}))
}

// TestStatusOfAFormerVersionsResources: its database has the status of nothing. It is made up for
// before anything is published.
func TestStatusOfAFormerVersionsResources(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		r.agent("h1")
		public, sub := r.external("", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		made, p := r.routerTo(public, sub), r.port(r.member, sub)
		bound, free, bare := r.fip(public, p.ID), r.fip(public, ""), r.router()
		r.report(made.ID)
		require.NoError(r, r.store.Update(ctx, func(tx l3.Tx) error {
			for _, id := range []string{made.ID, bare.ID} {
				x := ok(tx.Routers().Get(ctx, id))(r)
				x.Status, x.Host = "", ""
				require.NoError(r, tx.Routers().Refresh(ctx, &x))
			}
			for _, id := range []string{bound.ID, free.ID} {
				x := ok(tx.FloatingIPs().Get(ctx, id))(r)
				x.Status, x.Host = "", ""
				require.NoError(r, tx.FloatingIPs().Refresh(ctx, &x))
			}
			for _, id := range []string{made.Gateway.PortID, r.routerPorts(made.ID)[0].ID} {
				x := ok(tx.Ports().Get(ctx, id))(r)
				x.Status, x.StateRevision, x.Binding = l3.StatusDown, 0, l3.Binding{VNICType: "normal", VIFType: "unbound"}
				require.NoError(r, tx.Ports().Refresh(ctx, &x))
			}
			return nil
		}))
		ok(r.Reconcile(ctx, nil))(r)
		active := l3.Query{Filters: []l3.Filter{{Field: "status", Values: []any{"ACTIVE"}}}}
		require.Len(r, ok(r.ListRouters(ctx, r.admin, active))(r), 2)
		require.Equal(r, bound.ID, one(r.ListFloatingIPs(ctx, r.admin, active))(r).ID)
		require.Len(r, ok(r.ListPorts(ctx, r.admin, active))(r), 2)
		none := l3.Query{Filters: []l3.Filter{{Field: "status", Values: []any{""}}}}
		require.Empty(r, ok(r.ListRouters(ctx, r.admin, none))(r))
		require.Empty(r, ok(r.ListFloatingIPs(ctx, r.admin, none))(r))
	})
}

// TestFloatingIPsAreFoundByTheirStatus through every change of it, with others on the router that
// stay as they are.
func TestFloatingIPsAreFoundByTheirStatus(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		r.agent("h1")
		public, sub := r.external("", "203.0.113.0/24"), r.inside("10.0.1.0/24")
		made := r.routerTo(public, sub)
		one, two := r.fip(public, r.port(r.member, sub).ID), r.fip(public, r.port(r.member, sub).ID)
		found := func(first, second l3.Status) {
			r.Helper()
			for f, want := range map[string]l3.Status{one.ID: first, two.ID: second} {
				for _, s := range []l3.Status{l3.StatusActive, l3.StatusDown, l3.StatusError} {
					q := l3.Query{Filters: []l3.Filter{{Field: "status", Values: []any{string(s)}}, {Field: "id", Values: []any{f}}}}
					require.Len(r, ok(r.ListFloatingIPs(ctx, r.member, q))(r), map[bool]int{true: 1}[s == want], "%s is %s, by %s", f, want, s)
				}
			}
		}
		report := func(reason string) {
			r.Helper()
			a := ok(r.DesiredOf(ctx, made.ID))(r)
			require.NoError(r, r.Report(ctx, agent.Report{Host: a.Host, RouterID: made.ID, Epoch: a.Epoch, Revision: a.Revision, Error: reason}))
		}
		found(l3.StatusDown, l3.StatusDown)
		report("")
		found(l3.StatusActive, l3.StatusActive)
		report("no")
		found(l3.StatusError, l3.StatusError)
		report("")
		found(l3.StatusActive, l3.StatusActive)

		r.rebind(one, "")
		found(l3.StatusDown, l3.StatusActive)
		report("")
		found(l3.StatusDown, l3.StatusActive)
		one = r.rebind(one, r.port(r.member, sub).ID)
		found(l3.StatusDown, l3.StatusActive)
		report("")
		found(l3.StatusActive, l3.StatusActive)

		inside := r.routerPorts(made.ID)
		for _, up := range []bool{false, true} {
			for _, p := range inside {
				if p.DeviceOwner == l3.OwnerRouterInterface {
					ok(r.UpdatePort(ctx, r.admin, p.ID, l3.PortSpec{AdminStateUp: &up}, l3.If{}))(r)
				}
			}
			if !up {
				found(l3.StatusDown, l3.StatusDown)
			}
			report("")
		}
		found(l3.StatusActive, l3.StatusActive)
		r.clock.sleep(76 * time.Second)
		found(l3.StatusDown, l3.StatusDown)
		r.agent("h2")
		require.Equal(r, 1, ok(r.Reschedule(ctx, 10))(r))
		found(l3.StatusDown, l3.StatusDown)
		report("")
		found(l3.StatusActive, l3.StatusActive)
	})
}

// TestAgentThatWasNeverHeard: an agent registers before its first heartbeat, and is not lost until
// then.
func TestAgentThatWasNeverHeard(t *testing.T) {
	onRigs(t, func(r *rig) {
		var log bytes.Buffer
		svc, err := service.New(service.Config{Store: r.store, Now: r.clock.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(r, err)
		r.Service = svc
		r.agent("h1")
		router := r.router(l3.RouterSpec{AZHints: &[]string{"nova"}})
		require.NoError(r, r.Attach(r.Context(), agent.Session{Host: "h2", Instance: "process", Machine: "machine"}))
		ok(r.Reschedule(r.Context(), 10))(r)
		require.NotContains(r, log.String(), "not heard any more")

		r.clock.sleep(76 * time.Second)
		r.attach(router, r.inside("10.0.1.0/24"))
		require.Contains(r, r.see(router.ID).StatusReason, "h2 has sent no heartbeat yet")
		_, _ = r.Reschedule(r.Context(), 10) // nobody is heard
		require.Contains(r, log.String(), "not heard any more")
		require.Contains(r, log.String(), "host=h1")
		require.NotContains(r, log.String(), "host=h2")
	})
}
