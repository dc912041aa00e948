package service

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// CreateAddressScopes makes address scopes.
func (s *Service) CreateAddressScopes(ctx context.Context, who l3.Caller, specs ...l3.AddressScopeSpec) ([]l3.AddressScope, error) {
	return create(ctx, s, who, addressScopeKind(), specs, func(w *work, spec l3.AddressScopeSpec) (l3.AddressScope, error) {
		return s.createAddressScope(ctx, w, who, spec)
	})
}

func (s *Service) createAddressScope(ctx context.Context, w *work, who l3.Caller, spec l3.AddressScopeSpec) (l3.AddressScope, error) {
	const rule = "create_address_scope"
	owner, err := s.project(who, rule, spec.ProjectID)
	if err != nil {
		return l3.AddressScope{}, err
	}
	to := relationToProject(who, owner)
	if err := s.may(who, rule, to); err != nil {
		return l3.AddressScope{}, err
	}
	if err := s.mayGive(who, rule, to, givenAttribute{"shared", or(spec.Shared, false)}); err != nil {
		return l3.AddressScope{}, err
	}
	a := l3.AddressScope{Meta: s.newMeta(owner, or(spec.Name, ""), ""), IPVersion: or(spec.IPVersion, 0), Shared: or(spec.Shared, false)}
	if err := text("name", &a.Name); err != nil {
		return a, err
	}
	if a.IPVersion != 4 && a.IPVersion != 6 {
		return a, invalid("Invalid input for ip_version. Reason: '%d' is not in [4, 6].", a.IPVersion)
	}
	if err := s.checkQuota(ctx, w, owner, "address_scope"); err != nil {
		return a, err
	}
	if err := w.AddressScopes().Insert(ctx, a); err != nil || !a.Shared {
		return a, err
	}
	return a, s.shareWithEveryone(ctx, w, l3.ObjectAddressScope, a.Meta, l3.AccessAsShared)
}

// GetAddressScope finds an address scope that the caller may see.
func (s *Service) GetAddressScope(ctx context.Context, who l3.Caller, id string) (l3.AddressScope, error) {
	return addressScopeKind().get(ctx, s, who, id)
}

// ListAddressScopes lists the address scopes that the caller may see.
func (s *Service) ListAddressScopes(ctx context.Context, who l3.Caller, q l3.Query) ([]l3.AddressScope, error) {
	return addressScopeKind().list(ctx, s, who, q)
}

// UpdateAddressScope changes what is given. One that is shared with everyone remains so.
func (s *Service) UpdateAddressScope(ctx context.Context, who l3.Caller, id string, spec l3.AddressScopeSpec, cond l3.If) (l3.AddressScope, error) {
	const rule = "update_address_scope"
	may := func(to l3.Relation) error {
		if err := s.may(who, rule, to); err != nil {
			return err
		}
		return s.mayGive(who, rule, to, givenAttribute{"shared", spec.Shared != nil})
	}
	return addressScopeKind().change(ctx, s, who, id, cond, may, func(w *work, a *l3.AddressScope) error {
		before := *a
		if err := fixed("project_id", a.ProjectID, spec.ProjectID); err != nil {
			return err
		}
		if err := fixed("ip_version", a.IPVersion, spec.IPVersion); err != nil {
			return err
		}
		if a.Shared && !or(spec.Shared, true) {
			return badRequest("AddressScopeUpdateError", "Unable to update address scope %s : Shared address scope can't be unshared.", a.ID)
		}
		set(&a.Name, spec.Name)
		set(&a.Shared, spec.Shared)
		if err := text("name", &a.Name); err != nil {
			return err
		}
		if a.Shared && !before.Shared {
			if err := s.shareWithEveryone(ctx, w, l3.ObjectAddressScope, a.Meta, l3.AccessAsShared); err != nil {
				return err
			}
		}
		_, err := put(ctx, w.AddressScopes(), before, a, s.now())
		return err
	})
}

// DeleteAddressScope deletes an address scope that no subnet pool is in.
func (s *Service) DeleteAddressScope(ctx context.Context, who l3.Caller, id string, cond l3.If) error {
	return addressScopeKind().remove(ctx, s, who, id, cond, nil, func(w *work, a l3.AddressScope) error {
		n, err := w.SubnetPools().Count(ctx, oneOf("address_scope_id", a.ID))
		if err != nil {
			return err
		}
		if n > 0 {
			return conflict("AddressScopeInUse",
				"Unable to complete operation on address scope %s. There are one or more subnet pools in use on the address scope.", a.ID)
		}
		if err := unshare(ctx, w, a.ID, l3.AccessAsShared); err != nil {
			return err
		}
		return w.AddressScopes().Delete(ctx, a.ID)
	})
}

