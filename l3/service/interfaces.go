package service

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// AddRouterInterface joins a router to a subnet, with the subnet's gateway address; or to the
// subnets of a port, which the router takes over.
func (s *Service) AddRouterInterface(ctx context.Context, who l3.Caller, routerID string, spec l3.InterfaceSpec) (added l3.Interface, err error) {
	err = s.update(ctx, func(w *work) error {
		added, err = s.addInterface(ctx, w, who, routerID, spec)
		return err
	})
	return added, err
}

func (s *Service) addInterface(ctx context.Context, w *work, who l3.Caller, routerID string, spec l3.InterfaceSpec) (added l3.Interface, err error) {
	r, to, err := routerKind().find(ctx, s, w, who, routerID)
	if err != nil {
		return added, err
	}
	if err := s.may(who, "add_router_interface", to); err != nil {
		return added, err
	}
	switch {
	case spec == (l3.InterfaceSpec{}):
		return added, badRequest("BadRequest", "Bad router request: Either subnet_id or port_id must be specified.")
	case spec.SubnetID != "" && spec.PortID != "":
		return added, badRequest("BadRequest", "Bad router request: Cannot specify both subnet-id and port-id.")
	}
	in, err := intentOf(ctx, w, routerID)
	if err != nil {
		return added, err
	}
	if spec.PortID != "" {
		added, err = s.attachPort(ctx, w, who, in, spec.PortID)
	} else {
		added, err = s.attachSubnet(ctx, w, who, in, spec.SubnetID)
	}
	if err != nil {
		return added, err
	}
	if err := s.saveRouter(ctx, w, &r); err != nil {
		return added, err
	}
	forgotten, err := s.forgetSightings(ctx, w, added.NetworkID)
	if err != nil {
		return added, err
	}
	if forgotten { // the router's address was in use
		if err := s.advanceOn(ctx, w, added.NetworkID); err != nil {
			return added, err
		}
	}
	return added, s.touch(ctx, w, routerID)
}

func (s *Service) attachSubnet(ctx context.Context, w *work, who l3.Caller, in Intent, subnetID string) (l3.Interface, error) {
	subnet, to, err := subnetKind().find(ctx, s, w, who, subnetID)
	if err != nil {
		return l3.Interface{}, err
	}
	if !subnet.GatewayIP.IsValid() {
		return l3.Interface{}, badRequest("BadRequest", "Bad router request: Subnet for router interface must have a gateway IP.")
	}
	if err := s.mayTakeGateway(ctx, w, who, subnet); err != nil {
		return l3.Interface{}, err
	}
	if err := s.mayAttach(ctx, w, who, to, in, subnet.NetworkID, subnet); err != nil {
		return l3.Interface{}, err
	}
	want := l3.FixedIPSpec{SubnetID: subnetID, IPAddress: subnet.GatewayIP}
	if p := in.ipv6Port(subnet.NetworkID); p != nil && subnet.IPVersion == 6 {
		// A router has one port for all IPv6 subnets of a network: hosts would take two for two
		// routers.
		wants := []l3.FixedIPSpec{want}
		for _, ip := range p.FixedIPs {
			wants = append(wants, l3.FixedIPSpec(ip))
		}
		err := s.changeAddresses(ctx, w, p, wants)
		return interfaceOf(in.Router, *p, subnetID), err
	}
	p, err := s.makePort(ctx, w, l3.Port{
		Meta: l3.Meta{ProjectID: in.Router.ProjectID}, NetworkID: subnet.NetworkID, AdminStateUp: true,
		DeviceID: in.Router.ID, DeviceOwner: interfaceOwner(in.Router),
	}, []l3.FixedIPSpec{want})
	return interfaceOf(in.Router, p, subnetID), err
}

// mayTakeGateway refuses the gateway address of another project's subnet, unless the network is
// shared with the caller's project by its name: on a network that is shared with everyone, whoever
// came first would be the gateway of all. A port of the caller's own can be joined there.
func (s *Service) mayTakeGateway(ctx context.Context, tx l3.Tx, who l3.Caller, subnet l3.Subnet) error {
	if subnet.ProjectID == who.Project || s.Allows(who, "context_is_admin", 0) {
		return nil
	}
	n, err := tx.RBACPolicies().Count(ctx, oneOf("object_id", subnet.NetworkID), oneOf("action", l3.AccessAsShared), oneOf("target_project", who.Project))
	if err == nil && n == 0 {
		err = badRequest("BadRequest", "Bad router request: Cannot add interface to router because subnet %s is not owned by project making the request.",
			subnet.ID)
	}
	return err
}

