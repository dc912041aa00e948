package service_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// attached is a heartbeat of a host that has these ports attached.
func attached(host string, seq uint64, ports ...string) agent.Heartbeat {
	return agent.Heartbeat{
		Host: host, Instance: "i-" + host, Machine: "m-" + host, Capabilities: agent.Capabilities{Wiring: "ovs"},
		Inventory: &agent.Inventory{Seq: seq, Ports: append([]string{}, ports...)},
	}
}

// TestPortsOfWorkloadsFollowTheirHost: they are ACTIVE when the host that they are bound to reports
// them as attached, and only then.
func TestPortsOfWorkloadsFollowTheirHost(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		r.beat(attached("h1", 1))
		s := r.inside("10.0.1.0/24")
		p := r.port(r.member, s)
		bind := func(host string) l3.Port {
			r.Helper()
			return ok(r.UpdatePort(ctx, r.admin, p.ID, l3.PortSpec{HostID: &host}, l3.If{}))(r)
		}
		seen := func(id string) []any {
			r.Helper()
			p := r.seePort(r.admin, id)
			return []any{p.Status, p.Binding.HostID, p.Binding.VIFType}
		}
		listed := func(status l3.Status) (ids []string) {
			r.Helper()
			for _, p := range ok(r.ListPorts(ctx, r.member, l3.Query{Filters: []l3.Filter{{Field: "status", Values: []any{string(status)}}}}))(r) {
				ids = append(ids, p.ID)
			}
			return ids
		}
		require.Equal(r, []any{l3.StatusDown, "", "unbound"}, seen(p.ID))

		r.beat(attached("h1", 2, p.ID))
		require.Equal(r, []any{l3.StatusDown, "", "unbound"}, seen(p.ID), "a host claims none that is not bound to it")

		require.Equal(r, l3.StatusDown, bind("h1").Status, "whoever binds it claims nothing")
		require.Equal(r, []any{l3.StatusDown, "h1", "ovs"}, seen(p.ID))
		before := r.seePort(r.admin, p.ID)
		r.clock.sleep(time.Second)
		r.beat(attached("h2", 1, p.ID))
		require.Equal(r, l3.StatusDown, r.seePort(r.admin, p.ID).Status, "another host")
		r.beat(attached("h1", 3, "unknown", p.ID))
		require.Equal(r, []any{l3.StatusActive, "h1", "ovs"}, seen(p.ID))
		after := r.seePort(r.admin, p.ID)
		require.Equal(r, before.Revision+1, after.Revision)
		require.True(r, after.UpdatedAt.After(before.UpdatedAt))
		require.Equal(r, []string{p.ID}, listed(l3.StatusActive))
		r.beat(attached("h1", 4, p.ID))
		require.Equal(r, after, r.seePort(r.admin, p.ID), "nothing changes with the same")

		r.beat(attached("h1", 3))
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, p.ID).Status, "an inventory that was late")
		unknowing := attached("h1", 5)
		unknowing.Inventory.Ports = nil
		r.beat(unknowing)
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, p.ID).Status, "an agent that does not know")

		router := r.router()
		_, err := r.AddRouterInterface(ctx, r.member, router.ID, l3.InterfaceSpec{PortID: p.ID})
		r.refused(err, l3.ErrConflict, "PortInUse")

		r.beat(attached("h1", 6))
		require.Equal(r, []any{l3.StatusDown, "h1", "ovs"}, seen(p.ID))

		r.beat(attached("h1", 7, p.ID))
		down := ok(r.UpdatePort(ctx, r.member, p.ID, l3.PortSpec{AdminStateUp: new(false)}, l3.If{}))(r)
		require.Equal(r, l3.StatusDown, down.Status)
		r.beat(attached("h1", 8, p.ID))
		require.Equal(r, l3.StatusDown, r.seePort(r.admin, p.ID).Status)
		ok(r.UpdatePort(ctx, r.member, p.ID, l3.PortSpec{AdminStateUp: new(true)}, l3.If{}))(r)
		r.beat(attached("h1", 9, p.ID))
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, p.ID).Status)

		// The host falls silent, and is heard again.
		r.clock.sleep(time.Hour)
		require.Equal(r, l3.StatusDown, r.seePort(r.admin, p.ID).Status)
		require.Empty(r, listed(l3.StatusActive))
		require.Contains(r, listed(l3.StatusDown), p.ID)
		h1 := r.beat(attached("h1", 10, p.ID))
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, p.ID).Status)

		moved := bind("h2")
		require.Equal(r, l3.StatusDown, moved.Status, "until that host has it")
		require.Equal(r, []any{l3.StatusDown, "h2", "ovs"}, seen(p.ID))
		r.beat(attached("h1", 11, p.ID))
		require.Equal(r, l3.StatusDown, r.seePort(r.admin, p.ID).Status, "it belongs elsewhere by now")
		bind("h1")
		r.beat(attached("h1", 12, p.ID))
		require.Equal(r, l3.StatusActive, r.seePort(r.admin, p.ID).Status)

		require.NoError(r, r.DeleteAgent(ctx, r.admin, h1.ID))
		require.Equal(r, []any{l3.StatusDown, "h1", "unbound"}, seen(p.ID), "nobody will report it")
		r.beat(attached("h1", 13, p.ID))
		require.Equal(r, []any{l3.StatusActive, "h1", "ovs"}, seen(p.ID))

		unbound := bind("")
		require.Equal(r, []any{l3.StatusDown, "", "unbound"}, []any{unbound.Status, unbound.Binding.HostID, unbound.Binding.VIFType})

		bind("h1")
		r.beat(attached("h1", 14, p.ID))
		require.NoError(r, r.DeletePort(ctx, r.member, p.ID, l3.If{}))
		r.beat(attached("h1", 15, p.ID))
		require.Empty(r, listed(l3.StatusActive))
	})
}

