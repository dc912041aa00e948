package service

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// CreateNetworks makes networks, each on a segment from [Config.SegmentRanges] unless an
// administrator says which.
func (s *Service) CreateNetworks(ctx context.Context, who l3.Caller, specs ...l3.NetworkSpec) ([]l3.Network, error) {
	return create(ctx, s, who, networkKind(), specs, func(w *work, spec l3.NetworkSpec) (l3.Network, error) {
		return s.createNetwork(ctx, w, who, spec)
	})
}

func (s *Service) createNetwork(ctx context.Context, w *work, who l3.Caller, spec l3.NetworkSpec) (l3.Network, error) {
	owner, err := s.project(who, "create_network", spec.ProjectID)
	if err != nil {
		return l3.Network{}, err
	}
	if err := s.mayCreateNetwork(who, relationToNetworkOfProject(who, owner), spec); err != nil {
		return l3.Network{}, err
	}
	n := l3.Network{
		Meta:         s.newMeta(owner, or(spec.Name, ""), or(spec.Description, "")),
		AdminStateUp: or(spec.AdminStateUp, true), Status: l3.StatusActive,
		Shared: or(spec.Shared, false), External: or(spec.External, false), IsDefault: or(spec.IsDefault, false),
		AvailabilityZones: []string{}, AZHints: notNil(or(spec.AZHints, nil)), PortSecurityEnabled: or(spec.PortSecurityEnabled, true),
	}
	setDNS(&n.DNSDomain, spec.DNSDomain)
	if n.Tags, err = newTags(or(spec.Tags, nil)); err != nil {
		return l3.Network{}, err
	}
	if err := s.mayUseQoSPolicy(ctx, w, who, spec.QoSPolicyID); err != nil {
		return l3.Network{}, err
	}
	if spec.QoSPolicyID == nil {
		n.QoSPolicyID, err = defaultQoSPolicy(ctx, w, owner)
		if err != nil {
			return l3.Network{}, err
		}
	}
	set(&n.QoSPolicyID, spec.QoSPolicyID)
	if err := checkNetwork(ctx, w, n); err != nil {
		return l3.Network{}, err
	}
	if err := s.checkHints(ctx, w, n.AZHints); err != nil {
		return l3.Network{}, err
	}
	if err := s.checkQuota(ctx, w, owner, "network"); err != nil {
		return l3.Network{}, err
	}
	if err := s.usedBy(ctx, w, owner); err != nil {
		return l3.Network{}, err
	}
	if n.Segments, err = s.segments(ctx, w, or(spec.Segments, nil)); err != nil {
		return l3.Network{}, err
	}
	if n.MTU, err = s.mtu(n, or(spec.MTU, 0)); err != nil {
		return l3.Network{}, err
	}
	if err := w.Networks().Insert(ctx, n); err != nil {
		return l3.Network{}, err
	}
	if err := claimSegments(ctx, w, n); err != nil {
		return l3.Network{}, err
	}
	return n, s.shareAtCreation(ctx, w, n)
}

// mayCreateNetwork refuses what the policy does not let a caller give, unless it asks for what
// would be so anyway.
func (s *Service) mayCreateNetwork(who l3.Caller, to l3.Relation, spec l3.NetworkSpec) error {
	const rule = "create_network"
	if err := s.may(who, rule, to); err != nil {
		return err
	}
	segments := len(or(spec.Segments, nil))
	return s.mayGive(who, rule, to,
		givenAttribute{"shared", or(spec.Shared, false)},
		givenAttribute{"router:external", or(spec.External, false)},
		givenAttribute{"is_default", or(spec.IsDefault, false)},
		givenAttribute{"segments", segments > 1},
		givenAttribute{"provider:network_type", segments == 1},
	)
}

