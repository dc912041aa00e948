package l3

import (
	"context"
	"slices"
)

func showSubnet(ctx context.Context, tx Tx, sub *Subnet) error {
	n, err := tx.Networks().Get(ctx, sub.NetworkID)
	sub.External = n.External
	return err
}

// showSubnets fills in what follows from the subnets' networks.
func showSubnets(ctx context.Context, tx Tx, subnets []Subnet) error {
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
func byNetwork(ctx context.Context, tx Tx, who Caller, filters []Filter) ([]Filter, error) {
	filters = slices.Clone(filters)
	for i, f := range filters {
		switch f.Field {
		case "router:external":
			networks, err := tx.Networks().List(ctx, Query{Filters: []Filter{isExternal()}})
			if err != nil {
				return nil, err
			}
			filters[i] = whichOf(f, networkIDs(networks))
		case "shared":
			policies, err := policiesFor(ctx, tx, who, oneOf("action", AccessAsShared))
			if err != nil {
				return nil, err
			}
			filters[i] = whichOf(f, objects(policies))
		}
	}
	return filters, nil
}

// whichOf replaces the filter of a boolean that is true for what is on some networks.
func whichOf(f Filter, networks []string) Filter {
	on := oneOf("network_id", networks...)
	switch yes, no := f.holds(true), f.holds(false); {
	case yes && no:
		return Filter{Field: "id", Op: NotIn}
	case no:
		on.Op = NotIn
	case !yes:
		return nothing()
	}
	return on
}

// isExternal finds external networks.
func isExternal() Filter { return Filter{Field: "router:external", Op: In, Values: []any{true}} }
