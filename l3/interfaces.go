package l3

import (
	"context"
	"slices"
)

// AddRouterInterface joins a router to a subnet, with the subnet's gateway address; or to the
// subnets of a port, which the router takes over.
func (s *Service) AddRouterInterface(ctx context.Context, who Caller, routerID string, spec InterfaceSpec) (added Interface, err error) {
	err = s.update(ctx, func(w *work) error {
		r, to, err := s.router(ctx, w, who, routerID)
		if err != nil {
			return err
		}
		if err := s.may(who, "add_router_interface", to); err != nil {
			return err
		}
		switch {
		case spec == (InterfaceSpec{}):
			return badRequest("BadRequest", "Bad router request: Either subnet_id or port_id must be specified.")
		case spec.SubnetID != "" && spec.PortID != "":
			return badRequest("BadRequest", "Bad router request: Cannot specify both subnet-id and port-id.")
		}
		in, err := intentOf(ctx, w, routerID)
		if err != nil {
			return err
		}
		if spec.PortID != "" {
			added, err = s.attachPort(ctx, w, who, in, spec.PortID)
		} else {
			added, err = s.attachSubnet(ctx, w, who, in, spec.SubnetID)
		}
		if err != nil {
			return err
		}
		if err := s.saveRouter(ctx, w, &r); err != nil {
			return err
		}
		return s.touch(ctx, w, routerID)
	})
	return added, err
}

func (s *Service) attachSubnet(ctx context.Context, w *work, who Caller, in Intent, subnetID string) (Interface, error) {
	subnet, to, err := s.subnet(ctx, w, who, subnetID)
	if err != nil {
		return Interface{}, err
	}
	if !subnet.GatewayIP.IsValid() {
		return Interface{}, badRequest("BadRequest", "Bad router request: Subnet for router interface must have a gateway IP.")
	}
	if err := s.mayTakeGateway(ctx, w, who, subnet); err != nil {
		return Interface{}, err
	}
	if err := s.mayAttach(ctx, w, who, to, in, subnet.NetworkID, subnet); err != nil {
		return Interface{}, err
	}
	want := FixedIPSpec{SubnetID: subnetID, IPAddress: subnet.GatewayIP}
	if p := in.ipv6Port(subnet.NetworkID); p != nil && subnet.IPVersion == 6 {
		// A router has one port for all IPv6 subnets of a network: hosts would take two for two
		// routers.
		wants := []FixedIPSpec{want}
		for _, ip := range p.FixedIPs {
			wants = append(wants, FixedIPSpec(ip))
		}
		err := s.changeAddresses(ctx, w, p, wants)
		return interfaceOf(in.Router, *p, subnetID), err
	}
	p, err := s.makePort(ctx, w, Port{
		Meta: Meta{ProjectID: in.Router.ProjectID}, NetworkID: subnet.NetworkID, AdminStateUp: true,
		DeviceID: in.Router.ID, DeviceOwner: OwnerRouterInterface,
	}, []FixedIPSpec{want})
	return interfaceOf(in.Router, p, subnetID), err
}

// mayTakeGateway refuses the gateway address of another project's subnet, unless the network is
// shared with the caller's project by its name: on a network that is shared with everyone, whoever
// came first would be the gateway of all. A port of the caller's own can be joined there.
func (s *Service) mayTakeGateway(ctx context.Context, tx Tx, who Caller, subnet Subnet) error {
	if subnet.ProjectID == who.Project || s.Allows(who, "context_is_admin", 0) {
		return nil
	}
	n, err := tx.RBACPolicies().Count(ctx, oneOf("object_id", subnet.NetworkID), oneOf("action", AccessAsShared), oneOf("target_project", who.Project))
	if err == nil && n == 0 {
		err = badRequest("BadRequest", "Bad router request: Cannot add interface to router because subnet %s is not owned by project making the request.",
			subnet.ID)
	}
	return err
}

