package l3test

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// ofSubnetPools: their prefixes are of one family, sorted and apart; what subnets have of them is
// within them, once; and each family has one default pool at most.
func (d *database) ofSubnetPools() {
	defaults := map[int]string{}
	for _, p := range d.pools {
		for i, prefix := range p.Prefixes {
			if prefix != prefix.Masked() || prefix.Addr().Is4() != (p.IPVersion == 4) {
				d.report("subnet pool %s of IP version %d has the prefix %s", p.ID, p.IPVersion, prefix)
			}
			if i > 0 && (p.Prefixes[i-1].Overlaps(prefix) || prefix.Addr().Less(p.Prefixes[i-1].Addr())) {
				d.report("subnet pool %s has the prefixes %s and %s in this order", p.ID, p.Prefixes[i-1], prefix)
			}
		}
		if other, twice := defaults[p.IPVersion]; twice && p.IsDefault {
			d.report("subnet pools %s and %s are both the default of IP version %d", p.ID, other, p.IPVersion)
		}
		if p.IsDefault {
			defaults[p.IPVersion] = p.ID
		}
		d.sharedAs(l3.ObjectSubnetPool, p.ID, p.Shared)
	}
	allocated := map[string][]l3.Subnet{}
	for _, s := range d.subnets {
		if s.SubnetPoolID == "" {
			continue
		}
		p, ok := d.pools[s.SubnetPoolID]
		holds := func(prefix netip.Prefix) bool {
			return prefix.Contains(s.CIDR.Addr()) && prefix.Bits() <= s.CIDR.Bits()
		}
		if !ok || !slices.ContainsFunc(p.Prefixes, holds) {
			d.report("subnet %s has %s of subnet pool %q, which has %s", s.ID, s.CIDR, s.SubnetPoolID, p.Prefixes)
		}
		for _, o := range allocated[s.SubnetPoolID] {
			if o.CIDR.Overlaps(s.CIDR) {
				d.report("subnets %s and %s of subnet pool %s overlap: %s, %s", s.ID, o.ID, s.SubnetPoolID, s.CIDR, o.CIDR)
			}
		}
		allocated[s.SubnetPoolID] = append(allocated[s.SubnetPoolID], s)
	}
}

// ofAddressScopes: the prefixes of one are apart, and the subnets of a network that are of one
// family are of one pool, or of one scope.
func (d *database) ofAddressScopes() {
	for _, a := range d.scopes {
		d.sharedAs(l3.ObjectAddressScope, a.ID, a.Shared)
	}
	inScope := map[string][]l3.SubnetPool{}
	for _, p := range d.pools {
		if p.AddressScopeID == "" {
			continue
		}
		if a, ok := d.scopes[p.AddressScopeID]; !ok || a.IPVersion != p.IPVersion {
			d.report("subnet pool %s of IP version %d is in address scope %q of IP version %d", p.ID, p.IPVersion, p.AddressScopeID, a.IPVersion)
		}
		for _, o := range inScope[p.AddressScopeID] {
			for _, one := range p.Prefixes {
				if slices.ContainsFunc(o.Prefixes, one.Overlaps) {
					d.report("subnet pools %s and %s of address scope %s overlap at %s", p.ID, o.ID, p.AddressScopeID, one)
				}
			}
		}
		inScope[p.AddressScopeID] = append(inScope[p.AddressScopeID], p)
	}
	type side struct {
		network string
		version int
	}
	origin := map[side]string{}
	for _, s := range d.subnets {
		from := "subnet pool " + s.SubnetPoolID
		if scope := d.pools[s.SubnetPoolID].AddressScopeID; scope != "" {
			from = "address scope " + scope
		}
		at := side{s.NetworkID, s.IPVersion}
		if other, ok := origin[at]; ok && other != from {
			d.report("network %s has IPv%d subnets of %q and of %q", s.NetworkID, s.IPVersion, from, other)
		}
		origin[at] = from
	}
}

// ofDistributedScopes: the addresses of a distributed router that are of one family are in one address
// scope, or in none, and its gateway is in none of IPv4.
func (d *database) ofDistributedScopes() {
	type side struct {
		router  string
		version int
	}
	found := map[side]string{}
	for _, p := range d.ports {
		if !d.routers[p.DeviceID].Distributed {
			continue
		}
		for _, ip := range p.FixedIPs {
			s := d.subnets[ip.SubnetID]
			scope, at := d.pools[s.SubnetPoolID].AddressScopeID, side{p.DeviceID, s.IPVersion}
			if p.DeviceOwner == l3.OwnerRouterGateway && s.IPVersion == 4 && scope != "" {
				d.report("distributed router %s has its gateway in IPv4 address scope %s", p.DeviceID, scope)
			}
			if other, known := found[at]; known && other != scope {
				d.report("distributed router %s has IPv%d addresses in address scopes %q and %q", p.DeviceID, s.IPVersion, other, scope)
			}
			found[at] = scope
		}
	}
}

// sharedAs: what is shared with everyone has a policy that says so, and nothing else has.
func (d *database) sharedAs(objectType, id string, shared bool) {
	var found bool
	for _, p := range d.policies {
		found = found || p.ObjectType == objectType && p.ObjectID == id && p.Action == l3.AccessAsShared && p.TargetProject == "*"
	}
	if found != shared {
		d.report("%s %s: shared is %t, and a policy for everyone is there: %t", objectType, id, shared, found)
	}
}

// ofTopologies: their networks and routers are there, and the project's.
func (d *database) ofTopologies() {
	for _, t := range d.topologies {
		if n, ok := d.networks[t.NetworkID]; !ok || n.ProjectID != t.ProjectID {
			d.report("the topology of project %s has network %q of project %q", t.ProjectID, t.NetworkID, n.ProjectID)
		}
		if r := d.routers[t.RouterID]; t.RouterID != "" && (r.ID == "" || r.ProjectID != t.ProjectID) {
			d.report("the topology of project %s has router %s of project %q", t.ProjectID, t.RouterID, r.ProjectID)
		}
	}
}
