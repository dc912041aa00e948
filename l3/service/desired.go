package service

import (
	"context"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// DesiredOf compiles what the host of a router must realise. A router that has no host, or nothing
// to realise, is NotFound.
func (s *Service) DesiredOf(ctx context.Context, routerID string) (a agent.Assignment, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		all, err := assignmentsOf(ctx, tx, routerID)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return notFound("RouterNotHosted", "Router %s has nothing to realise, or no host", routerID)
		}
		a = all[0]
		return nil
	})
	return a, err
}

// assignmentsOf is the assignment of a router, or none.
func assignmentsOf(ctx context.Context, tx l3.Tx, routerID string) ([]agent.Assignment, error) {
	st, err := stateOf(ctx, tx, routerID)
	if err != nil {
		return nil, err
	}
	return assignments(ctx, tx, []l3.RouterState{st})
}

// DesiredOn lists everything that a host must realise, by the router's ID. A host that is not known
// has nothing.
func (s *Service) DesiredOn(ctx context.Context, host string) (all []agent.Assignment, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		all, err = assignmentsOn(ctx, tx, host)
		return err
	})
	return all, err
}

func assignmentsOn(ctx context.Context, tx l3.Tx, host string) ([]agent.Assignment, error) {
	agents, err := tx.Agents().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("host", host)}})
	if err != nil || len(agents) == 0 {
		return []agent.Assignment{}, err
	}
	hosted, err := statesOn(ctx, tx, agents[0].ID)
	if err != nil {
		return nil, err
	}
	return assignments(ctx, tx, hosted)
}

// assignments compiles those of the routers that have a host and something to realise.
func assignments(ctx context.Context, tx l3.Tx, states []l3.RouterState) ([]agent.Assignment, error) {
	byID := make(map[string]l3.RouterState, len(states))
	wanted := make([]string, 0, len(states))
	for _, st := range states {
		if st.Wanted && st.AgentID != "" {
			byID[st.ID] = st
			wanted = append(wanted, st.ID)
		}
	}
	routers, err := listOf(ctx, tx.Routers(), "id", wanted)
	if err != nil {
		return nil, err
	}
	intents, err := join(ctx, tx, routers)
	if err != nil {
		return nil, err
	}
	fips, err := listOf(ctx, tx.FloatingIPs(), "router_id", wanted)
	if err != nil {
		return nil, err
	}
	byRouter := map[string][]l3.FloatingIP{}
	for _, f := range fips {
		byRouter[f.RouterID] = append(byRouter[f.RouterID], f)
	}
	d, err := tx.Deployment().Get(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]agent.Assignment, len(intents))
	for i, in := range intents {
		in.FloatingIPs = byRouter[in.Router.ID]
		r, err := Compile(in)
		if err != nil {
			return nil, err
		}
		st := byID[in.Router.ID]
		all[i] = agent.Assignment{Host: st.Host, Deployment: d.ID, Revision: st.Revision, Epoch: st.Epoch, Request: st.Request, Announce: st.Announce, Router: r}
	}
	return all, nil
}
