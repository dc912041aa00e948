package namespace

import (
	"context"
	"errors"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// changeRoutes leads from some routes to others: it adds those that were not there, changes those
// that had other hops, and removes the rest.
func (s *site) changeRoutes(from, to map[routeKey]hops) action {
	a := action{
		do:   func(ctx context.Context) error { return s.writeRoutes(ctx, "add route", from, to) },
		undo: func(ctx context.Context) error { return s.writeRoutes(ctx, "restore route", to, from) },
	}
	for _, k := range routeOrder(from, to) {
		step := dataplane.Step{Op: dataplane.Add, Kind: dataplane.KindRoute, Object: k.String(), Detail: to[k].String()}
		switch was, ok := from[k]; {
		case ok && to[k] == nil:
			step.Op, step.Detail, step.Disturbs = dataplane.Remove, "was "+was.String(), true
		case ok:
			step.Op, step.Detail, step.Disturbs = dataplane.Change, step.Detail+", was "+was.String(), true
		}
		a.steps = append(a.steps, step)
	}
	return a
}

// routeOrder lists what there is in from and to in the order in which to write it: first what is in
// to, a route on the link before those that may need it to reach their next hop; then what is not,
// the other way round.
func routeOrder(from, to map[routeKey]hops) []routeKey {
	gone := maps.Clone(from)
	maps.DeleteFunc(gone, func(k routeKey, _ hops) bool { return to[k] != nil })
	last := slices.SortedFunc(maps.Keys(gone), compareRoutes(gone))
	slices.Reverse(last)
	return append(slices.SortedFunc(maps.Keys(to), compareRoutes(to)), last...)
}

func compareRoutes(routes map[routeKey]hops) func(a, b routeKey) int {
	rank := func(k routeKey) int {
		if routes[k].onLink() {
			return 0
		}
		return 1
	}
	return func(a, b routeKey) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return compareKeys(a, b)
	}
}

// writeRoutes does what changeRoutes says; op is what it is called for a route that is put. Routes
// of from may be there or not.
//
// The kernel refuses an IPv6 route with a next hop to whose address another route leads by another
// device (ip6_route_check_nh_onlink), even if that one is to go or to change in the same breath.
// Which is why all of them make way after a refusal, and are put once more.
func (s *site) writeRoutes(ctx context.Context, op string, from, to map[routeKey]hops) error {
	keys := routeOrder(from, to)
	failed, err := s.sendRoutes(ctx, keys, to)
	if errors.Is(err, unix.EINVAL) && keys[failed].dest.Addr().Is6() {
		way := slices.DeleteFunc(slices.Clone(keys), func(k routeKey) bool { return k.dest.Addr().Is4() })
		if failed, err = s.sendRoutes(ctx, way, nil); err == nil {
			failed, err = s.sendRoutes(ctx, keys, to)
		}
	}
	if err == nil {
		return nil
	}
	k := keys[max(failed, 0)]
	if to[k] == nil {
		return opError("remove route", k.String(), err)
	}
	return opError(op, k.String()+" "+to[k].String(), err)
}

// sendRoutes makes each key's route what routes has for it: nothing, if it has none. The number is
// that of the first key that the kernel refused.
func (s *site) sendRoutes(ctx context.Context, keys []routeKey, routes map[routeKey]hops) (failed int, err error) {
	requests := make([]request, len(keys))
	for i, k := range keys {
		if h, ok := routes[k]; ok {
			requests[i] = putRoute(k, h, s.deviceIndex)
		} else {
			requests[i] = deleteRoute(k)
		}
	}
	return s.write.send(ctx, requests...)
}

// deleteNeighbours makes the kernel forget the MACs of hosts that had a route to them on a link.
func (s *site) deleteNeighbours(routes map[routeKey]hops) action {
	return action{do: func(ctx context.Context) error {
		var requests []request
		for key, h := range routes {
			requests = append(requests, deleteNeighbour(s.index[h[0].dev], key.dest.Addr()))
		}
		_, err := s.write.send(ctx, requests...)
		return opError("forget neighbours of router", s.Router, err)
	}}
}
