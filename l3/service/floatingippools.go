package service

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// ListFloatingIPPools lists the IPv4 subnets of the external networks that the caller sees. A
// caller may use them without seeing them as subnets, so they are of its own project in the list.
func (s *Service) ListFloatingIPPools(ctx context.Context, who l3.Caller, q l3.Query) (pools []l3.Subnet, err error) {
	ofProject := func(f l3.Filter) bool { return f.Field == "project_id" }
	for _, f := range q.Filters {
		if ofProject(f) && !filterHolds(f, who.Project) {
			return nil, nil
		}
	}
	q.Filters = append(slices.DeleteFunc(slices.Clone(q.Filters), ofProject), l3.Filter{Field: "ip_version", Values: []any{4}})
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		scope, err := s.networkScope(ctx, tx, who, "get_network")
		if err != nil {
			return err
		}
		external, err := tx.Networks().List(ctx, l3.Query{Filters: []l3.Filter{isExternal()}, Scope: scope})
		if err != nil {
			return err
		}
		q.Scope = []l3.Filter{oneOf("network_id", networkIDs(external)...)}
		pools, err = tx.Subnets().List(ctx, q)
		return err
	})
	for i := range pools {
		pools[i].ProjectID = who.Project
	}
	return pools, err
}
