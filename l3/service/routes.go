package service

import (
	"context"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// AddExtraRoutes adds those routes that a router does not have.
func (s *Service) AddExtraRoutes(ctx context.Context, who l3.Caller, routerID string, routes []l3.Route) (l3.Router, error) {
	return s.changeRoutes(ctx, who, "add_extraroutes", routerID, func(have []l3.Route) []l3.Route {
		for _, r := range routes {
			if !slices.Contains(have, r) {
				have = append(have, r)
			}
		}
		return have
	})
}

// RemoveExtraRoutes removes those routes that a router has.
func (s *Service) RemoveExtraRoutes(ctx context.Context, who l3.Caller, routerID string, routes []l3.Route) (l3.Router, error) {
	return s.changeRoutes(ctx, who, "remove_extraroutes", routerID, func(have []l3.Route) []l3.Route {
		return slices.DeleteFunc(have, func(r l3.Route) bool { return slices.Contains(routes, r) })
	})
}

func (s *Service) changeRoutes(
	ctx context.Context, who l3.Caller, rule, routerID string, change func([]l3.Route) []l3.Route,
) (l3.Router, error) {
	may := func(to l3.Relation) error { return s.may(who, rule, to) }
	return routerKind().change(ctx, s, who, routerID, l3.If{}, may, func(w *work, r *l3.Router) error {
		routes := change(slices.Clone(r.Routes))
		return s.updateRouter(ctx, w, who, r, l3.RouterSpec{Routes: &routes})
	})
}

// setRoutes replaces a router's list of routes. The same routes in another order are no change.
// Whether the next hops are connected is found out when the router is touched.
func (s *Service) setRoutes(ctx context.Context, w *work, r *l3.Router, routes []l3.Route) error {
	seen := map[l3.Route]bool{}
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
	r.Routes = append([]l3.Route{}, routes...)
	return nil
}

// mayHaveRoutes refuses routes that are added beyond the quota of the router's project, or beyond
// the server's limit if the project was given none.
func (s *Service) mayHaveRoutes(ctx context.Context, w *work, r l3.Router, routes []l3.Route) error {
	if !slices.ContainsFunc(routes, func(route l3.Route) bool { return !slices.Contains(r.Routes, route) }) {
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
func inPython(routes ...l3.Route) string {
	texts := make([]string, len(routes))
	for i, r := range routes {
		texts[i] = "{'destination': '" + r.Destination.String() + "', 'nexthop': '" + r.NextHop.String() + "'}"
	}
	return strings.Join(texts, ", ")
}

// sameRoutes says whether two lists hold the same routes, in whatever order.
func sameRoutes(a, b []l3.Route) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(r l3.Route) bool { return !slices.Contains(b, r) }) &&
		!slices.ContainsFunc(b, func(r l3.Route) bool { return !slices.Contains(a, r) })
}
