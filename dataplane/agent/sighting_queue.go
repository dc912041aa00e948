package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// The control plane writes what it is told of sightings, and tells other hosts. So what a host's
// workloads can cause is bounded.
const (
	sightingsEvery   = 100 * time.Millisecond // between two messages
	sightingsAtOnce  = 100                    // in a message
	waitingSightings = 1000
)

// sightingKey is what the newest sighting is sent of.
type sightingKey struct {
	router, port string
	addr         netip.Addr
}

// sightingQueue holds the sightings that the control plane does not have yet, and when each address
// was seen last. When there are too many, it drops the oldest: an address that stays in use is seen
// again.
type sightingQueue struct {
	mu    sync.Mutex
	queue map[sightingKey]time.Time
	wake  chan struct{}
}

func newSightingQueue() *sightingQueue {
	return &sightingQueue{queue: map[sightingKey]time.Time{}, wake: make(chan struct{}, 1)}
}

// put queues a sighting, and reports whether another was dropped for it.
func (q *sightingQueue) put(k sightingKey, at time.Time) (dropped bool) {
	q.mu.Lock()
	if at.After(q.queue[k]) {
		q.queue[k] = at
	}
	if dropped = len(q.queue) > waitingSightings; dropped {
		oldest := k
		for other, seen := range q.queue {
			if other != k && !seen.After(q.queue[oldest]) {
				oldest = other
			}
		}
		delete(q.queue, oldest)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return dropped
}

// take removes a message's worth of sightings, the oldest first.
func (q *sightingQueue) take() map[sightingKey]time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := map[sightingKey]time.Time{}
	keys := slices.SortedFunc(maps.Keys(q.queue), func(a, b sightingKey) int { return q.queue[a].Compare(q.queue[b]) })
	for _, k := range keys[:min(sightingsAtOnce, len(keys))] {
		taken[k] = q.queue[k]
		delete(q.queue, k)
	}
	return taken
}

// deliver sends sightings until ctx ends, and tries again after failures.
func (q *sightingQueue) deliver(ctx context.Context, a *Agent) {
	for pause := pauses(); ; {
		taken := q.take()
		if len(taken) == 0 {
			select {
			case <-q.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err := a.config.Source.Sight(ctx, message(taken)); err != nil {
			for k, at := range taken {
				q.put(k, at)
			}
			if ctx.Err() == nil {
				a.log.Warn("sightings of addresses wait for the control plane", "err", err)
			}
			if pause.Wait(ctx) != nil {
				return
			}
			continue
		}
		for k, at := range taken {
			a.log.Debug("an address was sighted", "router", k.router, "port", k.port, "address", k.addr, "seen", at)
		}
		pause = pauses()
		select {
		case <-time.After(sightingsEvery):
		case <-ctx.Done():
			return
		}
	}
}

func message(seen map[sightingKey]time.Time) Sightings {
	var m Sightings
	for k, at := range seen {
		m.Addrs = append(m.Addrs, Sighting{RouterID: k.router, PortID: k.port, Addr: k.addr, Age: max(0, time.Since(at))})
	}
	return m
}

// sight queues what the dataplane sees, if it can see.
func (r *run) sight(ctx context.Context) {
	s, can := r.config.Dataplane.(dataplane.Sighter)
	if !can {
		return
	}
	full := false
	for pause := pauses(); ; {
		err := s.Sight(ctx, func(seen dataplane.Sighting) {
			if r.sightings.put(sightingKey{seen.Router, seen.Port, seen.Addr}, seen.At) && !full {
				full = true
				r.log.Warn("too many addresses are in use on anycast ports that the control plane was not told of; the oldest sightings are dropped")
			}
		})
		if ctx.Err() != nil || errors.Is(err, dataplane.ErrClosed) {
			return
		}
		r.log.Warn("cannot see which addresses are in use on anycast ports", "err", err)
		if pause.Wait(ctx) != nil {
			return
		}
	}
}
