package service_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

// host is an agent's side of what a test says.
type host struct {
	*rig
	name, instance, machine string
	seq                     uint64
}

func (r *rig) host(name string) *host {
	r.Helper()
	h := &host{rig: r, name: name, instance: "process of " + name, machine: "machine of " + name}
	h.runs()
	return h
}

// runs sends a heartbeat whose inventory has these routers.
func (h *host) runs(routers ...agent.RunningRouter) l3.Agent {
	h.Helper()
	d := ok(h.Deployment(h.Context()))(h.rig)
	h.seq++
	inventory := &agent.Inventory{Seq: h.seq, Routers: routers}
	for _, r := range routers {
		if r.Deployment == "" || r.Deployment == d.ID {
			inventory.MaxEpoch = max(inventory.MaxEpoch, r.Epoch)
		}
	}
	return h.beat(agent.Heartbeat{
		Host: h.name, Instance: h.instance, Machine: h.machine, Deployment: d.ID, Inventory: inventory,
	})
}

// applies has the host report everything that it must realise.
func (h *host) applies() (running []agent.RunningRouter) {
	h.Helper()
	for _, a := range ok(h.DesiredOn(h.Context(), h.name))(h.rig) {
		h.seq++
		require.NoError(h, h.Report(h.Context(), agent.Report{
			Host: h.name, RouterID: a.Router.ID, Epoch: a.Epoch, Revision: a.Revision, Instance: h.instance, Seq: h.seq,
		}))
		running = append(running, run(a))
	}
	return running
}

func run(a agent.Assignment) agent.RunningRouter {
	return agent.RunningRouter{ID: a.Router.ID, Epoch: a.Epoch, Revision: a.Revision}
}

// placement is what is recorded of a router on a host: "here", "left" or "nothing".
func (r *rig) placement(host, routerID string) string {
	r.Helper()
	p, err := r.PlacementOf(r.Context(), host, routerID)
	switch {
	case errors.Is(err, l3.ErrNotFound):
		return "nothing"
	case p.Assignment != nil:
		require.NoError(r, err)
		return "here"
	}
	require.NoError(r, err)
	require.NotZero(r, p.Epoch)
	return "left"
}

// TestDeparturesOutliveTheRouter: that a router has left a host is recorded until the host confirms
// it.
func TestDeparturesOutliveTheRouter(t *testing.T) {
	onRigs(t, func(r *rig) {
		h1, h2 := r.host("h1"), r.host("h2")
		subnet := r.inside("10.0.1.0/24")
		router := r.router()
		r.attach(router, subnet)
		first := r.report(router.ID)
		here, there := h1, h2
		if first.Host == "h2" {
			here, there = h2, h1
		}
		require.Equal(r, "here", r.placement(here.name, router.ID))
		require.Equal(r, "nothing", r.placement(there.name, router.ID))

		// It moves.
		agents := map[string]string{"h1": h1.runs().ID, "h2": h2.runs().ID}
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, agents[here.name], router.ID))
		require.NoError(r, r.AddRouterToAgent(r.Context(), r.admin, agents[there.name], router.ID))
		require.Equal(r, "left", r.placement(here.name, router.ID))
		require.Equal(r, "here", r.placement(there.name, router.ID))
		require.NoError(r, r.Report(r.Context(), agent.Report{Host: here.name, RouterID: router.ID, Epoch: first.Epoch - 1, Revision: 99, Gone: true}))
		require.Equal(r, "left", r.placement(here.name, router.ID), "it confirms an earlier departure")
		hosts := ok(r.Hosts(r.Context()))(r)
		require.Equal(r, []string{"h1", "h2"}, hosts)

		// It comes back, and moves again.
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, agents[there.name], router.ID))
		require.NoError(r, r.AddRouterToAgent(r.Context(), r.admin, agents[here.name], router.ID))
		require.Equal(r, "here", r.placement(here.name, router.ID))
		require.Equal(r, "left", r.placement(there.name, router.ID))

		// Nothing is left to realise.
		ok(r.RemoveRouterInterface(r.Context(), r.member, router.ID, l3.InterfaceSpec{SubnetID: subnet.ID}))(r)
		require.Equal(r, "left", r.placement(here.name, router.ID))
		r.attach(router, subnet)
		require.Equal(r, "here", r.placement(here.name, router.ID))
		ok(r.RemoveRouterInterface(r.Context(), r.member, router.ID, l3.InterfaceSpec{SubnetID: subnet.ID}))(r)

		// It is deleted, and so is the agent.
		require.NoError(r, r.DeleteRouter(r.Context(), r.member, router.ID, l3.If{}))
		require.NoError(r, r.DeleteAgent(r.Context(), r.admin, agents[here.name]))
		require.Equal(r, "left", r.placement(here.name, router.ID))
		require.Equal(r, hosts, ok(r.Hosts(r.Context()))(r))
		p := ok(r.PlacementOf(r.Context(), here.name, router.ID))(r)
		require.Equal(r, []l3.Placement{p}, ok(r.PlacementsOn(r.Context(), here.name))(r))
		require.NoError(r, r.Report(r.Context(), agent.Report{Host: here.name, RouterID: router.ID, Epoch: p.Epoch, Revision: p.Revision, Gone: true}))
		require.Equal(r, "nothing", r.placement(here.name, router.ID))
		require.Equal(r, "left", r.placement(there.name, router.ID), "that host has not confirmed it")
	})
}

