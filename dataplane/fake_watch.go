package dataplane

import (
	"context"
	"errors"
)

// fakeWatch is one Watch of a [Fake].
type fakeWatch struct {
	fake    *Fake
	stop    context.CancelFunc
	wake    chan struct{}
	pending map[string]Kind // to announce, by router; guarded by the host's mutex
}

// Watch implements [Watcher]. What other dataplanes on the host do to a router, and
// [FakeHost.Tamper], is announced.
func (f *Fake) Watch(ctx context.Context) (<-chan Drift, error) {
	const op = "watch"
	if err := f.ready(ctx, op, "", nil); err != nil {
		return nil, err
	}
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	if f.watch != nil {
		return nil, wrap(op, "", errors.New("they are watched already"))
	}
	w := &fakeWatch{fake: f, wake: make(chan struct{}, 1), pending: make(map[string]Kind)}
	ctx, w.stop = context.WithCancel(ctx)
	f.watch = w
	if f.host.watches == nil {
		f.host.watches = make(map[*fakeWatch]struct{})
	}
	f.host.watches[w] = struct{}{}
	for id, applied := range f.applied {
		if have := f.host.routers[id]; have == nil || !have.router.Equal(applied) {
			w.announce(id)
		}
	}
	out := make(chan Drift)
	go w.run(ctx, out)
	return out, nil
}

// touch notes that a router was changed by one of the host's dataplanes, or by somebody else. The
// host is locked.
func (h *FakeHost) touch(id string, by *Fake) {
	for w := range h.watches {
		if _, watched := w.fake.applied[id]; watched && w.fake != by {
			w.announce(id)
		}
	}
}

// announce has a router announced, once until it is applied again. The host is locked.
func (w *fakeWatch) announce(id string) {
	now := inventory{}
	if have := w.fake.host.routers[id]; have != nil {
		now = inventoryOf(have.router)
	}
	w.pending[id] = ""
	if steps := now.steps(inventoryOf(w.fake.applied[id])); len(steps) > 0 {
		w.pending[id] = steps[0].Kind
	}
	delete(w.fake.applied, id)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *fakeWatch) run(ctx context.Context, out chan<- Drift) {
	defer close(out)
	defer w.end()
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
		for d, any := w.take(); any; d, any = w.take() {
			select {
			case out <- d:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (w *fakeWatch) take() (d Drift, any bool) {
	w.fake.host.mu.Lock()
	defer w.fake.host.mu.Unlock()
	for d.Router, d.Kind = range w.pending {
		delete(w.pending, d.Router)
		return d, true
	}
	return d, false
}

func (w *fakeWatch) end() {
	w.fake.host.mu.Lock()
	defer w.fake.host.mu.Unlock()
	w.stop()
	delete(w.fake.host.watches, w)
	w.fake.watch = nil
}
