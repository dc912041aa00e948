package service

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// equalGateways says whether two gateways are the same; nil is none.
func equalGateways(g *l3.GatewayInfo, o *l3.GatewayInfo) bool {
	if g == nil || o == nil {
		return g == o
	}
	return g.NetworkID == o.NetworkID && g.PortID == o.PortID && g.EnableSNAT == o.EnableSNAT &&
		g.QoSPolicyID == o.QoSPolicyID && slices.Equal(g.FixedIPs, o.FixedIPs)
}

// setGateway gives a router the gateway that is asked for. The router is not written. in is what it
// was joined to before.
func (s *Service) setGateway(ctx context.Context, w *work, who l3.Caller, in Intent, r *l3.Router, spec l3.GatewaySpec) error {
	if spec.NetworkID == "" {
		if spec.EnableSNAT != nil || spec.FixedIPs != nil {
			return badRequest("BadRequest", "Bad router request: external_gateway_info needs a network_id")
		}
		r.Gateway, r.EnableSNAT = nil, true
		return s.dropGateway(ctx, w, in)
	}
	n, _, err := networkKind().find(ctx, s, w, who, spec.NetworkID)
	if err != nil {
		return err
	}
	if !n.External {
		return badRequest("BadRequest", "Bad router request: Network %s is not an external network.", n.ID)
	}
	if err := s.mayUseQoSPolicy(ctx, w, who, spec.QoSPolicyID); err != nil {
		return err
	}
	if err := s.namesSubnets(ctx, w, who, n.ID, or(spec.FixedIPs, nil)); err != nil {
		return err
	}
	var p l3.Port
	switch old := in.gateway(); {
	case old == nil:
		p, err = s.newGateway(ctx, w, in, n, spec)
	case old.NetworkID == n.ID:
		p, err = s.keepGateway(ctx, w, in, *old, spec)
	default:
		if err = s.dropGateway(ctx, w, in); err == nil {
			p, err = s.newGateway(ctx, w, in, n, spec)
		}
	}
	if err != nil {
		return err
	}
	set(&r.EnableSNAT, spec.EnableSNAT)
	qos := ""
	if r.Gateway != nil {
		qos = r.Gateway.QoSPolicyID
	}
	r.Gateway = &l3.GatewayInfo{NetworkID: n.ID, PortID: p.ID, EnableSNAT: r.EnableSNAT, QoSPolicyID: or(spec.QoSPolicyID, qos), FixedIPs: p.FixedIPs}
	return nil
}

// dropGateway takes a router's gateway away, if it has one that nothing needs.
func (s *Service) dropGateway(ctx context.Context, w *work, in Intent) error {
	p := in.gateway()
	if p == nil {
		return nil
	}
	if err := gatewayUnused(ctx, w, in.Router.ID, p.NetworkID); err != nil {
		return err
	}
	return s.dropPort(ctx, w, *p)
}

// gatewayUnused refuses the change while floating IPs are bound through the router.
func gatewayUnused(ctx context.Context, tx l3.Tx, routerID, networkID string) error {
	n, err := tx.FloatingIPs().Count(ctx, oneOf("router_id", routerID))
	if err != nil || n == 0 {
		return err
	}
	return conflict("RouterExternalGatewayInUseByFloatingIp", "Gateway cannot be updated for router %s,"+
		" since a gateway to external network %s is required by one or more floating IPs.", routerID, networkID)
}

func (s *Service) newGateway(ctx context.Context, w *work, in Intent, n l3.Network, spec l3.GatewaySpec) (l3.Port, error) {
	subnets, err := w.Subnets().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", n.ID)}})
	if err != nil {
		return l3.Port{}, err
	}
	for _, p := range in.interfaces() {
		if p.NetworkID == n.ID {
			return l3.Port{}, badRequest("BadRequest", "Bad router request: the router has an interface on network %s already, %s", n.ID, p.ID)
		}
		for _, ip := range p.FixedIPs {
			if err := apart(in.Subnets[ip.SubnetID], subnets); err != nil {
				return l3.Port{}, err
			}
		}
	}
	return s.makePort(ctx, w, l3.Port{
		NetworkID: n.ID, AdminStateUp: true, DeviceID: in.Router.ID, DeviceOwner: l3.OwnerRouterGateway,
	}, or(spec.FixedIPs, nil))
}

// keepGateway gives the port of a gateway whose network stays the addresses that are asked for, or,
// if it could have none before, any.
func (s *Service) keepGateway(ctx context.Context, w *work, in Intent, p l3.Port, spec l3.GatewaySpec) (l3.Port, error) {
	if spec.FixedIPs == nil {
		if len(p.FixedIPs) > 0 {
			return p, nil
		}
		return p, s.changeAddresses(ctx, w, &p, nil)
	}
	if err := s.changeAddresses(ctx, w, &p, *spec.FixedIPs); err != nil || hasIPv4(p) {
		return p, err
	}
	return p, gatewayUnused(ctx, w, in.Router.ID, p.NetworkID) // floating IPs need its IPv4 address
}

// hasIPv4 says whether a port has an IPv4 address.
func hasIPv4(p l3.Port) bool {
	return slices.ContainsFunc(p.FixedIPs, func(ip l3.FixedIP) bool { return ip.IPAddress.Is4() })
}

// apart refuses a subnet that overlaps one of the others.
func apart(subnet l3.Subnet, others []l3.Subnet) error {
	for _, o := range others {
		if o.CIDR.Overlaps(subnet.CIDR) {
			return badRequest("BadRequest", "Bad router request: Cidr %s of subnet %s overlaps with cidr %s of subnet %s.",
				subnet.CIDR, subnet.ID, o.CIDR, o.ID)
		}
	}
	return nil
}
