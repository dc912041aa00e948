package service

import (
	"context"
	"errors"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// CreatePorts makes ports, DOWN until somebody plugs them.
func (s *Service) CreatePorts(ctx context.Context, who l3.Caller, specs ...l3.PortSpec) ([]l3.Port, error) {
	return makeAll(ctx, s, specs, func(w *work, spec l3.PortSpec) (l3.Port, error) { return s.createPort(ctx, w, who, spec) })
}

func (s *Service) createPort(ctx context.Context, w *work, who l3.Caller, spec l3.PortSpec) (l3.Port, error) {
	owner, err := s.project(who, "create_port", spec.ProjectID)
	if err != nil {
		return l3.Port{}, err
	}
	n, to, err := s.network(ctx, w, who, or(spec.NetworkID, ""))
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
	return s.makePort(ctx, w, p, or(spec.FixedIPs, nil))
}

// GetPort finds a port that the caller may see.
func (s *Service) GetPort(ctx context.Context, who l3.Caller, id string) (l3.Port, error) {
	return portKind().get(ctx, s, who, id)
}

// ListPorts lists the ports that the caller may see.
func (s *Service) ListPorts(ctx context.Context, who l3.Caller, q l3.Query) (list []l3.Port, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		if q.Scope, err = s.onNetworkScope(ctx, tx, who, "get_port"); err != nil {
			return err
		}
		list, err = listLive(ctx, s, tx, q, "binding.binding:host_id", derived[l3.Port]{
			list:  tx.Ports().List,
			fill:  func(ports []l3.Port) error { return s.showPorts(ctx, tx, who, ports) },
			value: func(p *l3.Port) any { return string(p.Status) },
			id:    func(p *l3.Port) string { return p.ID },
		})
		return err
	})
	return list, err
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
	changed, err := put(ctx, w.Ports(), before, p, &p.Meta, s.now())
	switch {
	case errors.Is(err, l3.ErrTaken):
		return macInUse(*p)
	case err != nil || !changed || !isRouterPort(p):
		return err
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
	case p.MAC == before.MAC || p.DeviceOwner == l3.OwnerRouterInterface:
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
	return err
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
		return s.dropPort(ctx, w, p)
	})
}