// TestInventoryKeepsStatusTrue: what a host does not run is not ACTIVE, whatever was reported, and
// what it runs is, even if the report was lost.
func TestInventoryKeepsStatusTrue(t *testing.T) {
	onRigs(t, func(r *rig) {
		h := r.host("h1")
		router := r.routerTo(r.external("", "203.0.113.0/24"), r.inside("10.0.1.0/24"))
		require.Equal(r, l3.StatusBuild, router.Status)
		is := func(want l3.Status, why string) {
			r.Helper()
			require.Equal(r, want, r.see(router.ID).Status, why)
		}
		running := h.applies()
		is(l3.StatusActive, "reported")
		r.notices(nil)
		h.runs(running...)
		is(l3.StatusActive, "it runs")
		require.Empty(r, r.notices(nil))

		h.runs()
		is(l3.StatusBuild, "it is gone")
		require.Equal(r, []string{"h1 r 1"}, r.notices(map[string]string{router.ID: "r"}), "it is published again")
		h.runs(running...)
		is(l3.StatusActive, "it is back")

		r.attach(router, r.inside("10.0.2.0/24"))
		is(l3.StatusBuild, "a new revision")
		r.notices(nil)
		h.runs(running...)
		is(l3.StatusBuild, "the host has not tried it")
		require.Len(r, r.notices(nil), 1)
		inventory := h.seq // of an inventory that is on its way
		newer := h.applies()
		is(l3.StatusActive, "reported")
		reported := h.seq
		h.seq = inventory - 1
		h.runs(running...)
		h.seq = reported
		is(l3.StatusActive, "the inventory was made before the report")
		h.runs(agent.RunningRouter{ID: router.ID}) // drifted, and cannot be put right
		is(l3.StatusBuild, "it does not run in any version that is known")
		h.runs(newer...)
		is(l3.StatusActive, "the report was lost")

		// A failure is the host's word, which an inventory does not take back unless it runs after
		// all.
		a := ok(r.DesiredOf(r.Context(), router.ID))(r)
		h.seq++
		require.NoError(r, r.Report(r.Context(), agent.Report{
			Host: "h1", RouterID: router.ID, Epoch: a.Epoch, Revision: a.Revision, Error: "no device", Instance: h.instance, Seq: h.seq,
		}))
		is(l3.StatusError, "it failed")
		h.runs()
		is(l3.StatusError, "and does not run")
		h.runs(newer...)
		is(l3.StatusActive, "it was mended, and the report was lost")
	})
}

