package service

import (
	"context"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// binding is what a floating IP stands for. The zero binding is none.
type binding struct {
	port   string
	fixed  netip.Addr
	router string // that translates
}

// wish works out what a floating IP is to be bound to; nothing is changed. It checks, in this
// order: the port, its owner, the address on it, a router that reaches both sides, and that no
// other floating IP is there.
func (s *Service) wish(ctx context.Context, tx l3.Tx, who l3.Caller, f l3.FloatingIP, spec l3.FloatingIPSpec) (binding, error) {
	id := or(spec.PortID, "")
	if id == "" {
		if or(spec.FixedIP, netip.Addr{}).IsValid() {
			return binding{}, badRequest("BadRequest", "Bad floatingip request: fixed_ip_address cannot be specified without a port_id.")
		}
		return binding{}, nil
	}
	p, _, err := portKind().find(ctx, s, tx, who, id)
	if err != nil {
		return binding{}, err
	}
	if p.ProjectID != f.ProjectID && !s.Allows(who, "context_is_admin", 0) {
		return binding{}, badRequest("BadRequest",
			"Bad floatingip request: Cannot process floating IP association with Port %s, since that port is owned by a different project.", p.ID)
	}
	if err := notForwarded(ctx, tx, p); err != nil {
		return binding{}, err
	}
	fixed, err := fixedOn(p, or(spec.FixedIP, netip.Addr{}))
	if err != nil {
		return binding{}, err
	}
	router, err := s.translator(ctx, tx, f, p, fixed)
	if err != nil {
		return binding{}, err
	}
	rivals, err := tx.FloatingIPs().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("port_id", p.ID)}})
	for _, r := range rivals {
		if r.ID != f.ID && r.FixedIP == fixed.IPAddress && r.NetworkID == f.NetworkID {
			return binding{}, alreadyBound(f, p.ID, fixed.IPAddress)
		}
	}
	if err != nil {
		return binding{}, err
	}
	return binding{p.ID, fixed.IPAddress, router}, notForwarding(ctx, tx, f)
}

func alreadyBound(f l3.FloatingIP, port string, fixed netip.Addr) error {
	name := f.ID
	if f.Address.IsValid() { // it has none yet while it is created
		name = f.Address.String() + " (" + f.ID + ")"
	}
	return conflict("FloatingIPPortAlreadyAssociated", "Cannot associate floating IP %s with port %s using fixed IP %s,"+
		" as that fixed IP already has a floating IP on external network %s.", name, port, fixed, f.NetworkID)
}

// fixedOn is the IPv4 address of a port that is asked for, or its only one.
func fixedOn(p l3.Port, asked netip.Addr) (l3.FixedIP, error) {
	if isRouterPort(&p) || p.DeviceOwner == l3.OwnerFloatingIP {
		return l3.FixedIP{}, badRequest("BadRequest", "Bad floatingip request: Port %s is the service's own: %s", p.ID, p.DeviceOwner)
	}
	four := slices.DeleteFunc(slices.Clone(p.FixedIPs), func(ip l3.FixedIP) bool { return !ip.IPAddress.Is4() })
	switch i := slices.IndexFunc(four, func(ip l3.FixedIP) bool { return ip.IPAddress == asked }); {
	case asked.IsValid() && i < 0:
		return l3.FixedIP{}, badRequest("BadRequest", "Bad floatingip request: Port %s does not have fixed ip %s.", p.ID, asked)
	case asked.IsValid():
		return four[i], nil
	case len(four) == 0:
		return l3.FixedIP{}, badRequest("BadRequest", "Bad floatingip request: Port %s has no fixed IPv4 address", p.ID)
	case len(four) > 1:
		return l3.FixedIP{}, badRequest("BadRequest", "Bad floatingip request: Port %s has several fixed IPv4 addresses: fixed_ip_address must be given", p.ID)
	}
	return four[0], nil
}

