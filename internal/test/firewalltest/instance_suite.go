package firewalltest

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// instanceDelta: what changes of an instance is written alone, told alike by the delta and by
// reading back, and taken back. What makes no difference to rules is not written.
func (s Suite[P]) instanceDelta(t *testing.T) {
	edge, centre, open := Edge(FIP(5), FIP(6)), Centre(FIP(8)), CentreWithoutSNAT(FIP(8))
	change := func(r dataplane.Router, fn func(*dataplane.Router)) dataplane.Router { return Without(r, fn) }
	route := func(routes ...dataplane.Route) namespace.Difference[dataplane.Route] {
		return namespace.Difference[dataplane.Route]{Added: routes}
	}
	subnet := via("10.3.0.0/24", centreAddr)
	for name, c := range map[string]struct {
		before dataplane.Router
		change func(*dataplane.Router)
		since  namespace.Delta
		steps  int
	}{
		"neighbour": {edge, func(r *dataplane.Router) {
			r.Ports[0].Anycast = &dataplane.Anycast{Neighbours: append(slices.Clone(r.Ports[0].Anycast.Neighbours), Addr("10.0.0.77"))}
		}, namespace.Delta{Neighbours: namespace.Difference[namespace.Neighbour]{Added: []namespace.Neighbour{{Port: "web", Addr: Addr("10.0.0.77")}}}}, 0},
		"remote workload": {edge, func(r *dataplane.Router) {
			r.Transit.Routes = append(slices.Clone(r.Transit.Routes), Remote(50))
		}, namespace.Delta{Routes: route(Remote(50))}, 0},
		"remote workload at the centre": {centre, func(r *dataplane.Router) {
			r.Transit.Routes = append(slices.Clone(r.Transit.Routes), Remote(50))
		}, namespace.Delta{Routes: route(Remote(50))}, 0},
		"subnet": {edge, func(r *dataplane.Router) {
			r.Transit.Routes = append(slices.Clone(r.Transit.Routes), subnet)
		}, namespace.Delta{Routes: route(subnet)}, 1},
		"subnet of IPv6": {edge, func(r *dataplane.Router) {
			r.Transit.Routes = append(slices.Clone(r.Transit.Routes), via("fd00:9::/64", centre6))
		}, namespace.Delta{Routes: route(via("fd00:9::/64", centre6))}, 1},
		"remote floating IP": {edge, func(r *dataplane.Router) {
			r.Transit.External = append(slices.Clone(r.Transit.External), RemoteFIP(1001))
		}, namespace.Delta{Remote: route(RemoteFIP(1001))}, 1},
		"remote floating IP at the centre": {centre, func(r *dataplane.Router) {
			r.Transit.External = append(slices.Clone(r.Transit.External), RemoteFIP(1001))
		}, namespace.Delta{Remote: route(RemoteFIP(1001))}, 0},
		"remote floating IP without SNAT": {open, func(r *dataplane.Router) {
			r.Transit.External = append(slices.Clone(r.Transit.External), RemoteFIP(1001))
		}, namespace.Delta{Remote: route(RemoteFIP(1001))}, 1},
		"remote floating IP gone without SNAT": {open, func(r *dataplane.Router) { r.Transit.External = r.Transit.External[:1] },
			namespace.Delta{Remote: namespace.Difference[dataplane.Route]{Removed: []dataplane.Route{RemoteFIP(1000)}}}, 1},
		"none left without SNAT": {open, func(r *dataplane.Router) { r.Transit.External = nil },
			namespace.Delta{Remote: namespace.Difference[dataplane.Route]{Removed: open.Transit.External}}, 2},
		"remote floating IP at another edge": {open, func(r *dataplane.Router) {
			r.Transit.External = []dataplane.Route{open.Transit.External[0], via("203.0.3.232/32", edgeAddr)}
		}, namespace.Delta{Remote: namespace.Difference[dataplane.Route]{
			Removed: []dataplane.Route{RemoteFIP(1000)}, Added: []dataplane.Route{via("203.0.3.232/32", edgeAddr)},
		}}, 0},
		"floating IP that comes to the centre": {open, func(r *dataplane.Router) {
			r.FloatingIPs, r.Transit.External = append(r.FloatingIPs, FIP(5)), r.Transit.External[1:]
		}, namespace.Delta{Added: FIPs(5, 6), Remote: namespace.Difference[dataplane.Route]{Removed: open.Transit.External[:1]}}, 2},
		"elsewhere": {edge, func(r *dataplane.Router) {
			r.Transit.Elsewhere = append(slices.Clone(r.Transit.Elsewhere), Addr("10.0.0.9"))
		}, namespace.Delta{Elsewhere: namespace.Difference[netip.Addr]{Added: []netip.Addr{Addr("10.0.0.9")}}}, 1},
		"elsewhere at the centre": {centre, func(r *dataplane.Router) {
			r.Transit.Elsewhere = append(slices.Clone(r.Transit.Elsewhere), Addr("10.0.0.9"))
		}, namespace.Delta{Elsewhere: namespace.Difference[netip.Addr]{Added: []netip.Addr{Addr("10.0.0.9")}}}, 1},
		"nothing elsewhere": {edge, func(r *dataplane.Router) { r.Transit.Elsewhere = nil },
			namespace.Delta{Elsewhere: namespace.Difference[netip.Addr]{Removed: edge.Transit.Elsewhere}}, 1},
		"floating IP": {edge, func(r *dataplane.Router) { r.FloatingIPs = append(r.FloatingIPs, FIP(7)) },
			namespace.Delta{Added: FIPs(7, 8)}, 1},
		"floating IP gone": {edge, func(r *dataplane.Router) { r.FloatingIPs = r.FloatingIPs[:1] },
			namespace.Delta{Removed: FIPs(6, 7)}, 1},
		"floating IP that comes from another edge": {
			change(edge, func(r *dataplane.Router) { r.Transit.External = []dataplane.Route{RemoteFIP(7)} }),
			func(r *dataplane.Router) { r.FloatingIPs, r.Transit.External = append(r.FloatingIPs, FIP(7)), nil },
			namespace.Delta{Added: FIPs(7, 8), Remote: namespace.Difference[dataplane.Route]{Removed: []dataplane.Route{RemoteFIP(7)}}}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, fresh := s.Open(t), s.Open(t)
			after := change(c.before, c.change)
			Apply(t, p.Rules(), c.before)
			Apply(t, fresh.Rules(), after)
			before, at := p.Listing(), p.Stamp()
			steps := Plan(t, p.Rules(), after, nil)
			require.Len(t, steps, c.steps)
			require.Equal(t, steps, Plan(t, p.Rules(), after, &c.since))
			undo, err := p.Rules().Apply(t.Context(), namespace.Change{Want: after, Since: &c.since})
			require.NoError(t, err)
			requireUnchanged(t, p, true)
			require.Equal(t, fresh.Listing(), p.Listing())
			if c.steps == 0 {
				require.Nil(t, undo)
				require.Equal(t, at, p.Stamp(), "written in vain")
				return
			}
			require.NoError(t, undo(t.Context()))
			require.Equal(t, before, p.Listing())
		})
	}
}

