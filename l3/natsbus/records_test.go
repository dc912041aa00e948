package natsbus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestSessionOpensWithTheService: the service hears who asks, and its refusal reaches the agent.
func TestSessionOpensWithTheService(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1", "h2")
	w.taken["h2"] = &l3.HostTakenError{Host: "h2", Machine: "m9"}
	r.publish(w)
	session := agent.Session{Instance: "i", Machine: "m", Deployment: "d"}
	source := r.source("h1")
	require.Eventually(t, func() bool {
		_, err := source.Watch(t.Context(), session)
		return err == nil
	}, patience, 10*time.Millisecond)
	session.Host = "h1"
	w.mu.Lock()
	require.Equal(t, session, w.attached[len(w.attached)-1])
	w.mu.Unlock()
	_, err := r.source("h2").Watch(t.Context(), agent.Session{})
	require.ErrorIs(t, err, agent.ErrRefused)
	require.ErrorContains(t, err, "in use by the agent on machine m9")

	// Another process of the host, which the service lets take its place, ends this one's watch.
	seen := watch(t, source)
	seen.until("synced", func() bool { return seen.synced == 1 })
	w.mu.Lock()
	w.taken["h1"] = &l3.HostTakenError{Host: "h1", Machine: "m9"}
	w.mu.Unlock()
	js := r.jetstream()
	require.NoError(t, js.DeleteConsumer(t.Context(), "KV_routers", "h1"))
	seen.until("a watch that is refused ends", func() bool { return seen.closed })
	require.Empty(t, seen.gone)
}

func (r *rig) jetstream() jetstream.JetStream {
	r.Helper()
	js, err := jetstream.New(r.nc)
	require.NoError(r, err)
	return js
}

// TestHeartbeatOfATakenHost is dropped, and neither delays others nor comes again.
func TestHeartbeatOfATakenHost(t *testing.T) {
	r := newRig(t)
	h := &hosting{taken: "h1"}
	c := natsbus.NewConsumer(h, r.bus)
	background(t, c.Run)
	beat := agent.Heartbeat{
		Instance: "i", Machine: "m", Deployment: "d", Capabilities: agent.Capabilities{TunnelAddress: netip.MustParseAddr("192.0.2.1")},
		Inventory: &agent.Inventory{Seq: 7, MaxEpoch: 9, Routers: []agent.RunningRouter{{ID: "r", Epoch: 9, Revision: 3}}},
	}
	require.NoError(t, r.source("h1").Heartbeat(t.Context(), beat))
	require.NoError(t, r.source("h2").Heartbeat(t.Context(), beat))
	require.Eventually(t, func() bool { return r.bus.CaughtUp(t.Context()) == nil }, patience, 10*time.Millisecond)
	h.mu.Lock()
	defer h.mu.Unlock()
	require.NotContains(t, h.beats, "h1")
	got := h.beats["h2"]
	beat.Host, beat.StartedAt = "h2", got.StartedAt
	require.Equal(t, beat, got)
	require.Equal(t, 1, h.refused)
	_, err := r.jetstream().Stream(t.Context(), "KV_peers")
	require.NoError(t, err)
	s, err := r.jetstream().Stream(t.Context(), "KV_peers")
	require.NoError(t, err)
	_, err = s.GetLastMsgForSubject(t.Context(), "$KV.peers.h1")
	require.ErrorIs(t, err, jetstream.ErrMsgNotFound, "it is no tunnel peer either")
}

// TestBusOfAnotherDeployment is refused, unless it is taken over. Then nobody is told that anything
// is gone.
func TestBusOfAnotherDeployment(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1")
	w.put("h1", "r1", "r2")
	p := r.publisher(w)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(t.Context()) }()
	seen := watch(t, r.source("h1"))
	seen.until("both are there", func() bool { return seen.synced == 1 && len(seen.have) == 2 })

	other := newWorld("h1")
	other.deployment.ID = "00000000-0000-4000-8000-000000000002"
	_, err := natsbus.Open(t.Context(), r.nc, other, natsbus.Options{})
	require.ErrorIs(t, err, natsbus.ErrOtherDeployment)
	require.ErrorContains(t, err, deployment)
	require.ErrorContains(t, err, other.deployment.ID)

	other.put("h1", "r3")
	r.options.TakeOver = true
	r.publish(other)
	require.ErrorIs(t, <-ended, natsbus.ErrOtherDeployment, "the publisher of before ends")
	seen.until("the watch ends", func() bool { return seen.closed })
	require.Empty(t, seen.gone)
	again := watch(t, r.source("h1"))
	again.until("what the other one has", func() bool { return again.synced == 1 })
	require.Equal(t, other.deployment.ID, again.deployment)
	require.Contains(t, again.have, "r3")
	require.Len(t, again.have, 1)
	require.Empty(t, again.gone)
}

