package l3

import (
	"context"
	"errors"
	"slices"
	"time"
)

// ErrSilence is that no agent at all was heard lately. Then it is rather this side that does not hear.
var ErrSilence = errors.New("no agent is heard")

// Reschedule moves routers away from agents that are not heard of or administratively disabled, and gives hosts to those that have none: no more
// than limit, each in a transaction of its own. A router that no other agent fits stays with an agent that is not heard of, but leaves one that is
// disabled. It returns how many routers it moved. [Failover] calls it again and again; several processes may do so at once.
//
// Which agents are alive is judged as of the call's beginning, however long it takes. When no agent was heard for half of Config.AgentDownTime, nothing
// is moved and the error is ErrSilence.
func (s *Service) Reschedule(ctx context.Context, limit int) (moved int, err error) {
	s = s.asOf(s.config.Now())
	ids, err := s.stranded(ctx)
	if err != nil {
		return 0, err
	}
	moved, err = s.rescueAll(ctx, ids, limit)
	if err != nil || moved >= limit {
		return moved, err
	}
	if ids, err = s.unhosted(ctx); err != nil {
		return moved, err
	}
	more, err := s.rescueAll(ctx, ids, limit-moved)
	return moved + more, err
}

// asOf is the service whose agents are alive if they are at that time.
func (s *Service) asOf(now time.Time) *Service {
	then := *s
	then.config.Now = func() time.Time { return now }
	return &then
}

// adopt gives hosts to the routers that have none, because an agent came up. What a silent agent has is left to Reschedule, and to its rate.
func (s *Service) adopt(ctx context.Context) {
	ids, err := s.unhosted(ctx)
	if err == nil {
		_, err = s.rescueAll(ctx, ids, len(ids))
	}
	if err != nil {
		s.log.Warn("routers without a host are left to the next time", "error", err)
	}
}

func (s *Service) rescueAll(ctx context.Context, routerIDs []string, limit int) (moved int, err error) {
	for _, id := range routerIDs {
		if moved >= limit {
			break
		}
		ok, err := s.rescue(ctx, id)
		var refusal *Error
		switch {
		case errors.As(err, &refusal): // it will be refused again, and must not keep the others waiting
			s.log.Error("a router cannot be moved", "router", id, "error", err)
		case err != nil:
			return moved, err
		case ok:
			moved++
		}
	}
	return moved, nil
}

// stranded lists the routers on agents that do not work, if rescue would move them.
func (s *Service) stranded(ctx context.Context) (ids []string, err error) {
	err = s.config.Store.View(ctx, func(tx Tx) error {
		ids = nil
		agents, err := tx.Agents().List(ctx, Query{})
		if err != nil {
			return err
		}
		if s.silence(agents) {
			return ErrSilence
		}
		for _, a := range agents {
			if s.works(a) {
				continue
			}
			states, err := tx.RouterStates().List(ctx, Query{Filters: []Filter{oneOf("agent_id", a.ID)}})
			if err != nil {
				return err
			}
			if !a.AdminStateUp {
				ids = append(ids, stateIDs(states)...)
				continue
			}
			movable, err := s.movable(ctx, tx, states, agents)
			if err != nil {
				return err
			}
			ids = append(ids, movable...)
		}
		return nil
	})
	return ids, err
}

// silence says whether there are agents, and none of them was heard for half the time after which one is taken for dead.
func (s *Service) silence(agents []Agent) bool {
	lately := s.config.Now().Add(-s.config.AgentDownTime / 2)
	return len(agents) > 0 && !slices.ContainsFunc(agents, func(a Agent) bool { return a.HeartbeatAt.After(lately) })
}

// unhosted lists the routers that have no host, if an agent fits them.
func (s *Service) unhosted(ctx context.Context) (ids []string, err error) {
	err = s.config.Store.View(ctx, func(tx Tx) error {
		agents, err := tx.Agents().List(ctx, Query{})
		if err != nil {
			return err
		}
		states, err := tx.RouterStates().List(ctx, Query{Filters: []Filter{oneOf("agent_id", ""), {Field: "wanted", Values: []any{true}}}})
		if err != nil {
			return err
		}
		ids, err = s.movable(ctx, tx, states, agents)
		return err
	})
	return ids, err
}

// movable lists those routers that have something to realise and that an agent fits.
func (s *Service) movable(ctx context.Context, tx Tx, states []RouterState, agents []Agent) ([]string, error) {
	if !slices.ContainsFunc(agents, s.works) {
		return nil, nil
	}
	wanted := slices.DeleteFunc(slices.Clone(states), func(st RouterState) bool { return !st.Wanted })
	routers, err := listOf(ctx, tx.Routers(), "id", stateIDs(wanted))
	if err != nil {
		return nil, err
	}
	intents, err := join(ctx, tx, routers)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, in := range intents {
		if len(s.candidates(in, agents)) > 0 {
			ids = append(ids, in.Router.ID)
		}
	}
	return ids, nil
}

// rescue moves one router, if it is still without an agent that works.
func (s *Service) rescue(ctx context.Context, routerID string) (moved bool, err error) {
	err = s.update(ctx, func(w *work) error {
		moved = false
		in, err := intentOf(ctx, w, routerID)
		if errors.Is(err, ErrNotFound) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		st, err := stateOf(ctx, w, routerID)
		if err != nil {
			return err
		}
		agents, err := w.Agents().List(ctx, Query{})
		if err != nil {
			return err
		}
		here := slices.IndexFunc(agents, func(a Agent) bool { return a.ID == st.AgentID })
		if here >= 0 && s.works(agents[here]) {
			return nil
		}
		if st.Wanted {
			if moved, err = s.move(ctx, w, &st, in, agents); err != nil {
				return err
			}
		}
		if !moved && here >= 0 && !agents[here].AdminStateUp {
			moved = true
			err = s.release(ctx, w, &st)
		}
		if err != nil || !moved {
			return err
		}
		return s.settle(ctx, w, st)
	})
	return moved, err
}

func stateIDs(states []RouterState) []string {
	ids := make([]string, len(states))
	for i, st := range states {
		ids[i] = st.ID
	}
	return ids
}
