package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// snapshot is what the loop knows at one moment, for an inventory.
type snapshot struct {
	seq        uint64
	status     Status
	deployment string
	maxEpoch   uint64
	complete   bool
	routers    map[string]l3.RunningRouter
}

// snapshot is called by the loop.
func (r *run) snapshot() snapshot {
	r.seq++
	s := snapshot{
		seq: r.seq, status: r.sum(), deployment: r.deployment, maxEpoch: r.book.maxEpoch, complete: r.complete,
		routers: make(map[string]l3.RunningRouter, len(r.book.entries)),
	}
	for id, e := range r.book.entries {
		router := l3.RunningRouter{ID: id, Epoch: e.runs.Epoch, Revision: e.runs.Revision}
		if e.orphan && e.want != nil {
			router.Orphan, router.Deployment, router.Addrs = true, e.want.Deployment, l3.HeldAddrs(e.want.Router)
		}
		s.routers[id] = router
	}
	return s
}

// look asks the loop for a snapshot.
func (r *run) look(ctx context.Context) (snapshot, bool) {
	answer := make(chan snapshot, 1)
	select {
	case r.snapshots <- answer:
		return <-answer, true
	case <-ctx.Done():
		return snapshot{}, false
	case <-r.over:
		return snapshot{}, false
	}
}

// inventory lists what is on the host, with the versions that the loop knows. It is made after the
// snapshot, so a router that was applied meanwhile has a report of its own.
func (r *run) inventory(ctx context.Context, seen snapshot) (*l3.Inventory, error) {
	onHost, err := r.config.Dataplane.List(ctx)
	if err != nil {
		return nil, err
	}
	inv := &l3.Inventory{Seq: seen.seq, MaxEpoch: seen.maxEpoch, Routers: make([]l3.RunningRouter, len(onHost))}
	for i, id := range onHost {
		router, known := seen.routers[id]
		if !known {
			router = l3.RunningRouter{ID: id, Orphan: seen.complete}
		}
		inv.Routers[i] = router
	}
	return inv, nil
}

// synced notes that the listing of a deployment is complete.
func (r *run) synced(ctx context.Context, deployment string) {
	if r.deployment != deployment {
		if r.deployment != "" {
			r.log.Warn("this host serves another deployment now; the routers of the one before stay, as orphans",
				"deployment", deployment, "before", r.deployment)
		}
		r.book.serve()
	}
	r.deployment = deployment
	list, err := r.config.Dataplane.List(ctx)
	if err != nil {
		r.log.Error("cannot list the routers on this host", "err", err)
	}
	before := r.orphans()
	r.present = make(map[string]bool, len(list))
	for _, id := range list {
		r.present[id] = true
	}
	r.book.synced(r.present)
	r.complete, r.live = true, true
	for _, id := range r.orphans() {
		if !slices.Contains(before, id) {
			r.log.Warn("a router runs on this host and the control plane has no record of it: it stays as it is, as an orphan", "router", id)
		}
	}
	r.keepListing()
	r.recovered()
}

// keepListing notes on disk whose routers these are, and which are orphans.
func (r *run) keepListing() {
	if r.cache == nil {
		return
	}
	if err := r.cache.keepListing(listed{r.deployment, r.orphans()}); err != nil {
		r.log.Warn("cannot note on disk which deployment this host serves", "err", err)
	}
}

// orphans lists the routers on the host that the last complete listing did not name, sorted.
func (r *run) orphans() []string {
	if !r.complete {
		return nil
	}
	var all []string
	for id, e := range r.book.entries {
		if e.orphan && (r.present[id] || !e.kept) {
			all = append(all, id)
		}
	}
	for id := range r.present {
		if r.book.entries[id] == nil {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// served is the deployment that was served last, for the goroutine that watches.
func (r *run) served(ctx context.Context) string {
	seen, _ := r.look(ctx)
	return seen.deployment
}

// ErrNotOrphan is returned by [Agent.RemoveOrphan] for a router that the control plane has a record
// of, and as long as no complete listing was read.
var ErrNotOrphan = errors.New("the router is not an orphan")

// removal asks the loop to take an orphan away.
type removal struct {
	id     string
	answer chan error
}

// RemoveOrphan takes a router off the host that the control plane has no record of. It returns when
// that has begun; a failure is tried again like any other. A router that the control plane has a
// record of is ErrNotOrphan: it is deleted by the API.
func (a *Agent) RemoveOrphan(ctx context.Context, id string) error {
	r := a.running.Load()
	if r == nil {
		return errors.New("remove orphan: the agent does not run")
	}
	m := removal{id, make(chan error, 1)}
	select {
	case r.messages <- m:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.over:
		return errors.New("remove orphan: the agent has ended")
	}
	select {
	case err := <-m.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.over:
		return errors.New("remove orphan: the agent has ended")
	}
}

func (r *run) removeOrphan(id string) error {
	if !r.complete {
		return fmt.Errorf("remove orphan %s: %w: no complete listing was read yet", id, ErrNotOrphan)
	}
	if !slices.Contains(r.orphans(), id) {
		return fmt.Errorf("remove orphan %s: %w", id, ErrNotOrphan)
	}
	r.book.remove(id, time.Now())
	return nil
}