// TestStatusRaisesTheRevision: clients that compare revisions see that a status has changed, as in
// Neutron; what a request has changed has the revision that the answer shows.
func TestStatusRaisesTheRevision(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		r.beat(agent.Heartbeat{Host: "h1"})
		external := r.external("", "203.0.113.0/24")
		made := r.router(l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: external.ID}})
		require.Equal(r, l3.StatusBuild, made.Status)
		require.Equal(r, made.Revision, r.see(made.ID).Revision, "as it was answered")
		s := r.inside("10.0.1.0/24")
		face := r.attach(made, s).PortID
		fip := r.fip(external, r.port(r.member, s).ID)
		require.Equal(r, fip.Revision, ok(r.GetFloatingIP(ctx, r.member, fip.ID))(r).Revision)

		type state struct {
			status   l3.Status
			revision int
			at       time.Time
		}
		now := func() map[string]state {
			router, port, f := r.see(made.ID), r.seePort(r.admin, face), ok(r.GetFloatingIP(ctx, r.member, fip.ID))(r)
			return map[string]state{
				"router": {router.Status, router.Revision, router.UpdatedAt}, "port": {port.Status, port.Revision, port.UpdatedAt},
				"floating IP": {f.Status, f.Revision, f.UpdatedAt},
			}
		}
		before := now()
		r.clock.sleep(time.Second)
		r.report(made.ID)
		after := now()
		for what, is := range after {
			require.Equal(r, l3.StatusActive, is.status, what)
			require.Equal(r, before[what].revision+1, is.revision, what)
			require.True(r, is.at.After(before[what].at), what)
		}
		r.clock.sleep(time.Second)
		r.report(made.ID)
		require.Equal(r, after, now(), "nothing changes with the same")

		changed := ok(r.UpdateRouter(ctx, r.member, made.ID, l3.RouterSpec{AdminStateUp: new(false)}, l3.If{}))(r)
		require.Equal(r, l3.StatusDown, changed.Status)
		require.Equal(r, after["router"].revision+1, changed.Revision)
		require.Equal(r, changed.Revision, r.see(made.ID).Revision, "as it was answered")
	})
}
