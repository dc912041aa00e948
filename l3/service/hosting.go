package service

import (
	"context"
	"errors"
	"slices"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// RoutersOnAgent lists the routers that an agent hosts, for administrators.
func (s *Service) RoutersOnAgent(ctx context.Context, who l3.Caller, agentID string) (routers []l3.Router, err error) {
	if err := s.may(who, "get_l3-routers", 0); err != nil {
		return nil, err
	}
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		if _, err := s.agent(ctx, tx, who, agentID); err != nil {
			return err
		}
		hosted, err := statesOn(ctx, tx, agentID)
		if err != nil {
			return err
		}
		if routers, err = listOf(ctx, tx.Routers(), "id", routerIDs(hosted)); err != nil {
			return err
		}
		return s.showRouters(ctx, tx, who, routers)
	})
	return routers, err
}

// AgentsOfRouter lists the agents that host a router, for administrators: one at most, unless the
// router is distributed.
func (s *Service) AgentsOfRouter(ctx context.Context, who l3.Caller, routerID string) (agents []l3.Agent, err error) {
	if err := s.may(who, "get_l3-agents", 0); err != nil {
		return nil, err
	}
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		agents = []l3.Agent{}
		if _, _, err := routerKind().find(ctx, s, tx, who, routerID); err != nil {
			return err
		}
		byRouter, err := statesOf(ctx, tx, []string{routerID})
		if err != nil {
			return err
		}
		for _, st := range byRouter[routerID] {
			if st.AgentID == "" || slices.ContainsFunc(agents, func(a l3.Agent) bool { return a.ID == st.AgentID }) {
				continue
			}
			a, err := s.agent(ctx, tx, who, st.AgentID)
			if err != nil {
				return err
			}
			agents = append(agents, a)
		}
		return nil
	})
	return agents, err
}

// AddRouterToAgent has an agent host a router that nobody hosts. If it hosts it already, nothing
// changes.
func (s *Service) AddRouterToAgent(ctx context.Context, who l3.Caller, agentID, routerID string) error {
	if err := s.may(who, "create_l3-router", 0); err != nil {
		return err
	}
	return s.update(ctx, func(w *work) error {
		a, err := s.agent(ctx, w, who, agentID)
		if err != nil {
			return err
		}
		if _, _, err := routerKind().find(ctx, s, w, who, routerID); err != nil {
			return err
		}
		in, err := intentOf(ctx, w, routerID)
		if err != nil {
			return err
		}
		if a.Capabilities.Mode == agent.ModeDVR {
			return conflict("DVRL3CannotAssignToDvrAgent",
				"Agent %s is in mode dvr: it has edges of distributed routers where workloads are, and no other router", agentID)
		}
		if len(s.candidates(in, []l3.Agent{a})) == 0 {
			return conflict("InvalidL3Agent", "Agent %s cannot host router %s: it is disabled or not alive, or does not fit the router's external network "+
				"or availability zones", agentID, routerID)
		}
		st, err := stateOf(ctx, w, routerID)
		switch {
		case err != nil:
			return err
		case st.AgentID == agentID:
			return nil
		case st.AgentID != "":
			return conflict("RouterHostedByL3Agent", "The router %s is hosted by the L3 agent %s already", routerID, st.AgentID)
		}
		if in.Router.Distributed && st.RouterID == "" {
			if st, err = s.newCentre(ctx, w, in); err != nil {
				return err
			}
		}
		if err := s.bind(ctx, w, &st, a); err != nil {
			return err
		}
		return s.settle(ctx, w, st)
	})
}

// RemoveRouterFromAgent takes a router from the agent that hosts it. As in Neutron, it has no host
// then until [Service.AddRouterToAgent] gives it one, it changes, or an agent comes up. An orphan
// on the agent's host is removed for good.
func (s *Service) RemoveRouterFromAgent(ctx context.Context, who l3.Caller, agentID, routerID string) error {
	if err := s.may(who, "delete_l3-router", 0); err != nil {
		return err
	}
	return s.update(ctx, func(w *work) error {
		a, err := s.agent(ctx, w, who, agentID)
		if err != nil {
			return err
		}
		o, err := w.Orphans().Get(ctx, onHost(a.Host, routerID))
		if err == nil {
			return s.removeOrphan(ctx, w, o)
		}
		if !errors.Is(err, l3.ErrAbsent) {
			return err
		}
		if _, _, err := routerKind().find(ctx, s, w, who, routerID); err != nil {
			return err
		}
		st, err := stateOf(ctx, w, routerID)
		if err != nil {
			return err
		}
		if st.AgentID != agentID {
			if edge, err := stateAt(ctx, w, a.Host, routerID); err != nil || edge.Edge {
				return orElse(err, conflict("DVRL3CannotRemoveFromDvrAgent",
					"Router %s has an edge on the host of agent %s, which stays as long as workloads are there", routerID, agentID))
			}
			return conflict("RouterNotHostedByL3Agent", "The router %s is not hosted by the L3 agent %s", routerID, agentID)
		}
		if err := s.release(ctx, w, &st); err != nil {
			return err
		}
		st.Removed = true
		if err := s.explainLoss(ctx, w, &st, ""); err != nil {
			return err
		}
		return s.settle(ctx, w, st)
	})
}

// explainLoss notes of a router that has lost its host whether another can host it. The agent with
// the given ID will not.
func (s *Service) explainLoss(ctx context.Context, w *work, st *l3.RouterState, leaving string) error {
	in, err := intentOf(ctx, w, st.Router())
	if err != nil {
		return err
	}
	agents, err := w.Agents().List(ctx, l3.Query{})
	if err != nil {
		return err
	}
	s.explain(st, in, slices.DeleteFunc(agents, func(a l3.Agent) bool { return a.ID == leaving }))
	return nil
}

// settle tells the host that a router has now, and writes where it is. The revision stays: what
// must be realised did not change.
func (s *Service) settle(ctx context.Context, w *work, st l3.RouterState) error {
	if st.AgentID != "" && st.Wanted {
		if err := s.notify(ctx, w, st, false); err != nil {
			return err
		}
	}
	return save(ctx, w, st)
}

// statesOn are the states of the routers that an agent hosts.
func statesOn(ctx context.Context, tx l3.Tx, agentID string) ([]l3.RouterState, error) {
	return tx.RouterStates().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("agent_id", agentID)}})
}
