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
		Orphan: orphan,
	}
	err := w.Departures().Update(ctx, &d)
	if errors.Is(err, l3.ErrAbsent) {
		err = w.Departures().Insert(ctx, d)
	}
	if err != nil {
		return err
	}
	return s.notify(ctx, w, st, true)
}

// arrive drops the record that a router left the host that it is on now.
func arrive(ctx context.Context, w *work, st l3.RouterState) error {
	return dropDeparture(ctx, w, onHost(st.Host, st.Instance()))
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
	return s.announce(ctx, w, d)
}

// announce has the host that a router is on now announce its addresses. Until the departure, both
// hosts answered for them, and neighbours and switches may have heard the other one last. For the
// router nothing changes, and what was applied is as good as the new revision.
func (s *Service) announce(ctx context.Context, w *work, d l3.Departure) error {
	st, err := stateOf(ctx, w, routerOf(d.RouterID))
	if err != nil || st.AgentID == "" || !st.Wanted || st.Host == d.Host {
		return err
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
