package service

import (
	"context"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// allocateSubnet completes what a caller says about a new subnet of a project by a CIDR from the
// subnet pool that it asks for, which is returned; nil: it asks for none. The subnets of a pool are
// its allocations, so that nothing is to be given back when a subnet goes.
func (s *Service) allocateSubnet(ctx context.Context, w *work, who l3.Caller, owner string, spec *l3.SubnetSpec) (*l3.SubnetPool, error) {
	asked := or(spec.CIDR, netip.Prefix{})
	if asked.IsValid() && spec.PrefixLen != nil {
		return nil, badSubnet("cidr and prefixlen must not be supplied together")
	}
	pool, err := s.poolOf(ctx, w, who, *spec)
	switch {
	case err != nil:
		return nil, err
	case pool == nil && !asked.IsValid():
		return nil, badSubnet("a subnetpool must be specified in the absence of a cidr")
	case pool == nil:
		return nil, nil
	case !asked.IsValid() && spec.AllocationPools != nil:
		return nil, badSubnet("allocation_pools allowed only for specific subnet requests.")
	}
	for _, v := range versionsOf(*spec) {
		if v != pool.IPVersion {
			return nil, badSubnet("Cannot allocate IPv%d subnet from IPv%d subnet pool", v, pool.IPVersion)
		}
	}
	length := or(spec.PrefixLen, pool.DefaultPrefixLen)
	if asked.IsValid() {
		if err := checkCIDR(asked); err != nil {
			return nil, err
		}
		length = asked.Bits()
	}
	switch {
	case length > pool.MaxPrefixLen:
		return nil, badRequest("MaxPrefixSubnetAllocationError",
			"Unable to allocate subnet with prefix length %d, maximum allowed prefix is %d.", length, pool.MaxPrefixLen)
	case length < pool.MinPrefixLen:
		return nil, badRequest("MinPrefixSubnetAllocationError",
			"Unable to allocate subnet with prefix length %d, minimum allowed prefix is %d.", length, pool.MinPrefixLen)
	}
	if g := or(spec.GatewayIP, netip.Addr{}); !asked.IsValid() && plain(g) && version(g) == pool.IPVersion {
		asked = netip.PrefixFrom(g, length).Masked()
	}
	cidr, err := allocate(ctx, w, *pool, owner, asked, length)
	spec.CIDR, spec.SubnetPoolID = &cidr, &pool.ID
	return pool, err
}

func badSubnet(format string, args ...any) error {
	return badRequest("BadRequest", "Bad subnets request: "+format+".", args...)
}

// poolOf is the subnet pool that a new subnet is to be of; nil: of none.
func (s *Service) poolOf(ctx context.Context, tx l3.Tx, who l3.Caller, spec l3.SubnetSpec) (*l3.SubnetPool, error) {
	id, useDefault := or(spec.SubnetPoolID, ""), or(spec.UseDefaultSubnetPool, false)
	switch {
	case useDefault && id != "":
		return nil, badSubnet("subnetpool_id and use_default_subnetpool cannot both be specified")
	case id != "":
		pool, _, err := subnetPoolKind().find(ctx, s, tx, who, id)
		return &pool, err
	case !useDefault:
		return nil, nil
	}
	versions := versionsOf(spec)
	if len(versions) == 0 {
		return nil, badSubnet("ip_version must be specified in the absence of cidr and subnetpool_id")
	}
	p, err := s.defaultPool(ctx, tx, who, versions[0])
	if err == nil && p == nil {
		err = badSubnet("No default subnetpool found for IPv%d", versions[0])
	}
	return p, err
}

// defaultPool is the default pool of an IP version; nil: there is none that the caller sees.
func (s *Service) defaultPool(ctx context.Context, tx l3.Tx, who l3.Caller, ipVersion int) (*l3.SubnetPool, error) {
	defaults, err := defaultPools(ctx, tx, ipVersion)
	if err != nil {
		return nil, err
	}
	for _, p := range defaults {
		to, err := relationToShared(ctx, tx, who, p.ID, p.ProjectID)
		if err != nil {
			return nil, err
		}
		if s.Allows(who, "get_subnetpool", to) {
			return &p, nil
		}
	}
	return nil, nil
}

// versionsOf are the IP versions of a new subnet's CIDR, and the one that it is said to have.
func versionsOf(spec l3.SubnetSpec) []int {
	var versions []int
	if spec.CIDR != nil && spec.CIDR.IsValid() {
		versions = append(versions, version(spec.CIDR.Addr()))
	}
	if spec.IPVersion != nil {
		versions = append(versions, *spec.IPVersion)
	}
	return versions
}

// allocate finds a prefix of a pool that no subnet has: the one that is asked for, or the first of
// a length in the smallest free block that holds it.
func allocate(ctx context.Context, tx l3.Tx, pool l3.SubnetPool, owner string, asked netip.Prefix, length int) (netip.Prefix, error) {
	subnets, err := subnetsOfPool(ctx, tx, pool.ID)
	if err != nil {
		return netip.Prefix{}, err
	}
	if err := withinPoolQuota(pool, owner, subnets, length); err != nil {
		return netip.Prefix{}, err
	}
	taken := cidrs(subnets)
	if !asked.IsValid() {
		taken = slices.Concat(taken, unusable)
	}
	free, err := ipSet(pool.Prefixes, taken)
	switch {
	case err != nil:
		return netip.Prefix{}, err
	case !asked.IsValid():
		cidr, _, ok := free.RemoveFreePrefix(uint8(length))
		if !ok {
			return cidr, conflict("SubnetAllocationError",
				"Failed to allocate subnet: Insufficient prefix space to allocate subnet size /%d.", length)
		}
		return cidr, nil
	case !free.ContainsPrefix(asked):
		return asked, conflict("SubnetAllocationError",
			"Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.")
	}
	return asked, nil
}

// withinPoolQuota refuses a project more of a pool than it may have.
func withinPoolQuota(pool l3.SubnetPool, project string, subnets []l3.Subnet, length int) error {
	if pool.DefaultQuota == nil || *pool.DefaultQuota == 0 {
		return nil
	}
	used := addressCount(pool.IPVersion, length)
	for i := range subnets {
		if subnets[i].ProjectID == project {
			used.Add(used, addressCount(pool.IPVersion, subnets[i].CIDR.Bits()))
		}
	}
	if used.Cmp(quotaCount(pool)) > 0 {
		return l3.Refuse(l3.ErrOverQuota, "SubnetPoolQuotaExceeded", "Per-tenant subnet pool prefix quota exceeded.")
	}
	return nil
}

// samePool refuses a new subnet on a network with subnets of its family that are of another pool,
// or of none, unless all of them are in one address scope.
func samePool(ctx context.Context, tx l3.Tx, sub l3.Subnet, pool *l3.SubnetPool, others []l3.Subnet) error {
	others = slices.DeleteFunc(slices.Clone(others), func(o l3.Subnet) bool { return o.IPVersion != sub.IPVersion })
	if !slices.ContainsFunc(others, func(o l3.Subnet) bool { return o.SubnetPoolID != sub.SubnetPoolID }) {
		return nil
	}
	scopes, err := scopesOfPools(ctx, tx, others)
	if err != nil {
		return err
	}
	for _, o := range others {
		if scope := scopes[o.SubnetPoolID]; scope != "" && pool != nil {
			if pool.AddressScopeID != scope {
				return scopeAffinity()
			}
			return nil
		}
	}
	return badRequest("NetworkSubnetPoolAffinityError", "Subnets hosted on the same network must be allocated from the same subnet pool.")
}