// translator finds the router that joins a fixed address's subnet to the floating IP's network: the
// one that is the subnet's gateway, or else the first by ID.
func (s *Service) translator(ctx context.Context, tx l3.Tx, f l3.FloatingIP, p l3.Port, fixed l3.FixedIP) (string, error) {
	subnet, err := tx.Subnets().Get(ctx, fixed.SubnetID)
	if err != nil {
		return "", err
	}
	ports, err := tx.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", p.NetworkID),
		oneOf("device_owner", l3.OwnerRouterInterface, l3.OwnerDistributedInterface)}})
	if err != nil {
		return "", err
	}
	addrs := map[string]netip.Addr{} // by router
	for _, q := range ports {
		for _, ip := range q.FixedIPs {
			if ip.SubnetID == subnet.ID {
				addrs[q.DeviceID] = ip.IPAddress
			}
		}
	}
	ids := make([]string, 0, len(addrs))
	for id := range addrs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if i := slices.IndexFunc(ids, func(id string) bool { return addrs[id] == subnet.GatewayIP }); i > 0 {
		ids[0], ids[i] = ids[i], ids[0]
	}
	routers, err := listOf(ctx, tx.Routers(), "id", ids)
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		i := slices.IndexFunc(routers, func(r l3.Router) bool { return r.ID == id })
		if i >= 0 && translatesTo(&routers[i], f.NetworkID) {
			return id, nil
		}
	}
	return "", notFound("ExternalGatewayForFloatingIPNotFound", "External network %s is not reachable from subnet %s, so port %s cannot have a floating IP of it",
		f.NetworkID, subnet.ID, p.ID)
}

// translatesTo says whether a router can have floating IPs of a network: its gateway is there, and
// has the IPv4 address that hairpins need.
func translatesTo(r *l3.Router, networkID string) bool {
	return r.Gateway != nil && r.Gateway.NetworkID == networkID &&
		slices.ContainsFunc(r.Gateway.FixedIPs, func(ip l3.FixedIP) bool { return ip.IPAddress.Is4() })
}

// bindTo binds a floating IP, moves it, or unbinds it. The floating IP is not written. The router
// that it leaves is told before the one that it comes to, so that two hosts never announce it.
func (s *Service) bindTo(ctx context.Context, w *work, f *l3.FloatingIP, b binding) error {
	if f.RouterID != "" && f.RouterID != b.router {
		if err := s.advanceByID(ctx, w, f.RouterID); err != nil {
			return err
		}
		if err := s.leaveBehind(ctx, w, holderOf(f), f.Address); err != nil {
			return err
		}
		f.Holder = l3.Holder{}
	}
	f.PortID, f.FixedIP, f.RouterID, f.StateRevision = b.port, b.fixed, b.router, 0
	f.Status, f.Host = l3.StatusDown, ""
	if b.router == "" {
		return nil
	}
	in, err := intentOf(ctx, w, b.router)
	if err != nil {
		return err
	}
	if err := in.mayTranslate(f.Address); err != nil {
		return err
	}
	st, err := s.advance(ctx, w, in)
	f.StateRevision = st.Revision
	return err
}

// mayTranslate refuses an address that means something else to the router, which may be another
// project's and is not described.
func (in Intent) mayTranslate(a netip.Addr) error {
	for _, p := range in.interfaces() {
		for _, ip := range p.FixedIPs {
			if in.Subnets[ip.SubnetID].CIDR.Contains(a) {
				return badRequest("BadRequest", "Bad floatingip request: %s is in a subnet inside the router", a)
			}
		}
	}
	if gw := in.gateway(); gw != nil && slices.Contains(in.nextHops(gw), a) ||
		slices.ContainsFunc(in.Router.Routes, func(r l3.Route) bool { return r.NextHop == a }) {
		return badRequest("BadRequest", "Bad floatingip request: %s is a next hop of the router", a)
	}
	return nil
}

// portLeaves unbinds the floating IPs of a port that goes away, and ends the forwardings to it.
func (s *Service) portLeaves(ctx context.Context, w *work, p l3.Port) error {
	bound, err := w.FloatingIPs().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("port_id", p.ID)}})
	if err != nil {
		return err
	}
	for i := range bound {
		f := &bound[i]
		if err := s.bindTo(ctx, w, f, binding{}); err != nil {
			return err
		}
		f.UpdatedAt = s.now()
		if err := w.FloatingIPs().Update(ctx, f); err != nil {
			return err
		}
	}
	return s.forwardingsLeave(ctx, w, l3.Port{Meta: p.Meta})
}
