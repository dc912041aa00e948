package dataplane

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

var _ Sighter = (*Fake)(nil)

// fakeSight is one Sight of a [Fake].
type fakeSight struct {
	mu     sync.Mutex // held while fn runs
	fn     func(Sighting)
	ended  bool
	closed chan struct{} // the Fake was closed
}

// Sight implements [Sighter]. What is seen is what [FakeHost.Show] shows.
func (f *Fake) Sight(ctx context.Context, fn func(Sighting)) error {
	const op = "sight"
	if err := f.ready(ctx, op, "", nil); err != nil {
		return err
	}
	s := &fakeSight{fn: fn, closed: make(chan struct{})}
	f.host.mu.Lock()
	if f.sight != nil {
		f.host.mu.Unlock()
		return wrap(op, "", errors.New("somebody sights already"))
	}
	f.sight = s
	if f.host.sights == nil {
		f.host.sights = make(map[*Fake]*fakeSight)
	}
	f.host.sights[f] = s
	f.host.mu.Unlock()

	var err error
	select {
	case <-ctx.Done():
	case <-s.closed:
		err = wrap(op, "", ErrClosed)
	}
	f.host.mu.Lock()
	delete(f.host.sights, f)
	f.sight = nil
	f.host.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return err
}

// Show has a host on a port's link use an address, as if it had sent an ARP request or a neighbour
// solicitation: whoever sights is told before Show returns. It returns false if nobody is, such as
// when the address is one of the port's neighbours.
func (h *FakeHost) Show(router, port string, a netip.Addr) bool {
	h.mu.Lock()
	var told []*fakeSight
	if r := h.routers[router]; r != nil && r.router.sights(port, a) {
		for f, s := range h.sights {
			if _, applied := f.applied[router]; applied {
				told = append(told, s)
			}
		}
	}
	h.mu.Unlock()
	for _, s := range told {
		s.tell(Sighting{Router: router, Port: port, Addr: a, At: time.Now()})
	}
	return len(told) > 0
}

func (s *fakeSight) tell(seen Sighting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.fn(seen)
	}
}

// sights reports whether an address that is in use on a port's link is a sighting.
func (r *Router) sights(port string, a netip.Addr) bool {
	i := slices.IndexFunc(r.Ports, func(p Port) bool { return p.ID == port })
	if i < 0 || r.Ports[i].Anycast == nil || slices.Contains(r.Ports[i].Anycast.Neighbours, a) {
		return false
	}
	inside := false
	for _, s := range r.Ports[i].Addrs {
		if s.Addr() == a {
			return false
		}
		inside = inside || s.Contains(a)
	}
	return inside
}
