package service

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// CreateSubnets makes subnets. What is not given is as Neutron has it: the first address is the
// gateway's, and all others can be given to ports.
func (s *Service) CreateSubnets(ctx context.Context, who l3.Caller, specs ...l3.SubnetSpec) ([]l3.Subnet, error) {
	return create(ctx, s, who, subnetKind(), specs, func(w *work, spec l3.SubnetSpec) (l3.Subnet, error) {
		return s.createSubnet(ctx, w, who, spec)
	})
}

func (s *Service) createSubnet(ctx context.Context, w *work, who l3.Caller, spec l3.SubnetSpec) (l3.Subnet, error) {
	const rule = "create_subnet"
	owner, err := s.project(who, rule, spec.ProjectID)
	if err != nil {
		return l3.Subnet{}, err
	}
	n, to, err := networkKind().find(ctx, s, w, who, or(spec.NetworkID, ""))
	if err != nil {
		return l3.Subnet{}, err
	}
	if err := s.may(who, rule, to); err != nil {
		return l3.Subnet{}, err
	}
	pool, err := s.allocateSubnet(ctx, w, who, owner, &spec)
	if err != nil {
		return l3.Subnet{}, err
	}
	sub, err := newSubnet(s.newMeta(owner, or(spec.Name, ""), or(spec.Description, "")), spec)
	if err != nil {
		return l3.Subnet{}, err
	}
	if sub.Tags, err = newTags(or(spec.Tags, nil)); err != nil {
		return l3.Subnet{}, err
	}
	if err := checkSubnet(sub); err != nil {
		return l3.Subnet{}, err
	}
	if err := fitsNetwork(ctx, w, n, sub, pool); err != nil {
		return l3.Subnet{}, err
	}
	if err := s.checkQuota(ctx, w, owner, "subnet"); err != nil {
		return l3.Subnet{}, err
	}
	if err := w.Subnets().Insert(ctx, sub); err != nil {
		return l3.Subnet{}, err
	}
	if err := holdIn(ctx, w, n, sub); err != nil {
		return l3.Subnet{}, err
	}
	if err := s.giveSelfMade(ctx, w, sub); err != nil {
		return l3.Subnet{}, err
	}
	if err := s.offer(ctx, w, sub); err != nil {
		return l3.Subnet{}, err
	}
	if err := s.reviseNetwork(ctx, w, sub.NetworkID); err != nil {
		return l3.Subnet{}, err
	}
	return sub, s.reachOutside(ctx, w, sub.NetworkID)
}

// reviseNetwork grows the revision of a network, because its subnets have changed.
func (s *Service) reviseNetwork(ctx context.Context, w *work, id string) error {
	n, err := w.Networks().Get(ctx, id)
	if err != nil {
		return err
	}
	n.UpdatedAt = s.now()
	return w.Networks().Update(ctx, &n)
}

// newSubnet fills in what is not given. A CIDR is.
func newSubnet(m l3.Meta, spec l3.SubnetSpec) (l3.Subnet, error) {
	sub := l3.Subnet{
		Meta: m, NetworkID: or(spec.NetworkID, ""), CIDR: *spec.CIDR,
		EnableDHCP: or(spec.EnableDHCP, true), DNSNameservers: notNil(or(spec.DNSNameservers, nil)), HostRoutes: notNil(or(spec.HostRoutes, nil)),
		IPv6RAMode: or(spec.IPv6RAMode, ""), IPv6AddressMode: or(spec.IPv6AddressMode, ""), ServiceTypes: notNil(or(spec.ServiceTypes, nil)),
		SubnetPoolID: or(spec.SubnetPoolID, ""),
	}
	if err := checkCIDR(sub.CIDR); err != nil {
		return l3.Subnet{}, err
	}
	sub.IPVersion = or(spec.IPVersion, version(sub.CIDR.Addr()))
	all := hosts(sub.CIDR)
	sub.GatewayIP = or(spec.GatewayIP, all.First)
	if spec.AllocationPools != nil {
		sub.AllocationPools = sorted(*spec.AllocationPools)
	} else {
		sub.AllocationPools = without([]l3.AddressRange{all}, sub.GatewayIP)
	}
	return sub, nil
}

func sorted(pools []l3.AddressRange) []l3.AddressRange {
	pools = append([]l3.AddressRange{}, pools...)
	slices.SortFunc(pools, func(a, b l3.AddressRange) int { return a.First.Compare(b.First) })
	return pools
}

// fitsNetwork checks a new subnet, of a pool or of none, against its network and the other subnets
// there.
func fitsNetwork(ctx context.Context, w *work, n l3.Network, sub l3.Subnet, pool *l3.SubnetPool) error {
	if sub.IPVersion == 6 && n.MTU < minMTU6 {
		return mtuTooSmall(n.ID)
	}
	others, err := w.Subnets().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", n.ID)}})
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.CIDR.Overlaps(sub.CIDR) {
			return invalid("Invalid input for operation: Requested subnet with cidr: %s for network: %s overlaps with another subnet: %s of %s.",
				sub.CIDR, n.ID, o.CIDR, o.ID)
		}
	}
	return samePool(ctx, w, sub, pool, others)
}

