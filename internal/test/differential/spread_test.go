package differential

import (
	"fmt"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// hop is a way out of the router.
type hop struct {
	port      string
	neighbour dataplane.MAC
}

// hops lists the ways that the packet's connections share, if the routes to its destination have
// several.
func (e expectation) hops() (list []hop) {
	if e.In == "" || e.Kind != first || e.Proto != dataplane.UDP && e.Proto != dataplane.TCP {
		return nil
	}
	for _, t := range e.paths {
		for _, a := range t.NextHops {
			list = append(list, hop{t.Out, neighbourMAC(a)})
		}
	}
	return list
}

// spread sends so many connections like the packet that by chance no way is left out, and tells
// which of those that the model knows is.
func (s *site) spread(e expectation) string {
	const each = 40 // of 8 ways, one is left out in one of 10^17 attempts
	want := e.hops()
	if err := s.conntrack.Flush(); err != nil {
		return err.Error()
	}
	w, err := s.watch(func() error {
		p := e.packet([]byte("l3kit spread"))
		for range each * len(want) {
			p.SrcPort++
			if err := s.inject(s.ports[e.In], p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	for _, h := range want {
		if !slices.ContainsFunc(w.seen, func(seen sighting) bool { return seen.Port == h.port && seen.Hop == h.neighbour }) {
			return fmt.Sprintf("of %d connections none goes by %s to %s", each*len(want), h.port, h.neighbour)
		}
	}
	return ""
}
