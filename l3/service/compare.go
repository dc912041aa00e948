package service

import (
	"context"
	"errors"
	"slices"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// compare corrects what the database knows of a host by the host's inventory.
//
//   - A router that does not run as reported is no longer ACTIVE; one that runs as wanted is, even
//     if its report was lost.
//   - A router of which the host has not tried the wanted version is published again: the message
//     queue may have lost it.
//   - A router in a later version than the database recorded shows that the database was restored.
//   - A router that belongs elsewhere, or nowhere, leaves, if that was recorded or follows from the
//     records of the same deployment. A router that is not known at all is an orphan.
//   - A port of a workload that is bound to the host is ACTIVE while it is attached there.
func (s *Service) compare(ctx context.Context, a l3.Agent, h agent.Heartbeat) error {
	// Most inventories change nothing, and do not wait for those who write.
	var c comparison
	err := s.config.Store.View(ctx, func(tx l3.Tx) (err error) {
		c, err = s.differences(ctx, tx, a, h)
		return err
	})
	if err != nil || c.empty() {
		return err
	}
	return s.update(ctx, func(w *work) error {
		// It may have been deleted, or another may have been heard, meanwhile.
		now, known, err := agentOn(ctx, w, h.Host)
		if err != nil || !known || now.ID != a.ID {
			return err
		}
		if now.Instance == h.Instance && now.InventorySeq > h.Inventory.Seq {
			return nil // a newer one has come meanwhile, and this one knows less
		}
		if c, err = s.differences(ctx, w, a, h); err != nil {
			return err
		}
		return s.correct(ctx, w, now, c)
	})
}

// comparison is how an inventory differs from the database.
type comparison struct {
	deployment l3.Deployment
	later      []sighting       // that the database does not have yet
	states     []l3.RouterState // as they are to be
	lagging    []l3.RouterState // that the host has not tried
	misplaced  []l3.RouterState // that run on the host, and belong to another or to none
	renamed    []l3.RouterState // that are bound to the same machine by another name
	leaving    []l3.Departure   // that the host has still
	orphans    []l3.Orphan      // that run
	ended      []string         // IDs of orphans that do not run any more
	ports      []l3.Port        // of workloads, as they are to be
}

func (c *comparison) empty() bool {
	return len(c.later)+len(c.states)+len(c.lagging)+len(c.misplaced)+len(c.renamed)+len(c.leaving)+len(c.orphans)+len(c.ended)+len(c.ports) == 0
}

func (s *Service) differences(ctx context.Context, tx l3.Tx, a l3.Agent, h agent.Heartbeat) (c comparison, err error) {
	if c.deployment, err = tx.Deployment().Get(ctx); err != nil {
		return c, err
	}
	running := make(map[string]agent.RunningRouter, len(h.Inventory.Routers))
	for _, r := range h.Inventory.Routers {
		running[r.ID] = r
	}
	hosted, err := statesOn(ctx, tx, a.ID)
	if err != nil {
		return c, err
	}
	outdated, err := outdatedFor(ctx, tx, a, hosted)
	if err != nil {
		return c, err
	}
	for _, st := range hosted {
		if !st.Wanted {
			continue // it is leaving
		}
		r, runs := running[st.Instance()]
		delete(running, st.Instance())
		c.hosted(st, h, r, runs && !c.foreign(r), outdated[st.ID]) // it is replaced
	}
	if h.Deployment == c.deployment.ID && h.Inventory.MaxEpoch > c.deployment.Epoch {
		c.later = append(c.later, sighting{host: h.Host, version: agent.Version{Epoch: h.Inventory.MaxEpoch}})
	}
	if err := c.workloads(ctx, tx, a, h.Inventory.Ports); err != nil {
		return c, err
	}
	return c, c.strangers(ctx, tx, s, a, h, running)
}

// hosted compares a router that belongs to the host. LeftOut says what the version of the agent
// leaves out of the router; empty: nothing.
func (c *comparison) hosted(st l3.RouterState, h agent.Heartbeat, r agent.RunningRouter, runs bool, leftOut string) {
	if runs && r.Version().Newer(st.Version()) {
		c.later = append(c.later, sighting{host: h.Host, routerID: st.Instance(), version: r.Version(), runs: true})
		return
	}
	have := uint64(0) // revision that runs
	if runs && r.Epoch == st.Epoch {
		have = r.Revision
	}
	newer := st.ReportedBy == h.Instance && st.ReportedSeq > h.Inventory.Seq // it was reported after this inventory was made
	switch {
	case newer:
	case leftOut != "" && have == st.Revision:
		if st.Reported != have || st.Error != leftOut {
			st.Reported, st.Error, st.Lagging = have, leftOut, 0
			if st.Applied >= have {
				st.Applied = 0
			}
			st.ReportedBy, st.ReportedSeq = h.Instance, h.Inventory.Seq
			c.states = append(c.states, st)
		}
	case st.Error == "" && st.Reported != have || st.Error != "" && have == st.Revision:
		st.Reported, st.Applied, st.Error, st.Lagging = have, have, "", 0
		st.ReportedBy, st.ReportedSeq = h.Instance, h.Inventory.Seq
		c.states = append(c.states, st)
	case st.Applied != have:
		st.Applied = have // what runs while a later version fails
		c.states = append(c.states, st)
	}
	if st.Reported < st.Revision || r.Orphan { // of an orphan the host's listing says nothing
		if h.Deployment == c.deployment.ID {
			st.Lagging++
		}
		c.lagging = append(c.lagging, st)
	}
}

// strangers compares the routers that run on the host and do not belong to it.
func (c *comparison) strangers(ctx context.Context, tx l3.Tx, s *Service, a l3.Agent, h agent.Heartbeat, running map[string]agent.RunningRouter) error {
	noted, err := tx.Orphans().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("host", h.Host)}})
	if err != nil {
		return err
	}
	orphans := map[string]l3.Orphan{}
	for _, o := range noted {
		orphans[o.ID] = o
	}
	for _, r := range running {
		was, known := orphans[onHost(h.Host, r.ID)]
		o, err := c.stranger(ctx, tx, s, a, h, r)
		if err != nil {
			return err
		}
		if o == nil {
			// Its addresses are in use until it is gone. An agent that has not read this
			// deployment's listing yet does not call it an orphan, and runs it.
			if !known || c.leaves(r.ID) || h.Deployment != c.deployment.ID {
				delete(orphans, onHost(h.Host, r.ID))
			}
			continue
		}
		delete(orphans, o.ID)
		if s.config.RemoveOrphans || !known || was.Epoch != o.Epoch || was.Revision != o.Revision || len(o.Addrs) > 0 && !slices.Equal(was.Addrs, o.Addrs) {
			c.orphans = append(c.orphans, *o)
		}
	}
	for id := range orphans {
		c.ended = append(c.ended, id)
	}
	slices.Sort(c.ended)
	return nil
}

