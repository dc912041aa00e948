package service

import (
	"cmp"
	"context"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// defaultZone is the availability zone of agents that name none.
const defaultZone = "nova"

// GetAgent answers administrators with an agent.
func (s *Service) GetAgent(ctx context.Context, who l3.Caller, id string) (a l3.Agent, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		if a, err = s.agent(ctx, tx, who, id); err != nil {
			return err
		}
		one := []l3.Agent{a}
		err = fillOrphans(ctx, tx, one)
		a = one[0]
		return err
	})
	return a, err
}

// fillOrphans lists what runs on the agents' hosts without a record.
func fillOrphans(ctx context.Context, tx l3.Tx, agents []l3.Agent) error {
	orphans, err := tx.Orphans().List(ctx, l3.Query{})
	if err != nil {
		return err
	}
	for i := range agents {
		agents[i].Orphans = []l3.Orphan{}
		for _, o := range orphans {
			if o.Host == agents[i].Host {
				agents[i].Orphans = append(agents[i].Orphans, o)
			}
		}
	}
	return nil
}

// ListAgents lists the agents for administrators, and none for others.
func (s *Service) ListAgents(ctx context.Context, who l3.Caller, q l3.Query) (agents []l3.Agent, err error) {
	if !s.Allows(who, "get_agent", 0) {
		return []l3.Agent{}, nil
	}
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		q, sorted, err := s.liveAgents(ctx, tx, q)
		if err != nil {
			return err
		}
		d := derived[l3.Agent]{
			field: "alive",
			list:  tx.Agents().List,
			fill: func(agents []l3.Agent) error {
				for i := range agents {
					agents[i].Alive = s.alive(agents[i])
				}
				return fillOrphans(ctx, tx, agents)
			},
			value: func(a *l3.Agent) any { return a.Alive },
			id:    func(a *l3.Agent) string { return a.ID },
		}
		if sorted {
			agents, err = d.query(ctx, q)
		} else {
			agents, err = d.all(ctx, q)
		}
		return err
	})
	return agents, err
}

// UpdateAgent enables an agent, which then takes routers that nobody hosts, or disables it: it is
// given no more, and those that it has move to others. One that fits no other agent leaves it all
// the same.
func (s *Service) UpdateAgent(ctx context.Context, who l3.Caller, id string, spec l3.AgentSpec) (a l3.Agent, err error) {
	var enabled bool
	var leaving []string // IDs of routers
	err = s.update(ctx, func(w *work) error {
		enabled, leaving = false, nil
		if a, err = s.agent(ctx, w, who, id); err != nil {
			return err
		}
		if err := s.may(who, "update_agent", 0); err != nil {
			return err
		}
		if err := text("description", spec.Description); err != nil {
			return err
		}
		before, description := a.AdminStateUp, a.Description
		set(&a.AdminStateUp, spec.AdminStateUp)
		set(&a.Description, spec.Description)
		if before == a.AdminStateUp && description == a.Description {
			return nil
		}
		enabled = a.AdminStateUp && !before
		if before && !a.AdminStateUp {
			hosted, err := movableOn(ctx, w, id)
			if err != nil {
				return err
			}
			leaving = routerIDs(hosted)
		}
		return w.Agents().Update(ctx, &a)
	})
	if err != nil {
		return a, err
	}
	if enabled {
		s.adopt(ctx)
	}
	s.relocate(ctx, leaving)
	return a, nil
}

// DeleteAgent forgets an agent; others take its routers. One that still runs registers again.
func (s *Service) DeleteAgent(ctx context.Context, who l3.Caller, id string) error {
	var leaving []string // IDs of routers
	err := s.update(ctx, func(w *work) error {
		a, err := s.agent(ctx, w, who, id)
		if err != nil {
			return err
		}
		if err := s.may(who, "delete_agent", 0); err != nil {
			return err
		}
		hosted, err := statesOn(ctx, w, id)
		if err != nil {
			return err
		}
		leaving = nil
		var edges []string // IDs of routers
		for _, st := range hosted {
			if st.Edge {
				edges = append(edges, st.RouterID)
				if err := s.dropInstance(ctx, w, st); err != nil {
					return err
				}
				continue
			}
			leaving = append(leaving, st.Router())
			if err := s.release(ctx, w, &st); err != nil {
				return err
			}
			if err := s.explainLoss(ctx, w, &st, id); err != nil {
				return err
			}
			if err := save(ctx, w, st); err != nil {
				return err
			}
		}
		if err := s.unplug(ctx, w, a.Host); err != nil {
			return err
		}
		if err := w.Agents().Delete(ctx, id); err != nil {
			return err
		}
		for _, router := range edges {
			if err := s.advanceByID(ctx, w, router); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.relocate(ctx, leaving)
	}
	return err
}

// agent finds an agent, for administrators.
func (s *Service) agent(ctx context.Context, tx l3.Tx, who l3.Caller, id string) (l3.Agent, error) {
	absent := notFound("AgentNotFound", "Agent %s could not be found", id)
	if !s.Allows(who, "get_agent", 0) {
		return l3.Agent{}, absent
	}
	a, err := found(ctx, tx.Agents(), id, absent)
	a.Alive = s.alive(a)
	return a, err
}

// ListAvailabilityZones lists the zones of the agents, each for networks and for routers; one in
// which an agent works is available. They belong to nobody.
func (s *Service) ListAvailabilityZones(ctx context.Context, who l3.Caller) (zones []l3.AvailabilityZone, err error) {
	if !s.Allows(who, "get_availability_zone", l3.RelationShared) {
		return []l3.AvailabilityZone{}, nil
	}
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		agents, err := tx.Agents().List(ctx, l3.Query{})
		if err != nil {
			return err
		}
		zones = []l3.AvailabilityZone{}
		for name, works := range s.zones(agents) {
			state := "unavailable"
			if works {
				state = "available"
			}
			zones = append(zones, l3.AvailabilityZone{Name: name, Resource: "network", State: state}, l3.AvailabilityZone{Name: name, Resource: "router", State: state})
		}
		slices.SortFunc(zones, func(a, b l3.AvailabilityZone) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Resource, b.Resource))
		})
		return nil
	})
	return zones, err
}

// zones says of each zone whether an agent works in it.
func (s *Service) zones(agents []l3.Agent) map[string]bool {
	zones := map[string]bool{}
	for _, a := range agents {
		zones[a.AvailabilityZone] = zones[a.AvailabilityZone] || s.works(a)
	}
	return zones
}

// checkHints refuses hints at zones that no agent is in. The default zone can always be asked for.
func (s *Service) checkHints(ctx context.Context, tx l3.Tx, hints []string) error {
	if len(hints) == 0 {
		return nil
	}
	agents, err := tx.Agents().List(ctx, l3.Query{})
	if err != nil {
		return err
	}
	zones := s.zones(agents)
	for i, hint := range hints {
		if _, ok := zones[hint]; !ok && hint != defaultZone {
			return notFound("AvailabilityZoneNotFound", "AvailabilityZone %s could not be found.", hint)
		}
		if slices.Contains(hints[:i], hint) {
			return invalid("Invalid input for availability_zone_hints. Reason: '%s' is there twice.", hint)
		}
	}
	return nil
}

// replaces reports whether another agent is the same machine's under the name that it had before: a
// machine has one agent, and the other was not heard since this one was.
func replaces(a l3.Agent, other l3.Agent) bool {
	return a.Machine != "" && a.Machine == other.Machine && !other.HeartbeatAt.After(a.AttachedAt)
}
