package agent

import (
	"context"
	"time"

	"github.com/l3kit/l3kit/internal/backoff"
)

// Heartbeat is what an agent reports of itself and of its host.
type Heartbeat struct {
	Host             string
	Binary           string
	AvailabilityZone string // empty: nova
	StartedAt        time.Time
	Capabilities     Capabilities

	Instance   string     // as in [Session]; empty: the agent does not hold sessions, and is not checked
	Machine    string     // likewise
	Deployment string     // that the agent serves; empty: not known yet
	Inventory  *Inventory // nil: the agent sends none
}

// beat tells the control plane that the agent is alive, and the loop that the control plane is.
// What counts is when a heartbeat was sent: the control plane cannot have heard of it earlier, so
// it does not take the routers away before the agent's own time for that is over.
func (r *run) beat(ctx context.Context) {
	started := time.Now().UTC()
	for silent := false; ; {
		sent := time.Now()
		beat, ok := r.heartbeat(ctx, started)
		if !ok { // refused: another machine's agent is the host's
			if backoff.Sleep(ctx, r.config.HeartbeatEvery) != nil {
				return
			}
			continue
		}
		// One that takes longer than the time to the next is given up: the connection may be new by
		// then.
		attempt, cancel := context.WithTimeout(ctx, r.config.HeartbeatEvery)
		err := r.config.Source.Heartbeat(attempt, beat)
		cancel()
		next := sent.Add(r.config.HeartbeatEvery)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !silent {
				r.log.Warn("the control plane does not take heartbeats", "err", err)
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
		select {
		case <-time.After(time.Until(next)):
		case <-r.beatNow:
		case <-ctx.Done():
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

// heartbeat completes the capabilities. It is false while the control plane refuses the agent.
func (r *run) heartbeat(ctx context.Context, started time.Time) (h Heartbeat, ok bool) {
	seen, ok := r.look(ctx)
	if !ok || seen.status.Refused {
		return h, false
	}
	can, counts := r.config.Capabilities, seen.status.Counts
	can.PortForwarding, can.AddressScopes, can.Limits, can.Metadata = true, true, true, r.config.Metadata
	if r.config.OnDisconnect == Fence {
		can.Lease = r.config.Lease
	}
	can.Routers, can.Gateways, can.Interfaces, can.FloatingIPs = &counts.Routers, &counts.Gateways, &counts.Interfaces, &counts.FloatingIPs
	inventory, err := r.inventory(ctx, seen)
	if err != nil && ctx.Err() == nil {
		r.log.Error("cannot list the routers on this host; the control plane keeps what it knows", "err", err)
	}
	return Heartbeat{
		Host: r.config.Host, Binary: r.config.Binary, AvailabilityZone: r.config.AvailabilityZone,
		StartedAt: started, Capabilities: can,
		Instance: r.instance, Machine: r.config.Machine, Deployment: seen.deployment, Inventory: inventory,
	}, true
}