func (s *Service) mayUpdateNetwork(who l3.Caller, to l3.Relation, spec l3.NetworkSpec) error {
	const rule = "update_network"
	if err := s.may(who, rule, to); err != nil {
		return err
	}
	return s.mayGive(who, rule, to,
		givenAttribute{"shared", spec.Shared != nil},
		givenAttribute{"router:external", spec.External != nil},
		givenAttribute{"is_default", spec.IsDefault != nil},
		givenAttribute{"provider:network_type", spec.Segments != nil},
	)
}

// checkNetwork holds a network to what does not depend on its segments.
func checkNetwork(ctx context.Context, w *work, n l3.Network) error {
	if err := texts(&n.Name, &n.Description); err != nil {
		return err
	}
	if err := dnsDomain("dns_domain", n.DNSDomain); err != nil {
		return err
	}
	if !n.IsDefault {
		return nil
	}
	if !n.External {
		return invalid("Invalid input for is_default. Reason: only an external network can be the default one.")
	}
	others, err := w.Networks().List(ctx, l3.Query{Filters: []l3.Filter{
		{Field: "is_default", Op: l3.In, Values: []any{true}}, {Field: "id", Op: l3.NotIn, Values: []any{n.ID}},
	}})
	if err == nil && len(others) > 0 {
		err = conflict("DefaultExternalNetworkExists", "A default external network already exists: %s.", others[0].ID)
	}
	return err
}

// GetNetwork finds a network that the caller may see.
func (s *Service) GetNetwork(ctx context.Context, who l3.Caller, id string) (l3.Network, error) {
	return networkKind().get(ctx, s, who, id)
}

// ListNetworks lists the networks that the caller may see.
func (s *Service) ListNetworks(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.Network, error) {
	return networkKind().list(ctx, s, who, q)
}

// networkQuery replaces filters by what networks are not stored with: the subnets on them, the
// address scopes of those, and whether they are shared.
func networkQuery(ctx context.Context, tx l3.Tx, who l3.Caller, q *l3.Query) error {
	if err := sharedQuery(ctx, tx, who, q, l3.ObjectNetwork); err != nil {
		return err
	}
	for i, f := range q.Filters {
		switch f.Field {
		case "subnets":
			subnets, err := tx.Subnets().List(ctx, l3.Query{Filters: []l3.Filter{{Field: "id", Op: f.Op, Values: f.Values}}})
			if err != nil {
				return err
			}
			q.Filters[i] = l3.Filter{Field: "id", Op: l3.In}
			for _, sub := range subnets {
				q.Filters[i].Values = append(q.Filters[i].Values, sub.NetworkID)
			}
		case "ipv4_address_scope", "ipv6_address_scope":
			filter, err := inScope(ctx, tx, f)
			if err != nil {
				return err
			}
			q.Filters[i] = filter
		}
	}
	return nil
}

// UpdateNetwork changes what is given.
func (s *Service) UpdateNetwork(ctx context.Context, who l3.Caller, id string, spec l3.NetworkSpec, cond l3.If) (l3.Network, error) {
	may := func(to l3.Relation) error { return s.mayUpdateNetwork(who, to, spec) }
	return networkKind().change(ctx, s, who, id, cond, may, func(w *work, n *l3.Network) error { return s.updateNetwork(ctx, w, who, n, spec) })
}

func (s *Service) updateNetwork(ctx context.Context, w *work, who l3.Caller, n *l3.Network, spec l3.NetworkSpec) error {
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
	setDNS(&n.DNSDomain, spec.DNSDomain)
	if err := s.mayUseQoSPolicy(ctx, w, who, spec.QoSPolicyID); err != nil {
		return err
	}
	set(&n.QoSPolicyID, spec.QoSPolicyID)
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
	if _, err := put(ctx, w.Networks(), before, n, s.now()); err != nil {
		return err
	}
	var routers []string
	var err error
	switch {
	case n.MTU != before.MTU:
		routers, err = s.routersOfNetwork(ctx, w, n.ID)
	case n.QoSPolicyID != before.QoSPolicyID:
		routers, err = routersInheriting(ctx, w, []string{n.ID})
		slices.Sort(routers)
		routers = slices.DeleteFunc(slices.Compact(routers), func(id string) bool { return id == "" })
	}
	if err != nil {
		return err
	}
	return s.touchFor(ctx, w, who, routers...)
}

