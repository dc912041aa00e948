package service

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// CreateFloatingIPs takes public addresses, and binds those whose port is given.
func (s *Service) CreateFloatingIPs(ctx context.Context, who l3.Caller, specs ...l3.FloatingIPSpec) ([]l3.FloatingIP, error) {
	return create(ctx, s, who, floatingIPKind(), specs, func(w *work, spec l3.FloatingIPSpec) (l3.FloatingIP, error) {
		return s.createFloatingIP(ctx, w, who, spec)
	})
}

func (s *Service) createFloatingIP(ctx context.Context, w *work, who l3.Caller, spec l3.FloatingIPSpec) (l3.FloatingIP, error) {
	const rule = "create_floatingip"
	owner, err := s.project(who, rule, spec.ProjectID)
	if err != nil {
		return l3.FloatingIP{}, err
	}
	if err := s.may(who, rule, relationToProject(who, owner)); err != nil {
		return l3.FloatingIP{}, err
	}
	if err := s.mayGive(who, rule, relationToProject(who, owner), givenAttribute{"floating_ip_address", spec.Address != nil}); err != nil {
		return l3.FloatingIP{}, err
	}
	if err := text("description", spec.Description); err != nil {
		return l3.FloatingIP{}, err
	}
	n, _, err := networkKind().find(ctx, s, w, who, or(spec.NetworkID, ""))
	if err != nil {
		return l3.FloatingIP{}, err
	}
	if !n.External {
		return l3.FloatingIP{}, badRequest("BadRequest", "Bad floatingip request: Network %s is not a valid external network.", n.ID)
	}
	f := l3.FloatingIP{Meta: s.newMeta(owner, "", or(spec.Description, "")), NetworkID: n.ID, Distributed: or(spec.Distributed, true)}
	setDNS(&f.DNSName, spec.DNSName)
	setDNS(&f.DNSDomain, spec.DNSDomain)
	if err := floatingDNS(f.DNSName, f.DNSDomain); err != nil {
		return f, err
	}
	if f.Tags, err = newTags(or(spec.Tags, nil)); err != nil {
		return f, err
	}
	if err := s.mayUseQoSPolicy(ctx, w, who, spec.QoSPolicyID); err != nil {
		return f, err
	}
	f.QoSPolicyID = or(spec.QoSPolicyID, "")
	b, err := s.wish(ctx, w, who, f, spec)
	if err != nil {
		return f, err
	}
	if err := s.checkQuota(ctx, w, owner, "floatingip"); err != nil {
		return f, err
	}
	if err := s.takeAddress(ctx, w, who, &f, spec); err != nil {
		return f, err
	}
	if err := s.bindTo(ctx, w, &f, b); err != nil {
		return f, err
	}
	return f, taken(w.FloatingIPs().Insert(ctx, f), f)
}

// takeAddress makes the port that holds the floating IP's address.
func (s *Service) takeAddress(ctx context.Context, w *work, who l3.Caller, f *l3.FloatingIP, spec l3.FloatingIPSpec) error {
	subnets, err := w.Subnets().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", f.NetworkID), {Field: "ip_version", Values: []any{4}}}})
	if err != nil {
		return err
	}
	if len(subnets) == 0 {
		return badRequest("ExternalIpAddressExhausted", "External network %s has no IPv4 subnet to take an address from", f.NetworkID)
	}
	var want []l3.FixedIPSpec
	asked := l3.FixedIPSpec{SubnetID: or(spec.SubnetID, ""), IPAddress: or(spec.Address, netip.Addr{})}
	if asked != (l3.FixedIPSpec{}) {
		if err := s.askable(ctx, w, who, f.NetworkID, asked, subnets); err != nil {
			return err
		}
		want = []l3.FixedIPSpec{asked}
	}
	p, err := s.makePort(ctx, w, l3.Port{NetworkID: f.NetworkID, AdminStateUp: true, DeviceID: f.ID, DeviceOwner: l3.OwnerFloatingIP}, want)
	if err != nil {
		return err
	}
	f.OwnPort, f.SubnetID, f.Address = p.ID, p.FixedIPs[0].SubnetID, p.FixedIPs[0].IPAddress
	return nil
}