// TestOrphansAreKept: a router that nobody has recorded is shown, and its addresses and segments
// are not given to others, until it is gone.
func TestOrphansAreKept(t *testing.T) {
	onRigs(t, func(r *rig) {
		h := r.host("h1")
		ext := r.external("public", "203.0.113.0/24")
		addr := netip.MustParseAddr
		tenants := dataplane.Network{ID: "foreign", Type: dataplane.NetworkVXLAN, Segment: 2}
		public := dataplane.Network{ID: "of another deployment", Type: dataplane.NetworkFlat, Physical: "public"}
		held := []agent.HeldAddr{{Network: tenants, Addr: addr("10.9.0.1")}}
		for _, a := range []string{"203.0.113.2", "203.0.113.3", "203.0.113.4"} {
			held = append(held, agent.HeldAddr{Network: public, Addr: addr(a)})
		}
		orphan := agent.RunningRouter{ID: "orphan", Epoch: 7, Revision: 3, Orphan: true, Deployment: "another", Addrs: held}
		a := h.runs(orphan)
		shown := ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Orphans
		require.Len(r, shown, 1)
		require.Equal(r, "orphan", shown[0].RouterID)
		require.Equal(r, "another", shown[0].Deployment)
		require.Empty(r, shown[0].Conflicts)
		require.Equal(r, shown, ok(r.ListAgents(r.Context(), r.admin, l3.Query{}))(r)[0].Orphans)
		require.Equal(r, "nothing", r.placement("h1", "orphan"))

		require.Equal(r, addr("203.0.113.5"), r.fip(ext, "").Address)
		_, err := r.CreateFloatingIPs(r.Context(), r.admin, l3.FloatingIPSpec{NetworkID: &ext.ID, Address: new(addr("203.0.113.3"))})
		require.ErrorIs(r, err, l3.ErrConflict)
		var ids []uint32
		for range 3 {
			ids = append(ids, r.network(r.member).Segments[0].ID)
		}
		require.Equal(r, []uint32{1, 3, 4}, ids, "2 is the orphan's")

		// A subnet that is made later has the orphan's address in it.
		n := one(r.CreateNetworks(r.Context(), r.admin, l3.NetworkSpec{Segments: &[]l3.Segment{{Type: dataplane.NetworkVXLAN, ID: 2}}}))(r)
		sub := r.subnet(r.admin, n, "10.9.0.0/24")
		require.Equal(r, addr("10.9.0.2"), r.port(r.admin, sub).FixedIPs[0].IPAddress)
		port := one(r.CreatePorts(r.Context(), r.admin, l3.PortSpec{NetworkID: &n.ID}))(r)
		require.NoError(r, r.DeletePort(r.Context(), r.admin, port.ID, l3.If{}))

		// An administrator decides; until the router is gone its addresses are in use.
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, a.ID, "orphan"))
		require.Equal(r, "left", r.placement("h1", "orphan"))
		h.runs(orphan)
		require.Equal(r, addr("203.0.113.6"), r.fip(ext, "").Address)
		require.Len(r, ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Orphans, 1)
		h.runs()
		require.Empty(r, ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Orphans)
		require.Equal(r, addr("203.0.113.2"), r.fip(ext, "").Address)

		// What a port has already is a conflict, which is shown.
		h.runs(agent.RunningRouter{ID: "late", Orphan: true, Addrs: []agent.HeldAddr{{Network: public, Addr: addr("203.0.113.5")}}})
		require.Equal(r, []netip.Addr{addr("203.0.113.5")}, ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Orphans[0].Conflicts)
	})
}

// TestOrphanRemovedOnAFreshDatabase: the epoch of the removal comes back with the host's next
// inventory, which ends the orphan and does not look like a database that was restored.
func TestOrphanRemovedOnAFreshDatabase(t *testing.T) {
	onRigs(t, func(r *rig) {
		var log bytes.Buffer
		service, err := service.New(service.Config{Store: r.store, Now: r.clock.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(r, err)
		r.Service = service
		h := r.host("h1")
		a := h.runs(agent.RunningRouter{ID: "orphan", Orphan: true})
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, a.ID, "orphan"))
		removal := ok(r.PlacementOf(r.Context(), "h1", "orphan"))(r)
		h.seq++
		h.beat(agent.Heartbeat{
			Host: h.name, Instance: h.instance, Machine: h.machine, Deployment: removal.Deployment,
			Inventory: &agent.Inventory{Seq: h.seq, MaxEpoch: removal.Epoch},
		})
		require.Empty(r, ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Orphans)
		require.NotContains(r, log.String(), "restored")
	})
}

