package service

import (
	"context"
	"errors"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// reachOutside has the routers with their gateway on a network realised again, because its subnets
// have changed. It refuses nothing: what one of them cannot have on its link is left out of it.
func (s *Service) reachOutside(ctx context.Context, w *work, networkID string) error {
	ids, err := gatewaysOn(ctx, w, networkID)
	for _, id := range ids {
		if err := s.advanceByID(ctx, w, id); err != nil {
			return err
		}
	}
	return err
}

// gatewaysOn returns the routers with their gateway on a network.
func gatewaysOn(ctx context.Context, tx l3.Tx, networkID string) ([]string, error) {
	ports, err := tx.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", networkID), oneOf("device_owner", l3.OwnerRouterGateway)}})
	return routersOf(ports), err
}

// offer gives the gateways on a network an address of a new subnet, if they have none of its family
// that was given out. A router that cannot have one keeps what it has.
func (s *Service) offer(ctx context.Context, w *work, sub l3.Subnet) error {
	if len(sub.ServiceTypes) > 0 && !slices.Contains(sub.ServiceTypes, l3.OwnerRouterGateway) {
		return nil
	}
	ids, err := gatewaysOn(ctx, w, sub.NetworkID)
	for _, id := range ids {
		err := s.offerTo(ctx, w, id, sub)
		var refusal *l3.Error
		if errors.As(err, &refusal) {
			s.log.Warn("a router's gateway gets no address of a new subnet", "router", id, "subnet", sub.ID, "err", err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return err
}

func (s *Service) offerTo(ctx context.Context, w *work, routerID string, sub l3.Subnet) error {
	in, err := intentOf(ctx, w, routerID)
	if err != nil {
		return err
	}
	p := *in.gateway()
	for _, ip := range p.FixedIPs {
		if of := in.Subnets[ip.SubnetID]; of.IPVersion == sub.IPVersion && !autoAddressed(of) {
			return nil
		}
	}
	for _, q := range in.interfaces() {
		for _, ip := range q.FixedIPs {
			if err := apart(in.Subnets[ip.SubnetID], []l3.Subnet{sub}); err != nil {
				return err
			}
		}
	}
	before := p.FixedIPs
	if err := s.changeAddresses(ctx, w, &p, append(wanted(before), l3.FixedIPSpec{SubnetID: sub.ID})); err != nil {
		return err
	}
	if in, err = intentOf(ctx, w, routerID); err != nil {
		return err
	}
	if refusal := in.check(ctx, w); refusal != nil {
		return orElse(s.changeAddresses(ctx, w, &p, wanted(before)), refusal)
	}
	r := in.Router
	gw := *r.Gateway
	gw.FixedIPs = p.FixedIPs
	r.Gateway = &gw
	return s.saveRouter(ctx, w, &r)
}
