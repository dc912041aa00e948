package rest

import (
	"context"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// zones registers the availability zones, of which there are so few that they are filtered here.
func (a *api) zones() {
	type R = l3.AvailabilityZone
	t := table[R, any]{
		field[R, any]("Name", label, found),
		field[R, any]("Resource", label, found),
		field[R, any]("State", label, found),
	}
	values := func(z R) map[string]string {
		return map[string]string{"name": z.Name, "resource": z.Resource, "state": z.State}
	}
	serve(a, collection[R, any]{path: "availability_zones", one: "availability_zone", many: "availability_zones", table: t,
		list: func(ctx context.Context, who l3.Caller, q l3.Query) ([]R, error) {
			all, err := a.service.ListAvailabilityZones(ctx, who)
			all = slices.DeleteFunc(all, func(z R) bool {
				return slices.ContainsFunc(q.Filters, func(f l3.Filter) bool { return !slices.Contains(f.Values, any(values(z)[f.Field])) })
			})
			for _, key := range slices.Backward(q.Sort) {
				slices.SortStableFunc(all, func(a, b R) int {
					if key.Desc {
						a, b = b, a
					}
					return strings.Compare(values(a)[key.Field], values(b)[key.Field])
				})
			}
			return all, err
		}})
}

// pools registers the floating IP pools: the IPv4 subnets of external networks.
func (a *api) pools() {
	type R = l3.Subnet
	t := table[R, any]{
		field[R, any]("ID", anyUUID, found).named("subnet_id"),
		field[R, any]("Name", label, found).named("subnet_name"),
		field[R, any]("CIDR", cidr, found),
		field[R, any]("NetworkID", anyUUID, found),
		field[R, any]("ProjectID", label, filtered),
		field[R, any]("ProjectID", label, filtered).named("tenant_id"),
	}
	serve(a, collection[R, any]{path: "floatingip-pools", one: "floatingip_pool", many: "floatingip_pools", table: t,
		ids: func(r *R) string { return r.ID }, list: a.service.ListFloatingIPPools})
}

// availability registers the counts of addresses.
func (a *api) availability() {
	type R = l3.IPAvailability
	type S = l3.SubnetIPAvailability
	subnets := record(table[S, any]{
		field[S, any]("SubnetID", anyUUID, 0),
		field[S, any]("SubnetName", label, 0),
		field[S, any]("CIDR", label, 0),
		field[S, any]("IPVersion", ipVersion, 0),
		field[S, any]("TotalIPs", digits, 0),
		field[S, any]("UsedIPs", count, 0),
	})
	t := table[R, any]{
		field[R, any]("NetworkID", anyUUID, found),
		field[R, any]("NetworkName", label, found),
		field[R, any]("ProjectID", label, found),
		field[R, any]("ProjectID", label, found).named("tenant_id"),
		field[R, any]("TotalIPs", digits, 0),
		field[R, any]("UsedIPs", count, 0),
		field[R, any]("Subnets", list(subnets), 0),
		sought[R, any]("ip_version", func(values []string) ([]l3.Filter, error) { // of the subnets that are counted
			f, err := oneOf("ip_version", values, ipVersion.parse)
			return []l3.Filter{f}, err
		}),
	}
	serve(a, collection[R, any]{path: "network-ip-availabilities", one: "network_ip_availability", many: "network_ip_availabilities", table: t,
		ids:  func(r *R) string { return r.NetworkID },
		list: a.service.IPAvailability,
		get: func(ctx context.Context, who l3.Caller, id string) (R, error) {
			all, err := a.service.IPAvailability(ctx, who, l3.Query{Filters: []l3.Filter{{Field: "network_id", Values: []any{id}}}})
			if err == nil && len(all) == 0 {
				err = &l3.Error{Kind: l3.ErrNotFound, Name: "NetworkNotFound", Message: "Network " + show(id) + " could not be found."}
			}
			if err != nil {
				return R{}, err
			}
			return all[0], nil
		}})
}

var (
	count = integer(0, 1<<31-1)

	// digits is a number of any size, as JSON has it.
	digits = value[string]{
		schema: schema{"type": "number"},
		write:  func(b []byte, v string) []byte { return append(b, v...) },
	}
)