// TestRouterThatIsAnothers: it runs where the database has, or had, a router of the same ID. Its
// versions say nothing about that one, and it is removed only by a decision about orphans.
func TestRouterThatIsAnothers(t *testing.T) {
	onRigs(t, func(r *rig) {
		var log bytes.Buffer
		service, err := service.New(service.Config{Store: r.store, Now: r.clock.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(r, err)
		r.Service = service
		h1 := r.host("h1")
		router := r.router()
		subnet := r.inside("10.0.1.0/24")
		r.attach(router, subnet)
		running := h1.applies()
		h1.runs(running...)
		h2 := r.host("h2")
		theirs := agent.RunningRouter{ID: router.ID, Epoch: 900, Revision: 900, Orphan: true, Deployment: "another"}
		agent := h2.runs(theirs)
		orphans := func() []l3.Orphan { return ok(r.GetAgent(r.Context(), r.admin, agent.ID))(r).Orphans }
		require.Len(r, orphans(), 1)
		require.Equal(r, "another", orphans()[0].Deployment)
		require.Equal(r, "nothing", r.placement("h2", router.ID))
		require.Equal(r, "h1", r.hostOf(router.ID))
		require.NotContains(r, log.String(), "restored")

		// Ours moves there and back, and leaves it.
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, h1.runs(running...).ID, router.ID))
		require.NoError(r, r.AddRouterToAgent(r.Context(), r.admin, agent.ID, router.ID))
		h2.runs(theirs)
		require.NotEqual(r, l3.StatusActive, r.see(router.ID).Status, "what runs is not ours")
		require.NotContains(r, log.String(), "restored")
		ok(r.RemoveRouterInterface(r.Context(), r.member, router.ID, l3.InterfaceSpec{SubnetID: subnet.ID}))(r)
		ours := ok(r.PlacementOf(r.Context(), "h2", router.ID))(r)
		require.False(r, ours.Orphan)
		h2.runs(theirs)
		require.Len(r, orphans(), 1)
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, agent.ID, router.ID))
		removal := ok(r.PlacementOf(r.Context(), "h2", router.ID))(r)
		require.True(r, removal.Orphan)
		require.True(r, removal.Version().Newer(ours.Version()), "else the host takes it for what it knows")
		h2.runs(theirs)
		require.Len(r, orphans(), 1, "until it is gone")
		h2.runs()
		require.Empty(r, orphans())
	})
}

// TestOrphansMayBeRemoved: a service that was told to does so.
func TestOrphansMayBeRemoved(t *testing.T) {
	onRigs(t, func(r *rig) {
		h := r.host("h1")
		h.runs(agent.RunningRouter{ID: "orphan", Orphan: true})
		require.Equal(r, "nothing", r.placement("h1", "orphan"))
		service, err := service.New(service.Config{Store: r.store, Now: r.clock.Now, RemoveOrphans: true})
		require.NoError(t, err)
		r.Service = service
		h.runs(agent.RunningRouter{ID: "orphan", Orphan: true})
		require.Equal(r, "left", r.placement("h1", "orphan"), "it was one before the service was told to remove it")
		h.runs(agent.RunningRouter{ID: "another", Orphan: true})
		require.Equal(r, "left", r.placement("h1", "another"))
	})
}

