package agent_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// controlPlane is a Source that a test speaks through. What it is given it keeps, and lists to
// whoever watches anew.
type controlPlane struct {
	mu sync.Mutex
	// deployment is what the control plane calls itself; refusing is why it refuses the agent.
	deployment string
	refusing   error
	sessions   []agent.Session
	away       bool
	deaf       bool        // to heartbeats
	silent     bool        // it lists nothing
	first      agent.Event // before the listing; nil: nothing
	routers    map[string]agent.Assignment
	left       map[string]agent.Gone // until the agent confirms it
	watch      chan agent.Event
	stop       context.CancelFunc
	holding    bool          // what is sent is held back
	held       []agent.Event // in this watch
	had        []agent.Event // that the agent has received

	reports    []agent.Report
	sightings  []agent.Sightings
	heartbeats []agent.Heartbeat
}

var errAway = errors.New("the control plane is away")

func newControlPlane() *controlPlane {
	return &controlPlane{routers: map[string]agent.Assignment{}, left: map[string]agent.Gone{}}
}

func (c *controlPlane) Watch(ctx context.Context, session agent.Session) (<-chan agent.Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return nil, errAway
	}
	c.sessions = append(c.sessions, session)
	if c.silent {
		nothing := make(chan agent.Event)
		context.AfterFunc(ctx, func() { close(nothing) })
		return nothing, nil
	}
	if c.refusing != nil {
		return nil, c.refusing
	}
	c.held = nil
	ctx, stop := context.WithCancel(ctx)
	pending := make(chan agent.Event, 10_000)
	if c.first != nil {
		pending <- c.first
	}
	for _, id := range slices.Sorted(maps.Keys(c.routers)) {
		pending <- agent.Put{Assignment: c.routers[id]}
	}
	for _, id := range slices.Sorted(maps.Keys(c.left)) {
		pending <- c.left[id]
	}
	pending <- agent.Synced{Deployment: c.deployment}
	c.watch, c.stop = pending, stop

	events := make(chan agent.Event)
	go func() {
		defer close(events)
		for {
			select {
			case e := <-pending:
				select {
				case events <- e:
					c.mu.Lock()
					c.had = append(c.had, e)
					c.mu.Unlock()
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return events, nil
}

func (c *controlPlane) Report(_ context.Context, r agent.Report) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return errAway
	}
	c.reports = append(c.reports, r)
	if g, ok := c.left[r.RouterID]; ok && r.Gone && !(agent.Version{Epoch: g.Epoch, Revision: g.Revision}).Newer(agent.Version{Epoch: r.Epoch, Revision: r.Revision}) {
		delete(c.left, r.RouterID)
	}
	return nil
}

func (c *controlPlane) Sight(_ context.Context, s agent.Sightings) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return errAway
	}
	c.sightings = append(c.sightings, s)
	return nil
}

func (c *controlPlane) Heartbeat(_ context.Context, h agent.Heartbeat) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away || c.deaf {
		return errAway
	}
	c.heartbeats = append(c.heartbeats, h)
	return nil
}

// put assigns routers to the host.
func (c *controlPlane) put(assignments ...agent.Assignment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range assignments {
		c.routers[a.Router.ID] = a
		delete(c.left, a.Router.ID)
		c.sendLocked(agent.Put{Assignment: a})
	}
}

// take takes a router from the host.
func (c *controlPlane) take(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.routers[id]
	delete(c.routers, id)
	c.left[id] = agent.Gone{RouterID: id, Deployment: last.Deployment, Epoch: last.Epoch, Revision: last.Revision}
	c.sendLocked(c.left[id])
}

// send says something, whether true or not.
func (c *controlPlane) send(e agent.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendLocked(e)
}

func (c *controlPlane) sendLocked(e agent.Event) {
	switch {
	case c.watch == nil || c.away:
	case c.holding:
		c.held = append(c.held, e)
	default:
		c.watch <- e
	}
}

// hold keeps back what is sent from now on, or sends what was kept back in another order.
func (c *controlPlane) hold(on bool, shuffle func(n int, swap func(i, j int))) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = on
	if on {
		return
	}
	held := c.held
	c.held = nil
	shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
	for _, e := range held {
		c.sendLocked(e)
	}
}

// cut ends the connection; mend lets it be made again.
func (c *controlPlane) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = true
	if c.stop != nil {
		c.stop()
	}
}

func (c *controlPlane) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = false
}

// deafen has heartbeats fail, or get through again. Routers are told of all the same.
func (c *controlPlane) deafen(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaf = on
}

func (c *controlPlane) lastReport(id string) (last agent.Report, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.reports {
		if r.RouterID == id {
			last, ok = r, true
		}
	}
	return last, ok
}

func (c *controlPlane) lastHeartbeat() agent.Heartbeat {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heartbeats[len(c.heartbeats)-1]
}

// faulty is a Source that breaks its contract.
type faulty struct {
	*controlPlane
	events func() <-chan agent.Event
}

func (f faulty) Watch(context.Context, agent.Session) (<-chan agent.Event, error) {
	return f.events(), nil
}

// TestFaultySources: what a source does wrong is said, and holds nothing up.
func TestFaultySources(t *testing.T) {
	t.Run("no channel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			s.config.Source = faulty{s.plane, func() <-chan agent.Event { return nil }}
			require.ErrorContains(t, s.once(t.Context()), "Watch returned no channel")
			_, err := s.plan()
			require.ErrorContains(t, err, "Watch returned no channel")
		})
	})
	t.Run("it goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			events := make(chan agent.Event)
			s.config.Source = faulty{s.plane, func() <-chan agent.Event { return events }}
			s.start()
			after(time.Minute)
			begun := time.Now()
			s.end()
			require.LessOrEqual(t, time.Since(begun), 2*time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			require.ErrorIs(t, s.once(ctx), context.DeadlineExceeded)
		})
	})
	t.Run("no version", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			var log bytes.Buffer
			s.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s.plane.put(router("r1", 0, 0))
			s.plane.put(router("r2", 0, 1))
			require.NoError(t, s.once(t.Context()))
			require.Equal(t, []string{"r2"}, s.routers())
			require.Contains(t, log.String(), "its revision must be at least 1")
		})
	})
	t.Run("pointers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			var log bytes.Buffer
			s.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s.config.Source = faulty{s.plane, func() <-chan agent.Event {
				events := make(chan agent.Event, 3)
				events <- &agent.Put{Assignment: router("r1", 1, 1)}
				events <- nil
				events <- agent.Synced{}
				close(events)
				return events
			}}
			require.NoError(t, s.once(t.Context()))
			require.Contains(t, log.String(), "type=*agent.Put")
			require.Contains(t, log.String(), "type=<nil>")
		})
	})
}
