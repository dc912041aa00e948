package l3

import (
	"context"
	"slices"
)

// ListFloatingIPPools lists the IPv4 subnets of the external networks that the caller sees. A
// caller may use them without seeing them as subnets, so they are of its own project in the list.
func (s *Service) ListFloatingIPPools(ctx context.Context, who Caller, q Query) (pools []Subnet, err error) {
	ofProject := func(f Filter) bool { return f.Field == "project_id" }
	for _, f := range q.Filters {
		if ofProject(f) && !f.holds(who.Project) {
			return nil, nil
		}
	}
	q.Filters = append(slices.DeleteFunc(slices.Clone(q.Filters), ofProject), Filter{Field: "ip_version", Values: []any{4}})
	err = s.config.Store.View(ctx, func(tx Tx) error {
		scope, err := s.networkScope(ctx, tx, who, "get_network")
		if err != nil {
			return err
		}
		external, err := tx.Networks().List(ctx, Query{Filters: []Filter{isExternal()}, Scope: scope})
		if err != nil {
			return err
		}
		q.Scope = []Filter{oneOf("network_id", networkIDs(external)...)}
		pools, err = tx.Subnets().List(ctx, q)
		return err
	})
	for i := range pools {
		pools[i].ProjectID = who.Project
	}
	return pools, err
}
