package membus_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/membus"
	"github.com/l3kit/l3kit/l3/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	l3test.RunBus(t, func(t testing.TB, control l3.ControlPlane) (l3.Bus, error) {
		bus, err := membus.Open(t.Context(), control, membus.Options{Poll: 20 * time.Millisecond})
		if err != nil {
			return nil, err
		}
		return bus, nil
	})
}

// TestPeersExpire: a host that is silent for a lifetime is no tunnel peer any more; the others are
// told.
func TestPeersExpire(t *testing.T) {
	svc, err := service.New(service.Config{Store: l3test.Open(t, "sqlite::memory:")})
	require.NoError(t, err)
	bus, err := membus.Open(t.Context(), svc, membus.Options{
		Lifetime: 200 * time.Millisecond, Poll: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, bus.Close()) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- bus.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	one, err := bus.Source("h1")
	require.NoError(t, err)
	events, err := one.Watch(ctx, agent.Session{Instance: "i", Machine: "m"})
	require.NoError(t, err)
	two, err := bus.Source("h2")
	require.NoError(t, err)
	require.NoError(t, two.Heartbeat(t.Context(), agent.Heartbeat{Capabilities: agent.Capabilities{TunnelAddress: netip.MustParseAddr("192.0.2.2")}}))
	var told []int
	for e := range events {
		if peers, ok := e.(agent.Peers); ok {
			if told = append(told, len(peers.Addrs)); len(told) > 1 && len(peers.Addrs) == 0 {
				break
			}
		}
	}
	require.Contains(t, told, 1)
}

// TestAnotherBusTakesTheDatabase: then no host is served, until the database is this bus's again.
func TestAnotherBusTakesTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		control := &claimed{ControlPlane: stub{}}
		bus, err := membus.Open(t.Context(), control, membus.Options{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- bus.Run(ctx) }()
		source, err := bus.Source("h1")
		require.NoError(t, err)
		session := agent.Session{Instance: "i", Machine: "m"}
		events, err := source.Watch(t.Context(), session)
		require.NoError(t, err)

		control.other.Store(true)
		for range events { // which ends
		}
		require.ErrorIs(t, bus.Ready(t.Context()), l3.ErrOtherBus)
		require.ErrorIs(t, source.Report(t.Context(), agent.Report{RouterID: "r"}), l3.ErrOtherBus)
		require.ErrorIs(t, bus.CaughtUp(t.Context()), l3.ErrOtherBus)
		soon, end := context.WithTimeout(t.Context(), time.Minute)
		defer end()
		_, err = source.Watch(soon, session)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		control.other.Store(false)
		events, err = source.Watch(t.Context(), session)
		require.NoError(t, err)
		for e := range events {
			if _, synced := e.(agent.Synced); synced {
				break
			}
		}
		require.NoError(t, bus.Ready(t.Context()))
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, bus.Close())
	})
}

// claimed is a control plane whose database another bus may have claimed.
type claimed struct {
	l3.ControlPlane
	other atomic.Bool
}

func (c *claimed) ClaimBus(ctx context.Context, bus, server string) error {
	if c.other.Load() {
		return &l3.OtherBusError{Bus: bus, Deployment: l3.Deployment{Bus: l3.BusClaim{SeenAt: time.Now()}}}
	}
	return nil
}

// stub is a control plane without routers.
type stub struct{ l3.ControlPlane }

func (stub) ReleaseBus(context.Context, string, string) error             { return nil }
func (stub) Committed() <-chan struct{}                                   { return nil }
func (stub) Unpublished(context.Context, int) ([]l3.Notice, error)        { return nil, nil }
func (stub) Attach(context.Context, agent.Session) error                  { return nil }
func (stub) Deployment(context.Context) (l3.Deployment, error)            { return l3.Deployment{}, nil }
func (stub) PlacementsOn(context.Context, string) ([]l3.Placement, error) { return nil, nil }
func (stub) Report(context.Context, agent.Report) error                   { return nil }

// late heartbeats prove nothing: what could not be taken for half a minute is dropped.
func TestLateHeartbeatIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		control := &deaf{ControlPlane: stub{}}
		bus, err := membus.Open(t.Context(), &claimed{ControlPlane: control}, membus.Options{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- bus.Run(ctx) }()
		synctest.Wait()
		source, err := bus.Source("h1")
		require.NoError(t, err)
		require.ErrorIs(t, source.Heartbeat(t.Context(), agent.Heartbeat{}), errDeaf)
		require.ErrorIs(t, bus.CaughtUp(t.Context()), errDeaf)
		time.Sleep(25 * time.Second)
		require.ErrorIs(t, bus.CaughtUp(t.Context()), errDeaf, "it still may be taken")
		time.Sleep(6 * time.Second)
		require.NoError(t, bus.CaughtUp(t.Context()))
		require.Equal(t, 3, control.asked)
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, bus.Close())
	})
}

var errDeaf = errors.New("the database does not answer")

// deaf is a control plane that takes no heartbeat.
type deaf struct {
	l3.ControlPlane
	asked int
}

func (d *deaf) Heartbeat(context.Context, agent.Heartbeat) (l3.Agent, error) {
	d.asked++
	return l3.Agent{}, errDeaf
}

// TestListingDoesNotBringBack: what has left the host while the listing was read is not named as
// the listing has it.
func TestListingDoesNotBringBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		control := &leaving{ControlPlane: stub{}, told: make(chan struct{})}
		bus, err := membus.Open(t.Context(), &claimed{ControlPlane: control}, membus.Options{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- bus.Run(ctx) }()
		source, err := bus.Source("h1")
		require.NoError(t, err)
		events, err := source.Watch(ctx, agent.Session{Instance: "i", Machine: "m"})
		require.NoError(t, err)
		for e := range events {
			_, named := e.(agent.Put)
			require.False(t, named)
			if _, synced := e.(agent.Synced); synced {
				break
			}
		}
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, bus.Close())
	})
}

// leaving is a control plane whose one router leaves its host, for good, after a listing was read.
type leaving struct {
	l3.ControlPlane
	listed, done atomic.Bool
	told         chan struct{}
}

func (l *leaving) PlacementsOn(context.Context, string) ([]l3.Placement, error) {
	l.listed.Store(true)
	<-l.told
	return []l3.Placement{{Host: "h1", RouterID: "r1", Epoch: 1, Revision: 1, Assignment: &agent.Assignment{Host: "h1", Epoch: 1, Revision: 1}}}, nil
}

func (l *leaving) Unpublished(context.Context, int) ([]l3.Notice, error) {
	if !l.listed.Load() || l.done.Load() {
		return nil, nil
	}
	return []l3.Notice{{Seq: 1, Host: "h1", RouterID: "r1"}}, nil
}

func (l *leaving) Published(context.Context, []l3.Notice) error {
	l.done.Store(true)
	close(l.told)
	return nil
}

func (l *leaving) PlacementOf(context.Context, string, string) (l3.Placement, error) {
	return l3.Placement{}, l3.ErrNotFound
}
