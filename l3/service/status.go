package service

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// timeFormat is how times are written in reasons.
const timeFormat = time.RFC3339

// silent is the reason of a router whose host has died.
const silent = "The agent that hosts the router is not heard"

// partSilent is why a distributed router stays in BUILD.
const partSilent = "An agent that has a part of the router has not applied its last change, and is not heard"

// removed is the reason of a router that an administrator took from its agent.
const removed = "The router was removed from its agent, and was not added to another"

// unrealised is the reason of an ERROR for callers who do not see agents: the host's own words name
// devices and physical networks, which are the provider's.
const unrealised = "The host cannot realise it. Administrators see why"

// settledState returns a router's status as long as its host is alive, and why it is DOWN or ERROR.
func settledState(st *l3.RouterState, up bool) (l3.Status, string) {
	switch {
	case !up:
		return l3.StatusDown, "The router is administratively down"
	case !st.Wanted:
		return l3.StatusActive, "" // there is nothing to realise
	case st.AgentID == "" && st.Unhosted == "" && st.Removed:
		return l3.StatusDown, removed
	case st.AgentID == "" && st.Unhosted == "":
		return l3.StatusBuild, "" // an agent can host it, and will be given it
	case st.AgentID == "":
		return l3.StatusDown, "No agent can host the router: " + st.Unhosted
	case st.Reported < st.Revision:
		return l3.StatusBuild, ""
	case st.Error != "":
		return l3.StatusError, st.Error
	}
	return l3.StatusActive, ""
}

// dependsOn returns the host without which the router is DOWN; empty: there is none.
func dependsOn(st *l3.RouterState, up bool) string {
	if up && st.Wanted {
		return st.Host
	}
	return ""
}

// floatingState returns the status of a floating IP as long as the router's host is alive. Like a
// port, it is ACTIVE while it is part of the revision that runs, though a later one failed.
func floatingState(st *l3.RouterState, f *l3.FloatingIP) (l3.Status, string) {
	switch {
	case f.RouterID == "" || !realisedIn(st.Inside, f):
		return l3.StatusDown, ""
	case runs(st, f.StateRevision):
		return l3.StatusActive, ""
	case st.Error != "" && f.StateRevision <= st.Reported:
		return l3.StatusError, st.Error
	}
	return l3.StatusDown, ""
}

// runs reports whether the host runs what a revision of the router added; 0: none has.
func runs(st *l3.RouterState, since uint64) bool { return since > 0 && since <= st.Applied }

// unaddressed is what is told of a router that works and whose gateway does not.
const unaddressed = "The gateway has no address: its network has no subnet for it, or none with a free address that overlaps no other of the router"

// hosting is the states of routers and the agents that host them, by their IDs.
type hosting struct {
	states map[string]l3.RouterState
	agents map[string]l3.Agent
	behind map[string][]l3.RouterState // of distributed routers: instances whose hosts have a version to try
}

func hostsOf(ctx context.Context, tx l3.Tx, routerIDs []string) (hosting, error) {
	h := hosting{map[string]l3.RouterState{}, map[string]l3.Agent{}, map[string][]l3.RouterState{}}
	byRouter, err := statesOf(ctx, tx, routerIDs)
	if err != nil {
		return h, err
	}
	for id, states := range byRouter {
		st := summary(id, states)
		h.states[id] = st
		if st.AgentID != "" {
			h.agents[st.AgentID] = l3.Agent{}
		}
		for _, part := range states {
			if part.RouterID != "" && part.Wanted && part.AgentID != "" && part.Reported < part.Revision {
				h.behind[id] = append(h.behind[id], part)
				h.agents[part.AgentID] = l3.Agent{}
			}
		}
	}
	return h, fill(ctx, tx.Agents(), h.agents, func(a *l3.Agent) string { return a.ID })
}

// of is the state of a router, its agent, and whether that is alive.
func (h hosting) of(s *Service, routerID string) (l3.RouterState, l3.Agent, bool) {
	st := h.states[routerID]
	a, ok := h.agents[st.AgentID]
	return st, a, ok && s.alive(a)
}

// showRouters fills in what follows from the hosts. Details of reasons are for those who may
// see agents.
func (s *Service) showRouters(ctx context.Context, tx l3.Tx, who l3.Caller, routers []l3.Router) error {
	ids := make([]string, len(routers))
	for i := range routers {
		ids[i] = routers[i].ID
	}
	h, err := hostsOf(ctx, tx, ids)
	h.describe(s, who, routers)
	return err
}

