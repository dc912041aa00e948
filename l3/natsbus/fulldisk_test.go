package natsbus_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/test/disk"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestServerDiskFullForAWhile: while the disk is full the bus says that it is not ready. When there
// is space again it works again, without a restart of the process, and nothing that was
// acknowledged is lost.
func TestServerDiskFullForAWhile(t *testing.T) {
	if !needs.MountNamespace(t) {
		return
	}
	dir := t.TempDir()
	disk.Small(t, dir, "24m")
	r := &rig{T: t, server: start(t, natsbus.ServerConfig{
		Secret: secret, Dir: filepath.Join(dir, "bus"), Listen: loopback, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})}
	r.nc = connect(t, natsbus.Login{Server: r.server})
	r.open(natsbus.Options{})
	w, h := newWorld("h1"), &hosting{}
	w.put("h1", "r1", "r2")
	p := r.publish(w)
	background(t, natsbus.NewConsumer(h, p.Bus()).Run)
	source := r.source("h1")
	beat := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return source.Heartbeat(ctx, agent.Heartbeat{StartedAt: time.Now().UTC(), Capabilities: agent.Capabilities{Version: string(make([]byte, 100<<10))}})
	}
	ready := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return p.Bus().Ready(ctx)
	}
	require.Eventually(t, func() bool { return beat() == nil && ready() == nil }, patience, 10*time.Millisecond)
	seen := watch(t, source)
	seen.until("both are there", func() bool { return seen.synced == 1 && len(seen.have) == 2 })

	for round := range 2 {
		ballast := filepath.Join(dir, "ballast")
		require.NoError(t, disk.Fill(ballast))
		require.Eventually(t, func() bool { return beat() != nil }, patience, 10*time.Millisecond, "heartbeats fail")
		require.Eventually(t, func() bool { return ready() != nil }, patience, 10*time.Millisecond, "and readiness says so")
		t.Log("not ready:", ready())
		w.put("h1", "r1")
		time.Sleep(3 * time.Second)
		require.Error(t, ready())
		require.NoError(t, os.Remove(ballast))
		require.Eventually(t, func() bool { return beat() == nil }, patience, 50*time.Millisecond, "heartbeats work again")
		require.Eventually(t, func() bool { return ready() == nil }, patience, 50*time.Millisecond, "and readiness says so")
		now := seen
		require.Eventually(t, func() bool {
			now.mu.Lock()
			closed := now.closed
			now.mu.Unlock()
			if closed {
				now = watch(t, source)
			}
			now.mu.Lock()
			defer now.mu.Unlock()
			return now.have["r1"].Revision == uint64(round)+2 && len(now.have) == 2
		}, patience, 10*time.Millisecond, "what was committed meanwhile arrives")
		require.Empty(t, now.gone)
		seen = now
		require.Eventually(t, func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return time.Since(h.beats["h1"].StartedAt) < patience
		}, patience, 10*time.Millisecond)
	}
}
