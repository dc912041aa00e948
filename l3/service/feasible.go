package service

import (
	"context"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// check refuses what no host could realise, whether or not it is up at the moment.
func (in Intent) check(ctx context.Context, tx l3.Tx) error {
	r, err := in.wiring(func(*l3.Port) bool { return true })
	if err != nil {
		return err
	}
	for _, route := range in.Router.Routes {
		r.Routes = append(r.Routes, dataplane.Route{Dest: route.Destination, NextHop: route.NextHop})
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
