package agent

import (
	"context"
	"maps"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// beat tells the control plane that the agent is alive, and the loop that the control plane is. What counts is when a heartbeat was sent: the control
// plane cannot have heard of it earlier, so it does not take the routers away before the agent's own time for that is over.
func (r *run) beat(ctx context.Context) {
	started := time.Now().UTC()
	for silent := false; ; {
		sent := time.Now()
		// One that takes longer than the time to the next is given up: the connection may be new by then.
		attempt, cancel := context.WithTimeout(ctx, r.config.HeartbeatEvery)
		err := r.config.Source.Heartbeat(attempt, r.heartbeat(started))
		cancel()
		next := sent.Add(r.config.HeartbeatEvery)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !silent {
				r.log.Warn("the control plane does not hear us", "err", err)
			}
			silent = true
			next = earlier(next, time.Now().Add(r.config.HeartbeatEvery/4))
		default:
			silent = false
			select {
			case r.heard <- sent:
			case <-ctx.Done():
				return
			}
		}
		if !sleep(ctx, time.Until(next)) {
			return
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// heartbeat has the counts under the names that Neutron's agents give them, and of an agent that fences itself the time after which it does, in seconds.
func (r *run) heartbeat(started time.Time) l3.Heartbeat {
	s := r.Status()
	configurations := map[string]any{}
	maps.Copy(configurations, r.config.Configurations)
	if r.config.OnDisconnect == Fence {
		configurations["lease"] = r.config.Lease.Seconds()
	}
	configurations["routers"] = s.Counts.Routers
	configurations["ex_gw_ports"] = s.Counts.Gateways
	configurations["interfaces"] = s.Counts.Interfaces
	configurations["floating_ips"] = s.Counts.FloatingIPs
	return l3.Heartbeat{
		Host: r.config.Host, Binary: r.config.Binary, AvailabilityZone: r.config.AvailabilityZone,
		StartedAt: started, Configurations: configurations,
	}
}
