package dataplane

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync/atomic"
)

// Fake is a [Dataplane] in memory, for tests: of agents, of control planes, of anything that is
// given a Dataplane. It is held to the same conformance suite as the real ones. What it realises is
// in its [FakeHost].
type Fake struct {
	host   *FakeHost
	closed atomic.Bool

	// What follows is guarded by the host's mutex.
	applied map[string]Router // that were not announced since; see Watch
	watch   *fakeWatch        // nil: nobody watches
	sight   *fakeSight        // nil: nobody sights
}

var _ Watcher = (*Fake)(nil)

// NewFake opens a dataplane on a host. Several on one host, one after the other or at once, are
// like processes on one machine. A nil host is a new one.
func NewFake(host *FakeHost) *Fake {
	if host == nil {
		host = new(FakeHost)
	}
	return &Fake{host: host, applied: make(map[string]Router)}
}

// Host is where the routers are.
func (f *Fake) Host() *FakeHost { return f.host }

// Plan says what Apply would do.
func (f *Fake) Plan(ctx context.Context, want Router) (Plan, error) {
	const op = "plan"
	if err := f.ready(ctx, op, want.ID, want.Validate); err != nil {
		return Plan{Router: want.ID}, err
	}
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	c, err := f.host.change(want)
	return Plan{Router: want.ID, Steps: c.steps}, wrap(op, want.ID, err)
}

// Apply makes the host match, at once and as a whole.
func (f *Fake) Apply(ctx context.Context, want Router) (Plan, error) {
	const op = "apply"
	if err := f.ready(ctx, op, want.ID, want.Validate); err != nil {
		return Plan{Router: want.ID}, &ChangeError{ErrOldInForce, err}
	}
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	c, err := f.host.change(want)
	inForce := ErrOldInForce
	if err == nil {
		inForce, err = f.host.commit(&c)
	}
	if err != nil {
		return Plan{Router: want.ID, Steps: c.steps}, &ChangeError{inForce, wrap(op, want.ID, err)}
	}
	f.applied[want.ID] = c.router
	if len(c.steps) > 0 {
		f.host.touch(want.ID, f)
	}
	return Plan{Router: want.ID, Steps: c.steps}, nil
}

// Delete takes a router off the host. Its connections end.
func (f *Fake) Delete(ctx context.Context, id string) error {
	if err := f.ready(ctx, "delete", id, nil); err != nil {
		return &ChangeError{ErrOldInForce, err}
	}
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	f.host.remove(id)
	delete(f.applied, id)
	f.host.touch(id, f)
	return nil
}

// List names the routers, sorted.
func (f *Fake) List(ctx context.Context) ([]string, error) {
	if err := f.ready(ctx, "list", "", nil); err != nil {
		return nil, err
	}
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	return slices.Sorted(maps.Keys(f.host.routers)), nil
}

// Inspect reads what the host shows of a router.
func (f *Fake) Inspect(ctx context.Context, id string) (Inspection, error) {
	const op = "inspect"
	if err := f.ready(ctx, op, id, Router{ID: id}.Validate); err != nil {
		return Inspection{}, err
	}
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	r := f.host.routers[id]
	if r == nil {
		return Inspection{}, wrap(op, id, os.ErrNotExist)
	}
	return inspectionOf(r.router), nil
}

// Announce is only counted; see [FakeHost.Announced].
func (f *Fake) Announce(ctx context.Context, id string) error {
	const op = "announce"
	if err := f.ready(ctx, op, id, Router{ID: id}.Validate); err != nil {
		return err
	}
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	if f.host.routers[id] == nil {
		return wrap(op, id, os.ErrNotExist)
	}
	if f.host.announced == nil {
		f.host.announced = make(map[string]int)
	}
	f.host.announced[id]++
	return nil
}

// Ready returns what was passed to [FakeHost.Disable].
func (f *Fake) Ready(ctx context.Context) error { return f.ready(ctx, "check", "", nil) }

// Close makes the other methods fail with [ErrClosed], and ends Watch and Sight. The host stays as
// it is.
func (f *Fake) Close() error {
	f.closed.Store(true)
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	if f.watch != nil {
		f.watch.stop()
	}
	if f.sight != nil {
		close(f.sight.closed)
		f.sight = nil
	}
	return nil
}

// ready says why an operation cannot begin.
func (f *Fake) ready(ctx context.Context, op, id string, validate func() error) error {
	if f.closed.Load() {
		return wrap(op, id, ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return wrap(op, id, err)
	}
	if err := f.host.fault(); err != nil {
		return wrap(op, id, err)
	}
	if validate != nil {
		return wrap(op, id, validate())
	}
	return nil
}

func wrap(op, id string, err error) error {
	switch {
	case err == nil:
		return nil
	case id == "":
		return &OpError{Op: op, Object: "routers", Err: err}
	}
	return &OpError{Op: op, Object: "router " + id, Err: err}
}
