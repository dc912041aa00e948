package service

import (
	"context"
	"errors"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// depart records that a router leaves its host, and has the host told.
func (s *Service) depart(ctx context.Context, w *work, st l3.RouterState) error {
	return s.record(ctx, w, st, false)
}

func (s *Service) record(ctx context.Context, w *work, st l3.RouterState, orphan bool) error {
	d := l3.Departure{
		ID: onHost(st.Host, st.Instance()), Host: st.Host, RouterID: st.Instance(), Epoch: st.Epoch, Revision: st.Revision, Request: l3.RequestOf(ctx), At: s.now(),
		Left: st.Left, Orphan: orphan,
	}
	before, err := w.Departures().Get(ctx, d.ID)
	switch {
	case err == nil:
		d.Left = union(before.Left, d.Left)
		err = w.Departures().Update(ctx, &d)
	case errors.Is(err, l3.ErrAbsent):
		err = w.Departures().Insert(ctx, d)
	}
	if err != nil {
		return err
	}
	return s.notify(ctx, w, st, true)
}

// arrive drops the record that a router left the host that it is on now.
func arrive(ctx context.Context, w *work, st *l3.RouterState) error {
	d, err := w.Departures().Get(ctx, onHost(st.Host, st.Instance()))
	if errors.Is(err, l3.ErrAbsent) {
		return nil
	}
	if err == nil && len(d.Left) > 0 {
		st.Left, st.LeftAt = union(st.Left, d.Left), st.Revision
	}
	return orElse(err, dropDeparture(ctx, w, d.ID))
}

func dropDeparture(ctx context.Context, w *work, id string) error {
	if err := w.Departures().Delete(ctx, id); err != nil && !errors.Is(err, l3.ErrAbsent) {
		return err
	}
	return nil
}

// confirm takes a host's word that a router is no longer there, which ends the record of its
// departure unless the router has left again in a later version.
func (s *Service) confirm(ctx context.Context, w *work, r agent.Report) error {
	d, err := w.Departures().Get(ctx, onHost(r.Host, r.RouterID))
	if errors.Is(err, l3.ErrAbsent) {
		return nil
	}
	if err != nil || d.Version().Newer(agent.Version{Epoch: r.Epoch, Revision: r.Revision}) {
		return err
	}
	if err := dropDeparture(ctx, w, d.ID); err != nil {
		return err
	}
	w.left = append(w.left, d.Left...)
	st, err := stateOf(ctx, w, routerOf(d.RouterID))
	if err != nil || st.Host == d.Host {
		return err
	}
	return s.announce(ctx, w, st)
}

// announce has the host of a router announce its addresses. Until now, another host answered for
// them too, and neighbours and switches may have heard that one last. For the router nothing
// changes, and what was applied is as good as the new revision.
func (s *Service) announce(ctx context.Context, w *work, st l3.RouterState) error {
	if st.AgentID == "" || !st.Wanted {
		return nil
	}
	if st.Applied == st.Revision {
		st.Applied, st.Reported = st.Revision+1, st.Revision+1
	}
	st.Revision++
	st.Announce = st.Revision
	if err := s.notify(ctx, w, st, false); err != nil {
		return err
	}
	return save(ctx, w, st)
}