// instanceDrift: what others do to an instance's rules is noticed, named and mended.
func (s Suite[P]) instanceDrift(t *testing.T) {
	for state, all := range map[string]map[string]func(P){
		"edge": s.EdgeDrift, "centre": s.CentreDrift, "centre-without-snat": s.CentreWithoutSNATDrift,
	} {
		r := Instances(FIP(5), FIP(6))[state]
		for name, damage := range all {
			t.Run(state+" "+name, func(t *testing.T) {
				p := s.Open(t)
				Apply(t, p.Rules(), r)
				whole := p.Listing()
				damage(p)
				require.NotEqual(t, whole, p.Listing(), "nothing is damaged")
				requireUnchanged(t, p, false)
				require.NotEmpty(t, Plan(t, p.Rules(), r, &namespace.Delta{}))
				Apply(t, p.Rules(), r)
				require.Equal(t, whole, p.Listing())
			})
		}
	}
}

// instanceWalk: from one random instance to another by deltas. The rules are those of a fresh
// Apply.
func (s Suite[P]) instanceWalk(t *testing.T) {
	for name, start := range map[string]dataplane.Router{"edge": Edge(), "centre-without-snat": CentreWithoutSNAT()} {
		t.Run(name, func(t *testing.T) { s.walkFrom(t, start) })
	}
}

func (s Suite[P]) walkFrom(t *testing.T, start dataplane.Router) {
	p, fresh := s.Open(t), s.Open(t)
	random := rand.New(rand.NewPCG(3, 4))
	now := start
	Apply(t, p.Rules(), now)
	for range 12 {
		next := Without(now, func(r *dataplane.Router) {
			r.FloatingIPs, r.Transit.External, r.Transit.Elsewhere = nil, nil, nil
			r.Transit.Routes = slices.Clone(start.Transit.Routes)
			for _, n := range random.Perm(40)[:20] {
				switch n % 4 { // each number is one thing at a time
				case 0:
					r.FloatingIPs = append(r.FloatingIPs, FIP(n*n))
				case 1:
					r.Transit.External = append(r.Transit.External, RemoteFIP(n*n))
				case 2:
					r.Transit.Elsewhere = append(r.Transit.Elsewhere, FIP(n*n).Fixed)
				case 3:
					r.Transit.Routes = append(r.Transit.Routes, Remote(n*n), via(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), 0, 0}), 20+n%8).String(), centreAddr))
				}
			}
		})
		d := namespace.Delta{
			Removed: lacking(now.FloatingIPs, next.FloatingIPs), Added: lacking(next.FloatingIPs, now.FloatingIPs),
			Routes:    difference(now.Transit.Routes, next.Transit.Routes),
			Remote:    difference(now.Transit.External, next.Transit.External),
			Elsewhere: difference(now.Transit.Elsewhere, next.Transit.Elsewhere),
		}
		_, err := p.Rules().Apply(t.Context(), namespace.Change{Want: next, Since: &d})
		require.NoError(t, err)
		require.NoError(t, fresh.Rules().Clear(t.Context()))
		Apply(t, fresh.Rules(), next)
		require.Equal(t, fresh.Listing(), p.Listing())
		now = next
	}
}

func lacking[T comparable](list, other []T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool { return slices.Contains(other, v) })
}

func difference[T comparable](before, after []T) namespace.Difference[T] {
	return namespace.Difference[T]{Removed: lacking(before, after), Added: lacking(after, before)}
}
