package dataplane

import (
	"context"
	"maps"
	"net/netip"
	"os"
)

var _ CounterReader = (*Fake)(nil)

// Counters implements [CounterReader]. A fake host counts what it is told to, by [FakeHost.Count].
func (f *Fake) Counters(ctx context.Context, id string) (map[netip.Addr]Counters, error) {
	const op = "read counters of"
	if err := f.ready(ctx, op, id, Router{ID: id}.Validate); err != nil {
		return nil, err
	}
	f.host.mu.Lock()
	defer f.host.mu.Unlock()
	r := f.host.routers[id]
	if r == nil {
		return nil, wrap(op, id, os.ErrNotExist)
	}
	return maps.Clone(r.counters), nil
}

// Count adds traffic to the counters of a router's floating IP, as if it had passed. It returns
// false if the router, or the floating IP, is not there.
func (h *FakeHost) Count(router string, floating netip.Addr, passed Counters) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.routers[router]
	if r == nil {
		return false
	}
	c, ok := r.counters[floating]
	if ok {
		r.counters[floating] = Counters{In: c.In.plus(passed.In), Out: c.Out.plus(passed.Out)}
	}
	return ok
}

// counted returns the counters of a router that takes the place of another, which may be nil: those
// of floating IPs that stay, and zeros.
func counted(now Router, before *fakeRouter) map[netip.Addr]Counters {
	counters := make(map[netip.Addr]Counters, len(now.FloatingIPs))
	for _, f := range now.FloatingIPs {
		counters[f.Addr] = Counters{}
		if before != nil {
			counters[f.Addr] = before.counters[f.Addr]
		}
	}
	return counters
}