// giveSelfMade notes the addresses that the machines on a network will make for themselves in a new
// subnet.
func (s *Service) giveSelfMade(ctx context.Context, w *work, sub l3.Subnet) error {
	if !autoAddressed(sub) {
		return nil
	}
	ports, err := w.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", sub.NetworkID)}})
	if err != nil {
		return err
	}
	for _, p := range ports {
		if isRouterPort(&p) || p.DeviceOwner == l3.OwnerFloatingIP {
			continue
		}
		if err := s.changeAddresses(ctx, w, &p, wanted(p.FixedIPs)); err != nil {
			return err
		}
	}
	return nil
}

// wanted asks for the addresses that a port has.
func wanted(fixed []l3.FixedIP) []l3.FixedIPSpec {
	want := make([]l3.FixedIPSpec, len(fixed))
	for i, f := range fixed {
		want[i] = l3.FixedIPSpec(f)
	}
	return want
}

// GetSubnet finds a subnet that the caller may see.
func (s *Service) GetSubnet(ctx context.Context, who l3.Caller, id string) (l3.Subnet, error) {
	return subnetKind().get(ctx, s, who, id)
}

// ListSubnets lists the subnets that the caller may see.
func (s *Service) ListSubnets(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.Subnet, error) {
	return subnetKind().list(ctx, s, who, q)
}

// UpdateSubnet changes what is given. Addresses that ports have stay, also when the pools no longer
// hold them.
func (s *Service) UpdateSubnet(ctx context.Context, who l3.Caller, id string, spec l3.SubnetSpec, cond l3.If) (l3.Subnet, error) {
	return subnetKind().change(ctx, s, who, id, cond, nil, func(w *work, sub *l3.Subnet) error { return s.updateSubnet(ctx, w, who, sub, spec) })
}

func (s *Service) updateSubnet(ctx context.Context, w *work, who l3.Caller, sub *l3.Subnet, spec l3.SubnetSpec) error {
	before := *sub
	if err := errors.Join(fixed("project_id", sub.ProjectID, spec.ProjectID), fixed("network_id", sub.NetworkID, spec.NetworkID),
		fixed("cidr", sub.CIDR, spec.CIDR), fixed("ip_version", sub.IPVersion, spec.IPVersion),
		fixed("ipv6_ra_mode", sub.IPv6RAMode, spec.IPv6RAMode), fixed("ipv6_address_mode", sub.IPv6AddressMode, spec.IPv6AddressMode),
		fixed("subnetpool_id", sub.SubnetPoolID, spec.SubnetPoolID), fixed("prefixlen", sub.CIDR.Bits(), spec.PrefixLen),
		fixed("use_default_subnetpool", false, spec.UseDefaultSubnetPool)); err != nil {
		return err
	}
	set(&sub.Name, spec.Name)
	set(&sub.Description, spec.Description)
	set(&sub.GatewayIP, spec.GatewayIP)
	set(&sub.EnableDHCP, spec.EnableDHCP)
	set(&sub.DNSNameservers, spec.DNSNameservers)
	set(&sub.HostRoutes, spec.HostRoutes)
	set(&sub.ServiceTypes, spec.ServiceTypes)
	if spec.AllocationPools != nil {
		sub.AllocationPools = sorted(*spec.AllocationPools)
	}
	sub.DNSNameservers, sub.HostRoutes, sub.ServiceTypes = notNil(sub.DNSNameservers), notNil(sub.HostRoutes), notNil(sub.ServiceTypes)
	if err := checkSubnet(*sub); err != nil {
		return err
	}
	if sub.GatewayIP != before.GatewayIP {
		if err := gatewayFree(ctx, w, before); err != nil {
			return err
		}
	}
	changed, err := put(ctx, w.Subnets(), before, sub, s.now())
	if err != nil || !changed {
		return err
	}
	advertised := sub.IPv6RAMode != "" && !slices.Equal(sub.DNSNameservers, before.DNSNameservers)
	if err := s.reviseNetwork(ctx, w, sub.NetworkID); err != nil || sub.GatewayIP == before.GatewayIP && !advertised {
		return err
	}
	routers, err := s.routersOfSubnet(ctx, w, sub.ID)
	if err != nil {
		return err
	}
	return s.touchFor(ctx, w, who, routers...)
}

// gatewayFree refuses to take the gateway's address away from a router that has it.
func gatewayFree(ctx context.Context, w *work, sub l3.Subnet) error {
	if !sub.GatewayIP.IsValid() {
		return nil
	}
	ports, err := w.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", sub.NetworkID),
		oneOf("device_owner", l3.OwnerRouterInterface, l3.OwnerDistributedInterface)}})
	for _, p := range ports {
		if slices.Contains(p.FixedIPs, l3.FixedIP{SubnetID: sub.ID, IPAddress: sub.GatewayIP}) {
			// The port may be another project's, so it is not named.
			return conflict("GatewayIpInUse", "Current gateway ip %s is in use by a router. Unable to update.", sub.GatewayIP)
		}
	}
	return err
}

