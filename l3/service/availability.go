package service

import (
	"context"
	"math/big"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// IPAvailability counts the addresses of networks, for administrators; anybody else has none. The
// filters are those of the answer: network_id, network_name, project_id, and ip_version, which
// counts the subnets of a family alone.
func (s *Service) IPAvailability(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.IPAvailability, error) {
	var list []l3.IPAvailability
	err := s.config.Store.View(ctx, func(tx l3.Tx) error {
		scope, err := s.networkScope(ctx, tx, who, "get_network_ip_availability")
		if err != nil {
			return err
		}
		networks, subnets, err := available(ctx, tx, q, scope)
		if err != nil {
			return err
		}
		list = make([]l3.IPAvailability, len(networks))
		for i, n := range networks {
			mine := slices.DeleteFunc(slices.Clone(subnets), func(sub l3.Subnet) bool { return sub.NetworkID != n.ID })
			if list[i], err = availability(ctx, tx, n, mine); err != nil {
				return err
			}
		}
		return nil
	})
	return list, err
}

// available are the networks and subnets that a query for availability is about.
func available(ctx context.Context, tx l3.Tx, q l3.Query, scope []l3.Filter) ([]l3.Network, []l3.Subnet, error) {
	var families []l3.Filter
	fields := map[string]string{"network_id": "id", "network_name": "name"}
	filters := q.Filters
	q.Filters, q.Scope = nil, scope
	for _, f := range filters {
		if f.Field == "ip_version" {
			families = append(families, f)
			continue
		}
		if own, renamed := fields[f.Field]; renamed {
			f.Field = own
		}
		q.Filters = append(q.Filters, f)
	}
	for i, key := range q.Sort {
		if own, renamed := fields[key.Field]; renamed {
			q.Sort = slices.Clone(q.Sort)
			q.Sort[i].Field = own
		}
	}
	networks, err := tx.Networks().List(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	subnets, err := listOf(ctx, tx.Subnets(), "network_id", networkIDs(networks), families...)
	return networks, subnets, err
}

func availability(ctx context.Context, tx l3.Tx, n l3.Network, subnets []l3.Subnet) (l3.IPAvailability, error) {
	all := l3.IPAvailability{NetworkID: n.ID, NetworkName: n.Name, ProjectID: n.ProjectID, Subnets: make([]l3.SubnetIPAvailability, len(subnets))}
	total := new(big.Int)
	for i, sub := range subnets {
		used, err := tx.Addresses().Count(ctx, sub.ID)
		if err != nil {
			return all, err
		}
		size := new(big.Int)
		for _, pool := range sub.AllocationPools {
			size.Add(size, pool.Size())
		}
		all.Subnets[i] = l3.SubnetIPAvailability{
			SubnetID: sub.ID, SubnetName: sub.Name, CIDR: sub.CIDR.String(), IPVersion: sub.IPVersion, TotalIPs: size.String(), UsedIPs: used,
		}
		all.UsedIPs += used
		total.Add(total, size)
	}
	all.TotalIPs = total.String()
	return all, nil
}