// showAddressScopes fills in whether scopes are shared with the caller.
func (s *Service) showAddressScopes(ctx context.Context, tx l3.Tx, who l3.Caller, scopes []l3.AddressScope) error {
	ids := make([]string, len(scopes))
	for i := range scopes {
		ids[i] = scopes[i].ID
	}
	shared, err := sharedWith(ctx, tx, who, ids)
	for i := range scopes {
		scopes[i].Shared = scopes[i].Shared || shared[scopes[i].ID]
	}
	return err
}

func poolsOfScope(ctx context.Context, tx l3.Tx, id string) ([]l3.SubnetPool, error) {
	return tx.SubnetPools().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("address_scope_id", id)}})
}

// scopesOfPools are the address scopes of the pools of subnets, by the pools' IDs; nil: there are
// none.
func scopesOfPools(ctx context.Context, tx l3.Tx, subnets []l3.Subnet) (map[string]string, error) {
	ids := distinct(subnets, func(sub *l3.Subnet) string { return sub.SubnetPoolID })
	pools, err := listOf(ctx, tx.SubnetPools(), "id", ids)
	var scopes map[string]string
	for _, p := range pools {
		if p.AddressScopeID == "" {
			continue
		}
		if scopes == nil {
			scopes = map[string]string{}
		}
		scopes[p.ID] = p.AddressScopeID
	}
	return scopes, err
}

// AddressScopesOf returns the IDs of the address scopes of a port; empty: none. They are those of the
// subnets of its network that the router has addresses of, be it by another port: all subnets of a
// network that are of one family have the same scope. A central router's gateway has all subnets of
// its network on its link, and is in their scopes without an address, too.
func (in Intent) AddressScopesOf(p *l3.Port) (ipv4, ipv6 string) {
	if len(in.AddressScopes) == 0 {
		return "", ""
	}
	add := func(s l3.Subnet) {
		switch scope := in.AddressScopes[s.SubnetPoolID]; {
		case scope == "":
		case s.CIDR.Addr().Is4():
			ipv4 = scope
		default:
			ipv6 = scope
		}
	}
	for _, q := range in.Ports {
		if q.NetworkID != p.NetworkID {
			continue
		}
		for _, ip := range q.FixedIPs {
			add(in.Subnets[ip.SubnetID])
		}
	}
	if p.DeviceOwner != l3.OwnerRouterGateway || in.Router.Distributed {
		return ipv4, ipv6
	}
	for _, s := range in.Subnets {
		if s.NetworkID == p.NetworkID {
			add(s)
		}
	}
	return ipv4, ipv6
}

// confine puts a router's ports into their address scopes, for each IP version in which that may
// make a difference to a packet. It reports whether there is one.
func (in Intent) confine(r *dataplane.Router) bool {
	if len(in.AddressScopes) == 0 {
		return false
	}
	of := make(map[string]dataplane.Scopes, len(in.Ports))
	for i := range in.Ports {
		p := &in.Ports[i]
		ipv4, ipv6 := in.AddressScopesOf(p)
		of[p.ID] = dataplane.Scopes{IPv4: ipv4, IPv6: ipv6}
	}
	var ports []*dataplane.Port
	for i := range r.Ports {
		ports = append(ports, &r.Ports[i])
	}
	if r.Gateway != nil {
		ports = append(ports, &r.Gateway.Port)
	}
	// Within the scope of the gateway there is no source NAT.
	four, six := r.Gateway != nil && of[r.Gateway.ID].IPv4 != "", false
	for _, p := range ports {
		four = four || of[p.ID].IPv4 != of[ports[0].ID].IPv4
		six = six || of[p.ID].IPv6 != of[ports[0].ID].IPv6
	}
	for _, p := range ports {
		if four {
			p.Scopes.IPv4 = of[p.ID].IPv4
		}
		if six {
			p.Scopes.IPv6 = of[p.ID].IPv6
		}
	}
	return four || six
}

