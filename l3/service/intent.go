package service

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// Intent is a router with everything that matters to its host. Networks and subnets are by their
// IDs, and may be more than the router's.
type Intent struct {
	Router          l3.Router             `json:"router"`
	Ports           []l3.Port             `json:"ports"` // that the router owns, its gateway's too
	Networks        map[string]l3.Network `json:"networks"`
	Subnets         map[string]l3.Subnet  `json:"subnets"`
	FloatingIPs     []l3.FloatingIP       `json:"floating_ips"` // bound through the router, or forwarding
	PortForwardings []l3.PortForwarding   `json:"port_forwardings,omitempty"`
	// AddressScopes are those of the subnets' pools, by the pools' IDs. A pool without one is left
	// out.
	AddressScopes map[string]string `json:"address_scopes,omitempty"`
	// QoS is the rules of policies, by their IDs.
	QoS    map[string][]l3.QoSRule `json:"qos,omitempty"`
	Spread *Spread                 `json:"spread,omitempty"` // of a distributed router
}

// chunk bounds how many values one query asks for: databases limit the parameters of a statement.
const chunk = 500

// oneOf is a filter for an attribute that is one of the values; with none of them nothing passes.
func oneOf(field string, values ...string) l3.Filter {
	f := l3.Filter{Field: field, Op: l3.In, Values: make([]any, len(values))}
	for i, v := range values {
		f.Values[i] = v
	}
	return f
}

// listOf lists all resources whose attribute is one of the values, however many those are.
func listOf[R any](ctx context.Context, t l3.Table[R], field string, values []string, more ...l3.Filter) ([]R, error) {
	var all []R
	for part := range slices.Chunk(values, chunk) {
		some, err := t.List(ctx, l3.Query{Filters: append([]l3.Filter{oneOf(field, part...)}, more...)})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// routerOwned finds the ports of routers.
func routerOwned() l3.Filter {
	return oneOf("device_owner", l3.OwnerRouterInterface, l3.OwnerDistributedInterface, l3.OwnerRouterGateway)
}

// intentOf reads a router with what it is joined to; floating IPs are left out.
func intentOf(ctx context.Context, tx l3.Tx, id string) (Intent, error) {
	r, err := tx.Routers().Get(ctx, id)
	if errors.Is(err, l3.ErrAbsent) {
		return Intent{}, notFound("RouterNotFound", "there is no router %s", id)
	}
	if err != nil {
		return Intent{}, err
	}
	all, err := join(ctx, tx, []l3.Router{r})
	if err != nil {
		return Intent{}, err
	}
	return all[0], nil
}

// join reads what routers are joined to, and all subnets of their external networks; floating IPs
// are left out.
func join(ctx context.Context, tx l3.Tx, routers []l3.Router) ([]Intent, error) {
	ids := make([]string, len(routers))
	for i := range routers {
		ids[i] = routers[i].ID
	}
	ports, err := listOf(ctx, tx.Ports(), "device_id", ids, routerOwned())
	if err != nil {
		return nil, err
	}
	networks, subnets, byRouter := map[string]l3.Network{}, map[string]l3.Subnet{}, map[string][]l3.Port{}
	var external []string
	for _, p := range ports {
		byRouter[p.DeviceID] = append(byRouter[p.DeviceID], p)
		networks[p.NetworkID] = l3.Network{}
		if p.DeviceOwner == l3.OwnerRouterGateway {
			external = append(external, p.NetworkID)
		}
		for _, ip := range p.FixedIPs {
			subnets[ip.SubnetID] = l3.Subnet{}
		}
	}
	if err := fill(ctx, tx.Networks(), networks, func(n *l3.Network) string { return n.ID }); err != nil {
		return nil, err
	}
	if err := fill(ctx, tx.Subnets(), subnets, func(s *l3.Subnet) string { return s.ID }); err != nil {
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
	scopes, err := scopesOfPools(ctx, tx, slices.Collect(maps.Values(subnets)))
	if err != nil {
		return nil, err
	}
	var distributed []string
	for _, r := range routers {
		if r.Distributed {
			distributed = append(distributed, r.ID)
		}
	}
	states, err := statesOf(ctx, tx, distributed)
	if err != nil {
		return nil, err
	}
	all := make([]Intent, len(routers))
	for i, r := range routers {
		all[i] = Intent{Router: r, Ports: byRouter[r.ID], Networks: networks, Subnets: subnets, AddressScopes: scopes}
		if err := spread(ctx, tx, &all[i], states[r.ID]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// fill reads the resources that a map has keys for. What is not there loses its key.
func fill[R any](ctx context.Context, t l3.Table[R], byID map[string]R, id func(*R) string) error {
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
func (in Intent) gateway() *l3.Port {
	for i := range in.Ports {
		if in.Ports[i].DeviceOwner == l3.OwnerRouterGateway {
			return &in.Ports[i]
		}
	}
	return nil
}

// interfaces are the router's ports on internal networks.
func (in Intent) interfaces() []l3.Port {
	return slices.DeleteFunc(slices.Clone(in.Ports), func(p l3.Port) bool { return !p.IsRouterInterface() })
}

// check refuses what no host could realise, whether or not it is up at the moment.
func (in Intent) check(ctx context.Context, tx l3.Tx) error {
	r, err := in.wiring(func(*l3.Port) bool { return true })
	if err != nil {
		return err
	}
	for _, route := range in.Router.Routes {
		r.Routes = append(r.Routes, dataplane.Route{Dest: route.Destination, NextHop: route.NextHop})
	}
	if in.Router.Distributed {
		if err := in.mayDistribute(); err != nil {
			return err
		}
		r.Transit = in.anyTransit()
	}
	if err := in.refusal(r, r.Validate()); err != nil {
		return err
	}
	hops := neighbours(r)
	if len(hops) == 0 {
		return nil
	}
	taken, err := tx.FloatingIPs().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("router_id", r.ID), oneOf("floating_ip_address", hops...)}, Limit: 1})
	if err != nil || len(taken) == 0 {
		return err
	}
	return badRequest("InvalidRoutes", "Invalid routes of router %s: the next hop %s is a floating IP of the router", r.ID, taken[0].Address)
}

// neighbours are the addresses that a router takes for its neighbours'.
func neighbours(r dataplane.Router) []string {
	var hops []string
	for _, route := range r.Routes {
		hops = append(hops, route.NextHop.String())
	}
	if r.Gateway != nil {
		for _, a := range r.Gateway.NextHops {
			hops = append(hops, a.String())
		}
	}
	return hops
}
