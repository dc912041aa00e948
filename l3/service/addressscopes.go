package service

import (
	"context"

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

// AddressScopesOf returns the IDs of the address scopes of a port's IPv4 and IPv6 addresses; empty:
// none. All subnets of a network that are of one family have the same.
func (in Intent) AddressScopesOf(p *l3.Port) (ipv4, ipv6 string) {
	for _, ip := range p.FixedIPs {
		scope := in.AddressScopes[in.Subnets[ip.SubnetID].SubnetPoolID]
		switch {
		case ip.IPAddress.Is4() && ipv4 == "":
			ipv4 = scope
		case ip.IPAddress.Is6() && ipv6 == "":
			ipv6 = scope
		}
	}
	return ipv4, ipv6
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