func (h hosting) describe(s *Service, who l3.Caller, routers []l3.Router) {
	details := s.Allows(who, "get_agent", 0)
	for i := range routers {
		r := &routers[i]
		st, a, alive := h.of(s, r.ID)
		r.Status, r.StatusReason = settledState(&st, r.AdminStateUp)
		if r.Status == l3.StatusError && !details {
			r.StatusReason = unrealised
		}
		if r.Status == l3.StatusBuild {
			r.StatusReason = h.awaits(s, r.ID, details)
		}
		if st.AgentID != "" && !alive && dependsOn(&st, r.AdminStateUp) != "" {
			r.Status, r.StatusReason = l3.StatusDown, silent
			if details {
				r.StatusReason += lastHeard(a)
			}
			if st.Unhosted != "" {
				r.StatusReason += ". No other agent can host it: " + st.Unhosted
			}
		}
		if details && st.UnhostedDetail != "" && r.Status == l3.StatusDown && r.AdminStateUp && st.Wanted {
			r.StatusReason += ": " + st.UnhostedDetail
		}
		if r.StatusReason == "" && r.Gateway != nil && len(r.Gateway.FixedIPs) == 0 {
			r.StatusReason = unaddressed
		}
		r.StateRevision = st.Revision
		r.AvailabilityZones = []string{}
		if a.ID != "" {
			r.AvailabilityZones = append(r.AvailabilityZones, a.AvailabilityZone)
		}
	}
}

// awaits says that an instance waits for a host that is not heard; empty: none does.
func (h hosting) awaits(s *Service, routerID string, details bool) string {
	for _, part := range h.behind[routerID] {
		a := h.agents[part.AgentID]
		switch {
		case a.ID == "" || s.alive(a):
		case details:
			return partSilent + lastHeard(a)
		default:
			return partSilent
		}
	}
	return ""
}

func lastHeard(a l3.Agent) string {
	return ": host " + a.Host + ", last heard at " + a.HeartbeatAt.Format(timeFormat)
}

// showPorts fills in the QoS policies of ports' networks, and corrects the status of ports: those on
// the host of an agent that died are DOWN.
func (s *Service) showPorts(ctx context.Context, tx l3.Tx, _ l3.Caller, ports []l3.Port) error {
	networks := map[string]l3.Network{}
	for i := range ports {
		networks[ports[i].NetworkID] = l3.Network{}
	}
	if err := fill(ctx, tx.Networks(), networks, func(n *l3.Network) string { return n.ID }); err != nil {
		return err
	}
	for i := range ports {
		ports[i].NetworkQoSPolicyID = networks[ports[i].NetworkID].QoSPolicyID
	}
	active := func(p l3.Port) bool { return p.Status == l3.StatusActive }
	if !slices.ContainsFunc(ports, active) {
		return nil
	}
	dead, err := s.deadAgents(ctx, tx)
	for i := range ports {
		p := &ports[i]
		if active(*p) && slices.ContainsFunc(dead, func(a l3.Agent) bool { return a.Host == p.Binding.HostID }) {
			p.Status = l3.StatusDown
		}
	}
	return err
}

// showFloatingIPs fills in what follows from the hosts, and from the ports that floating IPs
// are bound to.
func (s *Service) showFloatingIPs(ctx context.Context, tx l3.Tx, who l3.Caller, fips []l3.FloatingIP) error {
	if err := fillForwardings(ctx, tx, fips); err != nil {
		return err
	}
	details := s.Allows(who, "get_agent", 0)
	networks := map[string]l3.Network{}
	for i := range fips {
		networks[fips[i].NetworkID] = l3.Network{}
	}
	if err := fill(ctx, tx.Networks(), networks, func(n *l3.Network) string { return n.ID }); err != nil {
		return err
	}
	for i := range fips {
		fips[i].NetworkQoSPolicyID = networks[fips[i].NetworkID].QoSPolicyID
	}
	ports, routers := map[string]l3.Port{}, []string{}
	for i := range fips {
		if fips[i].PortID != "" {
			ports[fips[i].PortID] = l3.Port{}
		}
		if fips[i].RouterID != "" {
			routers = append(routers, fips[i].RouterID)
		}
	}
	slices.Sort(routers)
	h, err := hostsOf(ctx, tx, slices.Compact(routers))
	if err != nil {
		return err
	}
	if err := fill(ctx, tx.Ports(), ports, func(p *l3.Port) string { return p.ID }); err != nil {
		return err
	}
	bound := slices.Collect(maps.Values(ports))
	if err := s.showPorts(ctx, tx, who, bound); err != nil {
		return err
	}
	for _, p := range bound {
		ports[p.ID] = p
	}
	for i := range fips {
		f := &fips[i]
		st, _, alive := h.of(s, f.RouterID)
		f.Status, f.StatusReason = l3.StatusDown, ""
		if alive {
			f.Status, f.StatusReason = floatingState(&st, f)
		}
		if f.Status == l3.StatusError && !details {
			f.StatusReason = unrealised
		}
		if p, ok := ports[f.PortID]; ok {
			f.PortDetails = &l3.PortDetails{
				Name: p.Name, NetworkID: p.NetworkID, MAC: p.MAC.String(), AdminStateUp: p.AdminStateUp, Status: p.Status,
				DeviceID: p.DeviceID, DeviceOwner: p.DeviceOwner,
			}
		}
	}
	return nil
}