// foreign reports whether a router belongs to another deployment, whose versions mean nothing here.
func (c *comparison) foreign(r agent.RunningRouter) bool {
	return r.Deployment != "" && r.Deployment != c.deployment.ID
}

func (c *comparison) leaves(routerID string) bool {
	return slices.ContainsFunc(c.leaving, func(d l3.Departure) bool { return d.RouterID == routerID })
}

// stranger sorts a router that does not belong to the host. It is returned if it is an orphan.
func (c *comparison) stranger(ctx context.Context, tx l3.Tx, s *Service, a l3.Agent, h agent.Heartbeat, r agent.RunningRouter) (*l3.Orphan, error) {
	router, err := tx.Routers().Get(ctx, routerOf(r.ID))
	known := err == nil
	if err != nil && !errors.Is(err, l3.ErrAbsent) {
		return nil, err
	}
	st, err := stateAt(ctx, tx, h.Host, r.ID)
	if err != nil {
		return nil, err
	}
	foreign := c.foreign(r)
	stray := router.Distributed && st.Revision == 0 // an edge where nothing is bound, or a centre of before a conversion
	if known && !foreign && !stray && r.Version().Newer(st.Version()) {
		c.later = append(c.later, sighting{host: h.Host, routerID: r.ID, version: r.Version(), runs: true})
		return nil, nil
	}
	renamed, err := s.renamed(ctx, tx, st, a, h, r)
	if err != nil {
		return nil, err
	}
	if renamed && !foreign {
		c.renamed = append(c.renamed, st)
		return nil, nil
	}
	if former, err := s.formerName(ctx, tx, a, h, r); err != nil || former != "" && !foreign {
		if former != "" && s.former.first(h.Host+" "+r.ID) {
			s.log.Warn("a host has another name now: edges stay on it as they are until its workloads' ports are bound to that name",
				"router", r.ID, "host", h.Host, "before", former)
		}
		return nil, err
	}
	// The departure is newer than everything that was said of the router on this host.
	left := l3.RouterState{ID: r.ID, Host: h.Host, Epoch: max(r.Epoch, c.deployment.Epoch, 1), Revision: r.Revision}
	d, err := tx.Departures().Get(ctx, onHost(h.Host, r.ID))
	switch {
	case err != nil && !errors.Is(err, l3.ErrAbsent):
		return nil, err
	case err == nil && foreign && d.Orphan:
		c.leaving = append(c.leaving, d)
	case foreign && h.Deployment == c.deployment.ID:
		return orphanOf(h, r), nil // even if the database has a router of that ID
	case err == nil && known && r.Version().Newer(d.Version()):
		c.misplaced = append(c.misplaced, left) // it left earlier than in the version that runs
	case err == nil:
		c.leaving = append(c.leaving, d)
	case known:
		c.misplaced = append(c.misplaced, left)
	case h.Deployment != c.deployment.ID:
		// The agent has not read this deployment's listing yet. When it has, it sends another
		// inventory, with the orphans' addresses.
	default:
		return orphanOf(h, r), nil
	}
	return nil, nil
}

