package service

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// CreatePorts makes ports, DOWN until somebody plugs them.
func (s *Service) CreatePorts(ctx context.Context, who l3.Caller, specs ...l3.PortSpec) ([]l3.Port, error) {
	return create(ctx, s, who, portKind(), specs, func(w *work, spec l3.PortSpec) (l3.Port, error) { return s.createPort(ctx, w, who, spec) })
}

func (s *Service) createPort(ctx context.Context, w *work, who l3.Caller, spec l3.PortSpec) (l3.Port, error) {
	owner, err := s.project(who, "create_port", spec.ProjectID)
	if err != nil {
		return l3.Port{}, err
	}
	n, to, err := networkKind().find(ctx, s, w, who, or(spec.NetworkID, ""))
	if err != nil {
		return l3.Port{}, err
	}
	if err := s.mayGivePort(who, "create_port", to, spec); err != nil {
		return l3.Port{}, err
	}
	p := l3.Port{
		Meta:      l3.Meta{ProjectID: owner, Name: or(spec.Name, ""), Description: or(spec.Description, "")},
		NetworkID: n.ID, AdminStateUp: or(spec.AdminStateUp, true), MAC: or(spec.MAC, dataplane.MAC{}),
		PortSecurityEnabled: n.PortSecurityEnabled,
	}
	if p.Tags, err = newTags(or(spec.Tags, nil)); err != nil {
		return l3.Port{}, err
	}
	if err := applyPort(&p, spec); err != nil {
		return l3.Port{}, err
	}
	if err := keepsOwner("create", l3.Port{}, p); err != nil {
		return l3.Port{}, err
	}
	if err := s.checkQuota(ctx, w, owner, "port"); err != nil {
		return l3.Port{}, err
	}
	if err := s.usedBy(ctx, w, owner); err != nil {
		return l3.Port{}, err
	}
	if err := s.mayUseQoSPolicy(ctx, w, who, spec.QoSPolicyID); err != nil {
		return l3.Port{}, err
	}
	if err := s.groupsAtCreation(ctx, w, who, &p, spec.SecurityGroups); err != nil {
		return l3.Port{}, err
	}
	if err := secured(p); err != nil {
		return l3.Port{}, err
	}
	if err := s.namesSubnets(ctx, w, who, n.ID, or(spec.FixedIPs, nil)); err != nil {
		return l3.Port{}, err
	}
	if p.MAC == (dataplane.MAC{}) && len(p.AllowedAddressPairs) > 0 {
		// Pairs without a MAC address get the port's, which must be known for that.
		if err := s.ensureMAC(ctx, w, &p); err != nil {
			return l3.Port{}, err
		}
	}
	p.AllowedAddressPairs = withMAC(p.AllowedAddressPairs, p.MAC)
	if err := s.rebind(ctx, w, l3.Port{}, &p); err != nil {
		return l3.Port{}, err
	}
	if p, err = s.makePort(ctx, w, p, or(spec.FixedIPs, nil)); err != nil {
		return l3.Port{}, err
	}
	return p, s.relocated(ctx, w, l3.Port{}, p)
}

// GetPort finds a port that the caller may see.
func (s *Service) GetPort(ctx context.Context, who l3.Caller, id string) (l3.Port, error) {
	return portKind().get(ctx, s, who, id)
}

// ListPorts lists the ports that the caller may see.
func (s *Service) ListPorts(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.Port, error) {
	return portKind().list(ctx, s, who, q)
}

// UpdatePort changes what is given. The addresses of a router's port do not change, nor does one
// that a floating IP stands for leave.
func (s *Service) UpdatePort(ctx context.Context, who l3.Caller, id string, spec l3.PortSpec, cond l3.If) (l3.Port, error) {
	may := func(to l3.Relation) error { return s.mayGivePort(who, "update_port", to, spec) }
	return portKind().change(ctx, s, who, id, cond, may, func(w *work, p *l3.Port) error {
		err := s.updatePort(ctx, w, who, p, spec)
		if err != nil || !isRouterPort(p) {
			return err
		}
		if err := s.restate(ctx, w); err != nil {
			return err
		}
		*p, err = w.Ports().Get(ctx, id)
		return err
	})
}

