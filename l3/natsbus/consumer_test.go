package natsbus_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestCaughtUp says what failover relies on: after it, no heartbeat that the bus had is unheard.
func TestCaughtUp(t *testing.T) {
	r := newRig(t)
	h := &hosting{}
	c := natsbus.NewConsumer(h, r.bus)
	soon := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return r.bus.CaughtUp(ctx)
	}
	require.ErrorContains(t, soon(), "nobody takes heartbeats")
	stop := background(t, c.Run)
	require.Eventually(t, func() bool { return soon() == nil }, patience, time.Millisecond)
	source := r.source("h1")
	for range 50 {
		require.NoError(t, source.Heartbeat(t.Context(), agent.Heartbeat{Binary: time.Now().String()}))
		require.NoError(t, r.bus.CaughtUp(t.Context()))
		h.mu.Lock()
		heard := h.beats["h1"]
		delete(h.beats, "h1")
		h.mu.Unlock()
		require.Equal(t, "h1", heard.Host)
	}
	h.setBroken(true)
	require.NoError(t, source.Heartbeat(t.Context(), agent.Heartbeat{}))
	require.Error(t, soon(), "what was read cannot be stored")
	require.NoError(t, source.Heartbeat(t.Context(), agent.Heartbeat{}))
	require.Error(t, soon(), "the newer one, which replaces it, neither")
	h.setBroken(false)
	require.NoError(t, r.bus.CaughtUp(t.Context()), "it comes again")
	stop()
	require.NoError(t, source.Heartbeat(t.Context(), agent.Heartbeat{}))
	require.ErrorContains(t, soon(), "heartbeats wait to be taken")
	r.server.Shutdown()
	require.ErrorContains(t, soon(), "the bus stores no heartbeats")
}

// TestFailingProcessLeavesWordsToOthers: one that is cut off from its database does not hold up
// what the other can store.
func TestFailingProcessLeavesWordsToOthers(t *testing.T) {
	r := newRig(t)
	sick, well := &hosting{}, &hosting{}
	sick.setBroken(true)
	background(t, natsbus.NewConsumer(sick, r.bus).Run)
	good := natsbus.NewConsumer(well, r.bus)
	background(t, good.Run)
	require.Eventually(t, func() bool { return r.bus.CaughtUp(t.Context()) == nil }, patience, time.Millisecond)
	source := r.source("h1")
	const reports = 100
	for i := range reports {
		require.NoError(t, source.Report(t.Context(), agent.Report{RouterID: "r", Epoch: 1, Revision: uint64(i)}))
	}
	require.NoError(t, source.Heartbeat(t.Context(), agent.Heartbeat{}))
	require.Eventually(t, func() bool {
		well.mu.Lock()
		defer well.mu.Unlock()
		return len(well.reports) == reports && len(well.beats) == 1
	}, patience, time.Millisecond)
	require.NoError(t, r.bus.CaughtUp(t.Context()))
}

// TestPeersExpire: a host that is silent for a lifetime is no tunnel peer any more; the others are
// told.
func TestPeersExpire(t *testing.T) {
	r := &rig{T: t, server: start(t, natsbus.ServerConfig{Secret: secret, Dir: t.TempDir(), Listen: loopback})}
	r.nc = connect(t, natsbus.Login{Server: r.server})
	r.open(natsbus.Options{Lifetime: 2 * time.Second})
	r.publish(newWorld("h1", "h2"))
	background(t, natsbus.NewConsumer(&hosting{}, r.bus).Run)
	one, two := r.source("h1"), r.source("h2")
	beat := func(s *natsbus.Source, address string) error {
		return s.Heartbeat(t.Context(), agent.Heartbeat{Capabilities: agent.Capabilities{Other: map[string]any{"tunneling_ip": address}}})
	}
	seen := watch(t, one)
	require.NoError(t, beat(two, "192.0.2.2"))
	background(t, func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := beat(one, "192.0.2.1"); err != nil && t.Context().Err() == nil {
				return err
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
		return nil
	})
	seen.until("both are peers", func() bool { return len(seen.peers) == 2 })
	seen.until("one is left", func() bool { return len(seen.peers) == 1 })
	require.Equal(t, netip.MustParseAddr("192.0.2.1"), seen.peers[0])
	require.NoError(t, beat(two, "192.0.2.2"))
	seen.until("it is back", func() bool { return len(seen.peers) == 2 })
}
