package dataplanetest

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

func restartClauses() []clause {
	return []clause{
		{
			name: "P16-applied-again",
			why: "A router that is applied again without a change costs no kernel write, no packet, no connection and no counter. Agents apply all routers " +
				"whenever they are unsure.",
			test: func(s *scene) {
				s.steadyTraffic(busy(), allTalks, func() error {
					for range 3 {
						if err := applySame(s, s.dp, busy()); err != nil {
							return err
						}
					}
					return nil
				})
			},
		}, {
			name: "P16-restart",
			why: "A process that starts afresh over a router that is there leaves it alone: no kernel write, no packet lost, connections and counters intact. " +
				"Otherwise every upgrade is an outage.",
			test: func(s *scene) {
				s.steadyTraffic(busy(), allTalks, func() error { return s.restarts(busy()) })
			},
		},
	}
}

// restarts lets a fresh process take a router over.
func (s *scene) restarts(r dataplane.Router) error {
	fresh, err := s.h.Reopen()
	if err != nil {
		return fmt.Errorf("Reopen: %w", err)
	}
	s.closeLater(fresh)
	if err := applySame(s, fresh, r); err != nil {
		return err
	}
	if err := s.dp.Close(); err != nil {
		return fmt.Errorf("Close: %w", err)
	}
	if _, err := s.dp.Apply(s.ctx, r); !errors.Is(err, dataplane.ErrClosed) {
		return fmt.Errorf("Apply after Close: %w, not ErrClosed", err)
	}
	s.dp = fresh
	return nil
}

// applySame applies what is there already.
func applySame(s *scene, dp dataplane.Dataplane, r dataplane.Router) error {
	plan, err := dp.Apply(s.ctx, r)
	if err == nil && !plan.Empty() {
		err = fmt.Errorf("something was done: %s", plan)
	}
	if err != nil {
		return fmt.Errorf("Apply again: %w", err)
	}
	return nil
}

// allTalks are the connections through the busy router.
var allTalks = []talk{in1, out1, in2, out2, shared1, sharedFar, east, west, hairpin1, hairpin2, six, six2}

// steadyTraffic runs fn amid traffic. It must write nothing and harm nothing.
func (s *scene) steadyTraffic(r dataplane.Router, list []talk, fn func() error) {
	s.apply(r)
	s.cast("web1", "app1", "outside")
	open := s.begin(list, true)
	open.pause(s)
	before := s.counters()
	writes, err := s.h.Writes(s.ctx, fn)
	s.fail(err)
	for _, w := range writes {
		s.failf("a write that changes nothing: %s", w)
	}
	open.pause(s)
	s.intact(r, before)
	open.expectUnharmed(s)
}

// counters reads them from the dataplane, if it counts.
func (s *scene) counters() map[netip.Addr][2]uint64 {
	if _, ok := s.dp.(dataplane.CounterReader); !ok {
		return nil
	}
	packets := map[netip.Addr][2]uint64{}
	for a, n := range s.counts(s.dp) {
		packets[a] = [2]uint64{n.In.Packets, n.Out.Packets}
	}
	return packets
}

// intact wants counters to have grown with the traffic since before.
func (s *scene) intact(r dataplane.Router, before map[netip.Addr][2]uint64) {
	if before == nil {
		return
	}
	now := s.counters()
	for _, f := range r.FloatingIPs {
		for i, direction := range []string{"in", "out"} {
			if was, is := before[f.Addr][i], now[f.Addr][i]; was == 0 || is <= was {
				s.failf("counter of %s, packets %s: %d after traffic, and %d after more of it", f.Addr, direction, was, is)
			}
		}
	}
}