// mayDistribute refuses address scopes that the instances of a distributed router would have to tell
// apart: what comes over the transit does not show in which it is. Ports without an address of a
// family have no part in it, because nothing of that family is routed to them.
func (in Intent) mayDistribute() error {
	var first [2]*l3.Port // by family
	for i := range in.Ports {
		p := &in.Ports[i]
		for _, ip := range p.FixedIPs {
			family, version := 0, 4
			if ip.IPAddress.Is6() {
				family, version = 1, 6
			}
			scope := in.scopeIn(p, ip.IPAddress)
			if family == 0 && scope != "" && p.DeviceOwner == l3.OwnerRouterGateway {
				return notDistributed(in.Router.ID, "its external network is in IPv4 address scope %s, within which there is no source NAT", scope)
			}
			if first[family] == nil {
				first[family] = p
			}
			if other := in.scopeIn(first[family], ip.IPAddress); other != scope {
				return notDistributed(in.Router.ID, "the IPv%d address scope of port %s is %s, and that of port %s is %s",
					version, first[family].ID, cmp.Or(other, "none"), p.ID, cmp.Or(scope, "none"))
			}
		}
	}
	return nil
}

// scopeIn is a port's address scope in the family of an address; empty: none.
func (in Intent) scopeIn(p *l3.Port, a netip.Addr) string {
	ipv4, ipv6 := in.AddressScopesOf(p)
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// apartFrom6 reports whether a subnet is in another address scope than the IPv6 subnets of a
// distributed router, which are all in one.
func (in Intent) apartFrom6(s l3.Subnet) bool {
	for i := range in.Ports {
		for _, ip := range in.Ports[i].FixedIPs {
			if ip.IPAddress.Is6() {
				return in.scopeIn(&in.Ports[i], ip.IPAddress) != in.AddressScopes[s.SubnetPoolID]
			}
		}
	}
	return false
}

func notDistributed(routerID, why string, args ...any) error {
	return conflict("DistributedRouterAddressScope", "Router %s cannot be distributed: %s."+
		" Make it a central router (distributed: false), or use subnets that are in no address scope.", routerID, fmt.Sprintf(why, args...))
}

// routersInScopes are those of the central routers on whose hosts address scopes make a difference.
func routersInScopes(ctx context.Context, tx l3.Tx, among []string) ([]string, error) {
	if n, err := tx.AddressScopes().Count(ctx); err != nil || n == 0 {
		return nil, err
	}
	routers, err := listOf(ctx, tx.Routers(), "id", among)
	if err != nil {
		return nil, err
	}
	intents, err := join(ctx, tx, slices.DeleteFunc(routers, func(r l3.Router) bool { return r.Distributed || !r.AdminStateUp }))
	if err != nil {
		return nil, err
	}
	var users []string
	for _, in := range intents {
		r, err := in.wiring(func(p *l3.Port) bool { return p.AdminStateUp })
		if err != nil {
			return nil, err
		}
		if in.confine(&r) {
			users = append(users, in.Router.ID)
		}
	}
	return users, nil
}

// inScope replaces a filter of networks by ipv4_address_scope or ipv6_address_scope, which follow
// from the pools of their subnets, with one by their IDs.
func inScope(ctx context.Context, tx l3.Tx, f l3.Filter) (l3.Filter, error) {
	family := 4
	if f.Field == "ipv6_address_scope" {
		family = 6
	}
	version := l3.Filter{Field: "ip_version", Op: l3.In, Values: []any{family}}
	networksOf := func(scope l3.Filter) ([]string, error) {
		pools, err := tx.SubnetPools().List(ctx, l3.Query{Filters: []l3.Filter{version, scope}})
		if err != nil {
			return nil, err
		}
		ids := distinct(pools, func(p *l3.SubnetPool) string { return p.ID })
		subnets, err := listOf(ctx, tx.Subnets(), "subnetpool_id", ids)
		return distinct(subnets, func(sub *l3.Subnet) string { return sub.NetworkID }), err
	}
	asked := l3.Filter{Field: "address_scope_id", Op: f.Op, Values: f.Values}
	if filterHolds(f, "") { // all but those in scopes that the filter does not name
		asked.Op = l3.NotIn
		if f.Op == l3.NotIn {
			asked.Op = l3.In
		}
		others, err := networksOf(asked)
		return l3.Filter{Field: "id", Op: l3.NotIn, Values: oneOf("id", others...).Values}, err
	}
	networks, err := networksOf(asked)
	return oneOf("id", networks...), err
}
