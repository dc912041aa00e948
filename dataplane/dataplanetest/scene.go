package dataplanetest

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// scene is a clause at work: a harness, the routers applied to it, and workloads that are made when
// they are first asked for.
type scene struct {
	ctx      context.Context
	h        Harness
	dp       dataplane.Dataplane
	patience time.Duration

	routers   map[string]dataplane.Router // as they were last applied
	hosts     map[string]Host
	workloads map[string]Workload
	closers   []io.Closer
	silent    uint16 // the last port number that [scene.check] expected silence on

	mu       sync.Mutex // of what follows
	state    string
	failures []error
}

func newScene(ctx context.Context, h Harness, patience time.Duration) *scene {
	return &scene{
		ctx: ctx, h: h, dp: h.Dataplane(), patience: patience,
		routers: map[string]dataplane.Router{}, hosts: map[string]Host{}, workloads: map[string]Workload{}, silent: 20000,
	}
}

func (s *scene) close() {
	for _, c := range s.closers {
		c.Close()
	}
}

func (s *scene) closeLater(c io.Closer) { s.closers = append(s.closers, c) }

// apply makes the host match a router, and ends the clause if that fails.
func (s *scene) apply(r dataplane.Router) dataplane.Plan {
	plan, err := s.dp.Apply(s.ctx, r)
	if err != nil {
		s.must(fmt.Errorf("Apply: %w", err))
	}
	s.routers[r.ID] = r
	return plan
}

func (s *scene) remove(id string) {
	s.must(s.dp.Delete(s.ctx, id))
	delete(s.routers, id)
	delete(s.hosts, id)
}

// host is a workload of the stage, or the inside of a router that was applied.
func (s *scene) host(name string) Host {
	if h := s.hosts[name]; h != nil {
		return h
	}
	if _, ok := s.routers[name]; ok {
		h, err := s.h.Router(s.ctx, name)
		s.must(err)
		s.hosts[name] = h
		return h
	}
	return s.attach(workload(name))
}

func (s *scene) cast(names ...string) {
	for _, n := range names {
		s.host(n)
	}
}

func (s *scene) attach(w Workload) Host {
	h, err := s.h.Attach(s.ctx, w)
	s.must(err)
	s.must(h.Serve(servicePort))
	s.hosts[w.Name], s.workloads[w.Name] = h, w
	return h
}

// patience is time enough for what ought to happen, on an ordinary machine; see [lab.Patience] for
// others.
const patience = 10 * time.Second

func (s *scene) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, s.patience)
}

// silence is how long to wait for what must not happen: a packet takes well below a millisecond.
const silence = 250 * time.Millisecond

func (s *scene) briefly() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, lab.Patience(silence))
}

// settled waits until the host's state is the one wanted, because the kernel does some of what a
// change implies in its own time.
func (s *scene) settled(what, want string, state func() (string, error)) {
	deadline := time.Now().Add(s.patience / 2)
	for {
		got, err := state()
		s.must(err)
		switch {
		case got == want:
			return
		case time.Now().After(deadline) || s.ctx.Err() != nil:
			s.fail(differ(what, want, got))
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// steady returns a state that has stopped to change.
func (s *scene) steady(state func() (string, error)) string {
	was, err := state()
	s.must(err)
	for {
		time.Sleep(30 * time.Millisecond)
		now, err := state()
		s.must(err)
		if now == was {
			return now
		}
		was = now
	}
}

// snapshot reads everything that belongs to the router r1: its inside, and the host's side of it.
func (s *scene) snapshot() (string, error) {
	inside, err := s.h.State(s.ctx, "r1")
	if err != nil {
		return "", err
	}
	outside, err := s.h.HostState(s.ctx)
	return inside + "\n" + outside, err
}
