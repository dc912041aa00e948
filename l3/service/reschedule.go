package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// ErrSilence is that no agent at all was heard lately. Then it is rather this side that does not
// hear.
var ErrSilence = errors.New("no agent is heard")

// Reschedule moves routers away from agents that are not heard of or administratively disabled, and
// gives hosts to those that have none, except to those that were removed from their agents: no more
// than limit, each in a transaction of its own. A router that no other agent fits stays with an
// agent that is not heard of, but leaves one that is disabled. It returns how many routers it
// moved. [Failover] calls it again and again; several processes may do so at once.
//
// Which agents are alive is judged as of the call's beginning, however long it takes. When no agent
// was heard for half of Config.AgentDownTime, nothing is moved and the error is ErrSilence.
func (s *Service) Reschedule(ctx context.Context, limit int) (moved int, err error) {
	s = s.asOf(s.config.Now())
	if err := s.logLost(ctx); err != nil {
		return 0, err
	}
	stranded, err := s.stranded(ctx)
	deaf := errors.Is(err, ErrSilence)
	if err != nil && !deaf {
		return 0, err
	}
	unhosted, failed := s.unhosted(ctx)
	if failed == nil {
		failed = s.explainAll(ctx, slices.Concat(stranded.unexplained, unhosted.unexplained), mostExplained)
	}
	if deaf || failed != nil {
		return 0, orElse(failed, err)
	}
	return s.rescueAll(ctx, slices.Concat(stranded.movable, unhosted.movable), limit)
}

// mostExplained bounds how many routers Reschedule explains at a time.
const mostExplained = 16

// survey is the routers without an agent that works, by their IDs.
type survey struct {
	movable     []string // that another agent can host
	removed     []string // likewise, and were removed from their agents
	unexplained []string // that none can, for another reason than was noted
}

func (f *survey) add(g survey) {
	f.movable, f.removed = append(f.movable, g.movable...), append(f.removed, g.removed...)
	f.unexplained = append(f.unexplained, g.unexplained...)
}

// asOf is the service whose agents are alive if they are at that time.
func (s *Service) asOf(now time.Time) *Service {
	then := *s
	then.config.Now = func() time.Time { return now }
	return &then
}

// adopt gives hosts to the routers that have none, those included that were removed from their
// agents, because an agent came up. What a silent agent has is left to Reschedule, and to its rate.
func (s *Service) adopt(ctx context.Context) {
	found, err := s.unhosted(ctx)
	if err == nil {
		_, err = s.rescueAll(ctx, slices.Concat(found.movable, found.removed), len(found.movable)+len(found.removed))
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("routers without a host are left to the next time", "err", err)
	}
}

// relocate finds other hosts for routers whose agent was disabled or deleted, or is in another mode.
// What fails is left to Reschedule, or to the next change of the router.
func (s *Service) relocate(ctx context.Context, routerIDs []string) {
	if _, err := s.rescueAll(ctx, routerIDs, len(routerIDs)); err != nil && ctx.Err() == nil {
		s.log.Warn("routers of an agent that was disabled or deleted, or changed its mode, are left to the next time", "err", err)
	}
}

func (s *Service) rescueAll(ctx context.Context, routerIDs []string, limit int) (moved int, err error) {
	for _, id := range routerIDs {
		if moved >= limit {
			break
		}
		ok, err := s.rescue(ctx, id)
		var refusal *l3.Error
		switch {
		case errors.As(err, &refusal): // it will be refused again, and must not keep the others waiting
			s.log.Error("a router cannot be moved", "router", id, "err", err)
		case err != nil:
			return moved, err
		case ok:
			moved++
		}
	}
	return moved, nil
}

// stranded surveys the routers on agents that do not work.
func (s *Service) stranded(ctx context.Context) (found survey, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		found = survey{}
		agents, err := tx.Agents().List(ctx, l3.Query{})
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
			states, err := movableOn(ctx, tx, a.ID)
			if err != nil {
				return err
			}
			if !a.AdminStateUp {
				found.movable = append(found.movable, routerIDs(states)...)
				continue
			}
			some, err := s.survey(ctx, tx, states, agents)
			if err != nil {
				return err
			}
			found.add(some)
		}
		return nil
	})
	return found, err
}

