package service

import (
	"context"
	"slices"
	"time"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// Heartbeat implements [l3.Reporting]. An agent that comes up, or that reports of itself what may
// make more routers fit it, takes the routers that nobody hosts. Those that its mode excludes go to
// others, if these can have them.
func (s *Service) Heartbeat(ctx context.Context, h agent.Heartbeat) (a l3.Agent, err error) {
	if h.AvailabilityZone == "" {
		h.AvailabilityZone = defaultZone
	}
	if h.Host == "" {
		return a, invalid("Invalid input for host. Reason: it is missing.")
	}
	if err := agent.CheckHostName(h.Host); err != nil {
		return a, invalid("Invalid input for host. Reason: %s.", err)
	}
	for name, value := range map[string]*string{
		"binary": &h.Binary, "availability_zone": &h.AvailabilityZone,
		"instance": &h.Instance, "machine": &h.Machine, "deployment": &h.Deployment,
	} {
		if err := text(name, value); err != nil {
			return a, err
		}
	}
	var up, stale bool
	var leaving []string // IDs of routers
	err = s.update(ctx, func(w *work) error {
		var known bool
		leaving = nil
		if a, known, err = agentOn(ctx, w, h.Host); err != nil {
			return err
		}
		if !known {
			up = true
			a = s.newAgent(h.Host)
			noteHeartbeat(h, &a)
			a.HeartbeatAt, a.Alive, a.AttachedAt = s.exactly(), true, s.exactly()
			if err := w.Agents().Insert(ctx, a); err != nil || !canRoute(a) {
				return err
			}
			return s.unfold(ctx, w, a.Host)
		}
		if h.Instance != "" {
			if err := s.refuse(a, h.Instance, h.Machine); err != nil {
				return err
			}
			if stale = superseded(h, a); stale {
				return nil
			}
			stale = overtaken(h, a)
		}
		before, lived := a, s.alive(a)
		noteHeartbeat(h, &a)
		up = !lived || before.AvailabilityZone != a.AvailabilityZone || !reachesAsMuch(before, a)
		a.HeartbeatAt, a.Alive = s.exactly(), true
		if a.Instance != before.Instance {
			a.AttachedAt = a.HeartbeatAt
		}
		err := w.Agents().Update(ctx, &a)
		if err == nil && before.Capabilities.Mode != a.Capabilities.Mode {
			leaving, err = misplacedOn(ctx, w, a)
		}
		if err != nil || canRoute(before) == canRoute(a) && (!canRoute(a) || reachesAsMuch(before, a)) {
			return err
		}
		return s.unfold(ctx, w, a.Host)
	})
	if err == nil && h.Inventory != nil && !stale {
		err = s.compare(ctx, a, h)
	}
	if err == nil {
		s.relocate(ctx, leaving)
	}
	if err == nil && up && a.AdminStateUp {
		s.adopt(ctx)
	}
	return a, err
}

// exactly is the time as a heartbeat needs it: Config.AgentDownTime may be a few seconds.
func (s *Service) exactly() time.Time { return s.config.Now().UTC().Truncate(time.Millisecond) }

// reachesAsMuch says whether two agents reach the same physical networks.
func reachesAsMuch(a l3.Agent, b l3.Agent) bool {
	one, two := a.Capabilities.PhysicalNetworks, b.Capabilities.PhysicalNetworks
	return (one == nil) == (two == nil) && slices.Equal(one, two)
}

// superseded reports whether a heartbeat is of a process that ended before the one that has the
// host's session began: it was late.
func superseded(h agent.Heartbeat, a l3.Agent) bool {
	return a.Instance != "" && h.Instance != a.Instance && !h.StartedAt.After(a.StartedAt)
}

// overtaken reports whether the process has sent a newer inventory, which was taken first.
func overtaken(h agent.Heartbeat, a l3.Agent) bool {
	return h.Inventory != nil && h.Instance == a.Instance && h.Inventory.Seq <= a.InventorySeq
}

// noteHeartbeat takes over what an agent says of itself.
func noteHeartbeat(h agent.Heartbeat, a *l3.Agent) {
	a.Binary, a.AvailabilityZone, a.StartedAt = h.Binary, h.AvailabilityZone, h.StartedAt.UTC()
	a.Capabilities, a.ResourcesSynced = h.Capabilities, true
	if h.Instance == "" {
		return
	}
	if h.Instance != a.Instance {
		a.InventorySeq = 0
	}
	a.Instance, a.Machine, a.Deployment = h.Instance, h.Machine, h.Deployment
	if h.Inventory != nil {
		a.InventorySeq = max(a.InventorySeq, h.Inventory.Seq)
	}
}
