package l3

import (
	"context"
	"slices"
	"strings"
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

// setRoutes replaces a router's list of routes. The same routes in another order are no change.
// Whether the next hops are connected is found out when the router is touched.
func (s *Service) setRoutes(ctx context.Context, w *work, r *Router, routes []Route) error {
	seen := map[Route]bool{}
	for _, route := range routes {
		if seen[route] {
			return badRequest("HTTPBadRequest", "Invalid input for routes. Reason: Duplicate hostroute '%s'.", inPython(route))
		}
		seen[route] = true
	}
	if sameRoutes(r.Routes, routes) {
		return nil
	}
	if err := s.mayHaveRoutes(ctx, w, *r, routes); err != nil {
		return err
	}
	r.Routes = append([]Route{}, routes...)
	return nil
}

// mayHaveRoutes refuses routes that are added beyond the quota of the router's project, or beyond
// the server's limit if the project was given none.
func (s *Service) mayHaveRoutes(ctx context.Context, w *work, r Router, routes []Route) error {
	if !slices.ContainsFunc(routes, func(route Route) bool { return !slices.Contains(r.Routes, route) }) {
		return nil
	}
	given, err := w.Quotas().Get(ctx, r.ProjectID)
	if err != nil {
		return err
	}
	limit, own := given[quotaRoutes]
	if !own {
		limit = s.config.Quotas[quotaRoutes]
	}
	switch {
	case limit < 0 || len(routes) <= limit:
		return nil
	case own:
		return overQuota(quotaRoutes)
	}
	return badRequest("RoutesExhausted", "Unable to complete operation for %s. The number of routes exceeds the maximum %d.", r.ID, limit)
}

// inPython writes routes as Neutron's messages quote them, which clients match.
func inPython(routes ...Route) string {
	texts := make([]string, len(routes))
	for i, r := range routes {
		texts[i] = "{'destination': '" + r.Destination.String() + "', 'nexthop': '" + r.NextHop.String() + "'}"
	}
	return strings.Join(texts, ", ")
}

// sameRoutes says whether two lists hold the same routes, in whatever order.
func sameRoutes(a, b []Route) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(r Route) bool { return !slices.Contains(b, r) }) &&
		!slices.ContainsFunc(b, func(r Route) bool { return !slices.Contains(a, r) })
}