// TestOneBusForADatabase: a second bus is refused while the first is in use, and not later. A
// publisher that finds another bus in use stops, and goes on when that one has gone.
func TestOneBusForADatabase(t *testing.T) {
	w := newWorld("h1")
	one := newRig(t)
	p := one.publisher(w)
	stop := background(t, p.Run)
	two := newRig(t)
	soon, cancel := context.WithTimeout(t.Context(), claimTime/2)
	defer cancel()
	_, err := natsbus.Open(soon, two.nc, w, natsbus.Options{})
	require.ErrorIs(t, err, l3.ErrOtherBus)
	stop()
	second, err := natsbus.Open(t.Context(), two.nc, w, natsbus.Options{Server: "two"})
	require.NoError(t, err, "the claim has lapsed")

	// The first one comes back, as after a pause of its machine.
	w.put("h1", "r1")
	background(t, p.Run)
	bus := one.bus
	one.bus = p.Bus()
	require.Eventually(t, func() bool { return one.bus.Ready(t.Context()) != nil }, patience, 10*time.Millisecond)
	require.ErrorIs(t, one.bus.Ready(t.Context()), l3.ErrOtherBus)
	later, cancelLater := context.WithTimeout(t.Context(), time.Second)
	defer cancelLater()
	_, err = one.source("h1").Watch(later, agent.Session{})
	require.Error(t, err, "it opens no sessions")
	require.Equal(t, 1, w.pending(), "it publishes nothing")
	require.NoError(t, second.Release(t.Context()))
	require.Eventually(t, func() bool { return w.pending() == 0 && one.bus.Ready(t.Context()) == nil }, patience, 10*time.Millisecond)
	one.bus = bus
}

// TestRestoredDatabase: the bus knows later versions than the database. The database is told, and
// its versions, which are higher then, reach the hosts. A router that it does not know any more is
// not removed from its host.
func TestRestoredDatabase(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("publisher running %t", running), func(t *testing.T) {
			r := newRig(t)
			w := newWorld("h1")
			w.put("h1", "r1")
			stop := background(t, r.publisher(w).Run)
			seen := watch(t, r.source("h1"))
			seen.until("it is there", func() bool { return seen.synced == 1 && len(seen.have) == 1 })
			w.mu.Lock()
			backup := w.at["r1"]
			w.mu.Unlock()
			for range 5 {
				w.put("h1", "r1")
			}
			w.put("h1", "late")
			seen.until("what came after the backup", func() bool { return seen.have["r1"].Revision == 6 && len(seen.have) == 2 })
			require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)
			if !running {
				stop()
			}
			w.mu.Lock()
			w.at = map[string]agent.Assignment{"r1": backup}
			w.epoch = backup.Epoch
			w.mu.Unlock()
			w.put("h1", "r1")
			if !running {
				r.publish(w)
			}
			seen.until("the watch ends, to begin again", func() bool { return seen.closed })
			require.Empty(t, seen.gone)
			again := watch(t, r.source("h1"))
			again.until("the restored version", func() bool { return again.synced == 1 && again.have["r1"].Revision == 2 })
			require.Greater(t, again.have["r1"].Epoch, backup.Epoch)
			require.Len(t, again.have, 1)
			require.Empty(t, again.gone)
		})
	}
}

