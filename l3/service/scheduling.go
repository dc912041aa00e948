package service

import (
	"context"
	"slices"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// place gives a router that has something to realise a host that fits it, if there is one. It stays
// where it is unless that host's mode excludes it, or its gateway is out of that host's reach, and
// another host can have it.
func (s *Service) place(ctx context.Context, w *work, st *l3.RouterState, in Intent) error {
	if st.AgentID != "" {
		here, err := w.Agents().Get(ctx, st.AgentID)
		if err != nil || suits(here, in.Router.Distributed) && in.reachedBy(here) {
			return err
		}
	}
	st.Removed = false // the change gives it a host again, now or as soon as one fits
	agents, err := w.Agents().List(ctx, l3.Query{})
	if err != nil {
		return err
	}
	if moved, err := s.move(ctx, w, st, in, agents); err != nil || moved || st.AgentID != "" {
		return err
	}
	s.explain(st, in, agents)
	return nil
}

// move binds a router to the one of the agents that the scheduler picks among those that fit.
// Without one it stays where it is.
func (s *Service) move(ctx context.Context, w *work, st *l3.RouterState, in Intent, agents []l3.Agent) (bool, error) {
	candidates := s.candidates(in, agents)
	if len(candidates) == 0 {
		return false, nil
	}
	candidates, err := upToDate(ctx, w, in.Router.ID, candidates)
	if err != nil {
		return false, err
	}
	count, err := w.RouterStates().Hosted(ctx)
	if err != nil {
		return false, err
	}
	for i := range candidates {
		candidates[i].Routers = count[candidates[i].Agent.ID]
	}
	id := s.config.Scheduler.Pick(in.Router, candidates)
	i := slices.IndexFunc(candidates, func(c l3.Candidate) bool { return c.Agent.ID == id })
	if i < 0 {
		s.log.Error("the scheduler picked an agent that was no candidate", "router", in.Router.ID, "agent", id)
		return false, nil
	}
	return true, s.bind(ctx, w, st, candidates[i].Agent)
}

// bind makes an agent the host of a router. The departure from the one before is recorded first.
func (s *Service) bind(ctx context.Context, w *work, st *l3.RouterState, a l3.Agent) error {
	if st.AgentID != "" && st.Host != a.Host {
		if err := s.leave(ctx, w, *st, a); err != nil {
			return err
		}
	}
	epoch, err := w.Deployment().NextEpoch(ctx)
	if err != nil {
		return err
	}
	st.AgentID, st.Host, st.Epoch = a.ID, a.Host, epoch
	forgetState(st)
	return arrive(ctx, w, st)
}

// leave records that a router leaves its host for that of an agent. From one name of a machine to
// another it leaves nothing: a departure would have the machine remove the router when it takes the
// first name again.
func (s *Service) leave(ctx context.Context, w *work, st l3.RouterState, a l3.Agent) error {
	before, err := w.Agents().Get(ctx, st.AgentID)
	if err != nil {
		return err
	}
	if replaces(a, before) {
		return s.notify(ctx, w, st, true)
	}
	return s.depart(ctx, w, st)
}

// release leaves a router without a host.
func (s *Service) release(ctx context.Context, w *work, st *l3.RouterState) error {
	if st.AgentID == "" {
		return nil
	}
	if err := s.depart(ctx, w, *st); err != nil {
		return err
	}
	st.AgentID, st.Host = "", ""
	forgetState(st)
	return nil
}

// forgetState drops what an earlier host reported.
func forgetState(st *l3.RouterState) {
	st.Reported, st.Applied, st.Error = 0, 0, ""
	st.Unhosted, st.UnhostedDetail, st.Removed = "", "", false
	st.ReportedAt, st.ReportedBy, st.ReportedSeq, st.Lagging = time.Time{}, "", 0, 0
}

// candidates are the agents that fit a router.
func (s *Service) candidates(in Intent, agents []l3.Agent) []l3.Candidate {
	var fit []l3.Candidate
	for _, a := range agents {
		if s.works(a) && suits(a, in.Router.Distributed) && in.reachedBy(a) && in.zoned(a) {
			a.Alive = true
			fit = append(fit, l3.Candidate{Agent: a})
		}
	}
	return fit
}

// suits says whether an agent's mode lets it host a router, or the centre of a distributed one. An
// agent that cannot have edges may be of a version that does not know what a centre is.
func suits(a l3.Agent, distributed bool) bool {
	switch a.Capabilities.Mode {
	case agent.ModeDVR:
		return false
	case agent.ModeDVRSNAT, agent.ModeDVRNoExternal:
		return true
	}
	return !distributed
}

// misplacedOn lists the routers on an agent that its mode excludes.
func misplacedOn(ctx context.Context, tx l3.Tx, a l3.Agent) ([]string, error) {
	states, err := movableOn(ctx, tx, a.ID)
	return routerIDs(slices.DeleteFunc(states, func(st l3.RouterState) bool { return suits(a, st.RouterID != "") })), err
}

// works says whether an agent can be given routers.
func (s *Service) works(a l3.Agent) bool { return a.AdminStateUp && s.alive(a) }

// reachedBy says whether an agent reaches the router's external network.
func (in Intent) reachedBy(a l3.Agent) bool {
	names, gw := a.Capabilities.PhysicalNetworks, in.gateway()
	if names == nil || gw == nil {
		return true
	}
	segments := in.Networks[gw.NetworkID].Segments
	if len(segments) == 0 || segments[0].Type != dataplane.NetworkFlat && segments[0].Type != dataplane.NetworkVLAN {
		return true
	}
	return slices.Contains(names, segments[0].Physical)
}

// zoned says whether an agent is in one of the zones that the router was asked for.
func (in Intent) zoned(a l3.Agent) bool {
	return len(in.Router.AZHints) == 0 || slices.Contains(in.Router.AZHints, a.AvailabilityZone)
}
