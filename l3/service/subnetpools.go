package service

import (
	"context"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// maxPrefixes is how many prefixes a pool may have that cannot be merged.
const maxPrefixes = 1000

// CreateSubnetPools makes subnet pools. Their IP version is that of their prefixes.
func (s *Service) CreateSubnetPools(ctx context.Context, who l3.Caller, specs ...l3.SubnetPoolSpec) ([]l3.SubnetPool, error) {
	return create(ctx, s, who, subnetPoolKind(), specs, func(w *work, spec l3.SubnetPoolSpec) (l3.SubnetPool, error) {
		return s.createSubnetPool(ctx, w, who, spec)
	})
}

func (s *Service) createSubnetPool(ctx context.Context, w *work, who l3.Caller, spec l3.SubnetPoolSpec) (l3.SubnetPool, error) {
	const rule = "create_subnetpool"
	owner, err := s.project(who, rule, spec.ProjectID)
	if err != nil {
		return l3.SubnetPool{}, err
	}
	to := relationToProject(who, owner)
	if err := s.may(who, rule, to); err != nil {
		return l3.SubnetPool{}, err
	}
	if err := s.mayGive(who, rule, to, givenAttribute{"shared", or(spec.Shared, false)}, givenAttribute{"is_default", or(spec.IsDefault, false)}); err != nil {
		return l3.SubnetPool{}, err
	}
	p := l3.SubnetPool{
		Meta: s.newMeta(owner, or(spec.Name, ""), or(spec.Description, "")), DefaultQuota: spec.DefaultQuota,
		IsDefault: or(spec.IsDefault, false), Shared: or(spec.Shared, false), AddressScopeID: or(spec.AddressScopeID, ""),
	}
	if p.Tags, err = newTags(or(spec.Tags, nil)); err != nil {
		return p, err
	}
	if p.Prefixes, err = mergedPrefixes(or(spec.Prefixes, nil)); err != nil {
		return p, err
	}
	p.IPVersion = version(p.Prefixes[0].Addr())
	p.MinPrefixLen, p.MaxPrefixLen = 8, bits(p.IPVersion)
	if p.IPVersion == 6 {
		p.MinPrefixLen = 64
	}
	set(&p.MinPrefixLen, spec.MinPrefixLen)
	set(&p.MaxPrefixLen, spec.MaxPrefixLen)
	p.DefaultPrefixLen = or(spec.DefaultPrefixLen, p.MinPrefixLen)
	if err := s.checkSubnetPool(ctx, w, p); err != nil {
		return p, err
	}
	if err := s.mayBeInScope(ctx, w, who, p); err != nil {
		return p, err
	}
	if err := s.checkQuota(ctx, w, owner, "subnetpool"); err != nil {
		return p, err
	}
	if err := w.SubnetPools().Insert(ctx, p); err != nil || !p.Shared {
		return p, err
	}
	return p, s.shareWithEveryone(ctx, w, l3.ObjectSubnetPool, p.Meta, l3.AccessAsShared)
}

// mergedPrefixes merges prefixes of one IP version, and sorts them.
func mergedPrefixes(given []netip.Prefix) ([]netip.Prefix, error) {
	if len(given) == 0 {
		return nil, badRequest("EmptySubnetPoolPrefixList", "Empty subnet pool prefix list.")
	}
	for _, p := range given {
		switch {
		case !p.IsValid() || !plain(p.Addr()):
			return nil, invalid("Invalid input for prefixes. Reason: '%s' is not a valid IP subnet.", p)
		case p.Addr().Is4() != given[0].Addr().Is4():
			return nil, badRequest("PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
		}
	}
	set, err := ipSet(given, nil)
	if err != nil {
		return nil, err
	}
	return few(set.Prefixes())
}

// few refuses more prefixes than a pool may have.
func few(prefixes []netip.Prefix) ([]netip.Prefix, error) {
	if len(prefixes) > maxPrefixes {
		return nil, badRequest("IllegalSubnetPoolPrefixUpdate", "Illegal update to prefixes: the subnet pool would have %d, and can have %d.",
			len(prefixes), maxPrefixes)
	}
	return notNil(prefixes), nil
}

// checkSubnetPool holds a pool to what does not depend on its subnets and its address scope.
func (s *Service) checkSubnetPool(ctx context.Context, tx l3.Tx, p l3.SubnetPool) error {
	if err := texts(&p.Name, &p.Description); err != nil {
		return err
	}
	if p.Name == "" {
		return invalid("Invalid input for name. Reason: '' Blank strings are not permitted.")
	}
	if q := p.DefaultQuota; q != nil && (*q < 0 || *q > maxPoolQuota) {
		return invalid("Invalid input for default_quota. Reason: '%d' is not between 0 and %d.", *q, maxPoolQuota)
	}
	if err := checkPrefixLens(p); err != nil || !p.IsDefault {
		return err
	}
	others, err := defaultPools(ctx, tx, p.IPVersion)
	if err == nil && slices.ContainsFunc(others, func(o l3.SubnetPool) bool { return o.ID != p.ID }) {
		err = invalid("Invalid input for operation: A default subnetpool for this IP family has already been set." +
			" Only one default may exist per IP family.")
	}
	return err
}

// maxPoolQuota is Neutron's: a 32-bit integer.
const maxPoolQuota = 1<<31 - 1

func checkPrefixLens(p l3.SubnetPool) error {
	bounds := func(name string, length int, than string, bound int) error {
		return badRequest("IllegalSubnetPoolPrefixBounds", "Illegal prefix bounds: %s=%d, %s=%d.", name, length, than, bound)
	}
	switch {
	case p.MinPrefixLen < 0:
		return badRequest("UnsupportedMinSubnetPoolPrefix", "Prefix '%d' not supported in IPv%d pool.", p.MinPrefixLen, p.IPVersion)
	case p.MinPrefixLen > p.MaxPrefixLen:
		return bounds("min_prefixlen", p.MinPrefixLen, "max_prefixlen", p.MaxPrefixLen)
	case p.MaxPrefixLen > bits(p.IPVersion):
		return bounds("max_prefixlen", p.MaxPrefixLen, "ip_version_max", bits(p.IPVersion))
	case p.DefaultPrefixLen < p.MinPrefixLen:
		return bounds("default_prefixlen", p.DefaultPrefixLen, "min_prefixlen", p.MinPrefixLen)
	case p.DefaultPrefixLen > p.MaxPrefixLen:
		return bounds("default_prefixlen", p.DefaultPrefixLen, "max_prefixlen", p.MaxPrefixLen)
	}
	return nil
}

func defaultPools(ctx context.Context, tx l3.Tx, ipVersion int) ([]l3.SubnetPool, error) {
	return tx.SubnetPools().List(ctx, l3.Query{Filters: []l3.Filter{
		{Field: "is_default", Op: l3.In, Values: []any{true}}, {Field: "ip_version", Op: l3.In, Values: []any{ipVersion}},
	}})
}

// mayBeInScope refuses an address scope that the caller does not see, that is of the other family,
// or in which another pool has some of the prefixes.
func (s *Service) mayBeInScope(ctx context.Context, w *work, who l3.Caller, p l3.SubnetPool) error {
	if p.AddressScopeID == "" {
		return nil
	}
	scope, _, err := addressScopeKind().find(ctx, s, w, who, p.AddressScopeID)
	if err != nil {
		return err
	}
	if scope.IPVersion != p.IPVersion {
		return badRequest("IllegalSubnetPoolIpVersionAssociationToAddressScope", "Illegal subnetpool association: subnetpool %s"+
			" cannot associate with address scope %s because subnetpool ip_version is not %d.", p.ID, scope.ID, scope.IPVersion)
	}
	others, err := poolsOfScope(ctx, w, scope.ID)
	if err != nil {
		return err
	}
	var taken []netip.Prefix
	for _, o := range others {
		if o.ID != p.ID {
			taken = append(taken, o.Prefixes...)
		}
	}
	shared, err := meet(p.Prefixes, taken)
	if err == nil && shared {
		err = conflict("AddressScopePrefixConflict",
			"Failed to associate address scope: subnetpools within an address scope must have unique prefixes.")
	}
	return err
}

// GetSubnetPool finds a subnet pool that the caller may see.
func (s *Service) GetSubnetPool(ctx context.Context, who l3.Caller, id string) (l3.SubnetPool, error) {
	return subnetPoolKind().get(ctx, s, who, id)
}

// ListSubnetPools lists the subnet pools that the caller may see.
func (s *Service) ListSubnetPools(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.SubnetPool, error) {
	return subnetPoolKind().list(ctx, s, who, q)
}

// UpdateSubnetPool changes what is given. The subnets of the pool stay as they are; in another
// address scope they are routed otherwise.
func (s *Service) UpdateSubnetPool(ctx context.Context, who l3.Caller, id string, spec l3.SubnetPoolSpec, cond l3.If) (l3.SubnetPool, error) {
	const rule = "update_subnetpool"
	may := func(to l3.Relation) error {
		if err := s.may(who, rule, to); err != nil {
			return err
		}
		return s.mayGive(who, rule, to, givenAttribute{"is_default", spec.IsDefault != nil})
	}
	return subnetPoolKind().change(ctx, s, who, id, cond, may, func(w *work, p *l3.SubnetPool) error {
		return s.updateSubnetPool(ctx, w, who, p, spec)
	})
}

func (s *Service) updateSubnetPool(ctx context.Context, w *work, who l3.Caller, p *l3.SubnetPool, spec l3.SubnetPoolSpec) error {
	before := *p
	if err := fixed("project_id", p.ProjectID, spec.ProjectID); err != nil {
		return err
	}
	if err := fixed("shared", p.Shared, spec.Shared); err != nil {
		return err
	}
	if spec.Prefixes != nil {
		if err := growPool(p, *spec.Prefixes); err != nil {
			return err
		}
	}
	set(&p.Name, spec.Name)
	set(&p.Description, spec.Description)
	set(&p.MinPrefixLen, spec.MinPrefixLen)
	set(&p.MaxPrefixLen, spec.MaxPrefixLen)
	set(&p.DefaultPrefixLen, spec.DefaultPrefixLen)
	set(&p.IsDefault, spec.IsDefault)
	set(&p.AddressScopeID, spec.AddressScopeID)
	if spec.DefaultQuota != nil {
		p.DefaultQuota = new(*spec.DefaultQuota)
	}
	if err := s.checkSubnetPool(ctx, w, *p); err != nil {
		return err
	}
	if err := s.mayChangeInScope(ctx, w, who, before); err != nil {
		return err
	}
	moved := p.AddressScopeID != before.AddressScopeID
	if moved || spec.Prefixes != nil {
		if err := s.mayBeInScope(ctx, w, who, *p); err != nil {
			return err
		}
	}
	if _, err := put(ctx, w.SubnetPools(), before, p, s.now()); err != nil || !moved {
		return err
	}
	return s.rescope(ctx, w, who, *p)
}

// growPool gives a pool prefixes that include the ones that it has.
func growPool(p *l3.SubnetPool, given []netip.Prefix) error {
	var prefixes []netip.Prefix
	if len(given) > 0 {
		var err error
		if prefixes, err = mergedPrefixes(given); err != nil {
			return err
		}
	}
	kept, err := covers(prefixes, p.Prefixes)
	switch {
	case err != nil:
		return err
	case !kept:
		return badRequest("IllegalSubnetPoolPrefixUpdate", "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.")
	case len(prefixes) == 0:
		return badRequest("EmptySubnetPoolPrefixList", "Empty subnet pool prefix list.")
	case version(prefixes[0].Addr()) != p.IPVersion:
		return badRequest("PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
	}
	p.Prefixes = prefixes
	return nil
}

// mayChangeInScope refuses to change a pool that is in an address scope of another project: its
// prefixes would no longer be what the owner of the scope routes.
func (s *Service) mayChangeInScope(ctx context.Context, tx l3.Tx, who l3.Caller, p l3.SubnetPool) error {
	if p.AddressScopeID == "" || s.Allows(who, "context_is_admin", 0) {
		return nil
	}
	scope, err := tx.AddressScopes().Get(ctx, p.AddressScopeID)
	if err == nil && scope.ProjectID != who.Project {
		err = badRequest("IllegalSubnetPoolUpdate",
			"Illegal subnetpool update : subnetpool %s cannot be updated when associated with shared address scope %s.", p.ID, scope.ID)
	}
	return err
}

// rescope lets routers know that a pool is in another address scope. Networks with subnets of the
// pool must have no others of its family.
func (s *Service) rescope(ctx context.Context, w *work, who l3.Caller, p l3.SubnetPool) error {
	subnets, err := subnetsOfPool(ctx, w, p.ID)
	if err != nil {
		return err
	}
	networks := distinct(subnets, func(sub *l3.Subnet) string { return sub.NetworkID })
	family := l3.Filter{Field: "ip_version", Op: l3.In, Values: []any{p.IPVersion}}
	there, err := listOf(ctx, w.Subnets(), "network_id", networks, family)
	if err != nil {
		return err
	}
	if len(there) > len(subnets) {
		return scopeAffinity()
	}
	return s.touchOn(ctx, w, who, networks)
}

// touchOn has the routers that are joined to networks realise a change.
func (s *Service) touchOn(ctx context.Context, w *work, who l3.Caller, networks []string) error {
	ports, err := listOf(ctx, w.Ports(), "network_id", networks, routerOwned())
	if err != nil {
		return err
	}
	return s.touchFor(ctx, w, who, routersOf(ports)...)
}

func scopeAffinity() error {
	return badRequest("NetworkAddressScopeAffinityError",
		"Subnets of the same address family hosted on the same network must all participate in the same address scope.")
}

// DeleteSubnetPool deletes a pool without subnets.
func (s *Service) DeleteSubnetPool(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	return subnetPoolKind().remove(ctx, s, who, id, cond, nil, func(w *work, p l3.SubnetPool) error {
		n, err := w.Subnets().Count(ctx, oneOf("subnetpool_id", p.ID))
		if err != nil {
			return err
		}
		if n > 0 {
			return badRequest("SubnetPoolDeleteError", "Unable to delete subnet pool: Subnet pool has existing allocations.")
		}
		if err := unshare(ctx, w, p.ID, l3.AccessAsShared); err != nil {
			return err
		}
		return w.SubnetPools().Delete(ctx, p.ID)
	})
}

// AddPrefixes adds address space to a pool.
func (s *Service) AddPrefixes(ctx context.Context, who l3.Caller, id string, prefixes []netip.Prefix) ([]netip.Prefix, error) {
	return s.changePrefixes(ctx, who, id, "add_prefixes", func(w *work, p *l3.SubnetPool) error {
		all := slices.Concat(p.Prefixes, prefixes)
		return s.updateSubnetPool(ctx, w, who, p, l3.SubnetPoolSpec{Prefixes: &all})
	})
}

// RemovePrefixes removes address space that no subnet has.
func (s *Service) RemovePrefixes(ctx context.Context, who l3.Caller, id string, prefixes []netip.Prefix) ([]netip.Prefix, error) {
	return s.changePrefixes(ctx, who, id, "remove_prefixes", func(w *work, p *l3.SubnetPool) error {
		gone, err := mergedPrefixes(prefixes)
		if err != nil {
			return err
		}
		subnets, err := subnetsOfPool(ctx, w, p.ID)
		if err != nil {
			return err
		}
		used, err := meet(gone, cidrs(subnets))
		if err != nil {
			return err
		}
		if used {
			return badRequest("IllegalSubnetPoolPrefixUpdate",
				"Illegal update to prefixes: One or more the prefixes to be removed is in use by a subnet.")
		}
		rest, err := ipSet(p.Prefixes, gone)
		if err != nil {
			return err
		}
		before := *p
		if p.Prefixes, err = few(rest.Prefixes()); err != nil {
			return err
		}
		_, err = put(ctx, w.SubnetPools(), before, p, s.now())
		return err
	})
}

func (s *Service) changePrefixes(
	ctx context.Context, who l3.Caller, id, rule string, fn func(*work, *l3.SubnetPool) error,
) ([]netip.Prefix, error) {
	may := func(to l3.Relation) error { return s.may(who, rule, to) }
	p, err := subnetPoolKind().change(ctx, s, who, id, l3.If{}, may, fn)
	return p.Prefixes, err
}

// OnboardNetworkSubnets makes the subnets of a network, of the pool's IP version, subnets of a pool.
// Pool and network must be the caller's.
func (s *Service) OnboardNetworkSubnets(ctx context.Context, who l3.Caller, id, networkID string) ([]l3.OnboardedSubnet, error) {
	const rule = "onboard_network_subnets"
	var boarded []l3.OnboardedSubnet
	may := func(to l3.Relation) error { return s.may(who, rule, to) }
	_, err := subnetPoolKind().change(ctx, s, who, id, l3.If{}, may, func(w *work, p *l3.SubnetPool) error {
		n, to, err := networkKind().find(ctx, s, w, who, networkID)
		if err != nil {
			return err
		}
		if err := s.may(who, rule, to); err != nil {
			return err
		}
		boarded, err = s.onboard(ctx, w, who, p, n)
		return err
	})
	return boarded, err
}

func (s *Service) onboard(ctx context.Context, w *work, who l3.Caller, p *l3.SubnetPool, n l3.Network) ([]l3.OnboardedSubnet, error) {
	boarded := []l3.OnboardedSubnet{}
	family := l3.Filter{Field: "ip_version", Op: l3.In, Values: []any{p.IPVersion}}
	subnets, err := w.Subnets().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", n.ID), family}})
	if err != nil || len(subnets) == 0 {
		return boarded, err
	}
	have, err := subnetsOfPool(ctx, w, p.ID)
	if err != nil {
		return nil, err
	}
	taken, err := ipSet(cidrs(have), nil)
	if err != nil {
		return nil, err
	}
	for _, sub := range subnets {
		if taken.OverlapsPrefix(sub.CIDR) {
			return nil, badRequest("IllegalSubnetPoolUpdate", "Illegal subnetpool update : Onboarding subnet %s: %s conflicts with"+
				" allocated prefixes in subnet pool %s.", sub.ID, sub.CIDR, p.ID)
		}
	}
	all := slices.Concat(p.Prefixes, cidrs(subnets))
	if err := s.updateSubnetPool(ctx, w, who, p, l3.SubnetPoolSpec{Prefixes: &all}); err != nil {
		return nil, err
	}
	for _, sub := range subnets {
		sub.SubnetPoolID, sub.UpdatedAt = p.ID, s.now()
		if err := w.Subnets().Update(ctx, &sub); err != nil {
			return nil, err
		}
		boarded = append(boarded, l3.OnboardedSubnet{ID: sub.ID, CIDR: sub.CIDR})
	}
	if err := s.reviseNetwork(ctx, w, n.ID); err != nil {
		return nil, err
	}
	return boarded, s.touchOn(ctx, w, who, []string{n.ID})
}

// showSubnetPools fills in whether pools are shared with the caller.
func (s *Service) showSubnetPools(ctx context.Context, tx l3.Tx, who l3.Caller, pools []l3.SubnetPool) error {
	shared, err := sharedWith(ctx, tx, who, distinct(pools, func(p *l3.SubnetPool) string { return p.ID }))
	for i := range pools {
		pools[i].Shared = pools[i].Shared || shared[pools[i].ID]
	}
	return err
}

func subnetsOfPool(ctx context.Context, tx l3.Tx, id string) ([]l3.Subnet, error) {
	return tx.Subnets().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("subnetpool_id", id)}})
}

// distinct are the values that resources have, each once, without the empty one.
func distinct[R any](list []R, value func(*R) string) []string {
	values := make([]string, 0, len(list))
	for i := range list {
		if v := value(&list[i]); v != "" {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}