func (s *Service) updatePort(ctx context.Context, w *work, who l3.Caller, p *l3.Port, spec l3.PortSpec) error {
	before := *p
	if err := errors.Join(fixed("project_id", p.ProjectID, spec.ProjectID), fixed("network_id", p.NetworkID, spec.NetworkID)); err != nil {
		return err
	}
	if isRouterPort(p) && or(spec.HostID, before.Binding.HostID) != before.Binding.HostID {
		return badRequest("BadRequest", "Bad port request: The host of port %s is that of its router", p.ID)
	}
	if err := applyPort(p, spec); err != nil {
		return err
	}
	if err := keepsOwner("update", before, *p); err != nil {
		return err
	}
	if err := s.usedBy(ctx, w, p.ProjectID); err != nil {
		return err
	}
	if p.QoSPolicyID != before.QoSPolicyID {
		if err := s.mayUseQoSPolicy(ctx, w, who, &p.QoSPolicyID); err != nil {
			return err
		}
	}
	if err := s.changeGroups(ctx, w, who, p, spec.SecurityGroups); err != nil {
		return err
	}
	if err := s.changeMAC(ctx, w, p, spec.MAC); err != nil {
		return err
	}
	p.AllowedAddressPairs = withMAC(p.AllowedAddressPairs, p.MAC)
	if err := s.namesSubnets(ctx, w, who, p.NetworkID, or(spec.FixedIPs, nil)); err != nil {
		return err
	}
	if want, asked := wishes(before, *p, spec); asked {
		if err := s.changeFixedIPs(ctx, w, p, want); err != nil {
			return err
		}
	}
	if err := s.rebind(ctx, w, before, p); err != nil {
		return err
	}
	changed, err := put(ctx, w.Ports(), before, p, s.now())
	switch {
	case errors.Is(err, l3.ErrTaken):
		return macInUse(*p)
	case err != nil || !changed:
		return err
	case !isRouterPort(p):
		return s.relocated(ctx, w, before, *p)
	case p.MAC == before.MAC && p.AdminStateUp == before.AdminStateUp:
		return nil
	}
	return s.touch(ctx, w, p.DeviceID)
}

// wishes are the addresses that an update asks for: those given, and when the MAC address changes,
// all but those made from the former one.
func wishes(before, p l3.Port, spec l3.PortSpec) (want []l3.FixedIPSpec, asked bool) {
	switch {
	case spec.FixedIPs != nil:
		return notNil(*spec.FixedIPs), true
	case p.MAC == before.MAC || p.IsRouterInterface():
		return nil, false
	}
	stay := slices.DeleteFunc(slices.Clone(p.FixedIPs), func(f l3.FixedIP) bool { return madeFrom(before.MAC, f.IPAddress) })
	return wanted(stay), true
}

func (s *Service) changeFixedIPs(ctx context.Context, w *work, p *l3.Port, want []l3.FixedIPSpec) error {
	before := p.FixedIPs
	if err := s.readdress(ctx, w, p, want); err != nil {
		return err
	}
	if (isRouterPort(p) || p.DeviceOwner == l3.OwnerFloatingIP) && !slices.Equal(p.FixedIPs, before) {
		return badRequest("IPAddressChangeNotAllowed", "IP updates for port %s are not allowed", p.ID)
	}
	bound, err := w.FloatingIPs().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("port_id", p.ID)}})
	for _, f := range bound {
		if !slices.ContainsFunc(p.FixedIPs, func(fixed l3.FixedIP) bool { return fixed.IPAddress == f.FixedIP }) {
			return badRequest("BadRequest", "Bad port request: Cannot update the fixed_ips of the port %s,"+
				" because its original fixed_ip has been associated to a floating ip.", p.ID)
		}
	}
	if err != nil {
		return err
	}
	return s.forwardingsLeave(ctx, w, *p)
}

// changeMAC gives a port the MAC address that is asked for; the zero one asks for a new one.
func (s *Service) changeMAC(ctx context.Context, w *work, p *l3.Port, asked *dataplane.MAC) error {
	if asked == nil || *asked == p.MAC {
		return nil
	}
	p.MAC = *asked
	return s.ensureMAC(ctx, w, p)
}

// DeletePort deletes a port, unless a router or a floating IP owns it. Floating IPs that stand for
// it are unbound.
func (s *Service) DeletePort(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	may := func(p l3.Port, _ l3.Relation) error { return s.mayDeletePort(p) }
	return portKind().remove(ctx, s, who, id, cond, may, func(w *work, p l3.Port) error {
		if err := s.portLeaves(ctx, w, p); err != nil {
			return err
		}
		if err := s.dropPort(ctx, w, p); err != nil {
			return err
		}
		return s.relocated(ctx, w, p, l3.Port{})
	})
}