// TestRestoredDatabase: hosts that know later versions than the database show that it was restored.
// Then what it publishes is newer than all they know, and routers stay where they run by now.
func TestRestoredDatabase(t *testing.T) {
	for name, show := range map[string]func(r *rig, h1, h2 *host, ours, theirs []agent.RunningRouter, maxEpoch uint64){
		"by inventories": func(r *rig, h1, h2 *host, ours, theirs []agent.RunningRouter, _ uint64) {
			h2.runs(theirs...)
			h1.runs(ours...)
		},
		"by the message queue": func(r *rig, h1, h2 *host, ours, theirs []agent.RunningRouter, _ uint64) {
			var queued []l3.Placement
			for host, all := range map[string][]agent.RunningRouter{"h1": ours, "h2": theirs} {
				for _, v := range all {
					queued = append(queued, l3.Placement{
						Host: host, RouterID: v.ID, Epoch: v.Epoch, Revision: v.Revision,
						Assignment: &agent.Assignment{Host: host, Epoch: v.Epoch, Revision: v.Revision, Router: dataplane.Router{ID: v.ID}},
					})
				}
			}
			require.True(r, ok(r.Reconcile(r.Context(), queued))(r))
			require.False(r, ok(r.Reconcile(r.Context(), queued))(r), "it is put right")
		},
		"by an epoch that is over": func(r *rig, h1, h2 *host, ours, theirs []agent.RunningRouter, maxEpoch uint64) {
			d := ok(r.Deployment(r.Context()))(r)
			h2.seq++
			h2.beat(agent.Heartbeat{
				Host: "h2", Instance: h2.instance, Machine: h2.machine, Deployment: d.ID,
				Inventory: &agent.Inventory{Seq: h2.seq, MaxEpoch: maxEpoch, Routers: theirs},
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			onRigs(t, func(r *rig) {
				h1 := r.host("h1")
				kept, moved := r.router(), r.router()
				r.attach(kept, r.inside("10.0.1.0/24"))
				r.attach(moved, r.inside("10.0.2.0/24"))
				h1.applies()
				h2 := r.host("h2")
				r.notices(nil)
				// What follows happened after the backup was made, so that the database knows
				// nothing of it.
				keptA, movedA := ok(r.DesiredOf(r.Context(), kept.ID))(r), ok(r.DesiredOf(r.Context(), moved.ID))(r)
				ours := []agent.RunningRouter{{ID: kept.ID, Epoch: keptA.Epoch, Revision: keptA.Revision + 4}}
				theirs := []agent.RunningRouter{
					{ID: moved.ID, Epoch: movedA.Epoch + 10, Revision: movedA.Revision + 1}, {ID: "newcomer", Epoch: 15, Revision: 1},
				}
				show(r, h1, h2, ours, theirs, 20)
				for range 2 { // the next heartbeats find everything in order
					h1.runs(ours...)
					h2.runs(theirs...)
				}

				keptB, movedB := ok(r.DesiredOf(r.Context(), kept.ID))(r), ok(r.DesiredOf(r.Context(), moved.ID))(r)
				require.Equal(r, "h1", keptB.Host)
				require.Equal(r, "h2", movedB.Host, "it stays where it is by now")
				require.Equal(r, "left", r.placement("h1", moved.ID), "and has left the other")
				for _, newer := range []struct{ is, than agent.Version }{
					{keptB.Version(), ours[0].Version()}, {movedB.Version(), theirs[0].Version()}, {movedB.Version(), agent.Version{Epoch: 15, Revision: 1}},
				} {
					require.True(r, newer.is.Newer(newer.than), "%v is newer than %v", newer.is, newer.than)
				}
				require.Contains(r, r.notices(nil), "h2 "+moved.ID+" 2")
				require.Equal(r, "nothing", r.placement("h2", "newcomer"), "nobody removes it")
				agents := ok(r.ListAgents(r.Context(), r.admin, l3.Query{Sort: []l3.Sort{{Field: "host"}}}))(r)
				require.Len(r, agents[1].Orphans, 1)
				require.Equal(r, "newcomer", agents[1].Orphans[0].RouterID)

				h1.runs(h1.applies()...)
				h2.runs(append(h2.applies(), theirs[1])...)
				for _, router := range []l3.Router{kept, moved} {
					require.Equal(r, l3.StatusActive, r.see(router.ID).Status)
				}
				r.notices(nil)
				h1.runs(h1.applies()...)
				h2.runs(append(h2.applies(), theirs[1])...)
				require.Empty(r, r.notices(nil))
			})
		})
	}
}

// TestHostThatTakesAVersionForAnOldOne: what is published again and again, and never tried, gets a
// new epoch.
func TestHostThatTakesAVersionForAnOldOne(t *testing.T) {
	onRigs(t, func(r *rig) {
		h := r.host("h1")
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		first := ok(r.DesiredOf(r.Context(), router.ID))(r)
		for range 3 {
			h.runs()
			require.Equal(r, first.Epoch, ok(r.DesiredOf(r.Context(), router.ID))(r).Epoch)
		}
		h.runs()
		require.Greater(r, ok(r.DesiredOf(r.Context(), router.ID))(r).Epoch, first.Epoch)
		running := h.applies()
		now := ok(r.DesiredOf(r.Context(), router.ID))(r).Epoch
		for range 5 {
			h.runs(running...)
		}
		require.Equal(r, now, ok(r.DesiredOf(r.Context(), router.ID))(r).Epoch)
	})
}

// TestLateHeartbeatOfAnEarlierProcess: it says what ran before the agent started again.
func TestLateHeartbeatOfAnEarlierProcess(t *testing.T) {
	onRigs(t, func(r *rig) {
		h := r.host("h1")
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		require.NoError(r, r.Attach(r.Context(), agent.Session{Host: "h1", Instance: "again", Machine: h.machine}))
		a := ok(r.DesiredOf(r.Context(), router.ID))(r)
		require.NoError(r, r.Report(r.Context(), agent.Report{
			Host: "h1", RouterID: router.ID, Epoch: a.Epoch, Revision: a.Revision, Instance: "again", Seq: 5,
		}))
		h.runs()
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status)
		h.instance, h.seq = "again", 0
		h.runs()
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status, "the inventory is older than the report")
		h.seq = 5
		h.runs()
		require.Equal(r, l3.StatusBuild, r.see(router.ID).Status)
	})
}