// DeleteNetwork deletes a network with its subnets, with the ports that clients do not make
// themselves, and with its floating IPs that are not bound, whosoever they are. Any other port
// keeps it.
func (s *Service) DeleteNetwork(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	return networkKind().remove(ctx, s, who, id, cond, nil, func(w *work, n l3.Network) error {
		return s.deleteNetwork(ctx, w, n)
	})
}

func (s *Service) deleteNetwork(ctx context.Context, w *work, n l3.Network) error {
	here := l3.Query{Filters: []l3.Filter{oneOf("network_id", n.ID)}}
	ports, err := w.Ports().List(ctx, here)
	if err != nil {
		return err
	}
	unbound, err := unboundOf(ctx, w, n.ID)
	if err != nil {
		return err
	}
	for _, f := range unbound {
		ports = slices.DeleteFunc(ports, func(p l3.Port) bool { return p.ID == f.OwnPort })
	}
	if slices.ContainsFunc(ports, func(p l3.Port) bool { return !comesByItself(p) }) {
		return conflict("NetworkInUse",
			"Unable to complete operation on network %s. There are one or more ports still in use on the network.", n.ID)
	}
	for _, f := range unbound {
		if err := w.FloatingIPs().Delete(ctx, f.ID); err != nil {
			return err
		}
		ports = append(ports, l3.Port{Meta: l3.Meta{ID: f.OwnPort}})
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
	if err := networkLeaves(ctx, w, n); err != nil {
		return err
	}
	if err := unshare(ctx, w, n.ID, l3.AccessAsShared, l3.AccessAsExternal); err != nil {
		return err
	}
	if err := w.Segments().Release(ctx, n.ID); err != nil {
		return err
	}
	return w.Networks().Delete(ctx, n.ID)
}

// unboundOf returns the floating IPs of a network that stand for nothing.
func unboundOf(ctx context.Context, tx l3.Tx, networkID string) ([]l3.FloatingIP, error) {
	return tx.FloatingIPs().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("floating_network_id", networkID), oneOf("router_id", "")}})
}

// comesByItself says whether a port is one that the network service makes for a network, and not a
// client.
func comesByItself(p l3.Port) bool {
	return p.DeviceOwner == "network:dhcp" || p.DeviceOwner == "network:distributed"
}

// showNetworks fills in what follows from other resources: the subnets, their address scopes, and
// whether a network is shared with the caller.
func (s *Service) showNetworks(ctx context.Context, tx l3.Tx, who l3.Caller, networks []l3.Network) error {
	ids := networkIDs(networks)
	subnets, err := listOf(ctx, tx.Subnets(), "network_id", ids)
	if err != nil {
		return err
	}
	scopes, err := scopesOfPools(ctx, tx, subnets)
	if err != nil {
		return err
	}
	of, four, six := map[string][]string{}, map[string]string{}, map[string]string{}
	for _, sub := range subnets {
		of[sub.NetworkID] = append(of[sub.NetworkID], sub.ID)
		scope := scopes[sub.SubnetPoolID]
		switch {
		case scope == "":
		case sub.IPVersion == 4:
			four[sub.NetworkID] = scope
		default:
			six[sub.NetworkID] = scope
		}
	}
	shared, err := sharedWith(ctx, tx, who, ids)
	if err != nil {
		return err
	}
	for i := range networks {
		n := &networks[i]
		n.Subnets, n.IPv4AddressScope, n.IPv6AddressScope = notNil(of[n.ID]), four[n.ID], six[n.ID]
		slices.Sort(n.Subnets)
		n.Shared = n.Shared || shared[n.ID]
	}
	return nil
}
