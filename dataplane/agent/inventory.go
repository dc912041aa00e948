package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// Inventory lists what is on a host, other deployments' routers included.
type Inventory struct {
	// Seq orders the inventories and reports of one process: a report with a higher number is
	// newer.
	Seq      uint64          `json:"seq"`
	MaxEpoch uint64          `json:"max_epoch"` // the highest epoch that the agent has seen
	Routers  []RunningRouter `json:"routers"`
	// Ports are the IDs of the ports that workloads are attached by; nil: the agent does not know.
	Ports []string `json:"ports,omitzero"`
}

// RunningRouter is a router in an [Inventory].
type RunningRouter struct {
	ID       string `json:"id"`
	Epoch    uint64 `json:"epoch,omitempty"`    // of the version that was applied; 0: not known
	Revision uint64 `json:"revision,omitempty"` // likewise

	// Orphan says that the agent has no record of the router in its control plane's listing.
	Orphan     bool       `json:"orphan,omitempty"`
	Deployment string     `json:"deployment,omitempty"` // of an orphan: who asked for it; empty: not known
	Addrs      []HeldAddr `json:"addrs,omitempty"`      // of an orphan: its addresses on its networks
}

// HeldAddr is an address that an orphan answers for.
type HeldAddr struct {
	Network dataplane.Network `json:"network"`
	Addr    netip.Addr        `json:"addr"`
}

// HeldAddrs lists the addresses that a router answers for, with their networks: what a host would
// show of it, see [dataplane.Inspection].
func HeldAddrs(r dataplane.Router) []HeldAddr {
	var held []HeldAddr
	add := func(p dataplane.Port) {
		for _, a := range p.Addrs {
			held = append(held, HeldAddr{p.Network, a.Addr()})
		}
	}
	for _, p := range r.Ports {
		add(p)
	}
	if r.Transit != nil {
		add(r.Transit.Port)
	}
	if r.Gateway == nil {
		return held
	}
	add(r.Gateway.Port)
	for _, f := range r.FloatingIPs {
		held = append(held, HeldAddr{r.Gateway.Network, f.Addr})
	}
	for _, a := range r.ForwardingAddrs() {
		held = append(held, HeldAddr{r.Gateway.Network, a})
	}
	return held
}

// snapshot is what the loop knows at one moment, for an inventory.
type snapshot struct {
	seq        uint64
	status     Status
	deployment string
	maxEpoch   uint64
	complete   bool
	routers    map[string]RunningRouter
}

// snapshot is called by the loop.
func (r *run) snapshot() snapshot {
	r.seq++
	s := snapshot{
		seq: r.seq, status: r.sum(), deployment: r.deployment, maxEpoch: r.book.maxEpoch, complete: r.complete,
		routers: make(map[string]RunningRouter, len(r.book.entries)),
	}
	for id, e := range r.book.entries {
		router := RunningRouter{ID: id, Epoch: e.runs.Epoch, Revision: e.runs.Revision}
		router.Orphan = e.orphan
		// Before a listing is complete, it is not known what the control plane has no record of.
		if e.want != nil && (e.orphan || !r.live && e.listed != r.book.listing) {
			router.Deployment, router.Addrs = e.want.Deployment, HeldAddrs(e.want.Router)
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
func (r *run) inventory(ctx context.Context, seen snapshot) (*Inventory, error) {
	onHost, err := r.config.Dataplane.List(ctx)
	if err != nil {
		return nil, err
	}
	inv := &Inventory{Seq: seen.seq, MaxEpoch: seen.maxEpoch, Routers: make([]RunningRouter, len(onHost))}
	for i, id := range onHost {
		router, known := seen.routers[id]
		if !known {
			router = RunningRouter{ID: id, Orphan: seen.complete}
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
func (r *run) readBack(ctx context.Context, router *RunningRouter) {
	in, err := r.config.Dataplane.Inspect(ctx, router.ID)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) && ctx.Err() == nil { // else it was removed since
			r.log.Error("cannot read back a router that the agent has no record of: its addresses are not known", "router", router.ID, "err", err)
		}
		return
	}
	router.Deployment = in.Owner
	for _, h := range in.Held {
		router.Addrs = append(router.Addrs, HeldAddr(h))
	}
}

// ownerOnHost is the deployment that the routers on the host belong to, for an agent that has no
// record of which it serves: by the records of routers that it has, and else by what the host
// shows. It is empty if nothing tells, or if there are several.
func (r *run) ownerOnHost(ctx context.Context, kept []Assignment) (deployment string) {
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