// TestMisplacedRoutersLeave: a router that runs where it does not belong, by the same deployment's
// records, leaves; by another machine's name for the same machine it stays.
func TestMisplacedRoutersLeave(t *testing.T) {
	onRigs(t, func(r *rig) {
		h1 := r.host("h1")
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		running := h1.applies()
		h2 := r.host("h2")
		stale := []agent.RunningRouter{{ID: router.ID, Epoch: running[0].Epoch, Revision: running[0].Revision}}
		h2.runs(stale...)
		require.Equal(r, "left", r.placement("h2", router.ID), "a copy of the machine has started under another name")
		require.Equal(r, "here", r.placement("h1", router.ID))

		renamed := r.host("h3")
		renamed.machine = h1.machine
		renamed.runs(running...)
		require.Equal(r, "here", r.placement("h3", router.ID), "it is the same machine by another name")
		require.Equal(r, "nothing", r.placement("h1", router.ID), "the machine is not to remove it when it takes its old name back")
		require.Equal(r, l3.StatusBuild, r.see(router.ID).Status)
		renamed.runs(renamed.applies()...)
		require.Equal(r, l3.StatusActive, r.see(router.ID).Status)

		// It takes its old name back, with the cache that it had then, or with none.
		for i, seen := range [][]agent.RunningRouter{running, {{ID: router.ID}}} {
			name := []string{"h1", "h3"}[i]
			require.NoError(r, r.Attach(r.Context(), agent.Session{Host: name, Instance: "later", Machine: h1.machine}))
			require.Equal(r, "nothing", r.placement(name, router.ID))
			again := &host{rig: r, name: name, instance: "later", machine: h1.machine}
			again.runs(seen...)
			require.Equal(r, "here", r.placement(name, router.ID))
			again.runs(again.applies()...)
			require.Equal(r, l3.StatusActive, r.see(router.ID).Status)
		}
	})
}

// TestDepartureOfAnotherName: a machine is not told to remove a router that it had left under one
// name, and has been given again under another.
func TestDepartureOfAnotherName(t *testing.T) {
	onRigs(t, func(r *rig) {
		h1, h2 := r.host("h1"), r.host("h2")
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		agents := map[string]string{"h1": h1.runs().ID, "h2": h2.runs().ID}
		move := func(from, to string) {
			r.Helper()
			require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, agents[from], router.ID))
			require.NoError(r, r.AddRouterToAgent(r.Context(), r.admin, agents[to], router.ID))
		}
		if r.placement("h1", router.ID) != "here" {
			move("h2", "h1")
		}
		move("h1", "h2")
		require.Equal(r, "left", r.placement("h1", router.ID))
		renamed := r.host("h3")
		renamed.machine = h1.machine
		agents["h3"] = renamed.runs().ID
		move("h2", "h3")
		require.Equal(r, "here", r.placement("h3", router.ID))
		require.NoError(r, r.Attach(r.Context(), agent.Session{Host: "h1", Instance: "later", Machine: h1.machine}))
		require.Equal(r, "nothing", r.placement("h1", router.ID))
		require.Equal(r, "left", r.placement("h2", router.ID))
	})
}

// TestTwoAgentsOfOneMachine: two that are both heard are not one by two names, whatever they say of
// their machine, as after the memory of a machine was copied. A router that moves leaves the one
// that it was on.
func TestTwoAgentsOfOneMachine(t *testing.T) {
	onRigs(t, func(r *rig) {
		h1, h2 := r.host("h1"), r.host("h2")
		h1.machine, h2.machine = "one", "one"
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		if r.placement("h1", router.ID) != "here" {
			h1, h2 = h2, h1
		}
		r.clock.sleep(time.Second)
		agents := map[*host]string{h1: h1.runs(h1.applies()...).ID, h2: h2.runs().ID}
		running := h1.applies()
		require.NoError(r, r.RemoveRouterFromAgent(r.Context(), r.admin, agents[h1], router.ID))
		require.NoError(r, r.AddRouterToAgent(r.Context(), r.admin, agents[h2], router.ID))
		require.Equal(r, "left", r.placement(h1.name, router.ID))
		h1.runs(running...)
		require.Equal(r, "left", r.placement(h1.name, router.ID))
		require.Equal(r, "here", r.placement(h2.name, router.ID))
	})
}

