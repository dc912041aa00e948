package service

import (
	"context"
	"errors"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// CreateRouters makes routers. One with a gateway is given a host at once, any other when it first
// has something to realise.
func (s *Service) CreateRouters(ctx context.Context, who l3.Caller, specs ...l3.RouterSpec) ([]l3.Router, error) {
	k := routerKind()
	if !slices.ContainsFunc(specs, func(spec l3.RouterSpec) bool { return spec.Gateway != nil }) {
		k.show = func(s *Service, _ context.Context, _ l3.Tx, who l3.Caller, made []l3.Router) error {
			hosting{}.describe(s, who, made) // none has anything to realise: there is nothing to read
			return nil
		}
	}
	return create(ctx, s, who, k, specs, func(w *work, spec l3.RouterSpec) (l3.Router, error) { return s.createRouter(ctx, w, who, spec) })
}

func (s *Service) createRouter(ctx context.Context, w *work, who l3.Caller, spec l3.RouterSpec) (l3.Router, error) {
	if spec.Routes != nil {
		return l3.Router{}, badRequest("HTTPBadRequest", "Attribute 'routes' not allowed in POST")
	}
	owner, err := s.project(who, "create_router", spec.ProjectID)
	if err != nil {
		return l3.Router{}, err
	}
	if err := s.mayGiveRouter(who, "create_router", relationToProject(who, owner), spec); err != nil {
		return l3.Router{}, err
	}
	if err := checkRouterSpec(spec); err != nil {
		return l3.Router{}, err
	}
	if err := s.checkHints(ctx, w, or(spec.AZHints, nil)); err != nil {
		return l3.Router{}, err
	}
	if err := s.checkQuota(ctx, w, owner, "router"); err != nil {
		return l3.Router{}, err
	}
	r := l3.Router{
		Meta:         s.newMeta(owner, or(spec.Name, ""), or(spec.Description, "")),
		AdminStateUp: true,
		Routes:       []l3.Route{},
		Distributed:  s.config.Distributed,
		AZHints:      append([]string{}, or(spec.AZHints, nil)...),
		EnableSNAT:   true,
	}
	if r.Tags, err = newTags(or(spec.Tags, nil)); err != nil {
		return r, err
	}
	applyRouterSpec(spec, &r)
	r.Status, _ = settledState(new(l3.RouterState), r.AdminStateUp)
	if spec.Gateway != nil {
		if err := s.setGateway(ctx, w, who, Intent{Router: r}, &r, *spec.Gateway); err != nil {
			return r, err
		}
	}
	if err := w.Routers().Insert(ctx, r); err != nil {
		return r, err
	}
	if r.Gateway == nil {
		return r, nil // nothing to realise yet
	}
	return r, s.touch(ctx, w, r.ID)
}

// GetRouter answers with a router of the caller's project.
func (s *Service) GetRouter(ctx context.Context, who l3.Caller, id string) (l3.Router, error) {
	return routerKind().get(ctx, s, who, id)
}

// ListRouters lists the routers of the caller's project.
func (s *Service) ListRouters(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.Router, error) {
	return routerKind().list(ctx, s, who, q)
}

// UpdateRouter changes a router, also its gateway and the list of its routes.
func (s *Service) UpdateRouter(ctx context.Context, who l3.Caller, id string, spec l3.RouterSpec, cond l3.If) (l3.Router, error) {
	may := func(to l3.Relation) error { return s.mayGiveRouter(who, "update_router", to, spec) }
	return routerKind().change(ctx, s, who, id, cond, may, func(w *work, r *l3.Router) error {
		if err := checkRouterSpec(spec); err != nil {
			return err
		}
		return s.updateRouter(ctx, w, who, r, spec)
	})
}

func (s *Service) updateRouter(ctx context.Context, w *work, who l3.Caller, r *l3.Router, spec l3.RouterSpec) error {
	before := *r
	applyRouterSpec(spec, r)
	if r.Distributed != before.Distributed {
		if before.AdminStateUp || r.AdminStateUp {
			return badRequest("BadRequest", "Cannot change the 'distributed' attribute of active router %s. "+
				"Please set router admin_state_up to False prior to upgrade", r.ID)
		}
		if err := s.convert(ctx, w, *r); err != nil {
			return err
		}
	}
	if spec.Gateway != nil {
		in, err := intentOf(ctx, w, r.ID)
		if err != nil {
			return err
		}
		if err := s.setGateway(ctx, w, who, in, r, *spec.Gateway); err != nil {
			return err
		}
	}
	if spec.Routes != nil {
		if err := s.setRoutes(ctx, w, r, *spec.Routes); err != nil {
			return err
		}
	}
	return s.keepRouter(ctx, w, before, r)
}

// keepRouter writes what changed of a router, and has it realised if a host would see the
// difference.
func (s *Service) keepRouter(ctx context.Context, w *work, before l3.Router, r *l3.Router) error {
	same := before.AdminStateUp == r.AdminStateUp && before.EnableSNAT == r.EnableSNAT && equalGateways(before.Gateway, r.Gateway) &&
		slices.Equal(before.Routes, r.Routes) && before.Distributed == r.Distributed
	if same && before.Name == r.Name && before.Description == r.Description && before.HA == r.HA {
		return nil
	}
	if err := s.saveRouter(ctx, w, r); err != nil || same {
		return err
	}
	return s.touch(ctx, w, r.ID)
}

// saveRouter writes a router; its revision grows.
func (s *Service) saveRouter(ctx context.Context, w *work, r *l3.Router) error {
	r.UpdatedAt = s.now()
	return w.Routers().Update(ctx, r)
}

// DeleteRouter deletes a router without interfaces, and its gateway with it.
func (s *Service) DeleteRouter(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	return routerKind().remove(ctx, s, who, id, cond, nil, func(w *work, r l3.Router) error { return s.deleteRouter(ctx, w, id) })
}

func (s *Service) deleteRouter(ctx context.Context, w *work, id string) error {
	in, err := intentOf(ctx, w, id)
	if err != nil {
		return err
	}
	for i := range in.Ports {
		if in.Ports[i].IsRouterInterface() {
			return conflict("RouterInUse", "Router %s has ports still attached: %s", id, in.Ports[i].ID)
		}
	}
	if n, err := w.FloatingIPs().Count(ctx, oneOf("router_id", id)); err != nil || n > 0 {
		return orElse(err, conflict("RouterInUse", "Router %s still has floating IPs: %d", id, n))
	}
	if err := routerLeaves(ctx, w, in.Router); err != nil {
		return err
	}
	if err := s.dropInstances(ctx, w, in.Router.ID); err != nil {
		return err
	}
	for _, p := range in.Ports {
		if err := s.dropPort(ctx, w, p); err != nil {
			return err
		}
	}
	return w.Routers().Delete(ctx, in.Router.ID)
}

// mayGiveRouter refuses what the policy does not let a caller give. The rule is create_router or
// update_router.
func (s *Service) mayGiveRouter(who l3.Caller, rule string, to l3.Relation, spec l3.RouterSpec) error {
	if err := s.may(who, rule, to); err != nil {
		return err
	}
	gw := or(spec.Gateway, l3.GatewaySpec{})
	return s.mayGive(who, rule, to,
		givenAttribute{"distributed", spec.Distributed != nil},
		givenAttribute{"ha", spec.HA != nil},
		givenAttribute{"external_gateway_info:enable_snat", gw.EnableSNAT != nil},
		givenAttribute{"external_gateway_info:external_fixed_ips", gw.FixedIPs != nil},
	)
}

// checkRouterSpec refuses what cannot be stored.
func checkRouterSpec(spec l3.RouterSpec) error {
	if flavor := or(spec.FlavorID, ""); flavor != "" {
		return notFound("FlavorNotFound", "Flavor %s could not be found: there are none", flavor)
	}
	if or(spec.HA, false) {
		return badRequest("BadRequest", "Bad router request: HA routers are not supported: a router is on one host, and moves when that is not heard")
	}
	return texts(spec.Name, spec.Description)
}

// applyRouterSpec takes over the plain attributes.
func applyRouterSpec(spec l3.RouterSpec, r *l3.Router) {
	set(&r.Name, spec.Name)
	set(&r.Description, spec.Description)
	set(&r.AdminStateUp, spec.AdminStateUp)
	set(&r.Distributed, spec.Distributed)
	set(&r.HA, spec.HA)
}

// orElse is the first error, or the second.
func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// routersOf are the routers of ports, each once, sorted.
func routersOf(ports []l3.Port) []string {
	ids := make([]string, 0, len(ports))
	for i := range ports {
		if isRouterPort(&ports[i]) {
			ids = append(ids, ports[i].DeviceID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func isRouterPort(p *l3.Port) bool {
	return p.IsRouterInterface() || p.DeviceOwner == l3.OwnerRouterGateway
}

// routersOfNetwork are the routers that have a port on a network.
func (s *Service) routersOfNetwork(ctx context.Context, tx l3.Tx, networkID string) ([]string, error) {
	ports, err := tx.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", networkID), routerOwned()}})
	return routersOf(ports), err
}

// routersOfSubnet are the routers that have an address in a subnet.
func (s *Service) routersOfSubnet(ctx context.Context, tx l3.Tx, subnetID string) ([]string, error) {
	subnet, err := tx.Subnets().Get(ctx, subnetID)
	if errors.Is(err, l3.ErrAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ports, err := tx.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", subnet.NetworkID), routerOwned()}})
	ports = slices.DeleteFunc(ports, func(p l3.Port) bool {
		return !slices.ContainsFunc(p.FixedIPs, func(ip l3.FixedIP) bool { return ip.SubnetID == subnetID })
	})
	return routersOf(ports), err
}

// mayDeletePort refuses a port that a router or a floating IP owns: it goes with its owner.
func (s *Service) mayDeletePort(p l3.Port) error {
	if isRouterPort(&p) || p.DeviceOwner == l3.OwnerFloatingIP {
		return conflict("ServicePortInUse", "Port %s cannot be deleted by itself: it has the device owner %s", p.ID, p.DeviceOwner)
	}
	return nil
}

// networkMayCeaseExternal refuses it while routers have their gateways on the network. Floating IPs
// that are bound need such a router; others stay, and cannot be bound.
func (s *Service) networkMayCeaseExternal(ctx context.Context, tx l3.Tx, networkID string) error {
	n, err := tx.Ports().Count(ctx, oneOf("network_id", networkID), oneOf("device_owner", l3.OwnerRouterGateway))
	if err != nil {
		return err
	}
	if n > 0 {
		return conflict("ExternalNetworkInUse", "External network %s is used by gateways of routers: %d", networkID, n)
	}
	return nil
}
