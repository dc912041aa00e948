package l3

import (
	"context"
	"slices"
)

// AddExtraRoutes adds those routes that a router does not have.
func (s *Service) AddExtraRoutes(ctx context.Context, who Caller, routerID string, routes []Route) (Router, error) {
	return s.changeRoutes(ctx, who, "add_extraroutes", routerID, func(have []Route) []Route {
		for _, r := range routes {
			if !slices.Contains(have, r) {
				have = append(have, r)
			}
		}
		return have
	})
}

// RemoveExtraRoutes removes those routes that a router has.
func (s *Service) RemoveExtraRoutes(ctx context.Context, who Caller, routerID string, routes []Route) (Router, error) {
	return s.changeRoutes(ctx, who, "remove_extraroutes", routerID, func(have []Route) []Route {
		return slices.DeleteFunc(have, func(r Route) bool { return slices.Contains(routes, r) })
	})
}

func (s *Service) changeRoutes(
	ctx context.Context, who Caller, rule, routerID string, change func([]Route) []Route,
) (r Router, err error) {
	err = s.update(ctx, func(w *work) error {
		var to Relation
		if r, to, err = s.router(ctx, w, who, routerID); err != nil {
			return err
		}
		if err := s.may(who, rule, to); err != nil {
			return err
		}
		routes := change(slices.Clone(r.Routes))
		if err := s.updateRouter(ctx, w, who, &r, RouterSpec{Routes: &routes}); err != nil {
			return err
		}
		return s.describeRouter(ctx, w, who, &r)
	})
	return r, err
}

// setRoutes replaces a router's list of routes. The same routes in another order are no change. Whether the next hops are connected is found
// out when the router is touched.
func (s *Service) setRoutes(r *Router, routes []Route) error {
	if len(routes) > s.config.MaxRoutes {
		return badRequest("RoutesExhausted", "Router %s cannot have %d routes: the maximum is %d", r.ID, len(routes), s.config.MaxRoutes)
	}
	if sameRoutes(r.Routes, routes) {
		return nil
	}
	r.Routes = append([]Route{}, routes...)
	return nil
}

// sameRoutes says whether two lists hold the same routes, in whatever order.
func sameRoutes(a, b []Route) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(r Route) bool { return !slices.Contains(b, r) }) &&
		!slices.ContainsFunc(b, func(r Route) bool { return !slices.Contains(a, r) })
}
