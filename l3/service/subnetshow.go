package service

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// showSubnets fills in what follows from the subnets' networks.
func (s *Service) showSubnets(ctx context.Context, tx l3.Tx, _ l3.Caller, subnets []l3.Subnet) error {
	ids := make([]string, len(subnets))
	for i, sub := range subnets {
		ids[i] = sub.NetworkID
	}
	slices.Sort(ids)
	external, err := listOf(ctx, tx.Networks(), "id", slices.Compact(ids), isExternal())
	if err != nil {
		return err
	}
	of := networkIDs(external)
	for i := range subnets {
		subnets[i].External = slices.Contains(of, subnets[i].NetworkID)
	}
	return nil
}

// byNetwork replaces the filters of a list of subnets that are about their networks:
// router:external, and shared, which means shared with the caller's project.
func byNetwork(ctx context.Context, tx l3.Tx, who l3.Caller, filters []l3.Filter) ([]l3.Filter, error) {
	filters = slices.Clone(filters)
	for i, f := range filters {
		switch f.Field {
		case "router:external":
			networks, err := tx.Networks().List(ctx, l3.Query{Filters: []l3.Filter{isExternal()}})
			if err != nil {
				return nil, err
			}
			filters[i] = whichOf(f, networkIDs(networks))
		case "shared":
			policies, err := policiesFor(ctx, tx, who, oneOf("action", l3.AccessAsShared))
			if err != nil {
				return nil, err
			}
			filters[i] = whichOf(f, objects(policies))
		}
	}
	return filters, nil
}

// whichOf replaces the filter of a boolean that is true for what is on some networks.
func whichOf(f l3.Filter, networks []string) l3.Filter {
	on := oneOf("network_id", networks...)
	switch yes, no := filterHolds(f, true), filterHolds(f, false); {
	case yes && no:
		return l3.Filter{Field: "id", Op: l3.NotIn}
	case no:
		on.Op = l3.NotIn
	case !yes:
		return nothing()
	}
	return on
}

// isExternal finds external networks.
func isExternal() l3.Filter {
	return l3.Filter{Field: "router:external", Op: l3.In, Values: []any{true}}
}