// askable refuses what a floating IP cannot be: an IPv6 address, that of the external network's own
// router, and one of a subnet that is not the external network's, or that does not exist for the
// caller.
func (s *Service) askable(ctx context.Context, tx l3.Tx, who l3.Caller, networkID string, asked l3.FixedIPSpec, subnets []l3.Subnet) error {
	if asked.IPAddress.IsValid() && !asked.IPAddress.Is4() {
		return invalid("Invalid input for floating_ip_address. Reason: %s is not an IPv4 address.", asked.IPAddress)
	}
	found := asked.SubnetID == ""
	for _, subnet := range subnets {
		found = found || subnet.ID == asked.SubnetID
		if asked.IPAddress.IsValid() && subnet.GatewayIP == asked.IPAddress {
			return badRequest("BadRequest", "Bad floatingip request: %s is the gateway of subnet %s", asked.IPAddress, subnet.ID)
		}
	}
	if found {
		return nil
	}
	sub, err := tx.Subnets().Get(ctx, asked.SubnetID)
	switch {
	case err == nil && sub.NetworkID == networkID:
		return badRequest("BadRequest", "Bad floatingip request: Subnet %s is not an IPv4 subnet of the external network", asked.SubnetID)
	case err != nil && !errors.Is(err, l3.ErrAbsent):
		return err
	}
	if _, _, err := subnetKind().find(ctx, s, tx, who, asked.SubnetID); err != nil {
		return err
	}
	return wrongSubnet(networkID, asked.SubnetID)
}

// GetFloatingIP answers with a floating IP of the caller's project.
func (s *Service) GetFloatingIP(ctx context.Context, who l3.Caller, id string) (l3.FloatingIP, error) {
	return floatingIPKind().get(ctx, s, who, id)
}

// ListFloatingIPs lists the floating IPs of the caller's project.
func (s *Service) ListFloatingIPs(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.FloatingIP, error) {
	return floatingIPKind().list(ctx, s, who, q)
}

// UpdateFloatingIP binds, moves or unbinds a floating IP, or changes its description or where it is
// translated. A spec in which nothing is given unbinds; the port that it is bound to, given again,
// is no change.
func (s *Service) UpdateFloatingIP(ctx context.Context, who l3.Caller, id string, spec l3.FloatingIPSpec, cond l3.If) (l3.FloatingIP, error) {
	return floatingIPKind().change(ctx, s, who, id, cond, nil, func(w *work, f *l3.FloatingIP) error {
		if err := changeable(spec); err != nil {
			return err
		}
		return s.updateFloatingIP(ctx, w, who, f, spec)
	})
}

