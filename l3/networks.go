package l3

import (
	"context"
	"slices"
)

// CreateNetworks makes networks, each on a segment from [Config.SegmentRanges] unless an administrator says which.
func (s *Service) CreateNetworks(ctx context.Context, who Caller, specs ...NetworkSpec) ([]Network, error) {
	return makeAll(ctx, s, specs, func(w *work, spec NetworkSpec) (Network, error) {
		n, err := s.createNetwork(ctx, w, who, spec)
		if err != nil {
			return Network{}, err
		}
		return s.showNetwork(ctx, w, who, n)
	})
}

func (s *Service) createNetwork(ctx context.Context, w *work, who Caller, spec NetworkSpec) (Network, error) {
	if err := mayCreateNetwork(who, spec); err != nil {
		return Network{}, err
	}
	owner, err := project(who, spec.ProjectID)
	if err != nil {
		return Network{}, err
	}
	n := Network{
		Meta:         s.newMeta(owner, or(spec.Name, ""), or(spec.Description, "")),
		AdminStateUp: or(spec.AdminStateUp, true), Status: StatusActive,
		Shared: or(spec.Shared, false), External: or(spec.External, false), IsDefault: or(spec.IsDefault, false),
		AvailabilityZones: []string{}, AZHints: notNil(or(spec.AZHints, nil)), PortSecurityEnabled: or(spec.PortSecurityEnabled, true),
	}
	if err := checkNetwork(ctx, w, n); err != nil {
		return Network{}, err
	}
	if err := s.checkQuota(ctx, w, owner, "network"); err != nil {
		return Network{}, err
	}
	if n.Segments, err = s.segments(ctx, w, or(spec.Segments, nil)); err != nil {
		return Network{}, err
	}
	if n.MTU, err = s.mtu(n, or(spec.MTU, 0)); err != nil {
		return Network{}, err
	}
	if err := w.Networks().Insert(ctx, n); err != nil {
		return Network{}, err
	}
	if err := claimSegments(ctx, w, n); err != nil {
		return Network{}, err
	}
	return n, s.shareAtCreation(ctx, w, n)
}

// mayCreateNetwork keeps attributes for administrators, unless they ask for what would be so anyway.
func mayCreateNetwork(who Caller, spec NetworkSpec) error {
	switch {
	case who.Admin:
	case or(spec.Shared, false):
		return disallowed("create_network:shared")
	case or(spec.External, false):
		return disallowed("create_network:router:external")
	case or(spec.IsDefault, false):
		return disallowed("create_network:is_default")
	case len(or(spec.Segments, nil)) > 1:
		return disallowed("create_network:segments")
	case len(or(spec.Segments, nil)) == 1:
		return disallowed("create_network:provider:network_type")
	}
	return nil
}

func mayUpdateNetwork(who Caller, n Network, spec NetworkSpec) error {
	switch {
	case who.Admin:
	case !who.owns(n.ProjectID):
		return disallowed("update_network")
	case spec.Shared != nil:
		return disallowed("update_network:shared")
	case spec.External != nil:
		return disallowed("update_network:router:external")
	case spec.IsDefault != nil:
		return disallowed("update_network:is_default")
	case spec.Segments != nil:
		return disallowed("update_network:provider:network_type")
	}
	return nil
}

// checkNetwork holds a network to what does not depend on its segments.
func checkNetwork(ctx context.Context, w *work, n Network) error {
	if err := texts(&n.Name, &n.Description); err != nil {
		return err
	}
	for _, zone := range n.AZHints {
		if err := text("availability_zone_hints", &zone); err != nil {
			return err
		}
	}
	if !n.IsDefault {
		return nil
	}
	if !n.External {
		return invalid("Invalid input for is_default. Reason: only an external network can be the default one.")
	}
	others, err := w.Networks().List(ctx, Query{Filters: []Filter{
		{Field: "is_default", Op: In, Values: []any{true}}, {Field: "id", Op: NotIn, Values: []any{n.ID}},
	}})
	if err == nil && len(others) > 0 {
		err = conflict("DefaultExternalNetworkExists", "A default external network already exists: %s.", others[0].ID)
	}
	return err
}

// GetNetwork finds a network that the caller may see.
func (s *Service) GetNetwork(ctx context.Context, who Caller, id string) (n Network, err error) {
	err = s.config.Store.View(ctx, func(tx Tx) error {
		if n, err = s.network(ctx, tx, who, id); err != nil {
			return err
		}
		n, err = s.showNetwork(ctx, tx, who, n)
		return err
	})
	return n, err
}

// ListNetworks lists the networks that the caller may see.
func (s *Service) ListNetworks(ctx context.Context, who Caller, q Query) (list []Network, err error) {
	err = s.config.Store.View(ctx, func(tx Tx) error {
		if err := networksFor(ctx, tx, who, &q); err != nil {
			return err
		}
		if list, err = tx.Networks().List(ctx, q); err != nil {
			return err
		}
		return s.showNetworks(ctx, tx, who, list)
	})
	return list, err
}

// networksFor bounds a query to what the caller may see. A filter for what is shared means: with him.
func networksFor(ctx context.Context, tx Tx, who Caller, q *Query) (err error) {
	if q.Scope, err = networkScope(ctx, tx, who); err != nil || who.Admin {
		return err
	}
	i := slices.IndexFunc(q.Filters, func(f Filter) bool { return f.Field == "shared" && f.Op == In && len(f.Values) == 1 })
	if i < 0 {
		return nil
	}
	policies, err := policiesFor(ctx, tx, who, oneOf("action", AccessAsShared))
	ids := oneOf("id", objects(policies)...)
	if shared := q.Filters[i].Values[0]; shared != true {
		ids.Op = NotIn
	}
	q.Filters = slices.Clone(q.Filters)
	q.Filters[i] = ids
	return err
}

