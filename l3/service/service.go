// Package service has the rules of a virtual-router service. Each is checked inside the transaction
// that makes the change.
package service

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/scheduler"
)

// Service has the rules. Its methods may be called concurrently, also by several processes on one
// store. Every error that the caller could have avoided is an [l3.Error].
type Service struct {
	config Config
	log    *slog.Logger
	now    func() time.Time
	turns  *turns
	roll   *roll
	cached *intentCache
	// crowded has the networks and hosts of which it was logged that they have too many sightings.
	crowded *once
	// former has the hosts and routers of which it was logged that the host had another name.
	former *once

	committed chan struct{}
}

// New makes a service on a store. It does nothing by itself: no goroutine, no clock. The store is
// not closed by it.
func New(c Config) (*Service, error) {
	if c.Store == nil {
		return nil, invalid("Config.Store is missing")
	}
	if c.Scheduler == nil {
		c.Scheduler = &scheduler.LeastRouters{}
	}
	if c.Policy == nil {
		c.Policy = l3.DefaultPolicy{}
	}
	if c.BaseMAC == (dataplane.MAC{}) {
		c.BaseMAC = dataplane.MAC{0xfa, 0x16, 0x3e}
	}
	if c.SegmentRanges == nil {
		c.SegmentRanges = []SegmentRange{{Type: dataplane.NetworkVXLAN, First: 1, Last: 1<<24 - 1}}
	}
	if c.PhysicalMTU == 0 {
		c.PhysicalMTU = 1500
	}
	if c.MaxRoutes == 0 {
		c.MaxRoutes = 30
	}
	limits := DefaultQuotas()
	limits[quotaRoutes] = c.MaxRoutes
	for resource, limit := range c.Quotas {
		if _, known := limits[resource]; !known {
			return nil, invalid("Config.Quotas: nothing is counted as %q", resource)
		}
		if limit < -1 {
			return nil, invalid("Config.Quotas: %d of %q; -1 is unlimited", limit, resource)
		}
		limits[resource] = limit
	}
	c.Quotas = limits
	if c.AgentDownTime == 0 {
		c.AgentDownTime = 75 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Service{
		config: c, turns: &turns{next: map[SegmentRange]uint32{}}, roll: &roll{}, cached: newIntentCache(), crowded: &once{}, former: &once{}, log: c.Logger,
		now:       func() time.Time { return c.Now().UTC().Truncate(time.Second) },
		committed: make(chan struct{}, 1),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// check refuses what would make networks and ports that no host can realise.
func (c Config) check() error {
	const leastMTU, mostMTU = 576, 65535 // RFC 791: what every host takes, and what fits a packet
	if c.BaseMAC[0]&1 != 0 {
		return invalid("Config.BaseMAC: %s is a multicast address", c.BaseMAC)
	}
	if c.PhysicalMTU < leastMTU || c.PhysicalMTU > mostMTU {
		return invalid("Config.PhysicalMTU: %d is not between %d and %d", c.PhysicalMTU, leastMTU, mostMTU)
	}
	if c.MaxRoutes < -1 {
		return invalid("Config.MaxRoutes: %d; -1 is unlimited", c.MaxRoutes)
	}
	if c.AgentDownTime < 0 {
		return invalid("Config.AgentDownTime: %s is negative", c.AgentDownTime)
	}
	for i, r := range c.SegmentRanges {
		if r == (SegmentRange{Type: dataplane.NetworkLocal}) {
			continue
		}
		if !numbered(r.Type) || r.First < 1 || r.First > r.Last {
			return invalid("Config.SegmentRanges[%d]: %s has no segmentation IDs from %d to %d", i, r.Type, r.First, r.Last)
		}
		if err := checkSegment(l3.Segment{Type: r.Type, Physical: r.Physical, ID: r.Last}); err != nil {
			return invalid("Config.SegmentRanges[%d]: %s", i, err)
		}
	}
	return nil
}

// work is a transaction that changes something.
type work struct {
	l3.Tx
	notices int                       // added to the outbox
	marked  map[string]l3.RouterState // routers whose status is to be stored, as they were; see restate
	spread  map[string]bool           // distributed routers that were advanced; see handOver
	left    []netip.Addr              // floating IPs for which a host does not answer any more
	raised  map[string]bool           // resources whose revision has grown, or that are new, by ID
}

// update runs fn in a transaction. It may run again.
func (s *Service) update(ctx context.Context, fn func(*work) error) error {
	var notices int
	err := s.config.Store.Update(ctx, func(tx l3.Tx) error {
		w := &work{Tx: tx, spread: map[string]bool{}, raised: map[string]bool{}}
		err := fn(w)
		if err == nil {
			err = s.restate(ctx, w)
		}
		notices = w.notices
		return err
	})
	if err == nil && notices > 0 {
		select {
		case s.committed <- struct{}{}:
		default:
		}
	}
	return err
}
