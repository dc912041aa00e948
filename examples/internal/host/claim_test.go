package host

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// TestOneAgentOnAHost: whatever its cache is, a second agent is refused, and the first goes on.
func TestOneAgentOnAHost(t *testing.T) {
	r := newRig(t)
	b := newBus(t, loopback)
	b.put(office(), 1)
	reports := b.hear("reports.host1")
	first := r.start(b.login())
	next(t, reports, applied)

	second := *r
	second.flags.Cache = filepath.Join(t.TempDir(), "another")
	require.ErrorContains(t, second.start(b.login()).fails(), "another agent runs on this host, process ")
	_, client := r.neighbours()
	require.NoError(t, client.Ping(t.Context(), "203.0.113.5"))
	first.end()
	again := second.start(b.login())
	next(t, reports, applied)
	again.end()
}

// TestRemove: an orphan stays until somebody removes it, and nothing else can be removed so.
func TestRemove(t *testing.T) {
	r := newRig(t)
	remove := func(id string) error {
		return (&Remove{Machine: r.flags.Machine, Routers: []string{id}}).Run(&bytes.Buffer{})
	}
	b := newBus(t, loopback)
	b.put(office(), 1)
	b.put(overlay(), 1)
	reports := b.hear("reports.host1")
	p := r.start(b.login())
	for range 2 {
		next(t, reports, applied)
	}
	require.ErrorContains(t, remove(office().ID), "delete it by the API", "the control plane has a record of it")
	p.end()

	// The bus forgets it, and the agent that starts again knows no more than the bus does.
	js, err := jetstream.New(b.nc)
	require.NoError(t, err)
	s, err := js.Stream(t.Context(), "KV_routers")
	require.NoError(t, err)
	require.NoError(t, s.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.routers.host1."+office().ID)))
	p = r.start(b.login())
	orphaned := func(n float64) func() bool {
		return func() bool { got, ok := p.metric("l3kit_agent_orphans"); return ok && got == n && p.ready() }
	}
	eventually(t, orphaned(1), "it is an orphan")
	_, client := r.neighbours()
	require.NoError(t, client.Ping(t.Context(), "203.0.113.5"))
	text, err := r.runs(&Inspect{Machine: r.flags.Machine, Routers: []string{office().ID}})
	require.NoError(t, err)
	require.Contains(t, text, "orphan: it runs")
	require.Contains(t, text, "deployment "+testDeployment)

	require.Error(t, remove(overlay().ID))
	require.NoError(t, remove(office().ID))
	eventually(t, orphaned(0), "it is none any more")
	_, err = os.Stat(filepath.Join(r.machine.Dir, dataplane.NamespaceName(office().ID)))
	require.ErrorIs(t, err, os.ErrNotExist)
	kept, err := agent.ReadCache(r.flags.Cache)
	require.NoError(t, err)
	require.Empty(t, kept.Orphans)
	require.Len(t, kept.Routers, 1)
	p.end()
	require.ErrorContains(t, remove(office().ID), "there is no such router on this host")
}
