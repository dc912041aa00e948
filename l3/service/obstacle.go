package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/l3kit/l3kit/l3"
)

// obstacle returns why none of the agents can host a router, or nothing if one can. Detail names
// what only administrators see: hosts and physical networks.
func (s *Service) obstacle(in Intent, agents []l3.Agent) (reason, detail string) {
	if len(s.candidates(in, agents)) > 0 {
		return "", ""
	}
	working := slices.DeleteFunc(slices.Clone(agents), func(a l3.Agent) bool { return !s.works(a) })
	whole := slices.DeleteFunc(slices.Clone(working), func(a l3.Agent) bool { return !suits(a, in.Router.Distributed) })
	zoned := slices.DeleteFunc(slices.Clone(whole), func(a l3.Agent) bool { return !in.zoned(a) })
	switch {
	case len(agents) == 0: // see survey, which calls this without an intent
		return "no agent has registered", ""
	case len(working) == 0:
		return "no agent is alive and enabled", s.plight(agents)
	case len(whole) == 0 && in.Router.Distributed:
		return "no agent hosts centres of distributed routers (agent_mode dvr_snat)", ""
	case len(whole) == 0:
		return "all agents host edges of distributed routers only (agent_mode dvr)", ""
	case len(zoned) == 0:
		return "no agent works in the availability zones " + strings.Join(in.Router.AZHints, ", "), ""
	}
	network := in.Networks[in.gateway().NetworkID]
	reason = "no agent reaches the external network " + network.ID
	if len(zoned) < len(whole) {
		reason += " in the availability zones " + strings.Join(in.Router.AZHints, ", ")
	}
	var reached []string
	for _, a := range zoned {
		reached = append(reached, a.Capabilities.PhysicalNetworks...)
	}
	slices.Sort(reached)
	detail = fmt.Sprintf("it is on the physical network %q, and the hosts have %q", network.Segments[0].Physical, slices.Compact(reached))
	return reason, detail
}

// mostNamed is how many agents a reason names.
const mostNamed = 5

// plight tells what is wrong with agents that do not work.
func (s *Service) plight(agents []l3.Agent) string {
	var list []string
	for i, a := range agents {
		switch {
		case i == mostNamed:
			return strings.Join(list, ", ") + fmt.Sprintf(" and %d more", len(agents)-mostNamed)
		case s.alive(a):
			list = append(list, a.Host+" is disabled")
		case a.HeartbeatAt.IsZero():
			list = append(list, a.Host+" has sent no heartbeat yet")
		default:
			list = append(list, a.Host+" was last heard at "+a.HeartbeatAt.Format(timeFormat))
		}
	}
	return strings.Join(list, ", ")
}

// explain notes in a router's state why no agent can host it, or that one can. It reports whether
// that has changed; then it is logged, too. The state is not written.
func (s *Service) explain(st *l3.RouterState, in Intent, agents []l3.Agent) bool {
	reason, detail := s.obstacle(in, agents)
	if !st.Wanted {
		reason, detail = "", ""
	}
	if st.Unhosted == reason && (reason == "" || st.UnhostedDetail != "" == (detail != "")) {
		return false // details change with every agent, and are not worth a change of every router
	}
	st.Unhosted, st.UnhostedDetail = reason, detail
	switch {
	case reason == "":
	case st.AgentID == "":
		s.log.Warn("no agent can host a router", "router", st.ID, "reason", reason, "detail", detail)
	default:
		s.log.Warn("a router's host is not heard, and no other agent can host it", "router", st.ID, "host", st.Host, "reason", reason, "detail", detail)
	}
	return true
}

// explainAll notes why no agent can host the routers with the given IDs, which have none that
// works: at most limit of them, each in a transaction of its own.
func (s *Service) explainAll(ctx context.Context, routerIDs []string, limit int) error {
	for _, id := range routerIDs[:min(limit, len(routerIDs))] {
		err := s.update(ctx, func(w *work) error {
			st, err := stateOf(ctx, w, id)
			if err != nil || !st.Wanted {
				return err
			}
			in, err := intentOf(ctx, w, id)
			if err != nil {
				return err
			}
			agents, err := w.Agents().List(ctx, l3.Query{})
			if err != nil || !s.explain(&st, in, agents) {
				return err
			}
			return save(ctx, w, st)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// roll remembers which agents are known not to be heard, so that each is logged once.
type roll struct {
	mu     sync.Mutex
	silent map[string]bool // by ID
}

// call returns the agents that are not heard any more, and forgets those that are heard again. One
// that was never heard has registered and is about to send its first heartbeat.
func (r *roll) call(s *Service, agents []l3.Agent) (lost []l3.Agent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	silent := make(map[string]bool, len(r.silent))
	for _, a := range agents {
		if s.alive(a) || a.HeartbeatAt.IsZero() {
			continue
		}
		if silent[a.ID] = true; !r.silent[a.ID] {
			lost = append(lost, a)
		}
	}
	r.silent = silent
	return lost
}

// logLost logs the agents that are not heard any more.
func (s *Service) logLost(ctx context.Context) error {
	var agents []l3.Agent
	var routers map[string]int
	err := s.config.Store.View(ctx, func(tx l3.Tx) (err error) {
		if agents, err = s.deadAgents(ctx, tx); err != nil || len(agents) == 0 {
			return err
		}
		routers, err = tx.RouterStates().Hosted(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, a := range s.roll.call(s, agents) {
		s.log.Warn("an agent is not heard any more: its routers are DOWN until it is, or until others host them",
			"host", a.Host, "last_heard", a.HeartbeatAt.Format(timeFormat), "routers", routers[a.ID])
	}
	return nil
}