// makePort completes a port and stores it: what is zero of its Meta, MAC, Status and Binding is
// filled in, and it gets the addresses that it wants (nil: one of each family that the network
// offers). AdminStateUp is taken as it is. It asks nothing about callers and quotas.
func (s *Service) makePort(ctx context.Context, w *work, p l3.Port, want []l3.FixedIPSpec) (l3.Port, error) {
	s.complete(&p)
	if err := s.ensureMAC(ctx, w, &p); err != nil {
		return l3.Port{}, err
	}
	fixed, err := s.allocate(ctx, w, &p, want)
	if err != nil {
		return l3.Port{}, err
	}
	p.FixedIPs = fixed
	if err := w.Ports().Insert(ctx, p); errors.Is(err, l3.ErrTaken) {
		return l3.Port{}, macInUse(p)
	} else if err != nil {
		return l3.Port{}, err
	}
	return p, claim(ctx, w, p, nil)
}

func (s *Service) complete(p *l3.Port) {
	meta := s.newMeta(p.ProjectID, p.Name, p.Description)
	if p.ID != "" {
		meta.ID = p.ID
	}
	if p.Tags != nil {
		meta.Tags = p.Tags
	}
	p.Meta = meta
	p.Status = l3.StatusDown
	if p.DeviceOwner == l3.OwnerFloatingIP {
		p.Status = l3.StatusNone
	}
	if p.Binding.VNICType == "" {
		p.Binding.VNICType = "normal"
	}
	if p.Binding.VIFType == "" {
		p.Binding.VIFType = vifUnbound
	}
	p.SecurityGroups = notNil(p.SecurityGroups)
	p.AllowedAddressPairs = notNil(p.AllowedAddressPairs)
	p.ExtraDHCPOpts = notNil(p.ExtraDHCPOpts)
}

// notNil makes a list of nothing an empty one, so that it is written [] and not null.
func notNil[E any](list []E) []E {
	if list == nil {
		return []E{}
	}
	return list
}

// dropPort deletes a port. Its addresses go with it. It checks nothing.
func (s *Service) dropPort(ctx context.Context, w *work, p l3.Port) error {
	return w.Ports().Delete(ctx, p.ID)
}

// changeAddresses gives a stored port other addresses and stores it. Those that it has and wants
// stay; nothing changes when it wants what it has.
func (s *Service) changeAddresses(ctx context.Context, w *work, p *l3.Port, want []l3.FixedIPSpec) error {
	before := *p
	if err := s.readdress(ctx, w, p, want); err != nil {
		return err
	}
	_, err := put(ctx, w.Ports(), before, p, s.now())
	return err
}

// readdress is changeAddresses that leaves it to the caller to store the port.
func (s *Service) readdress(ctx context.Context, w *work, p *l3.Port, want []l3.FixedIPSpec) error {
	before := p.FixedIPs
	fixed, err := s.allocate(ctx, w, p, want)
	if err != nil {
		return err
	}
	p.FixedIPs = fixed
	return claim(ctx, w, *p, before)
}

// ensureMAC makes a MAC address for a port that has none, or refuses one that another port of the
// network has.
func (s *Service) ensureMAC(ctx context.Context, tx l3.Tx, p *l3.Port) error {
	if p.MAC != (dataplane.MAC{}) {
		taken, err := macTaken(ctx, tx, *p)
		if err == nil && taken {
			err = macInUse(*p)
		}
		return err
	}
	// Chance rarely meets a taken one: by 16 million to the number of ports.
	for range 16 {
		p.MAC = s.newMAC()
		if taken, err := macTaken(ctx, tx, *p); err != nil || !taken {
			return err
		}
	}
	return l3.Refuse(l3.ErrExhausted, "NetworkMacAddressGenerationFailure", "Unable to generate unique mac on network %s.", p.NetworkID)
}

// newMAC makes a MAC address under the base.
func (s *Service) newMAC() dataplane.MAC {
	m, r := s.config.BaseMAC, rand.Uint32()
	m[3], m[4], m[5] = byte(r>>16), byte(r>>8), byte(r)
	return m
}

func macTaken(ctx context.Context, tx l3.Tx, p l3.Port) (bool, error) {
	n, err := tx.Ports().Count(ctx, oneOf("network_id", p.NetworkID), oneOf("mac_address", p.MAC.String()),
		l3.Filter{Field: "id", Op: l3.NotIn, Values: []any{p.ID}})
	return n > 0, err
}

func macInUse(p l3.Port) error {
	return conflict("MacAddressInUse", "Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC)
}