// TestOlderCopyOfTheBus: what the database published since is written again, and everybody reads
// from the beginning, also an agent that had read further than the copy has come.
func TestOlderCopyOfTheBus(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1")
	w.put("h1", "r1", "r2", "r3")
	stop := background(t, r.publisher(w).Run)
	seen := watch(t, r.source("h1"))
	seen.until("they are there", func() bool { return seen.synced == 1 && len(seen.have) == 3 })
	w.put("h1", "r1")
	seen.until("the change", func() bool { return seen.have["r1"].Revision == 2 })
	require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)
	stop()
	// As in the copy: one key as it was before, one that is missing.
	value, err := json.Marshal(map[string]any{
		"host": "h1", "deployment": deployment, "epoch": 1, "revision": 1, "router": dataplane.Router{ID: "r1"},
	})
	require.NoError(t, err)
	_, err = r.jetstream().Publish(t.Context(), "$KV.routers.h1.r1", value)
	require.NoError(t, err)
	s, err := r.jetstream().Stream(t.Context(), "KV_routers")
	require.NoError(t, err)
	require.NoError(t, s.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.routers.h1.r2")))
	r.publish(w)
	seen.until("the watch ends, to begin again", func() bool { return seen.closed })
	require.Empty(t, seen.gone)
	again := watch(t, r.source("h1"))
	again.until("everything as the database has it", func() bool { return again.synced == 1 })
	require.Len(t, again.have, 3)
	require.Equal(t, uint64(2), again.have["r1"].Revision)
}

// TestWhatIsNotRecordedIsNotRemoved: a key of which the database has no record goes, and no host
// hears of that. A router of another deployment is passed over.
func TestWhatIsNotRecordedIsNotRemoved(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1")
	w.put("h1", "r1", "r2")
	p := r.publish(w)
	seen := watch(t, r.source("h1"))
	seen.until("both are there", func() bool { return seen.synced == 1 && len(seen.have) == 2 })
	value, err := json.Marshal(map[string]any{
		"host": "h1", "deployment": "other", "epoch": 99, "revision": 1, "router": dataplane.Router{ID: "foreign"},
	})
	require.NoError(t, err)
	_, err = r.jetstream().Publish(t.Context(), "$KV.routers.h1.foreign", value)
	require.NoError(t, err)
	w.mu.Lock()
	delete(w.at, "r2")
	w.notice("h1", "r2", 2, true) // its departure was confirmed before this is published
	w.mu.Unlock()
	s, err := r.jetstream().Stream(t.Context(), "KV_routers")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := s.GetLastMsgForSubject(t.Context(), "$KV.routers.h1.r2")
		return err != nil
	}, patience, 10*time.Millisecond)
	require.NoError(t, p.ReconcileNow(t.Context()))
	_, err = s.GetLastMsgForSubject(t.Context(), "$KV.routers.h1.foreign")
	require.ErrorIs(t, err, jetstream.ErrMsgNotFound)
	w.put("h1", "r3")
	seen.until("a sign, or the end", func() bool { return len(seen.have) == 3 || seen.closed })
	require.Empty(t, seen.gone)
	require.NotContains(t, seen.have, "foreign")
	require.Contains(t, seen.have, "r2")
}

// TestDepartureOfAnOrphan: an agent hears that it is one.
func TestDepartureOfAnOrphan(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1")
	for id, orphan := range map[string]bool{"stray": true, "ours": false} {
		w.left["h1/"+id] = l3.Placement{Host: "h1", RouterID: id, Deployment: deployment, Epoch: 1, Revision: 1, Orphan: orphan}
		w.notice("h1", id, 1, true)
	}
	r.publish(w)
	source := r.source("h1")
	var events <-chan agent.Event
	require.Eventually(t, func() (ok bool) {
		var err error
		events, err = source.Watch(t.Context(), agent.Session{Instance: "i", Machine: "m"})
		return err == nil
	}, patience, 10*time.Millisecond)
	heard := map[string]bool{}
	for len(heard) < 2 {
		select {
		case e := <-events:
			if gone, is := e.(agent.Gone); is {
				heard[gone.RouterID] = gone.Orphan
			}
		case <-time.After(patience):
			require.Fail(t, "a departure was not heard of", "heard: %v", heard)
		}
	}
	require.Equal(t, map[string]bool{"stray": true, "ours": false}, heard)
}