func (s *Service) updateFloatingIP(ctx context.Context, w *work, who l3.Caller, f *l3.FloatingIP, spec l3.FloatingIPSpec) error {
	before := *f
	set(&f.Description, spec.Description)
	set(&f.Distributed, spec.Distributed)
	if err := s.mayUseQoSPolicy(ctx, w, who, spec.QoSPolicyID); err != nil {
		return err
	}
	set(&f.QoSPolicyID, spec.QoSPolicyID)
	if spec.PortID == nil && spec.Description == nil && spec.FixedIP == nil && spec.Distributed == nil && spec.QoSPolicyID == nil {
		spec.PortID = new(string)
	}
	b := binding{f.PortID, f.FixedIP, f.RouterID}
	switch {
	case spec.PortID == nil:
	case *spec.PortID == f.PortID && or(spec.FixedIP, f.FixedIP) == f.FixedIP:
	default:
		var err error
		if b, err = s.wish(ctx, w, who, *f, spec); err != nil {
			return err
		}
	}
	moves := b != binding{f.PortID, f.FixedIP, f.RouterID}
	if f.Distributed != before.Distributed && f.PortID != "" && !moves {
		r, err := w.Routers().Get(ctx, f.RouterID)
		if err != nil {
			return err
		}
		moves = r.Distributed // between the centre and an edge
	}
	if moves {
		if err := s.bindTo(ctx, w, f, b); err != nil {
			return err
		}
	} else if before.Description == f.Description && before.Distributed == f.Distributed && before.QoSPolicyID == f.QoSPolicyID {
		return nil
	}
	f.UpdatedAt = s.now()
	if err := w.FloatingIPs().Update(ctx, f); err != nil {
		return taken(err, *f)
	}
	if moves || f.RouterID == "" || before.QoSPolicyID == f.QoSPolicyID {
		return nil
	}
	return s.touchFor(ctx, w, who, f.RouterID)
}

// changeable refuses what a floating IP keeps for life.
func changeable(spec l3.FloatingIPSpec) error {
	switch {
	case spec.NetworkID != nil, spec.SubnetID != nil, spec.Address != nil, spec.ProjectID != nil:
		return badRequest("HTTPBadRequest", "The network, the subnet, the address and the project of a floating IP cannot be updated")
	case spec.DNSName != nil, spec.DNSDomain != nil:
		return badRequest("HTTPBadRequest", "The dns_name and the dns_domain of a floating IP cannot be updated")
	case spec.PortID == nil && or(spec.FixedIP, netip.Addr{}).IsValid():
		return badRequest("BadRequest", "Bad floatingip request: fixed_ip_address cannot be specified without a port_id.")
	}
	return text("description", spec.Description)
}

// DeleteFloatingIP unbinds a floating IP and gives its address back.
func (s *Service) DeleteFloatingIP(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	return floatingIPKind().remove(ctx, s, who, id, cond, nil, func(w *work, f l3.FloatingIP) error {
		if err := notForwarding(ctx, w, f); err != nil {
			return err
		}
		if err := s.bindTo(ctx, w, &f, binding{}); err != nil {
			return err
		}
		if err := w.FloatingIPs().Delete(ctx, id); err != nil {
			return err
		}
		return s.dropPort(ctx, w, l3.Port{Meta: l3.Meta{ID: f.OwnPort}})
	})
}

// taken says what it means when the store has one that is bound to the same fixed address.
func taken(err error, f l3.FloatingIP) error {
	if errors.Is(err, l3.ErrTaken) {
		return alreadyBound(f, f.PortID, f.FixedIP)
	}
	return err
}

// ListFloatingIPPools lists the IPv4 subnets of the external networks that the caller sees. A
// caller may use them without seeing them as subnets, so they are of its own project in the list.
func (s *Service) ListFloatingIPPools(ctx context.Context, who l3.Caller, q l3.Query) (pools []l3.Subnet, err error) {
	ofProject := func(f l3.Filter) bool { return f.Field == "project_id" }
	for _, f := range q.Filters {
		if ofProject(f) && !filterHolds(f, who.Project) {
			return nil, nil
		}
	}
	q.Filters = append(slices.DeleteFunc(slices.Clone(q.Filters), ofProject), l3.Filter{Field: "ip_version", Values: []any{4}})
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		scope, err := s.networkScope(ctx, tx, who, "get_network")
		if err != nil {
			return err
		}
		external, err := tx.Networks().List(ctx, l3.Query{Filters: []l3.Filter{isExternal()}, Scope: scope})
		if err != nil {
			return err
		}
		q.Scope = []l3.Filter{oneOf("network_id", networkIDs(external)...)}
		pools, err = tx.Subnets().List(ctx, q)
		return err
	})
	for i := range pools {
		pools[i].ProjectID = who.Project
	}
	return pools, err
}
