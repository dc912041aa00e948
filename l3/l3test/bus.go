package l3test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// RunBus holds a bus to the contract of [l3.Bus], clause by clause. Open gives a bus that has
// served nothing yet, or fails as that bus does; the suite closes it. Clauses run in parallel, as
// far as -parallel allows.
func RunBus(t *testing.T, open func(t testing.TB, control l3.ControlPlane) (l3.Bus, error)) {
	for _, c := range busClauses() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := c.run(t.Context(), func(control l3.ControlPlane) (l3.Bus, error) { return open(t, control) }, busPatience)
			if err != nil {
				t.Errorf("%v\n\nThe clause: %s", err, c.why)
			}
		})
	}
}

// busPatience is far more than anything needs that ought to happen.
const busPatience = 30 * time.Second

// busClause is one promise of [l3.Bus].
type busClause struct {
	name string
	why  string // what is promised
	test func(*busScene)
}

// run returns in what way a bus does not keep the promise, when what ought to happen has so much
// time. It needs no testing.T, so that the suite itself can be tested.
func (c busClause) run(ctx context.Context, open func(l3.ControlPlane) (l3.Bus, error), patience time.Duration) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &busScene{ctx: ctx, control: newPlane(), make: open, patience: patience}
	defer func() {
		cancel()
		s.close()
		switch failed := recover().(type) {
		case nil:
		case busFailure:
			err = failed.error
		default:
			panic(failed)
		}
	}()
	c.test(s)
	return nil
}

// busFailure ends a clause.
type busFailure struct{ error }

// busScene is a control plane with its bus.
type busScene struct {
	ctx      context.Context
	control  *plane
	make     func(l3.ControlPlane) (l3.Bus, error)
	patience time.Duration

	bus  l3.Bus
	stop func() // ends Run
	wait sync.WaitGroup
}

func (s *busScene) fail(format string, args ...any) { panic(busFailure{fmt.Errorf(format, args...)}) }

func (s *busScene) must(what string, err error) {
	if err != nil {
		s.fail("%s: %w", what, err)
	}
}

func (s *busScene) require(what string, holds bool) {
	if !holds {
		s.fail("it does not hold that %s", what)
	}
}

// until waits until something holds.
func (s *busScene) until(what string, holds func() bool) {
	for end := time.Now().Add(s.patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.fail("after %s it does not hold that %s", s.patience, what)
		}
	}
}

// soon is a context for a call that must return by itself, or with the context.
func (s *busScene) soon(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(s.ctx, min(d, s.patience))
	context.AfterFunc(ctx, cancel)
	return ctx
}

// open opens the bus, and run runs it as well.
func (s *busScene) open() {
	bus, err := s.make(s.control)
	s.must("open", err)
	s.bus = bus
}

func (s *busScene) run() {
	if s.bus == nil {
		s.open()
	}
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.bus.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			s.must("Run", err)
		case <-time.After(s.patience):
			s.fail("Run does not return when its context ends")
		}
	})
}

// end ends Run and closes the bus.
func (s *busScene) end() {
	s.stop()
	s.must("Close", s.bus.Close())
	s.bus, s.stop = nil, nil
}

func (s *busScene) close() {
	defer s.wait.Wait()
	if s.bus != nil {
		defer s.bus.Close() // the clause has failed
	}
	if s.stop != nil {
		defer func() { _ = recover() }()
		s.stop()
	}
}

func (s *busScene) source(host string) agent.Source {
	source, err := s.bus.Source(host)
	s.must("Source", err)
	return source
}

// watch opens a session of a host, and reads.
func (s *busScene) watch(host string) *seen { return s.watchAs(s.source(host), "machine of "+host) }

func (s *busScene) watchAs(source agent.Source, machine string) *seen {
	ctx, cancel := context.WithCancel(s.ctx)
	opening, opened := context.WithTimeout(ctx, s.patience)
	context.AfterFunc(opening, func() {
		if errors.Is(opening.Err(), context.DeadlineExceeded) {
			cancel()
		}
	})
	events, err := source.Watch(ctx, agent.Session{Instance: "instance", Machine: machine})
	opened()
	s.must("Watch", err)
	w := &seen{puts: map[string]agent.Assignment{}, gone: map[string]agent.Gone{}, room: make(chan struct{}), end: cancel}
	close(w.room)
	s.wait.Go(func() {
		defer cancel()
		for e := range events {
			w.take(e)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.closed = true
	})
	return w
}

// seen is what a watch has yielded.
type seen struct {
	mu       sync.Mutex
	puts     map[string]agent.Assignment // routers that the host must realise
	gone     map[string]agent.Gone       // routers that have left it
	synced   []string                    // deployments
	atSynced int                         // events on routers before the first of them
	events   int                         // on routers
	peers    []netip.Addr
	told     bool // peers is of use
	closed   bool
	room     chan struct{} // closed while events are read
	end      func()
}

func (w *seen) take(e agent.Event) {
	w.mu.Lock()
	room := w.room
	w.mu.Unlock()
	<-room
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := e.(type) {
	case agent.Put:
		w.events++
		if g, ok := w.gone[e.Router.ID]; ok && !e.Version().Newer(agent.Version{Epoch: g.Epoch, Revision: g.Revision}) {
			return // it is late
		}
		if have, ok := w.puts[e.Router.ID]; !ok || e.Version().Newer(have.Version()) {
			w.puts[e.Router.ID] = e.Assignment
			delete(w.gone, e.Router.ID)
		}
	case agent.Gone:
		w.events++
		if have, ok := w.puts[e.RouterID]; ok && have.Version().Newer(agent.Version{Epoch: e.Epoch, Revision: e.Revision}) {
			return // it is late
		}
		delete(w.puts, e.RouterID)
		w.gone[e.RouterID] = e
	case agent.Synced:
		if len(w.synced) == 0 {
			w.atSynced = w.events
		}
		w.synced = append(w.synced, e.Deployment)
	case agent.Peers:
		w.peers, w.told = slices.Clone(e.Addrs), true
	}
}

// hold has events wait until the function that it returns is called.
func (w *seen) hold() (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	room := make(chan struct{})
	w.room = room
	return func() { close(room) }
}

// is returns a condition on what was seen.
func (w *seen) is(holds func() bool) func() bool {
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return holds()
	}
}

func (w *seen) complete() bool { return w.is(func() bool { return len(w.synced) > 0 })() }

func (w *seen) ended() bool { return w.is(func() bool { return w.closed })() }

// has reports whether a host must realise a router in the version that the control plane has.
func (w *seen) has(control *plane, id string) func() bool {
	return w.is(func() bool {
		have, ok := w.puts[id]
		return ok && have.Version() == control.version(id)
	})
}

func (w *seen) lost(id string) func() bool {
	return w.is(func() bool {
		_, gone := w.gone[id]
		return gone
	})
}
