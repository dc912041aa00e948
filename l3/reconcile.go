package l3

import (
	"context"
	"errors"
	"slices"
)

// Reconcile implements [Desired].
func (s *Service) Reconcile(ctx context.Context, queued []Placement) (restored bool, err error) {
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
	version        Version
	runs           bool        // false: it has left the host
	assignment     *Assignment // nil: not known
}

// outrun raises the epochs of all bindings above every version that was seen, if one of those is
// later than what the database recorded. Then the database was restored from a backup: what is
// published next must be newer for everybody. A router that moved after the backup was made stays
// on the host that runs it.
func (s *Service) outrun(ctx context.Context, w *work, d Deployment, seen []sighting) (restored bool, err error) {
	states, err := statesOf(ctx, w, seen)
	if err != nil {
		return false, err
	}
	highest := d.Epoch
	latest := map[string]sighting{} // by router
	for _, v := range seen {
		st := states[v.routerID]
		if v.version.Epoch > d.Epoch || st.Epoch == v.version.Epoch && st.Host == v.host && v.version.Revision > st.Generation {
			restored = true
		}
		highest = max(highest, v.version.Epoch)
		if was, ok := latest[v.routerID]; v.runs && (!ok || v.version.Newer(was.version)) {
			latest[v.routerID] = v
		}
	}
	if !restored {
		return false, nil
	}
	s.log.Warn("the database was restored from a backup: a host or the message queue knows later versions; "+
		"the epochs of all routers are raised above them", "deployment", d.ID, "epoch", d.Epoch, "known", highest)
	if err := w.Deployment().RaiseEpoch(ctx, highest); err != nil {
		return false, err
	}
	bound, err := w.RouterStates().List(ctx, Query{})
	if err != nil {
		return false, err
	}
	for _, st := range bound {
		if err := s.renew(ctx, w, st, latest[st.ID]); err != nil {
			return false, err
		}
	}
	return true, nil
}

// statesOf reads the states of the routers that were seen.
func statesOf(ctx context.Context, tx Tx, seen []sighting) (map[string]RouterState, error) {
	ids := make([]string, len(seen))
	for i, v := range seen {
		ids[i] = v.routerID
	}
	slices.Sort(ids)
	list, err := listOf(ctx, tx.RouterStates(), "id", slices.Compact(ids))
	states := make(map[string]RouterState, len(list))
	for _, st := range list {
		states[st.ID] = st
	}
	return states, err
}

// renew gives a router's binding a new epoch. If another host runs a later version than the database
// recorded, the router is bound to that host: it moved there after the backup was made.
func (s *Service) renew(ctx context.Context, w *work, st RouterState, seen sighting) error {
	if st.AgentID == "" && !(seen.runs && st.Wanted) {
		return nil
	}
	a := Agent{ID: st.AgentID, Host: st.Host}
	if seen.runs && seen.version.Newer(st.Version()) && st.Wanted {
		st.Generation = max(st.Generation, seen.version.Revision)
		if seen.host != st.Host {
			var err error
			if a, err = s.agentFor(ctx, w, seen.host); err != nil {
				return err
			}
			// The host that the database names does not have the router: it left before the router
			// came to where it is now.
			st.AgentID = ""
		}
	}
	if a.ID == "" {
		return nil
	}
	st.Generation++
	if err := s.bind(ctx, w, &st, a); err != nil {
		return err
	}
	if !st.Wanted {
		if err := s.depart(ctx, w, st); err != nil {
			return err
		}
		return save(ctx, w, st)
	}
	return s.settle(ctx, w, st)
}

// agentFor finds the agent of a host, or registers it: a host that is named by a later version than
// the database has was registered after the backup was made.
func (s *Service) agentFor(ctx context.Context, w *work, host string) (Agent, error) {
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
		_, err := w.Routers().Get(ctx, v.routerID)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrAbsent) {
			return err
		}
		if _, err := w.Departures().Get(ctx, onHost(v.host, v.routerID)); err == nil {
			continue
		} else if !errors.Is(err, ErrAbsent) {
			return err
		}
		o := Orphan{
			ID: onHost(v.host, v.routerID), Host: v.host, RouterID: v.routerID,
			Epoch: v.version.Epoch, Revision: v.version.Revision,
		}
		if v.assignment != nil {
			o.Deployment, o.Addrs = v.assignment.Deployment, HeldAddrs(v.assignment.Router)
		}
		if err := s.keepOrphan(ctx, w, o); err != nil {
			return err
		}
	}
	return nil
}
