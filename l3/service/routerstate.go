package service

import (
	"context"
	"errors"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// touch is called with every change of what hosts must realise of routers, after it was written. It
// advances [l3.RouterState].Revision of each, gives one that has something to realise a host, and
// leaves notices for the hosts, in the order of the routers. What no host could realise is refused.
// The revision that clients see, [l3.Meta].Revision, stays.
func (s *Service) touch(ctx context.Context, w *work, routerIDs ...string) error {
	for _, id := range routerIDs {
		in, err := intentOf(ctx, w, id)
		if err != nil {
			return err
		}
		if err := in.check(ctx, w); err != nil {
			return err
		}
		if _, err := s.advance(ctx, w, in); err != nil {
			return err
		}
	}
	return nil
}

// touchFor is touch of routers that a caller's change concerns, though they may be others': why one
// cannot have the change is not told to whoever does not see that router.
func (s *Service) touchFor(ctx context.Context, w *work, who l3.Caller, routerIDs ...string) error {
	for _, id := range routerIDs {
		err := s.touch(ctx, w, id)
		var refusal *l3.Error
		if errors.As(err, &refusal) {
			if _, _, unseen := routerKind().find(ctx, s, w, who, id); errors.Is(unseen, l3.ErrNotFound) {
				return l3.Refuse(refusal.Kind, refusal.Name, "A router that the change concerns cannot have it.")
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// advance does what touch does, and refuses nothing.
func (s *Service) advance(ctx context.Context, w *work, in Intent) (l3.RouterState, error) {
	if in.Router.Distributed {
		return s.advanceInstances(ctx, w, in)
	}
	st, err := stateOf(ctx, w, in.Router.ID)
	if err != nil {
		return st, err
	}
	r, err := in.wiring(func(p *l3.Port) bool { return p.AdminStateUp && in.Router.AdminStateUp })
	if err != nil {
		return st, err
	}
	w.mark(st)
	had := st.Wanted
	st.Wanted = len(r.Ports) > 0 || r.Gateway != nil
	if !had && !st.Wanted {
		return st, nil
	}
	st.Revision++
	st.Request = l3.RequestOf(ctx)
	st.Lagging = 0
	st.Inside = translatable(r)
	if st.Wanted {
		if err := s.place(ctx, w, &st, in); err != nil {
			return st, err
		}
	}
	return st, s.tell(ctx, w, st)
}

func (s *Service) advanceByID(ctx context.Context, w *work, routerID string) error {
	in, err := intentOf(ctx, w, routerID)
	if err == nil {
		_, err = s.advance(ctx, w, in)
	}
	return err
}

// notify puts into the outbox that the host of a router must be told.
func (s *Service) notify(ctx context.Context, w *work, st l3.RouterState, gone bool) error {
	w.notices++
	return w.Outbox().Add(ctx, l3.Notice{Host: st.Host, RouterID: st.Instance(), Epoch: st.Epoch, Gone: gone, At: s.now()})
}

// stateOf reads a router's state, and of a distributed router that of its centre; with Revision 0
// there is none.
func stateOf(ctx context.Context, tx l3.Tx, routerID string) (l3.RouterState, error) {
	for _, id := range []string{routerID, dataplane.CentreID(routerID)} {
		st, err := tx.RouterStates().Get(ctx, id)
		if !errors.Is(err, l3.ErrAbsent) {
			return st, err
		}
	}
	return l3.RouterState{ID: routerID}, nil
}

// save writes a router's state.
func save(ctx context.Context, w *work, st l3.RouterState) error {
	if len(st.Left) > 0 && st.Applied >= st.LeftAt {
		w.left = append(w.left, st.Left...)
		st.Left, st.LeftAt = nil, 0
	}
	before, err := w.RouterStates().Get(ctx, st.ID)
	if errors.Is(err, l3.ErrAbsent) {
		w.mark(l3.RouterState{ID: st.Router()})
		return w.RouterStates().Insert(ctx, st)
	}
	if err != nil {
		return err
	}
	w.mark(before)
	return w.RouterStates().Update(ctx, &st)
}
