package agent

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"

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
	inv.Ports = r.workloads(ctx)
	return inv, ctx.Err()
}

// workloads lists the ports that workloads are attached by; nil: that is not known.
func (r *run) workloads(ctx context.Context) []string {
	if r.config.Workloads == nil {
		return nil
	}
	ports, err := r.config.Workloads(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("cannot list the ports of workloads on this host; the control plane keeps what it knows", "err", err)
		}
		return nil
	}
	return append([]string{}, ports...)
}

// Announce sends a heartbeat at once, because workloads were attached or detached. It does nothing
// before Run and after it.
func (a *Agent) Announce() {
	if r := a.running.Load(); r != nil {
		r.beatSoon()
	}
}

// readBack completes a router that the agent has no record of by what the host shows: whose it is,
// and the addresses that it answers for.
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

// ownerOnHost is the deployment that the routers on the host belong to, for an agent that has no
// record of which it serves: by the records of routers that it has, and else by what the host
// shows. It is empty if nothing tells, or if there are several.
func (r *run) ownerOnHost(ctx context.Context, kept []l3.Assignment) (deployment string) {
	owners := map[string]bool{}
	recorded := map[string]bool{}
	for _, a := range kept {
		recorded[a.Router.ID] = true
		owners[a.Deployment] = true
	}
	onHost, err := r.config.Dataplane.List(ctx)
	if err != nil {
		r.log.Error("cannot list the routers on this host", "err", err)
	}
	for _, id := range onHost {
		if recorded[id] {
			continue
		}
		in, err := r.config.Dataplane.Inspect(ctx, id)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			r.log.Error("cannot read back a router that the agent has no record of", "router", id, "err", err)
		}
		owners[in.Owner] = true
	}
	delete(owners, "")
	switch all := slices.Sorted(maps.Keys(owners)); len(all) {
	case 0:
	case 1:
		deployment = all[0]
		r.log.Info("the agent has no record of the deployment that this host serves: its routers name it", "deployment", deployment)
	default:
		r.log.Warn("the agent has no record of the deployment that this host serves, and its routers name several", "deployments", all)
	}
	return deployment
}

// served is the deployment that was served last, for the goroutine that watches.
func (r *run) served(ctx context.Context) string {
	seen, _ := r.look(ctx)
	return seen.deployment
}
