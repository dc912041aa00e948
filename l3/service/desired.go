package service

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// DesiredOf compiles what the host of a router must realise. A router that has no host, or nothing
// to realise, is NotFound.
func (s *Service) DesiredOf(ctx context.Context, routerID string) (a agent.Assignment, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		st, err := stateOf(ctx, tx, routerID)
		if err != nil {
			return err
		}
		all, err := s.assignments(ctx, tx, []l3.RouterState{st})
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

// DesiredOn lists everything that a host must realise, by the router's ID. A host that is not known
// has nothing.
func (s *Service) DesiredOn(ctx context.Context, host string) (all []agent.Assignment, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		all, err = s.assignmentsOn(ctx, tx, host)
		return err
	})
	return all, err
}

func (s *Service) assignmentsOn(ctx context.Context, tx l3.Tx, host string) ([]agent.Assignment, error) {
	agents, err := tx.Agents().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("host", host)}})
	if err != nil || len(agents) == 0 {
		return []agent.Assignment{}, err
	}
	hosted, err := statesOn(ctx, tx, agents[0].ID)
	if err != nil {
		return nil, err
	}
	return s.assignments(ctx, tx, hosted)
}

// assignments compiles those of the routers that have a host and something to realise.
func (s *Service) assignments(ctx context.Context, tx l3.Tx, states []l3.RouterState) ([]agent.Assignment, error) {
	states = slices.DeleteFunc(slices.Clone(states), func(st l3.RouterState) bool { return !st.Wanted || st.AgentID == "" })
	intents, err := s.intentsOf(ctx, tx, states)
	if err != nil {
		return nil, err
	}
	d, err := tx.Deployment().Get(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]agent.Assignment, len(states))
	for i, st := range states {
		r, err := compileFor(st, intents[st.ID])
		if err != nil {
			return nil, err
		}
		all[i] = agent.Assignment{Host: st.Host, Deployment: d.ID, Revision: st.Revision, Epoch: st.Epoch, Request: st.Request, Announce: st.Announce, Router: r}
	}
	return all, nil
}

// compileFor returns what the host of a state realises.
func compileFor(st l3.RouterState, in Intent) (dataplane.Router, error) {
	if st.Edge {
		return CompileEdge(in, st.Host)
	}
	return Compile(in)
}

// intentsOf are the intents of states' routers, by the states' IDs. Of those who need the intent of
// a distributed router that is not cached, one reads it, and the others wait for that.
func (s *Service) intentsOf(ctx context.Context, tx l3.Tx, states []l3.RouterState) (map[string]Intent, error) {
	keys, err := intentKeys(ctx, tx, states)
	if err != nil {
		return nil, err
	}
	intents := make(map[string]Intent, len(states))
	missing := s.cached.get(keys, states, intents)
	if slices.ContainsFunc(missing, func(st l3.RouterState) bool { return st.RouterID != "" }) {
		if err := s.cached.lock(ctx); err != nil {
			return nil, err
		}
		defer s.cached.unlock()
		missing = s.cached.get(keys, states, intents)
	}
	if len(missing) == 0 {
		return intents, nil
	}
	byRouter, err := readIntents(ctx, tx, missing)
	if err != nil {
		return nil, err
	}
	for _, st := range missing {
		intents[st.ID] = byRouter[st.Router()]
		if key, distributed := keys[st.ID]; distributed {
			s.cached.put(key, intents[st.ID])
		}
	}
	return intents, nil
}

// readIntents reads the intents of states' routers, by the routers' IDs.
func readIntents(ctx context.Context, tx l3.Tx, states []l3.RouterState) (map[string]Intent, error) {
	wanted := routerIDs(states)
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
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
	forwardings, err := listOf(ctx, tx.PortForwardings(), "router_id", wanted)
	if err != nil {
		return nil, err
	}
	forwarded := map[string][]l3.PortForwarding{}
	for _, pf := range forwardings {
		forwarded[pf.RouterID] = append(forwarded[pf.RouterID], pf)
	}
	byRouter := map[string][]l3.FloatingIP{}
	for _, f := range fips {
		byRouter[f.RouterID] = append(byRouter[f.RouterID], f)
	}
	byID := make(map[string]Intent, len(intents))
	for _, in := range intents {
		in.FloatingIPs, in.PortForwardings = byRouter[in.Router.ID], forwarded[in.Router.ID]
		byID[in.Router.ID] = in
	}
	return byID, readQoS(ctx, tx, byID)
}
