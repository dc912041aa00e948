package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

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
			r.unlogged[id] = time.Now()
		}
	}
	r.keepListing()
	r.recovered()
	r.beatSoon()
}

// logOrphans logs those that are still orphans when the control plane has had the time of a
// heartbeat to take them on, as it does with the routers of a host that was renamed.
func (r *run) logOrphans(ctx context.Context) {
	if len(r.unlogged) == 0 {
		return
	}
	orphans := r.orphans()
	for _, id := range slices.Sorted(maps.Keys(r.unlogged)) {
		is := slices.Contains(orphans, id)
		if is && time.Since(r.unlogged[id]) < r.config.HeartbeatEvery {
			continue
		}
		delete(r.unlogged, id)
		if is {
			r.log.Warn("a router runs on this host and the control plane has no record of it: it stays as it is, as an orphan",
				"router", id, "deployment", r.ownerOf(ctx, id))
		}
	}
}

// gone takes a router away, unless it is another deployment's and the departure is not meant for
// that one. Then the router that has left is not here.
func (r *run) gone(ctx context.Context, m Gone, now time.Time) {
	e := r.book.entries[m.RouterID]
	leaving := e != nil && e.want == nil
	if m.Orphan || m.Deployment == "" || leaving {
		r.book.gone(m, now)
		return
	}
	owner := r.ownerOf(ctx, m.RouterID)
	if owner == "" || owner == m.Deployment {
		r.book.gone(m, now)
		return
	}
	r.log.Warn("a router has left this host, and another deployment's router of the same ID runs on it: that one stays",
		"router", m.RouterID, "left", m.Deployment, "runs", owner)
	r.seq++
	r.reports.put(Report{
		Host: r.config.Host, RouterID: m.RouterID, Epoch: m.Epoch, Revision: m.Revision, Gone: true, Instance: r.instance, Seq: r.seq,
	})
}

// ownerOf is the deployment that a router belongs to, by the agent's record or else by what the
// host shows; empty if nothing tells.
func (r *run) ownerOf(ctx context.Context, id string) string {
	if e := r.book.entries[id]; e != nil && e.want != nil {
		return e.want.Deployment
	}
	in, err := r.config.Dataplane.Inspect(ctx, id)
	if err != nil {
		return ""
	}
	return in.Owner
}

// beatSoon has a heartbeat sent now, because there is news for the control plane.
func (r *run) beatSoon() {
	select {
	case r.beatNow <- struct{}{}:
	default:
	}
}

// keepListing notes on disk whose routers these are, and which are orphans.
func (r *run) keepListing() {
	if r.cache != nil {
		r.cache.keepListing(listed{r.deployment, r.orphans()})
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

// ErrNotOrphan is returned by [Agent.RemoveOrphan] for a router that the control plane has a record
// of, and as long as no complete listing was read.
var ErrNotOrphan = errors.New("the router is not an orphan")

// removal asks the loop to take an orphan away.
type removal struct {
	id     string
	answer chan error
}

// RemoveOrphan takes a router off the host that the control plane has no record of, and returns
// when it is gone, or when the first attempt has failed; then it is tried again like any other. A
// router that the control plane has a record of is ErrNotOrphan: it is deleted by the API.
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

func (r *run) removeOrphan(m removal) {
	switch {
	case !r.complete:
		m.answer <- fmt.Errorf("remove orphan %s: %w: no complete listing was read yet", m.id, ErrNotOrphan)
	case !slices.Contains(r.orphans(), m.id):
		m.answer <- fmt.Errorf("remove orphan %s: %w", m.id, ErrNotOrphan)
	default:
		r.removals[m.id] = append(r.removals[m.id], m.answer)
		r.book.remove(m.id, time.Now())
	}
}

// removed answers those who asked for a router to be removed.
func (r *run) removed(id string, err error) {
	if err != nil {
		err = fmt.Errorf("remove orphan %s, which will be tried again: %w", id, err)
	}
	for _, answer := range r.removals[id] {
		answer <- err
	}
	delete(r.removals, id)
}