func (s *Service) attachPort(ctx context.Context, w *work, who Caller, in Intent, portID string) (Interface, error) {
	p, to, err := s.port(ctx, w, who, portID)
	if err != nil {
		return Interface{}, err
	}
	if !s.Allows(who, "update_port", to) { // another's port on the caller's network
		return Interface{}, notFound("PortNotFound", "Port %s could not be found.", portID)
	}
	if p.DeviceID != "" || p.DeviceOwner != "" || p.Status == StatusActive { // a workload is attached by it
		return Interface{}, conflict("PortInUse", "Unable to complete operation on port %s for network %s. Port already has an attached device %s.",
			p.ID, p.NetworkID, p.DeviceID)
	}
	if n, err := w.FloatingIPs().Count(ctx, oneOf("port_id", portID)); err != nil || n > 0 {
		return Interface{}, orElse(err, conflict("PortInUse", "Port %s of network %s has a floating IP", p.ID, p.NetworkID))
	}
	subnets := map[string]Subnet{}
	for _, ip := range p.FixedIPs {
		subnets[ip.SubnetID] = Subnet{}
	}
	if err := fill(ctx, w.Subnets(), subnets, func(s *Subnet) string { return s.ID }); err != nil {
		return Interface{}, err
	}
	if err := in.mayTake(p); err != nil {
		return Interface{}, err
	}
	for i, ip := range p.FixedIPs {
		for _, before := range p.FixedIPs[:i] {
			if err := apart(subnets[ip.SubnetID], []Subnet{subnets[before.SubnetID]}); err != nil {
				return Interface{}, err
			}
		}
		if err := s.mayAttach(ctx, w, who, to, in, p.NetworkID, subnets[ip.SubnetID]); err != nil {
			return Interface{}, err
		}
	}
	p.DeviceID, p.DeviceOwner, p.UpdatedAt = in.Router.ID, OwnerRouterInterface, s.now()
	return interfaceOf(in.Router, p, ""), w.Ports().Update(ctx, &p)
}

// mayTake holds a port to what a router's interface can be.
func (in Intent) mayTake(p Port) error {
	var v4, v6 int
	for _, ip := range p.FixedIPs {
		if ip.IPAddress.Is4() {
			v4++
		} else {
			v6++
		}
	}
	switch {
	case v4+v6 == 0:
		return badRequest("BadRequest", "Bad router request: Port %s has no fixed IP", p.ID)
	case v4 > 1:
		return badRequest("BadRequest", "Bad router request: Port %s has more than one IPv4 address", p.ID)
	case v6 > 0 && in.ipv6Port(p.NetworkID) != nil:
		return badRequest("BadRequest", "Bad router request: Router %s has a port for the IPv6 subnets of network %s already, %s",
			in.Router.ID, p.NetworkID, in.ipv6Port(p.NetworkID).ID)
	}
	return nil
}

// ipv6Port is the router's interface on a network that has an IPv6 address; nil: none has.
func (in Intent) ipv6Port(networkID string) *Port {
	for i := range in.Ports {
		p := &in.Ports[i]
		isIPv6 := func(ip FixedIP) bool { return ip.IPAddress.Is6() }
		if p.NetworkID == networkID && p.DeviceOwner == OwnerRouterInterface && slices.ContainsFunc(p.FixedIPs, isIPv6) {
			return p
		}
	}
	return nil
}

// mayAttach refuses a subnet that the router has, or that overlaps one of its own or of its
// external network, and an external network that is not the caller's: its gateway address is that
// of a router of the provider.
func (s *Service) mayAttach(
	ctx context.Context, w *work, who Caller, to Relation, in Intent, networkID string, subnet Subnet,
) error {
	n, err := w.Networks().Get(ctx, networkID)
	if err != nil {
		return err
	}
	external := givenAttribute{"router:external", n.External}
	if err := s.mayGive(who, "add_router_interface", to, external); err != nil {
		return err
	}
	for _, p := range in.interfaces() {
		for _, ip := range p.FixedIPs {
			if ip.SubnetID == subnet.ID {
				return badRequest("BadRequest", "Bad router request: Router already has a port on subnet %s.", subnet.ID)
			}
			if err := apart(subnet, []Subnet{in.Subnets[ip.SubnetID]}); err != nil {
				return err
			}
		}
	}
	gw := in.gateway()
	if gw == nil {
		return nil
	}
	if gw.NetworkID == networkID {
		return badRequest("BadRequest", "Bad router request: Network %s is the router's external network", networkID)
	}
	outside, err := w.Subnets().List(ctx, Query{Filters: []Filter{oneOf("network_id", gw.NetworkID)}})
	if err != nil {
		return err
	}
	return apart(subnet, outside)
}

// interfaceOf answers for a port of a router. Subnet names the one that was asked for; empty: all
// of the port's.
func interfaceOf(r Router, p Port, subnet string) Interface {
	out := Interface{RouterID: r.ID, ProjectID: r.ProjectID, PortID: p.ID, NetworkID: p.NetworkID, SubnetID: subnet, Tags: r.Tags}
	if subnet != "" {
		out.SubnetIDs = []string{subnet}
		return out
	}
	for _, ip := range p.FixedIPs {
		out.SubnetIDs = append(out.SubnetIDs, ip.SubnetID)
	}
	if len(out.SubnetIDs) > 0 {
		out.SubnetID = out.SubnetIDs[0]
	}
	return out
}
