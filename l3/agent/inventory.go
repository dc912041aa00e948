package agent

import (
	"context"

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
		router.Orphan = e.orphan
		// Before a listing is complete, it is not known what the control plane has no record of.
		if e.want != nil && (e.orphan || !r.live && e.listed != r.book.listing) {
			router.Deployment, router.Addrs = e.want.Deployment, l3.HeldAddrs(e.want.Router)
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

// served is the deployment that was served last, for the goroutine that watches.
func (r *run) served(ctx context.Context) string {
	seen, _ := r.look(ctx)
	return seen.deployment
}
