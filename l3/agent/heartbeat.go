package agent

import (
	"context"
	"maps"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// beat tells the control plane that the agent is alive, and the loop that the control plane is.
func (r *run) beat(ctx context.Context) {
	started := time.Now().UTC()
	for {
		// One that takes longer than the time to the next is given up: the connection may be new by then.
		attempt, cancel := context.WithTimeout(ctx, r.config.HeartbeatEvery)
		err := r.config.Source.Heartbeat(attempt, r.heartbeat(started))
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.log.Warn("the control plane does not hear us", "err", err)
		default:
			select {
			case r.heard <- struct{}{}:
			default:
			}
		}
		if !sleep(ctx, r.config.HeartbeatEvery) {
			return
		}
	}
}

// heartbeat has the counts under the names that Neutron's agents give them.
func (r *run) heartbeat(started time.Time) l3.Heartbeat {
	s := r.Status()
	configurations := map[string]any{}
	maps.Copy(configurations, r.config.Configurations)
	configurations["routers"] = s.Counts.Routers
	configurations["ex_gw_ports"] = s.Counts.Gateways
	configurations["interfaces"] = s.Counts.Interfaces
	configurations["floating_ips"] = s.Counts.FloatingIPs
	return l3.Heartbeat{
		Host: r.config.Host, Binary: r.config.Binary, AvailabilityZone: r.config.AvailabilityZone,
		StartedAt: started, Configurations: configurations,
	}
}
