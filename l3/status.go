package l3

import (
	"context"
	"slices"
)

// status returns a router's status, and why it is DOWN or ERROR. alive says whether the router's
// host was heard of lately.
func (st *RouterState) status(up, alive bool) (Status, string) {
	switch {
	case !up:
		return StatusDown, "The router is administratively down"
	case !st.Wanted:
		return StatusActive, "" // there is nothing to realise
	case st.AgentID == "":
		return StatusDown, "No agent that is alive and enabled can host the router"
	case !alive:
		return StatusDown, "The agent that hosts the router is not heard"
	case st.Reported < st.Generation:
		return StatusBuild, ""
	case st.Error != "":
		return StatusError, st.Error
	}
	return StatusActive, ""
}

// floating is what the host has made of a floating IP.
func (st *RouterState) floating(f *FloatingIP, alive bool) (Status, string) {
	if f.RouterID == "" || !alive || st.Reported < f.Generation || st.Reported == 0 || !contains(st.Inside, f.FixedIP) {
		return StatusDown, ""
	}
	why, named := st.FloatingIPs[f.ID]
	if !named {
		why = st.Error // it shares the router's fate
	}
	if why != "" {
		return StatusError, why
	}
	return StatusActive, ""
}

// hosting is the states of routers and the agents that host them, by their IDs.
type hosting struct {
	states map[string]RouterState
	agents map[string]Agent
}

func hostsOf(ctx context.Context, tx Tx, routerIDs []string) (hosting, error) {
	h := hosting{map[string]RouterState{}, map[string]Agent{}}
	states, err := listOf(ctx, tx.RouterStates(), "id", routerIDs)
	if err != nil {
		return h, err
	}
	for _, st := range states {
		h.states[st.ID] = st
		if st.AgentID != "" {
			h.agents[st.AgentID] = Agent{}
		}
	}
	return h, fill(ctx, tx.Agents(), h.agents, func(a *Agent) string { return a.ID })
}

// of is the state of a router, its agent, and whether that is alive.
func (h hosting) of(s *Service, routerID string) (RouterState, Agent, bool) {
	st := h.states[routerID]
	a, ok := h.agents[st.AgentID]
	return st, a, ok && s.alive(a)
}

// describeRouters fills in what follows from the hosts.
func (s *Service) describeRouters(ctx context.Context, tx Tx, routers []Router) error {
	ids := make([]string, len(routers))
	for i := range routers {
		ids[i] = routers[i].ID
	}
	h, err := hostsOf(ctx, tx, ids)
	h.describe(s, routers)
	return err
}

func (h hosting) describe(s *Service, routers []Router) {
	for i := range routers {
		r := &routers[i]
		st, a, alive := h.of(s, r.ID)
		r.Status, r.StatusReason = st.status(r.AdminStateUp, alive)
		r.Generation = st.Generation
		r.AvailabilityZones = []string{}
		if a.ID != "" {
			r.AvailabilityZones = append(r.AvailabilityZones, a.AvailabilityZone)
		}
	}
}

func (s *Service) describeRouter(ctx context.Context, tx Tx, r *Router) error {
	one := []Router{*r}
	err := s.describeRouters(ctx, tx, one)
	*r = one[0]
	return err
}

// describeFloatingIPs fills in what follows from the hosts, and from the ports that floating IPs are bound to.
func (s *Service) describeFloatingIPs(ctx context.Context, tx Tx, fips []FloatingIP) error {
	ports, routers := map[string]Port{}, []string{}
	for i := range fips {
		if fips[i].PortID != "" {
			ports[fips[i].PortID] = Port{}
			routers = append(routers, fips[i].RouterID)
		}
	}
	slices.Sort(routers)
	h, err := hostsOf(ctx, tx, slices.Compact(routers))
	if err != nil {
		return err
	}
	if err := fill(ctx, tx.Ports(), ports, func(p *Port) string { return p.ID }); err != nil {
		return err
	}
	for i := range fips {
		f := &fips[i]
		st, _, alive := h.of(s, f.RouterID)
		f.Status, f.StatusReason = st.floating(f, alive)
		if p, ok := ports[f.PortID]; ok {
			f.PortDetails = &PortDetails{
				Name: p.Name, NetworkID: p.NetworkID, MAC: p.MAC.String(), AdminStateUp: p.AdminStateUp, Status: p.Status,
				DeviceID: p.DeviceID, DeviceOwner: p.DeviceOwner,
			}
		}
	}
	return nil
}
