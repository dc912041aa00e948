package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/backoff"
)

// Lister is a control plane that can be listed but does not announce changes, such as a folder, a
// table or an HTTP API. A [Poller] calls one method at a time.
type Lister interface {
	// List returns everything that the control plane has for the host. After an error the routers
	// stay as they are, and the agent watches again after a pause.
	List(ctx context.Context) (Listing, error)

	// Record records that a router has left the host: later listings have it in Gone. It is called
	// when two complete listings in a row lack a router that an earlier one had. One is not enough:
	// an object may be missing while it is replaced. If absence does not mean removal, do nothing.
	Record(ctx context.Context, router string) error

	// Forget removes the record of a router that is no longer on the host, or is listed again. A
	// record that does not exist is no error.
	Forget(ctx context.Context, router string) error
}

// SightingLister is a [Lister] that takes sightings: addresses in use behind the anycast ports that
// it has listed. A later listing may route them to the host where they were seen last. After an
// error they are sent again.
type SightingLister interface {
	Lister
	Sight(ctx context.Context, s Sightings) error
}

// Listing is what a control plane has for a host at one moment.
type Listing struct {
	Routers    map[string]dataplane.Router // by ID
	Gone       []string                    // IDs of routers that left, by record; one in Routers too stays
	Incomplete error                       // what could not be read; until it is nil, no router is removed
}

// Poller is a [Source] that lists a control plane at intervals. A router is removed only because of
// a record, which ends when the agent reports that the router is gone: a listing that lacks a
// router removes nothing by itself. Versions follow the clock, so that they grow across restarts.
type Poller struct {
	Lister     Lister
	Deployment string        // of all routers; see [Assignment]
	Every      time.Duration // between listings; 0: a second
	Logger     *slog.Logger  // nil: nothing is logged

	mu       sync.Mutex // held while a method of Lister runs
	revision atomic.Uint64
}

// poll is one Watch.
type poll struct {
	*Poller
	sent   map[string]*dataplane.Router // as last sent; nil: sent as gone
	absent map[string]bool              // from the listing before, which was complete
}

// Watch implements [Source].
func (p *Poller) Watch(ctx context.Context, _ Session) (<-chan Event, error) {
	l, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	p.revision.Store(max(p.revision.Load(), uint64(time.Now().UnixMicro())))
	w := &poll{p, map[string]*dataplane.Router{}, nil}
	out := make(chan Event)
	go func() {
		defer close(out)
		if err := w.run(ctx, l, out); err != nil && ctx.Err() == nil {
			p.log().Warn("cannot list the routers of this host", "err", err)
		}
	}()
	return out, nil
}

// Report implements [Source].
func (p *Poller) Report(ctx context.Context, r Report) error {
	if !r.Gone {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Lister.Forget(ctx, r.RouterID)
}

// Heartbeat implements [Source]; it does nothing.
func (*Poller) Heartbeat(context.Context, Heartbeat) error { return nil }

// Sight implements [Source]. It does nothing unless the Lister is a [SightingLister].
func (p *Poller) Sight(ctx context.Context, s Sightings) error {
	l, ok := p.Lister.(SightingLister)
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.Sight(ctx, s)
}

func (p *Poller) list(ctx context.Context) (Listing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Lister.List(ctx)
}

func (p *Poller) log() *slog.Logger {
	if p.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Logger
}

// run sends events until ctx ends or a listing fails.
func (w *poll) run(ctx context.Context, l Listing, out chan<- Event) (err error) {
	said, events := "", append(w.events(l), Synced{Deployment: w.Deployment, Incomplete: l.Incomplete})
	for err == nil {
		for _, e := range events {
			select {
			case out <- e:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		faults := errors.Join(l.Incomplete, w.record(ctx, l))
		if faults != nil && faults.Error() != said {
			said = faults.Error()
			w.log().Warn("the listing is incomplete: until it is complete, no router is removed", "err", faults)
		}
		if err := backoff.Sleep(ctx, cmp.Or(w.Every, time.Second)); err != nil {
			return err
		}
		if l, err = w.list(ctx); err == nil {
			events = w.events(l)
		}
	}
	return err
}

// events returns what has changed since the last call.
func (w *poll) events(l Listing) (events []Event) {
	for id, r := range l.Routers {
		if last := w.sent[id]; last == nil || !last.Equal(r) {
			w.sent[id] = &r
			events = append(events, Put{Assignment{Deployment: w.Deployment, Epoch: 1, Revision: w.revision.Add(1), Router: r}})
		}
	}
	for _, id := range l.Gone {
		_, listed := l.Routers[id]
		if last, sent := w.sent[id]; !listed && l.Incomplete == nil && (last != nil || !sent) {
			w.sent[id] = nil
			events = append(events, Gone{RouterID: id, Deployment: w.Deployment, Epoch: 1, Revision: w.revision.Add(1)})
		}
	}
	maps.DeleteFunc(w.sent, func(id string, last *dataplane.Router) bool { // whose record has ended
		return last == nil && !slices.Contains(l.Gone, id)
	})
	return events
}

// record has routers recorded that listings lack, and forgotten that are listed again.
func (w *poll) record(ctx context.Context, l Listing) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	before := w.absent
	w.absent = map[string]bool{}
	for id, last := range w.sent {
		_, listed := l.Routers[id]
		recorded := slices.Contains(l.Gone, id)
		switch {
		case listed && recorded:
			errs = append(errs, w.Lister.Forget(ctx, id))
		case !listed && !recorded && last != nil && l.Incomplete == nil:
			w.absent[id] = true
			if before[id] {
				errs = append(errs, w.Lister.Record(ctx, id))
			}
		}
	}
	return errors.Join(errs...)
}
