package natsbus

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/l3"
)

// publisher publishes what was committed, opens the sessions of agents, and keeps the bus in
// repair. Several may run, on one database, in one process or many: what they do twice changes
// nothing.
type publisher struct {
	control   l3.ControlPlane
	bus       *Bus
	poll      time.Duration // between looks for what was committed, without being told
	reconcile time.Duration // between comparisons of everything
	log       *slog.Logger
}

func newPublisher(control l3.ControlPlane, bus *Bus) *publisher {
	o := bus.options
	return &publisher{
		control: control, bus: bus, poll: cmp.Or(o.Poll, time.Second), reconcile: cmp.Or(o.Reconcile, time.Hour), log: bus.log,
	}
}

// Run publishes until ctx ends, and then returns nil. Before anything else it compares the bus with
// the database. It fails when the connection is closed, and when another deployment has taken the
// bus over.
func (p *publisher) Run(ctx context.Context) error {
	t := &turns{publisher: p, stop: func() {}, found: make(chan struct{}, 1), ended: make(chan error, 1)}
	// Another bus may have claimed the database since this one was opened.
	if err := t.bus.claim(ctx); err != nil && ctx.Err() == nil {
		t.log.Warn("cannot renew the claim of the bus on the database", "err", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { t.watch(ctx) })
	defer watching.Wait()
	defer cancel()
	defer func() { t.stop() }()
	return t.loop(ctx)
}

// turns is one Run.
type turns struct {
	*publisher
	prepared atomic.Bool // the bus was compared with the database, and sessions are served
	due      time.Time   // when to compare the next time
	stop     func()      // stops serving sessions

	lost  atomic.Bool   // the bus has lost something
	found chan struct{} // watch has found something that changes what is to be done
	ended chan error    // watch has found why nothing must be published any more
}

func (t *turns) loop(ctx context.Context) error {
	pause := backoff.Backoff{Pause: 100 * time.Millisecond, Longest: 5 * time.Second}
	for fails := 0; ctx.Err() == nil; {
		if t.lost.Swap(false) {
			t.unprepare()
		}
		err := t.turn(ctx)
		wait, woken := t.poll, t.control.Committed()
		if err != nil {
			t.log.Warn("what was committed waits to be published", "err", err)
			wait, woken = pause.After(fails), nil
			fails++
		} else {
			fails = 0
		}
		if err != nil && t.bus.js.Conn().IsClosed() {
			return err
		}
		select {
		case <-woken:
		case <-t.found:
		case <-time.After(wait):
		case err := <-t.ended:
			return err
		case <-ctx.Done():
		}
	}
	return nil
}

func (t *turns) unprepare() {
	t.prepared.Store(false)
	t.stop()
	t.stop = func() {}
}

// turn publishes everything that there is to publish.
func (t *turns) turn(ctx context.Context) error {
	if err := t.bus.troubled(); err != nil {
		// While another bus serves the database, this process publishes nothing and opens no
		// session.
		t.unprepare()
		return err
	}
	if !t.prepared.Load() || time.Now().After(t.due) {
		if err := t.prepare(ctx); err != nil {
			return err
		}
	}
	for {
		n, err := t.drain(ctx)
		if errors.Is(err, errNewer) {
			t.unprepare() // see [l3.Desired.Reconcile]
		}
		if n == 0 || err != nil {
			return err
		}
	}
}

// prepare compares everything, and then serves sessions.
func (t *turns) prepare(ctx context.Context) error {
	if err := t.reconcileNow(ctx); err != nil {
		return err
	}
	t.due = time.Now().Add(t.reconcile)
	if t.prepared.Load() {
		return nil
	}
	t.unprepare()
	compared := time.Now()
	check := func(ctx context.Context, host string) error {
		if time.Since(compared) < time.Second {
			return nil // all hosts ask when a server starts
		}
		return t.checkHost(ctx, host)
	}
	stop, err := newSessions(t.bus, t.control.Attach, t.log, check).serve(ctx)
	if err != nil {
		return err
	}
	t.stop = stop
	t.prepared.Store(true)
	return nil
}

const (
	batch    = 256 // notices read at once
	parallel = 16  // keys written at once
)

// drain publishes the first notices of the outbox, and returns how many there were. They are done
// when the bus has stored what they are about; see [ServerConfig] for what stored means.
func (p *publisher) drain(ctx context.Context) (int, error) {
	notices, err := p.control.Unpublished(ctx, batch)
	if err != nil || len(notices) == 0 {
		return 0, err
	}
	if err := p.publish(ctx, notices); err != nil {
		return 0, err
	}
	return len(notices), p.control.Published(ctx, notices)
}

// publish settles the routers that the notices are about. Each host of a router is settled once,
// because the present state is published. The hosts that routers have left hear of it first.
func (p *publisher) publish(ctx context.Context, notices []l3.Notice) error {
	left := map[place]bool{}
	for _, n := range notices {
		left[place{n.Host, n.RouterID}] = n.Gone // as the last notice says
	}
	for _, first := range []bool{true, false} {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(parallel)
		for at, gone := range left {
			if gone != first {
				continue
			}
			g.Go(func() error {
				_, err := p.settle(ctx, at.host, at.routerID)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// settle publishes one router. A router that cannot be compiled keeps no other waiting: its host
// stays with what it has.
func (p *publisher) settle(ctx context.Context, host, routerID string) (changed bool, err error) {
	changed, err = p.bus.settle(ctx, p.control, host, routerID)
	if errors.Is(err, dataplane.ErrInvalid) {
		p.log.Error("a router cannot be published", "router", routerID, "host", host, "err", err)
		return false, nil
	}
	return changed, err
}