// DeleteSubnet deletes a subnet that no port has an address of, but for ports that come by
// themselves and addresses that machines make for themselves.
func (s *Service) DeleteSubnet(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	return subnetKind().remove(ctx, s, who, id, cond, nil, func(w *work, sub l3.Subnet) error {
		if err := s.leaveSubnet(ctx, w, sub); err != nil {
			return err
		}
		if err := w.Subnets().Delete(ctx, sub.ID); err != nil {
			return err
		}
		if err := s.reviseNetwork(ctx, w, sub.NetworkID); err != nil {
			return err
		}
		return s.reachOutside(ctx, w, sub.NetworkID)
	})
}

// leaveSubnet takes the addresses of a subnet away from the ports that do not keep it.
func (s *Service) leaveSubnet(ctx context.Context, w *work, sub l3.Subnet) error {
	ports, err := w.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("fixed_ips.subnet_id", sub.ID)}})
	if err != nil {
		return err
	}
	for _, p := range ports {
		owned := isRouterPort(&p) || p.DeviceOwner == l3.OwnerFloatingIP
		if owned || !autoAddressed(sub) && !comesByItself(p) {
			return conflict("SubnetInUse",
				"Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", sub.ID)
		}
	}
	for _, p := range ports {
		before := p.FixedIPs
		p.FixedIPs = slices.DeleteFunc(slices.Clone(before), func(f l3.FixedIP) bool { return f.SubnetID == sub.ID })
		p.UpdatedAt = s.now()
		if err := claim(ctx, w, p, before); err != nil {
			return err
		}
		if err := w.Ports().Update(ctx, &p); err != nil {
			return err
		}
	}
	return releaseIn(ctx, w, sub)
}

// checkCIDR holds a block of addresses to what a network can have.
func checkCIDR(cidr netip.Prefix) error {
	switch a := cidr.Addr(); {
	case !plain(a):
		return invalid("Invalid input for cidr. Reason: '%s' is not a valid IP subnet.", cidr)
	case cidr != cidr.Masked():
		return invalid("Invalid input for cidr. Reason: '%s' isn't a recognized IP subnet cidr, '%s' is recommended.", cidr, cidr.Masked())
	case cidr.Bits() == 0 || a.IsUnspecified():
		return invalid("Invalid input for cidr. Reason: '%s' holds the unspecified address.", cidr)
	case a.IsMulticast() || a.Is4() && a.As4()[0] >= 240:
		return invalid("Invalid input for cidr. Reason: '%s' is not unicast.", cidr)
	case a.IsLoopback():
		return invalid("Invalid input for cidr. Reason: '%s' is loopback.", cidr)
	case a.Is6() && a.IsLinkLocalUnicast():
		return invalid("Invalid input for cidr. Reason: '%s' is link-local.", cidr)
	}
	return nil
}

// showSubnets fills in what follows from the subnets' networks.
func (s *Service) showSubnets(ctx context.Context, tx l3.Tx, _ l3.Caller, subnets []l3.Subnet) error {
	ids := make([]string, len(subnets))
	for i, sub := range subnets {
		ids[i] = sub.NetworkID
	}
	slices.Sort(ids)
	external, err := listOf(ctx, tx.Networks(), "id", slices.Compact(ids), isExternal())
	if err != nil {
		return err
	}
	of := networkIDs(external)
	for i := range subnets {
		subnets[i].External = slices.Contains(of, subnets[i].NetworkID)
	}
	return nil
}

// subnetQuery replaces filters that are about the subnets' networks: router:external, and shared,
// which means shared with the caller's project.
func subnetQuery(ctx context.Context, tx l3.Tx, who l3.Caller, q *l3.Query) error {
	for i, f := range q.Filters {
		switch f.Field {
		case "router:external":
			networks, err := tx.Networks().List(ctx, l3.Query{Filters: []l3.Filter{isExternal()}})
			if err != nil {
				return err
			}
			q.Filters[i] = whichOf(f, networkIDs(networks))
		case "shared":
			policies, err := policiesFor(ctx, tx, who, oneOf("action", l3.AccessAsShared), oneOf("object_type", l3.ObjectNetwork))
			if err != nil {
				return err
			}
			q.Filters[i] = whichOf(f, objects(policies))
		}
	}
	return nil
}

// whichOf replaces the filter of a boolean that is true for what is on some networks.
func whichOf(f l3.Filter, networks []string) l3.Filter {
	on := oneOf("network_id", networks...)
	switch yes, no := filterHolds(f, true), filterHolds(f, false); {
	case yes && no:
		return l3.Filter{Field: "id", Op: l3.NotIn}
	case no:
		on.Op = l3.NotIn
	case !yes:
		return nothing()
	}
	return on
}

// isExternal finds external networks.
func isExternal() l3.Filter {
	return l3.Filter{Field: "router:external", Op: l3.In, Values: []any{true}}
}