// TestSessions: a host's name is one machine's.
func TestSessions(t *testing.T) {
	onRigs(t, func(r *rig) {
		attach := func(instance, machine string) error {
			return r.Attach(r.Context(), agent.Session{Host: "h1", Instance: instance, Machine: machine})
		}
		beat := func(instance, machine string) error {
			_, err := r.Heartbeat(r.Context(), agent.Heartbeat{Host: "h1", Instance: instance, Machine: machine})
			return err
		}
		require.ErrorIs(r, attach("", "m"), l3.ErrInvalid)
		require.NoError(r, attach("a", "one"))
		require.NoError(r, beat("a", "one"))
		require.NoError(r, attach("b", "one"), "the agent has started again")
		require.NoError(r, beat("b", "one"))
		err := attach("c", "two")
		require.ErrorIs(r, err, l3.ErrHostTaken)
		require.ErrorContains(r, err, "h1")
		require.ErrorContains(r, err, "one")
		require.ErrorIs(r, beat("c", "two"), l3.ErrHostTaken)
		require.NoError(r, attach("b", "one"))

		r.clock.sleep(40 * time.Second)
		require.NoError(r, attach("c", "two"), "the other has missed heartbeats: this is the machine after a boot")
		require.NoError(r, beat("c", "two"))
		require.ErrorIs(r, beat("b", "one"), l3.ErrHostTaken)
		r.clock.sleep(-time.Hour)
		require.NoError(r, attach("b", "one"), "a clock that was set back does not lock a host out")
		require.NoError(r, beat("b", "one"))
	})
}

// TestClockSetBack: an agent that dies after the server's clock was set back does not live on for
// as long as it was set back.
func TestClockSetBack(t *testing.T) {
	onRigs(t, func(r *rig) {
		a := r.host("h1").runs()
		r.clock.sleep(-time.Hour)
		require.False(r, ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Alive)
		r.host("h1")
		require.True(r, ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Alive)
	})
}

// TestClockSetForward: when the server's clock jumps by a day, nobody has been heard lately. That
// moves nothing, and each host's next heartbeat puts it right.
func TestClockSetForward(t *testing.T) {
	onRigs(t, func(r *rig) {
		h1, h2 := r.host("h1"), r.host("h2")
		var routers []l3.Router
		for _, cidr := range []string{"10.0.1.0/24", "10.0.2.0/24"} {
			router := r.router()
			r.attach(router, r.inside(cidr))
			routers = append(routers, router)
		}
		running := map[*host][]agent.RunningRouter{h1: h1.applies(), h2: h2.applies()}
		before := append(ok(r.DesiredOn(r.Context(), "h1"))(r), ok(r.DesiredOn(r.Context(), "h2"))(r)...)
		r.clock.sleep(24 * time.Hour)
		_, err := r.Reschedule(r.Context(), 100)
		require.ErrorIs(r, err, service.ErrSilence)
		require.Equal(r, l3.StatusDown, r.see(routers[0].ID).Status)
		for h, all := range running {
			h.runs(all...)
		}
		require.Zero(r, ok(r.Reschedule(r.Context(), 100))(r))
		for _, router := range routers {
			require.Equal(r, l3.StatusActive, r.see(router.ID).Status)
		}
		require.Equal(r, before, append(ok(r.DesiredOn(r.Context(), "h1"))(r), ok(r.DesiredOn(r.Context(), "h2"))(r)...), "not even a version has changed")
	})
}