// silence says whether there are agents, and none of them was heard for half the time after which
// one is taken for dead.
func (s *Service) silence(agents []l3.Agent) bool {
	lately := s.config.Now().Add(-s.config.AgentDownTime / 2)
	return len(agents) > 0 && !slices.ContainsFunc(agents, func(a l3.Agent) bool { return a.HeartbeatAt.After(lately) })
}

// unhosted surveys the routers that have no host.
func (s *Service) unhosted(ctx context.Context) (found survey, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		agents, err := tx.Agents().List(ctx, l3.Query{})
		if err != nil {
			return err
		}
		states, err := tx.RouterStates().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("agent_id", ""), {Field: "wanted", Values: []any{true}}}})
		if err != nil {
			return err
		}
		found, err = s.survey(ctx, tx, states, agents)
		return err
	})
	return found, err
}

// survey sorts those routers that have something to realise.
func (s *Service) survey(ctx context.Context, tx l3.Tx, states []l3.RouterState, agents []l3.Agent) (found survey, err error) {
	wanted := slices.DeleteFunc(slices.Clone(states), func(st l3.RouterState) bool { return !st.Wanted })
	if !slices.ContainsFunc(agents, s.works) {
		reason, _ := s.obstacle(Intent{}, agents) // the same for all, so that no router need be read
		wanted = slices.DeleteFunc(wanted, func(st l3.RouterState) bool { return st.Unhosted == reason })
		return survey{unexplained: routerIDs(wanted)}, nil
	}
	byID := make(map[string]l3.RouterState, len(wanted))
	for _, st := range wanted {
		byID[st.Router()] = st
	}
	routers, err := listOf(ctx, tx.Routers(), "id", routerIDs(wanted))
	if err != nil {
		return found, err
	}
	intents, err := join(ctx, tx, routers)
	if err != nil {
		return found, err
	}
	for _, in := range intents {
		reason, _ := s.obstacle(in, agents)
		switch {
		case reason == "" && byID[in.Router.ID].Removed:
			found.removed = append(found.removed, in.Router.ID)
		case reason == "":
			found.movable = append(found.movable, in.Router.ID)
		case reason != byID[in.Router.ID].Unhosted:
			found.unexplained = append(found.unexplained, in.Router.ID)
		}
	}
	return found, nil
}

// rescue moves one router, if it is still without an agent that works.
func (s *Service) rescue(ctx context.Context, routerID string) (moved bool, err error) {
	err = s.update(ctx, func(w *work) error {
		moved = false
		in, err := intentOf(ctx, w, routerID)
		if errors.Is(err, l3.ErrNotFound) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		st, err := stateOf(ctx, w, routerID)
		if err != nil {
			return err
		}
		agents, err := w.Agents().List(ctx, l3.Query{})
		if err != nil {
			return err
		}
		here := slices.IndexFunc(agents, func(a l3.Agent) bool { return a.ID == st.AgentID })
		if here >= 0 && s.works(agents[here]) && suits(agents[here], in.Router.Distributed) {
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
			s.explain(&st, in, agents)
		}
		if err != nil || !moved {
			return err
		}
		return s.settle(ctx, w, st)
	})
	return moved, err
}

func routerIDs(states []l3.RouterState) []string {
	ids := make([]string, len(states))
	for i, st := range states {
		ids[i] = st.Router()
	}
	return ids
}

// movableOn are the states on an agent of what another could have instead: edges are where their
// workloads are.
func movableOn(ctx context.Context, tx l3.Tx, agentID string) ([]l3.RouterState, error) {
	states, err := statesOn(ctx, tx, agentID)
	return slices.DeleteFunc(states, func(st l3.RouterState) bool { return st.Edge }), err
}
