package service

import (
	"context"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// RemoveRouterInterface takes a router from a subnet, or away with its port.
func (s *Service) RemoveRouterInterface(ctx context.Context, who l3.Caller, routerID string, spec l3.InterfaceSpec) (removed l3.Interface, err error) {
	err = s.update(ctx, func(w *work) error {
		removed, err = s.removeInterface(ctx, w, who, routerID, spec)
		return err
	})
	return removed, err
}

func (s *Service) removeInterface(ctx context.Context, w *work, who l3.Caller, routerID string, spec l3.InterfaceSpec) (removed l3.Interface, err error) {
	r, to, err := routerKind().find(ctx, s, w, who, routerID)
	if err != nil {
		return removed, err
	}
	if err := s.may(who, "remove_router_interface", to); err != nil {
		return removed, err
	}
	if spec == (l3.InterfaceSpec{}) {
		return removed, badRequest("BadRequest", "Bad router request: Either subnet_id or port_id must be specified.")
	}
	in, err := intentOf(ctx, w, routerID)
	if err != nil {
		return removed, err
	}
	p, err := in.named(spec)
	if err != nil {
		return removed, err
	}
	removed = interfaceOf(r, p, spec.SubnetID)
	leaving := p.FixedIPs
	if spec.PortID == "" {
		leaving = slices.DeleteFunc(slices.Clone(leaving), func(ip l3.FixedIP) bool { return ip.SubnetID != spec.SubnetID })
	}
	for _, ip := range leaving {
		if err := in.mayLeave(ctx, w, in.Subnets[ip.SubnetID]); err != nil {
			return removed, err
		}
	}
	if err := s.detach(ctx, w, p, leaving); err != nil {
		return removed, err
	}
	if _, err := s.forgetSightings(ctx, w, p.NetworkID); err != nil {
		return removed, err
	}
	if err := s.saveRouter(ctx, w, &r); err != nil {
		return removed, err
	}
	return removed, s.advanceByID(ctx, w, routerID)
}

// named finds the interface that is to be removed.
func (in Intent) named(spec l3.InterfaceSpec) (l3.Port, error) {
	on := func(p l3.Port) bool {
		return slices.ContainsFunc(p.FixedIPs, func(ip l3.FixedIP) bool { return ip.SubnetID == spec.SubnetID })
	}
	all := in.interfaces()
	if spec.PortID == "" {
		i := slices.IndexFunc(all, on)
		if i < 0 {
			return l3.Port{}, notFound("RouterInterfaceNotFoundForSubnet", "Router %s has no interface on subnet %s", in.Router.ID, spec.SubnetID)
		}
		return all[i], nil
	}
	i := slices.IndexFunc(all, func(p l3.Port) bool { return p.ID == spec.PortID })
	switch {
	case i < 0:
		return l3.Port{}, notFound("RouterInterfaceNotFound", "Router %s does not have an interface with id %s", in.Router.ID, spec.PortID)
	case spec.SubnetID != "" && !on(all[i]):
		return l3.Port{}, badRequest("SubnetMismatchForPort", "Port %s is not on subnet %s", spec.PortID, spec.SubnetID)
	}
	return all[i], nil
}

// mayLeave refuses to leave a subnet that floating IPs or routes need.
func (in Intent) mayLeave(ctx context.Context, tx l3.Tx, subnet l3.Subnet) error {
	for _, r := range in.Router.Routes {
		if subnet.CIDR.Contains(r.NextHop) {
			return conflict("RouterInterfaceInUseByRoute", "Router interface for subnet %s on router %s cannot be deleted,"+
				" as it is required by one or more routes.", subnet.ID, in.Router.ID)
		}
	}
	fips, err := tx.FloatingIPs().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("router_id", in.Router.ID)}})
	if err == nil {
		err = fillForwardings(ctx, tx, fips)
	}
	for i := range fips {
		if realisedIn([]netip.Prefix{subnet.CIDR}, &fips[i]) { // it may be another project's, so it is not named
			return conflict("RouterInterfaceInUseByFloatingIP", "Router interface for subnet %s on router %s cannot be deleted,"+
				" as it is required by one or more floating IPs.", subnet.ID, in.Router.ID)
		}
	}
	return err
}

// detach takes addresses from a port, and the port too when none would be left.
func (s *Service) detach(ctx context.Context, w *work, p l3.Port, leaving []l3.FixedIP) error {
	rest := []l3.FixedIPSpec{}
	for _, ip := range p.FixedIPs {
		if !slices.Contains(leaving, ip) {
			rest = append(rest, l3.FixedIPSpec(ip))
		}
	}
	if len(rest) == 0 {
		return s.dropPort(ctx, w, p)
	}
	return s.changeAddresses(ctx, w, &p, rest)
}
