package l3

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// chunk bounds how many values one query asks for: databases limit the parameters of a statement.
const chunk = 500

// oneOf is a filter for an attribute that is one of the values; with none of them nothing passes.
func oneOf(field string, values ...string) Filter {
	f := Filter{Field: field, Op: In, Values: make([]any, len(values))}
	for i, v := range values {
		f.Values[i] = v
	}
	return f
}

// listOf lists all resources whose attribute is one of the values, however many those are.
func listOf[R any](ctx context.Context, t Table[R], field string, values []string, more ...Filter) ([]R, error) {
	var all []R
	for part := range slices.Chunk(values, chunk) {
		some, err := t.List(ctx, Query{Filters: append([]Filter{oneOf(field, part...)}, more...)})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// routerOwned finds the ports of routers.
func routerOwned() Filter { return oneOf("device_owner", OwnerRouterInterface, OwnerRouterGateway) }

// intentOf reads a router with what it is joined to; floating IPs are left out.
func intentOf(ctx context.Context, tx Tx, id string) (Intent, error) {
	r, err := tx.Routers().Get(ctx, id)
	if errors.Is(err, ErrAbsent) {
		return Intent{}, notFound("RouterNotFound", "there is no router %s", id)
	}
	if err != nil {
		return Intent{}, err
	}
	all, err := join(ctx, tx, []Router{r})
	if err != nil {
		return Intent{}, err
	}
	return all[0], nil
}

// join reads what routers are joined to, and all subnets of their external networks; floating IPs
// are left out.
func join(ctx context.Context, tx Tx, routers []Router) ([]Intent, error) {
	ids := make([]string, len(routers))
	for i := range routers {
		ids[i] = routers[i].ID
	}
	ports, err := listOf(ctx, tx.Ports(), "device_id", ids, routerOwned())
	if err != nil {
		return nil, err
	}
	networks, subnets, byRouter := map[string]Network{}, map[string]Subnet{}, map[string][]Port{}
	var external []string
	for _, p := range ports {
		byRouter[p.DeviceID] = append(byRouter[p.DeviceID], p)
		networks[p.NetworkID] = Network{}
		if p.DeviceOwner == OwnerRouterGateway {
			external = append(external, p.NetworkID)
		}
		for _, ip := range p.FixedIPs {
			subnets[ip.SubnetID] = Subnet{}
		}
	}
	if err := fill(ctx, tx.Networks(), networks, func(n *Network) string { return n.ID }); err != nil {
		return nil, err
	}
	if err := fill(ctx, tx.Subnets(), subnets, func(s *Subnet) string { return s.ID }); err != nil {
		return nil, err
	}
	slices.Sort(external)
	outside, err := listOf(ctx, tx.Subnets(), "network_id", slices.Compact(external))
	if err != nil {
		return nil, err
	}
	for _, s := range outside {
		subnets[s.ID] = s
	}
	all := make([]Intent, len(routers))
	for i, r := range routers {
		all[i] = Intent{Router: r, Ports: byRouter[r.ID], Networks: networks, Subnets: subnets}
	}
	return all, nil
}

// fill reads the resources that a map has keys for. What is not there loses its key.
func fill[R any](ctx context.Context, t Table[R], byID map[string]R, id func(*R) string) error {
	ids := make([]string, 0, len(byID))
	for k := range byID {
		ids = append(ids, k)
	}
	slices.SortFunc(ids, strings.Compare)
	found, err := listOf(ctx, t, "id", ids)
	if err != nil {
		return err
	}
	clear(byID)
	for i := range found {
		byID[id(&found[i])] = found[i]
	}
	return nil
}

// gateway is the router's port on the external network; nil: it has none.
func (in Intent) gateway() *Port {
	for i := range in.Ports {
		if in.Ports[i].DeviceOwner == OwnerRouterGateway {
			return &in.Ports[i]
		}
	}
	return nil
}

// interfaces are the router's ports on internal networks.
func (in Intent) interfaces() []Port {
	return slices.DeleteFunc(slices.Clone(in.Ports), func(p Port) bool { return p.DeviceOwner != OwnerRouterInterface })
}