// TestHostClockSetBack: the agent of a host whose clock is a day behind is heard, although it seems
// to have started before the one that it follows.
func TestHostClockSetBack(t *testing.T) {
	onRigs(t, func(r *rig) {
		d := ok(r.Deployment(r.Context()))(r)
		beat := func(instance string, started time.Time) l3.Agent {
			return r.beat(agent.Heartbeat{
				Host: "h1", Instance: instance, Machine: "m", StartedAt: started, Deployment: d.ID, Inventory: &agent.Inventory{Seq: 1},
			})
		}
		attach := func(instance string) {
			require.NoError(r, r.Attach(r.Context(), agent.Session{Host: "h1", Instance: instance, Machine: "m"}))
		}
		now := r.clock.Now()
		attach("first")
		beat("first", now.Add(24*time.Hour))
		for i, started := range []time.Time{now, now.Add(-24 * time.Hour), now.Add(time.Hour)} {
			instance := string(rune('a' + i))
			attach(instance)
			r.clock.sleep(time.Minute)
			require.Equal(r, instance, beat(instance, started).Instance)
			a := ok(r.ListAgents(r.Context(), r.admin, l3.Query{}))(r)[0]
			require.True(r, a.Alive)
			require.Equal(r, started.UTC(), a.StartedAt)
		}
	})
}

// TestClaimBus: a database is served over one message queue.
func TestClaimBus(t *testing.T) {
	onRigs(t, func(r *rig) {
		require.NoError(r, r.ClaimBus(r.Context(), "queue 1", "server a"))
		require.NoError(r, r.ClaimBus(r.Context(), "queue 1", "server b"))
		err := r.ClaimBus(r.Context(), "queue 2", "server c")
		require.ErrorIs(r, err, l3.ErrOtherBus)
		require.ErrorContains(r, err, "server b")
		r.clock.sleep(l3.BusClaimTime)
		require.NoError(r, r.ClaimBus(r.Context(), "queue 2", "server c"), "the other was lost, and made again")
		require.ErrorIs(r, r.ClaimBus(r.Context(), "queue 1", "server a"), l3.ErrOtherBus)
		r.clock.sleep(-time.Hour)
		require.NoError(r, r.ClaimBus(r.Context(), "queue 1", "server a"), "a clock that was set back does not lock a server out")
		d := ok(r.Deployment(r.Context()))(r)
		require.Equal(r, "queue 1", d.Bus.ID)
		require.NoError(r, r.ReleaseBus(r.Context(), "queue 2", "server a"))
		require.NoError(r, r.ReleaseBus(r.Context(), "queue 1", "server b"))
		require.ErrorIs(r, r.ClaimBus(r.Context(), "queue 2", "server c"), l3.ErrOtherBus, "neither had the claim")
		require.NoError(r, r.ReleaseBus(r.Context(), "queue 1", "server a"))
		require.NoError(r, r.ClaimBus(r.Context(), "queue 2", "server c"))
		require.Len(r, d.ID, 36)
	})
}

// TestOrphansOfAnAgentThatHasNotReadTheListing: an agent that starts names the deployment that it
// served before, and calls nothing an orphan yet. The addresses of orphans that it runs stay in
// use.
func TestOrphansOfAnAgentThatHasNotReadTheListing(t *testing.T) {
	onRigs(t, func(r *rig) {
		h := r.host("h1")
		wire := dataplane.Network{ID: "foreign", Type: dataplane.NetworkVXLAN, Segment: 1}
		running := agent.RunningRouter{
			ID: "orphan", Orphan: true, Deployment: "another", Addrs: []agent.HeldAddr{{Network: wire, Addr: netip.MustParseAddr("10.9.0.1")}},
		}
		h.runs(running)
		for _, before := range []string{"", "another"} {
			h.instance = "process after that of " + before
			h.seq = 1
			running.Orphan = false
			a := h.beat(agent.Heartbeat{
				Host: h.name, Instance: h.instance, Machine: h.machine, Deployment: before, StartedAt: r.clock.Now(),
				Inventory: &agent.Inventory{Seq: h.seq, Routers: []agent.RunningRouter{running}},
			})
			require.Len(r, ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Orphans, 1, "served before: %q", before)
			r.clock.sleep(time.Second)
		}
		require.NotEqual(r, uint32(1), r.network(r.member).Segments[0].ID, "the segment is the orphan's")
		a := h.beat(agent.Heartbeat{
			Host: h.name, Instance: h.instance, Machine: h.machine, Deployment: "another", StartedAt: r.clock.Now(),
			Inventory: &agent.Inventory{Seq: h.seq + 1},
		})
		require.Empty(r, ok(r.GetAgent(r.Context(), r.admin, a.ID))(r).Orphans, "it does not run any more")
	})
}