// UpdateNetwork changes what is given.
func (s *Service) UpdateNetwork(ctx context.Context, who Caller, id string, spec NetworkSpec, cond If) (n Network, err error) {
	err = s.update(ctx, func(w *work) error {
		if n, err = s.network(ctx, w, who, id); err != nil {
			return err
		}
		if err := mayUpdateNetwork(who, n, spec); err != nil {
			return err
		}
		if err := checkIf(cond, n.Meta); err != nil {
			return err
		}
		if err := s.updateNetwork(ctx, w, &n, spec); err != nil {
			return err
		}
		n, err = s.showNetwork(ctx, w, who, n)
		return err
	})
	return n, err
}

func (s *Service) updateNetwork(ctx context.Context, w *work, n *Network, spec NetworkSpec) error {
	before := *n
	if err := fixed("project_id", n.ProjectID, spec.ProjectID); err != nil {
		return err
	}
	if spec.AZHints != nil && !slices.Equal(*spec.AZHints, n.AZHints) {
		return badRequest("HTTPBadRequest", "Cannot update read-only attribute availability_zone_hints")
	}
	set(&n.Name, spec.Name)
	set(&n.Description, spec.Description)
	set(&n.AdminStateUp, spec.AdminStateUp)
	set(&n.Shared, spec.Shared)
	set(&n.External, spec.External)
	set(&n.IsDefault, spec.IsDefault)
	set(&n.PortSecurityEnabled, spec.PortSecurityEnabled)
	if spec.Segments != nil && !slices.Equal(*spec.Segments, n.Segments) {
		return invalid("Invalid input for operation: provider attributes of a network cannot be changed.")
	}
	if !n.External {
		n.IsDefault = or(spec.IsDefault, false)
	}
	if err := checkNetwork(ctx, w, *n); err != nil {
		return err
	}
	if err := s.changeMTU(ctx, w, n, spec.MTU); err != nil {
		return err
	}
	if err := s.changeSharing(ctx, w, before, *n); err != nil {
		return err
	}
	if _, err := put(ctx, w.Networks(), before, n, &n.Meta, s.now()); err != nil || n.MTU == before.MTU {
		return err
	}
	routers, err := s.routersOfNetwork(ctx, w, n.ID)
	if err != nil {
		return err
	}
	return s.touch(ctx, w, routers...)
}

// DeleteNetwork deletes a network with its subnets, and with the ports that clients do not make themselves. Any other port keeps it.
func (s *Service) DeleteNetwork(ctx context.Context, who Caller, id string, cond If) error {
	return s.update(ctx, func(w *work) error {
		n, err := s.network(ctx, w, who, id)
		if err != nil {
			return err
		}
		if !who.owns(n.ProjectID) {
			return disallowed("delete_network")
		}
		if err := checkIf(cond, n.Meta); err != nil {
			return err
		}
		return s.deleteNetwork(ctx, w, n)
	})
}

func (s *Service) deleteNetwork(ctx context.Context, w *work, n Network) error {
	here := Query{Filters: []Filter{oneOf("network_id", n.ID)}}
	ports, err := w.Ports().List(ctx, here)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ports, func(p Port) bool { return !comesByItself(p) }) {
		return conflict("NetworkInUse",
			"Unable to complete operation on network %s. There are one or more ports still in use on the network.", n.ID)
	}
	for _, p := range ports {
		if err := s.dropPort(ctx, w, p); err != nil {
			return err
		}
	}
	subnets, err := w.Subnets().List(ctx, here)
	if err != nil {
		return err
	}
	for _, sub := range subnets {
		if err := w.Subnets().Delete(ctx, sub.ID); err != nil {
			return err
		}
	}
	if err := unshare(ctx, w, n, AccessAsShared, AccessAsExternal); err != nil {
		return err
	}
	if err := w.Segments().Release(ctx, n.ID); err != nil {
		return err
	}
	return w.Networks().Delete(ctx, n.ID)
}

// comesByItself says whether a port is one that the network service makes for a network, and not a client.
func comesByItself(p Port) bool {
	return p.DeviceOwner == "network:dhcp" || p.DeviceOwner == "network:distributed"
}

func (s *Service) showNetwork(ctx context.Context, tx Tx, who Caller, n Network) (Network, error) {
	one := []Network{n}
	err := s.showNetworks(ctx, tx, who, one)
	return one[0], err
}

// showNetworks fills in what follows from other resources: the subnets, and whether a network is shared with the caller.
func (s *Service) showNetworks(ctx context.Context, tx Tx, who Caller, networks []Network) error {
	ids := networkIDs(networks)
	subnets, err := listOf(ctx, tx.Subnets(), "network_id", ids)
	if err != nil {
		return err
	}
	of := map[string][]string{}
	for _, sub := range subnets {
		of[sub.NetworkID] = append(of[sub.NetworkID], sub.ID)
	}
	shared, err := listOf(ctx, tx.RBACPolicies(), "object_id", ids, oneOf("action", AccessAsShared), oneOf("target_project", everyone, who.Project))
	if err != nil {
		return err
	}
	with := objects(shared)
	for i := range networks {
		n := &networks[i]
		n.Subnets = notNil(of[n.ID])
		slices.Sort(n.Subnets)
		n.Shared = n.Shared || slices.Contains(with, n.ID)
	}
	return nil
}