func orphanOf(h agent.Heartbeat, r agent.RunningRouter) *l3.Orphan {
	return &l3.Orphan{
		ID: onHost(h.Host, r.ID), Host: h.Host, RouterID: r.ID, Epoch: r.Epoch, Revision: r.Revision,
		Deployment: r.Deployment, Addrs: r.Addrs,
	}
}

// renamed reports whether a router is where it belongs, under another name of its host: the host
// that it is bound to is the same machine, or runs it as it is bound and is not heard of any more.
// What the machine's agent is now runs that very router, in whatever version its cache has it.
func (s *Service) renamed(ctx context.Context, tx l3.Tx, st l3.RouterState, a l3.Agent, h agent.Heartbeat, r agent.RunningRouter) (bool, error) {
	if !st.Wanted || st.AgentID == "" || st.Host == h.Host {
		return false, nil
	}
	bound, err := tx.Agents().Get(ctx, st.AgentID)
	if err != nil {
		return false, err
	}
	if replaces(a, bound) {
		return true, nil
	}
	return st.Epoch == r.Epoch && (h.Machine != "" && bound.Machine == h.Machine || !s.alive(bound)), nil
}

// formerName is the name by which a host has an edge that runs on it under another; empty: none. The
// edge belongs where the workloads' ports are bound, which others than the service say.
func (s *Service) formerName(ctx context.Context, tx l3.Tx, a l3.Agent, h agent.Heartbeat, r agent.RunningRouter) (string, error) {
	edges, err := tx.RouterStates().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("router_id", r.ID)}})
	if err != nil {
		return "", err
	}
	for _, st := range edges {
		if !st.Edge {
			continue
		}
		if is, err := s.renamed(ctx, tx, st, a, h, r); err != nil || is {
			return st.Host, err
		}
	}
	return "", nil
}

// mostReminders bounds how often a host is told of the same version. A host that has not tried it
// then takes it for an old one, which it is not.
const mostReminders = 3

// remind has the version that a host has not tried published again, and in the end in a new epoch.
func (s *Service) remind(ctx context.Context, w *work, st l3.RouterState, a l3.Agent) error {
	if st.Lagging <= mostReminders {
		if err := save(ctx, w, st); err != nil {
			return err
		}
		return s.notify(ctx, w, st, false)
	}
	s.log.Warn("a host does not try the version of a router that it should realise: the router is bound to it in a new epoch",
		"router", st.ID, "host", st.Host, "epoch", st.Epoch, "revision", st.Revision)
	if err := s.bind(ctx, w, &st, a); err != nil {
		return err
	}
	return s.settle(ctx, w, st)
}

// correct brings the database in line.
func (s *Service) correct(ctx context.Context, w *work, a l3.Agent, c comparison) error {
	if len(c.later) > 0 {
		// Everything else of the comparison is of before; the next inventory shows it again.
		_, err := s.outrun(ctx, w, c.deployment, c.later)
		return err
	}
	for i := range c.states {
		if err := save(ctx, w, c.states[i]); err != nil {
			return err
		}
	}
	if err := s.savePorts(ctx, w, c.ports); err != nil {
		return err
	}
	for _, st := range c.lagging {
		if err := s.remind(ctx, w, st, a); err != nil {
			return err
		}
	}
	for _, st := range c.renamed {
		s.log.Warn("a router belongs to a host that has another name now, and is bound to that", "router", st.ID, "host", a.Host, "before", st.Host)
		if err := s.bind(ctx, w, &st, a); err != nil {
			return err
		}
		if err := s.settle(ctx, w, st); err != nil {
			return err
		}
	}
	for _, st := range c.misplaced {
		s.log.Warn("a router runs on a host that it does not belong to any more, and leaves it", "router", st.ID, "host", st.Host)
		if err := s.evict(ctx, w, st, false); err != nil {
			return err
		}
	}
	for _, d := range c.leaving {
		w.notices++
		if err := w.Outbox().Add(ctx, l3.Notice{Host: d.Host, RouterID: d.RouterID, Epoch: d.Epoch, Gone: true, At: s.now()}); err != nil {
			return err
		}
	}
	for _, id := range c.ended {
		if err := dropOrphan(ctx, w, id); err != nil {
			return err
		}
	}
	for _, o := range c.orphans {
		if err := s.keepOrphan(ctx, w, o); err != nil {
			return err
		}
	}
	return nil
}
