package service

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// Reconcile implements [l3.Desired].
func (s *Service) Reconcile(ctx context.Context, queued []l3.Placement) (restored bool, err error) {
	if err := s.restateAll(ctx); err != nil {
		return false, err
	}
	err = s.update(ctx, func(w *work) error {
		restored = false
		d, err := w.Deployment().Get(ctx)
		if err != nil {
			return err
		}
		var ours []sighting
		for _, p := range queued {
			if p.Deployment == "" || p.Deployment == d.ID {
				ours = append(ours, sighting{host: p.Host, routerID: p.RouterID, version: p.Version(), runs: p.Assignment != nil, assignment: p.Assignment})
			}
		}
		if restored, err = s.outrun(ctx, w, d, ours); err != nil {
			return err
		}
		return s.strand(ctx, w, ours)
	})
	return restored, err
}

// sighting is a router in a version that a host, or the message queue, has.
type sighting struct {
	host, routerID string
	version        agent.Version
	runs           bool              // false: it has left the host
	assignment     *agent.Assignment // nil: not known
}

// outrun makes the versions of routers newer than every version that was seen. The database has
// given a router no later version than its state has, so a host or a message queue that knows a
// later one shows that the database was restored from a backup. Only routers that were seen in a
// later version change: of the others nothing is known yet. One that runs elsewhere by then stays
// there.
func (s *Service) outrun(ctx context.Context, w *work, d l3.Deployment, seen []sighting) (restored bool, err error) {
	states, err := statesSeen(ctx, w, seen)
	if err != nil {
		return false, err
	}
	highest := d.Epoch
	later := map[string]sighting{} // by the state's ID: the latest that runs, or that it has left its host
	for _, v := range seen {
		highest = max(highest, v.version.Epoch)
		st, known := v.stateIn(states)
		if !known || !v.later(st) {
			continue
		}
		if was, ok := later[st.ID]; !ok || v.runs && !was.runs || v.runs == was.runs && v.version.Newer(was.version) {
			later[st.ID] = v
		}
	}
	if highest == d.Epoch && len(later) == 0 {
		return false, nil
	}
	s.log.Warn("the database was restored from a backup: a host or the message queue knows later versions than it has; "+
		"those are raised above what is known", "deployment", d.ID, "epoch", d.Epoch, "known", highest, "routers", len(later))
	if err := w.Deployment().RaiseEpoch(ctx, highest); err != nil {
		return false, err
	}
	for _, id := range slices.Sorted(maps.Keys(later)) {
		if err := s.renew(ctx, w, states[id], later[id]); err != nil {
			return false, err
		}
	}
	return true, nil
}

// later reports whether a router was seen in a version that the database has not given it.
func (v sighting) later(st l3.RouterState) bool {
	if v.runs {
		return v.version.Newer(st.Version())
	}
	return v.host == st.Host && st.Wanted && !st.Version().Newer(v.version)
}

// stateIn is the state of what was seen, if there is one.
func (v sighting) stateIn(states map[string]l3.RouterState) (l3.RouterState, bool) {
	if st, edge := states[l3.EdgeStateID(v.routerID, v.host)]; edge {
		return st, true
	}
	st, known := states[v.routerID]
	return st, known
}

// statesSeen reads the states of the routers that were seen, and of their edges on those hosts.
func statesSeen(ctx context.Context, tx l3.Tx, seen []sighting) (map[string]l3.RouterState, error) {
	ids := make([]string, 0, 2*len(seen))
	for _, v := range seen {
		ids = append(ids, v.routerID, l3.EdgeStateID(v.routerID, v.host))
	}
	slices.Sort(ids)
	list, err := listOf(ctx, tx.RouterStates(), "id", slices.Compact(ids))
	states := make(map[string]l3.RouterState, len(list))
	for _, st := range list {
		states[st.ID] = st
	}
	return states, err
}

// renew binds a router anew, to the host that runs it in a later version than the database has, or
// else to the one that it is bound to. The new epoch is newer than all that anybody knows.
func (s *Service) renew(ctx context.Context, w *work, st l3.RouterState, seen sighting) error {
	st.Revision = max(st.Revision, seen.version.Revision) + 1
	if !st.Wanted && seen.runs {
		// The backup knows that there is nothing to realise.
		return s.depart(ctx, w, l3.RouterState{ID: st.Instance(), Host: seen.host, Epoch: seen.version.Epoch, Revision: st.Revision})
	}
	a := l3.Agent{ID: st.AgentID, Host: st.Host}
	if seen.runs && seen.host != st.Host {
		var err error
		if a, err = s.agentFor(ctx, w, seen.host); err != nil {
			return err
		}
	}
	if a.ID == "" {
		return save(ctx, w, st)
	}
	if err := s.bind(ctx, w, &st, a); err != nil {
		return err
	}
	return s.settle(ctx, w, st)
}

// agentFor finds the agent of a host, or registers it: a host that is named by a later version than
// the database has was registered after the backup was made.
func (s *Service) agentFor(ctx context.Context, w *work, host string) (l3.Agent, error) {
	a, known, err := agentOn(ctx, w, host)
	if err != nil || known {
		return a, err
	}
	a = s.newAgent(host)
	a.HeartbeatAt = s.exactly() // it has the time of one that was just heard
	return a, w.Agents().Insert(ctx, a)
}

// strand records as orphans the routers that the message queue has for hosts, and of which the
// database knows nothing.
func (s *Service) strand(ctx context.Context, w *work, seen []sighting) error {
	for _, v := range seen {
		if !v.runs {
			continue
		}
		_, err := w.Routers().Get(ctx, routerOf(v.routerID))
		if err == nil {
			continue
		}
		if !errors.Is(err, l3.ErrAbsent) {
			return err
		}
		if _, err := w.Departures().Get(ctx, onHost(v.host, v.routerID)); err == nil {
			continue
		} else if !errors.Is(err, l3.ErrAbsent) {
			return err
		}
		o := l3.Orphan{
			ID: onHost(v.host, v.routerID), Host: v.host, RouterID: v.routerID,
			Epoch: v.version.Epoch, Revision: v.version.Revision,
		}
		if v.assignment != nil {
			o.Deployment, o.Addrs = v.assignment.Deployment, agent.HeldAddrs(v.assignment.Router)
		}
		if err := s.keepOrphan(ctx, w, o); err != nil {
			return err
		}
	}
	return nil
}