func (s *Service) attachPort(ctx context.Context, w *work, who l3.Caller, in Intent, portID string) (l3.Interface, error) {
	p, to, err := portKind().find(ctx, s, w, who, portID)
	if err != nil {
		return l3.Interface{}, err
	}
	if !s.Allows(who, "update_port", to) { // another's port on the caller's network
		return l3.Interface{}, notFound("PortNotFound", "Port %s could not be found.", portID)
	}
	if p.DeviceID != "" || p.DeviceOwner != "" || p.Status == l3.StatusActive { // a workload is attached by it
		return l3.Interface{}, conflict("PortInUse", "Unable to complete operation on port %s for network %s. Port already has an attached device %s.",
			p.ID, p.NetworkID, p.DeviceID)
	}
	if n, err := w.FloatingIPs().Count(ctx, oneOf("port_id", portID)); err != nil || n > 0 {
		return l3.Interface{}, orElse(err, conflict("PortInUse", "Port %s of network %s has a floating IP", p.ID, p.NetworkID))
	}
	if n, err := w.PortForwardings().Count(ctx, oneOf("internal_port_id", portID)); err != nil || n > 0 {
		return l3.Interface{}, orElse(err, conflict("PortInUse", "Port forwardings lead to port %s of network %s", p.ID, p.NetworkID))
	}
	subnets := map[string]l3.Subnet{}
	for _, ip := range p.FixedIPs {
		subnets[ip.SubnetID] = l3.Subnet{}
	}
	if err := fill(ctx, w.Subnets(), subnets, func(s *l3.Subnet) string { return s.ID }); err != nil {
		return l3.Interface{}, err
	}
	if err := in.mayTake(p); err != nil {
		return l3.Interface{}, err
	}
	for i, ip := range p.FixedIPs {
		for _, before := range p.FixedIPs[:i] {
			if err := apart(subnets[ip.SubnetID], []l3.Subnet{subnets[before.SubnetID]}); err != nil {
				return l3.Interface{}, err
			}
		}
		if err := s.mayAttach(ctx, w, who, to, in, p.NetworkID, subnets[ip.SubnetID]); err != nil {
			return l3.Interface{}, err
		}
	}
	p.DeviceID, p.DeviceOwner, p.UpdatedAt = in.Router.ID, interfaceOwner(in.Router), s.now()
	return interfaceOf(in.Router, p, ""), w.Ports().Update(ctx, &p)
}

// mayTake holds a port to what a router's interface can be.
func (in Intent) mayTake(p l3.Port) error {
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
func (in Intent) ipv6Port(networkID string) *l3.Port {
	for i := range in.Ports {
		p := &in.Ports[i]
		isIPv6 := func(ip l3.FixedIP) bool { return ip.IPAddress.Is6() }
		if p.NetworkID == networkID && p.IsRouterInterface() && slices.ContainsFunc(p.FixedIPs, isIPv6) {
			return p
		}
	}
	return nil
}

// mayAttach refuses a subnet that the router has, or that overlaps one of its own or of its
// external network, and an external network that is not the caller's: its gateway address is that
// of a router of the provider.
func (s *Service) mayAttach(
	ctx context.Context, w *work, who l3.Caller, to l3.Relation, in Intent, networkID string, subnet l3.Subnet,
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
			if err := apart(subnet, []l3.Subnet{in.Subnets[ip.SubnetID]}); err != nil {
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
	outside, err := w.Subnets().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", gw.NetworkID)}})
	if err != nil {
		return err
	}
	return apart(subnet, outside)
}

// interfaceOf answers for a port of a router. Subnet names the one that was asked for; empty: all
// of the port's.
func interfaceOf(r l3.Router, p l3.Port, subnet string) l3.Interface {
	out := l3.Interface{RouterID: r.ID, ProjectID: r.ProjectID, PortID: p.ID, NetworkID: p.NetworkID, SubnetID: subnet, Tags: r.Tags}
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
