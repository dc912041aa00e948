package agent

import (
	"context"
	"errors"
	"os"

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
			r.readBack(ctx, &router)
		}
		inv.Routers[i] = router
	}
	return inv, ctx.Err()
}

// readBack completes a router that the agent has no record of by what the host shows: whose it is, and
// the addresses that it answers for.
func (r *run) readBack(ctx context.Context, router *l3.RunningRouter) {
	in, err := r.config.Dataplane.Inspect(ctx, router.ID)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) && ctx.Err() == nil { // else it was removed since
			r.log.Error("cannot read back a router that the agent has no record of: its addresses are not known", "router", router.ID, "err", err)
		}
		return
	}
	router.Deployment = in.Owner
	for _, h := range in.Held {
		router.Addrs = append(router.Addrs, l3.HeldAddr(h))
	}
}

// ownerOnHost is the deployment that the routers on the host belong to, for an agent that has no record
// of it; empty if the host does not say, or names several.
func (r *run) ownerOnHost(ctx context.Context) (deployment string) {
	onHost, err := r.config.Dataplane.List(ctx)
	if err != nil {
		r.log.Error("cannot list the routers on this host", "err", err)
	}
	for _, id := range onHost {
		in, err := r.config.Dataplane.Inspect(ctx, id)
		switch {
		case err != nil && !errors.Is(err, os.ErrNotExist):
			r.log.Error("cannot read back a router that the agent has no record of", "router", id, "err", err)
		case in.Owner == "":
		case deployment != "" && in.Owner != deployment:
			r.log.Warn("the routers on this host belong to several deployments", "one", deployment, "another", in.Owner)
			return ""
		default:
			deployment = in.Owner
		}
	}
	if deployment != "" {
		r.log.Info("the agent's cache does not say which deployment this host serves; its routers do", "deployment", deployment)
	}
	return deployment
}

// served is the deployment that was served last, for the goroutine that watches.
func (r *run) served(ctx context.Context) string {
	seen, _ := r.look(ctx)
	return seen.deployment
}
