package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// once is a run that ends when the host is as its source says.
type once struct {
	stop     context.CancelFunc
	conclude func()           // called when each router had its attempt; nil: it was
	failed   map[string]error // by router: of the last attempt; nil: it succeeded
	err      error            // of all but routers
}

// end notes that the source has ended. What comes after a complete listing is not waited for.
func (o *once) end(complete bool, err error) {
	if complete {
		return
	}
	if err == nil {
		err = errors.New("the source ended before its listing was complete")
	}
	o.err = fmt.Errorf("read the routers of this host: %w", err)
	o.stop()
}

// Once brings the host to what its source says now, and returns: it reads a complete listing,
// applies every router named and removes every router whose departure is recorded, then sends the
// reports and one heartbeat. Nothing is done before the listing is complete, and orphans stay.
//
// The error joins what the source could not read with what failed, by router; nil: the host is as
// the source says. A source that ends early or refuses the agent is an error, and then nothing was
// done. Once waits for a source that
// is silent until ctx ends. CheckEvery, OnDisconnect and Lease are not used.
func (a *Agent) Once(ctx context.Context) error {
	within, stop := context.WithCancel(ctx)
	defer stop()
	began := time.Now().UTC()
	o := &once{stop: stop, failed: map[string]error{}}
	r := a.newRun()
	r.once = o
	if err := r.restore(within); err != nil {
		return err
	}
	a.running.Store(r)
	var wg sync.WaitGroup
	wg.Go(func() { r.watch(within) })
	wg.Go(func() { r.tellPeers(within) })
	concluded := make(chan error, 1)
	o.conclude = func() {
		var peers []netip.Addr // nil: the source names none
		if r.known.named != nil {
			peers, _ = r.known.at(time.Now())
		}
		wg.Go(func() {
			concluded <- r.tellAll(within, began, peers)
			stop()
		})
	}
	r.loop(within)
	close(r.over)
	stop()
	wg.Wait()

	errs := []error{o.err, r.incomplete}
	for _, id := range slices.Sorted(maps.Keys(o.failed)) {
		if err := o.failed[id]; err != nil {
			errs = append(errs, fmt.Errorf("router %s: %w", id, err))
		}
	}
	select {
	case err := <-concluded:
		errs = append(errs, err)
	default:
		errs = append(errs, ctx.Err())
	}
	return errors.Join(errs...)
}

// settled reports whether each router that is named, or has left, had its attempt.
func (r *run) settled() bool {
	if !r.complete || r.busy > 0 {
		return false
	}
	for _, e := range r.book.entries {
		if e.fails == 0 && !e.orphan && (e.want == nil || e.applied != e.want.Version()) {
			return false
		}
	}
	return true
}

// tellAll makes one attempt to tell the wiring of the tunnel peers, the control plane of
// everything, and the cache of what it does not have yet. It has a goroutine of its own.
func (r *run) tellAll(ctx context.Context, began time.Time, peers []netip.Addr) error {
	var errs []error
	if r.config.SetPeers != nil && peers != nil {
		if err := r.config.SetPeers(ctx, peers); err != nil {
			errs = append(errs, fmt.Errorf("set the tunnel peers: %w", err))
		}
	}
	if err := sendAll(ctx, r.config.Source, r.reports.take()); err != nil {
		errs = append(errs, fmt.Errorf("report to the control plane: %w", err))
	}
	if beat, ok := r.heartbeat(ctx, began); ok {
		if err := r.config.Source.Heartbeat(ctx, beat); err != nil {
			errs = append(errs, fmt.Errorf("send a heartbeat to the control plane: %w", err))
		}
	}
	if r.cache != nil && r.cache.broken() != nil {
		errs = append(errs, r.cache.flush())
	}
	return errors.Join(errs...)
}

// Plan returns what [Agent.Once] would do, by router, with empty plans of those that are as they
// should be. It opens a session with the source, as Run does, and changes nothing on the host. The
// error joins what the source could not read with the routers that cannot be planned; the plans of
// the others are returned with it. It may be called before Run, and again.
func (a *Agent) Plan(ctx context.Context) ([]dataplane.Plan, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	aside := &Agent{config: a.config, log: slog.New(slog.DiscardHandler), cache: a.cache, reports: newReportQueue()}
	r := aside.newRun()
	r.recall(ctx)
	aside.cache = nil // from here on it would be written
	events, err := r.open(ctx, r.deployment)
	if err != nil {
		return nil, fmt.Errorf("read the routers of this host: %w", err)
	}
	for r.take(ctx, began{}); !r.complete; {
		e, ok := <-events
		if !ok {
			return nil, errors.Join(errors.New("read the routers of this host: the source ended before its listing was complete"), ctx.Err())
		}
		r.take(ctx, e)
	}
	var plans []dataplane.Plan
	errs := []error{r.incomplete}
	for _, id := range slices.Sorted(maps.Keys(r.book.entries)) {
		e := r.book.entries[id]
		if e.orphan {
			continue
		}
		plan, err := r.plan(ctx, e)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("router %s: %w", id, err))
		case e.want != nil || !plan.Empty():
			plans = append(plans, plan)
		}
	}
	return plans, errors.Join(errs...)
}

func (r *run) plan(ctx context.Context, e *entry) (dataplane.Plan, error) {
	if e.want != nil {
		return r.config.Dataplane.Plan(ctx, Realised(*e.want))
	}
	_, err := r.config.Dataplane.Inspect(ctx, e.id)
	if errors.Is(err, os.ErrNotExist) {
		return dataplane.Plan{}, nil
	}
	return dataplane.Plan{Router: e.id, Steps: []dataplane.Step{
		{Op: dataplane.Remove, Kind: "namespace", Object: dataplane.NamespaceName(e.id), Detail: "has left this host", Disturbs: true},
	}}, err
}
