package agent_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// once runs an agent to its end.
func (s *site) once(ctx context.Context) error {
	s.t.Helper()
	a, err := agent.New(s.config)
	require.NoError(s.t, err)
	return a.Once(ctx)
}

func (s *site) plan() ([]dataplane.Plan, error) {
	s.t.Helper()
	a, err := agent.New(s.config)
	require.NoError(s.t, err)
	return a.Plan(s.t.Context())
}

// apply has a router on the host that no record names.
func (s *site) apply(a agent.Assignment) {
	s.t.Helper()
	_, err := s.dataplane.Dataplane.Apply(s.t.Context(), agent.Realised(a))
	require.NoError(s.t, err)
}

// TestOnce: the host is as the source says when it returns, and the control plane knows.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var peers []netip.Addr
		s.config.SetPeers = func(_ context.Context, all []netip.Addr) error { peers = all; return nil }
		s.dataplane.slow = time.Minute
		s.apply(router("gone", 1, 1))
		s.apply(router("orphan", 1, 1))
		s.plane.put(router("gone", 1, 1), router("r1", 1, 2), router("r2", 1, 1))
		s.plane.take("gone")
		require.NoError(t, s.once(t.Context()))
		s.has(router("r1", 1, 2), router("r2", 1, 1), router("orphan", 1, 1))
		require.Empty(t, s.plane.left, "the departure is confirmed")
		last, _ := s.plane.lastReport("r1")
		require.EqualValues(t, 2, last.Revision)
		require.Len(t, s.plane.heartbeats, 1)
		require.Len(t, s.plane.lastHeartbeat().Inventory.Routers, 3)
		require.Empty(t, peers)

		writes := s.host.Writes()
		require.NoError(t, s.once(t.Context()))
		require.Equal(t, writes, s.host.Writes(), "again is free")
		kept, err := agent.ReadCache(s.config.Cache)
		require.NoError(t, err)
		require.Len(t, kept.Routers, 2)
		require.Equal(t, []string{"orphan"}, kept.Orphans)

		delete(s.plane.routers, "r1")
		require.NoError(t, s.dataplane.Delete(t.Context(), "r1"))
		require.NoError(t, s.once(t.Context()), "what only the cache has is not waited for")
		s.has(router("r2", 1, 1), router("orphan", 1, 1))
	})
}

// TestOnceWithPeers: the wiring is told before routers are applied, and a wiring that fails is an
// error.
func TestOnceWithPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		deaf := errors.New("the switch does not answer")
		s.config.SetPeers = func(context.Context, []netip.Addr) error { return deaf }
		s.plane.put(router("r1", 1, 1))
		s.plane.first = agent.Peers{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
		require.ErrorIs(t, s.once(t.Context()), deaf)
		s.has(router("r1", 1, 1))
	})
}

// TestOnceNamesWhatFailed: one router does not keep another from being applied.
func TestOnceNamesWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		boom := errors.New("boom")
		s.dataplane.fail("r1", boom)
		s.plane.put(router("r1", 1, 1), router("r2", 1, 1))
		err := s.once(t.Context())
		require.ErrorIs(t, err, boom)
		require.ErrorContains(t, err, "router r1: boom")
		require.NotContains(t, err.Error(), "r2")
		s.has(router("r2", 1, 1))
		last, _ := s.plane.lastReport("r1")
		require.Equal(t, "boom", last.Error)

		s.dataplane.fail("r1", nil)
		s.plane.deafen(true)
		require.ErrorIs(t, s.once(t.Context()), errAway, "whoever is not heard is told")
		s.has(router("r1", 1, 1), router("r2", 1, 1))
	})
}

// TestOnceWithoutAListing changes nothing, though the cache has a router that is not on the host.
func TestOnceWithoutAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.put(router("r1", 1, 1))
		require.NoError(t, s.once(t.Context()))
		require.NoError(t, s.dataplane.Delete(t.Context(), "r1"))
		s.apply(router("orphan", 1, 1))
		for name, c := range map[string]struct {
			prepare func()
			err     error
		}{
			"away":    {func() { s.plane.away = true }, errAway},
			"refused": {func() { s.plane.away, s.plane.refusing = false, agent.ErrRefused }, agent.ErrRefused},
		} {
			c.prepare()
			require.ErrorIs(t, s.once(t.Context()), c.err, name)
			_, err := s.plan()
			require.ErrorIs(t, err, c.err, name)
			s.has(router("orphan", 1, 1))
		}
		s.plane.away, s.plane.refusing, s.plane.silent = false, nil, true
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.ErrorIs(t, s.once(ctx), context.DeadlineExceeded)
		s.has(router("orphan", 1, 1))

		s.config.Source = endsEarly{s.plane}
		require.ErrorContains(t, s.once(t.Context()), "the source ended before its listing was complete")
		_, err := s.plan()
		require.ErrorContains(t, err, "the source ended before its listing was complete")
		s.has(router("orphan", 1, 1))
	})
}

// endsEarly names a router, and no more.
type endsEarly struct{ *controlPlane }

func (endsEarly) Watch(context.Context, agent.Session) (<-chan agent.Event, error) {
	events := make(chan agent.Event, 1)
	events <- agent.Put{Assignment: router("r2", 1, 1)}
	close(events)
	return events, nil
}

// TestPlan: it says what Once does, and does not do it.
func TestPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.put(router("same", 1, 1), router("gone", 1, 1), router("went", 1, 1))
		require.NoError(t, s.once(t.Context()))
		s.apply(router("orphan", 1, 1))
		s.plane.put(router("changed", 1, 1))
		s.plane.take("gone")
		s.plane.take("went")
		require.NoError(t, s.dataplane.Delete(t.Context(), "went"))

		writes, cache, heartbeats := s.host.Writes(), s.files(), len(s.plane.heartbeats)
		plans, err := s.plan()
		require.NoError(t, err)
		require.Equal(t, writes, s.host.Writes())
		require.Equal(t, cache, s.files())
		require.Len(t, s.plane.heartbeats, heartbeats)
		require.Len(t, s.plane.left, 2, "no departure is confirmed")
		require.Len(t, plans, 3)
		require.Equal(t, "changed", plans[0].Router)
		require.False(t, plans[0].Empty())
		require.Equal(t, "router gone\n  - namespace qrouter-gone: has left this host  !", plans[1].String())
		require.Equal(t, "same", plans[2].Router)
		require.True(t, plans[2].Empty())

		require.NoError(t, s.once(t.Context()))
		plans, err = s.plan()
		require.NoError(t, err)
		require.Len(t, plans, 2)
		for _, p := range plans {
			require.True(t, p.Empty(), "what was done is what was planned")
		}
		_, err = s.dataplane.Inspect(t.Context(), "gone")
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}
