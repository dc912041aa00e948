package service_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/service"
)

func (r *rig) scope(who l3.Caller, version int) l3.AddressScope {
	r.Helper()
	return one(r.CreateAddressScopes(r.Context(), who, l3.AddressScopeSpec{Name: new("scope"), IPVersion: &version}))(r)
}

// scopedPool is a pool in an address scope, of subnets with 24 bits.
func (r *rig) scopedPool(who l3.Caller, a l3.AddressScope, prefix string) l3.SubnetPool {
	r.Helper()
	spec := poolOf(prefix)
	spec.AddressScopeID = &a.ID
	return r.pool(who, spec)
}

func TestAddressScope(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		a := r.scope(r.member, 4)
		require.Equal(r, a, ok(r.GetAddressScope(ctx, r.member, a.ID))(r))
		_, err := r.GetAddressScope(ctx, r.other, a.ID)
		r.refused(err, l3.ErrNotFound, "AddressScopeNotFound")
		for _, version := range []int{0, 5} {
			_, err := r.CreateAddressScopes(ctx, r.member, l3.AddressScopeSpec{IPVersion: &version})
			r.refused(err, l3.ErrInvalid, "InvalidInput")
		}
		_, err = r.CreateAddressScopes(ctx, r.member, l3.AddressScopeSpec{IPVersion: new(4), Shared: new(true)})
		forbidden(r.T, err)
		update := func(who l3.Caller, spec l3.AddressScopeSpec) error {
			_, err := r.UpdateAddressScope(ctx, who, a.ID, spec, l3.If{})
			return err
		}
		require.NoError(r, update(r.member, l3.AddressScopeSpec{Name: new("other")}))
		r.refused(update(r.member, l3.AddressScopeSpec{IPVersion: new(6)}), l3.ErrInvalid, "HTTPBadRequest")
		forbidden(r.T, update(r.member, l3.AddressScopeSpec{Shared: new(true)}))
		require.NoError(r, update(r.admin, l3.AddressScopeSpec{Shared: new(true)}))
		require.NoError(r, update(r.admin, l3.AddressScopeSpec{Shared: new(true)}))
		require.True(r, ok(r.GetAddressScope(ctx, r.other, a.ID))(r).Shared)
		r.refused(update(r.admin, l3.AddressScopeSpec{Shared: new(false)}), l3.ErrInvalid, "AddressScopeUpdateError")
		require.Len(r, ok(r.ListAddressScopes(ctx, r.other, l3.Query{}))(r), 1)

		p := r.scopedPool(r.other, a, "10.0.0.0/16")
		r.refused(r.DeleteAddressScope(ctx, r.member, a.ID, l3.If{}), l3.ErrConflict, "AddressScopeInUse")
		policies := ok(r.ListRBACPolicies(ctx, r.admin, l3.Query{}))(r)
		require.Len(r, policies, 1)
		r.refused(r.DeleteRBACPolicy(ctx, r.admin, policies[0].ID, l3.If{}), l3.ErrConflict, "RbacPolicyInUse")
		_, err = r.setPool(r.other, p, l3.SubnetPoolSpec{Name: new("x")})
		r.refused(err, l3.ErrInvalid, "IllegalSubnetPoolUpdate")
		_, err = r.AddPrefixes(ctx, r.other, p.ID, blocks("10.1.0.0/16"))
		r.refused(err, l3.ErrInvalid, "IllegalSubnetPoolUpdate")
		require.NoError(r, r.DeleteSubnetPool(ctx, r.other, p.ID, l3.If{}))
		require.NoError(r, r.DeleteAddressScope(ctx, r.member, a.ID, l3.If{}))
		ok(r.SetQuota(ctx, r.admin, "p1", map[string]int{"address_scope": 1, "subnetpool": 1}))(r)
		r.pool(r.member, poolOf("10.0.0.0/8"))
		r.refused(r.tryPool(r.member, poolOf("11.0.0.0/8")), l3.ErrOverQuota, "OverQuota")
		r.scope(r.member, 6)
		_, err = r.CreateAddressScopes(ctx, r.member, l3.AddressScopeSpec{IPVersion: new(4)})
		r.refused(err, l3.ErrOverQuota, "OverQuota")
	})
}

func TestPoolsOfAddressScope(t *testing.T) {
	onRigs(t, func(r *rig) {
		a, six, hidden := r.scope(r.member, 4), r.scope(r.member, 6), r.scope(r.admin, 4)
		in := func(a l3.AddressScope, prefixes ...string) error {
			spec := poolOf(prefixes...)
			spec.AddressScopeID = &a.ID
			return r.tryPool(r.member, spec)
		}
		b := r.scopedPool(r.member, a, "50.0.0.0/16")
		r.refused(in(a, "50.0.5.0/24", "51.0.0.0/16"), l3.ErrConflict, "AddressScopePrefixConflict")
		r.refused(in(a, "50.0.0.0/8"), l3.ErrConflict, "AddressScopePrefixConflict")
		r.refused(in(six, "52.0.0.0/16"), l3.ErrInvalid, "IllegalSubnetPoolIpVersionAssociationToAddressScope")
		r.refused(in(hidden, "52.0.0.0/16"), l3.ErrNotFound, "AddressScopeNotFound")
		r.refused(in(l3.AddressScope{Meta: b.Meta}, "52.0.0.0/16"), l3.ErrNotFound, "AddressScopeNotFound")
		c := r.scopedPool(r.member, a, "51.0.0.0/16")
		_, err := r.AddPrefixes(r.Context(), r.member, c.ID, blocks("50.0.0.0/24"))
		r.refused(err, l3.ErrConflict, "AddressScopePrefixConflict")
		free := r.pool(r.member, poolOf("50.0.0.0/16"))
		_, err = r.setPool(r.member, free, l3.SubnetPoolSpec{AddressScopeID: &a.ID})
		r.refused(err, l3.ErrConflict, "AddressScopePrefixConflict")

		// All subnets of a network that are of a family are in one scope.
		n := r.network(r.member)
		bits := l3.SubnetSpec{PrefixLen: new(24)}
		ok(r.allocate(r.member, n, b, bits))(r)
		ok(r.allocate(r.member, n, c, bits))(r)
		other := r.scopedPool(r.member, r.scope(r.member, 4), "53.0.0.0/16")
		for _, p := range []l3.SubnetPool{other, free} {
			_, err := r.allocate(r.member, n, p, l3.SubnetSpec{CIDR: &p.Prefixes[0]})
			if p.ID == free.ID {
				r.refused(err, l3.ErrInvalid, "InvalidInput") // it overlaps
				continue
			}
			r.refused(err, l3.ErrInvalid, "NetworkAddressScopeAffinityError")
		}
		_, err = r.CreateSubnets(r.Context(), r.member, l3.SubnetSpec{NetworkID: &n.ID, CIDR: &blocks("10.9.0.0/24")[0]})
		r.refused(err, l3.ErrInvalid, "NetworkSubnetPoolAffinityError")
		for _, scope := range []string{"", other.AddressScopeID} {
			_, err = r.setPool(r.member, b, l3.SubnetPoolSpec{AddressScopeID: &scope})
			r.refused(err, l3.ErrInvalid, "NetworkAddressScopeAffinityError")
		}
		ok(r.setPool(r.member, b, l3.SubnetPoolSpec{Name: new("renamed")}))(r)
	})
}

// TestScopesOfRouters: networks show the scopes of their subnets, and the ports of routers are in
// them. Another scope of a pool concerns its routers, and no others.
func TestScopesOfRouters(t *testing.T) {
	onRigs(t, func(r *rig) {
		ctx := r.Context()
		r.agent("host")
		a, b, six := r.scope(r.member, 4), r.scope(r.member, 4), r.scope(r.member, 6)
		p, q := r.scopedPool(r.member, a, "10.1.0.0/16"), r.scopedPool(r.member, six, "2001:db8::/48")
		n := r.network(r.member)
		s := ok(r.allocate(r.member, n, p, l3.SubnetSpec{PrefixLen: new(24)}))(r)
		s6 := ok(r.allocate(r.member, n, q, l3.SubnetSpec{}))(r)
		plain := r.inside("10.2.0.0/24")
		public := r.external("uplink", "203.0.113.0/24")
		outer := r.scopedPool(r.admin, r.scope(r.admin, 4), "203.0.112.0/24")
		ok(r.OnboardNetworkSubnets(ctx, r.admin, outer.ID, public.ID))(r)
		router := r.routerTo(public, s, s6, plain)
		bystander := r.routerTo(r.external("other", "198.51.100.0/24"), r.inside("10.3.0.0/24"))

		seen := ok(r.GetNetwork(ctx, r.member, n.ID))(r)
		require.Equal(r, []string{a.ID, six.ID}, []string{seen.IPv4AddressScope, seen.IPv6AddressScope})
		scopes := func() map[string][2]string {
			r.Helper()
			var in service.Intent
			require.NoError(r, r.store.View(ctx, func(tx l3.Tx) (err error) {
				in, err = service.IntentOf(ctx, tx, router.ID)
				return err
			}))
			found := map[string][2]string{}
			for i := range in.Ports {
				four, six := in.AddressScopesOf(&in.Ports[i])
				was := found[in.Ports[i].NetworkID]
				found[in.Ports[i].NetworkID] = [2]string{was[0] + four, was[1] + six}
			}
			return found
		}
		require.Equal(r, map[string][2]string{n.ID: {a.ID, six.ID}, plain.NetworkID: {}, public.ID: {outer.AddressScopeID, ""}}, scopes())

		revision := func(id string) uint64 { return ok(r.DesiredOf(ctx, id))(r).Revision }
		before, aside := revision(router.ID), revision(bystander.ID)
		ok(r.setPool(r.member, p, l3.SubnetPoolSpec{AddressScopeID: &b.ID}))(r)
		require.Equal(r, [2]string{b.ID, six.ID}, scopes()[n.ID])
		require.Greater(r, revision(router.ID), before)
		before = revision(router.ID)
		ok(r.setPool(r.member, p, l3.SubnetPoolSpec{Name: new("renamed")}))(r)
		require.Equal(r, before, revision(router.ID), "a name concerns no router")
		ok(r.setPool(r.member, p, l3.SubnetPoolSpec{AddressScopeID: new("")}))(r)
		require.Equal(r, [2]string{"", six.ID}, scopes()[n.ID])
		require.Empty(r, ok(r.GetNetwork(ctx, r.member, n.ID))(r).IPv4AddressScope)
		require.Greater(r, revision(router.ID), before)
		before = revision(router.ID)
		ok(r.OnboardNetworkSubnets(ctx, r.member, r.scopedPool(r.member, b, "10.4.0.0/16").ID, plain.NetworkID))(r)
		require.Equal(r, [2]string{b.ID, ""}, scopes()[plain.NetworkID])
		require.Greater(r, revision(router.ID), before)
		require.Equal(r, aside, revision(bystander.ID))

		found := func(field, scope string) []string {
			filters := []l3.Filter{{Field: field, Values: []any{scope}}, {Field: "project_id", Values: []any{"p1"}}}
			var ids []string
			for _, n := range ok(r.ListNetworks(ctx, r.member, l3.Query{Filters: filters}))(r) {
				ids = append(ids, n.ID)
			}
			return ids
		}
		require.Equal(r, []string{plain.NetworkID}, found("ipv4_address_scope", b.ID))
		require.Equal(r, []string{n.ID}, found("ipv6_address_scope", six.ID))
		require.Empty(r, found("ipv4_address_scope", a.ID))
		require.NotContains(r, found("ipv4_address_scope", ""), plain.NetworkID)
		require.Contains(r, found("ipv4_address_scope", ""), n.ID)
	})
}

// TestPoolWalk does anything to pools, scopes and networks, in any order: what is not refused leaves
// nothing that the audit finds.
func TestPoolWalk(t *testing.T) {
	r := newRig(t, l3test.Open(t, l3test.SQLiteURL(t)))
	ctx := r.Context()
	seed := uint64(time.Now().UnixNano())
	r.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ok(r.SetQuota(ctx, r.admin, "p1", map[string]int{"subnet": -1}))(r)
	r.agent("host")
	outside := r.external("uplink", "203.0.113.0/24")
	router := r.routerTo(outside)
	var networks []l3.Network
	var pools []l3.SubnetPool
	scopes := []string{"", r.scope(r.member, 4).ID, r.scope(r.member, 4).ID}
	for range 4 {
		networks = append(networks, r.network(r.member))
		pools = append(pools, r.pool(r.member, poolOf("10.0.0.0/28")))
	}
	networks = append(networks, outside)
	block := func() netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(256))}), 25+random.IntN(5)).Masked()
	}
	done := map[string]int{}
	for range 300 {
		n, i := networks[random.IntN(len(networks))], random.IntN(len(pools))
		p := pools[i]
		subnets := ok(r.ListSubnets(ctx, r.admin, l3.Query{Filters: []l3.Filter{{Field: "network_id", Values: []any{n.ID}}}}))(r)
		steps := []struct {
			name string
			do   func() error
		}{
			{"allocate", func() error { _, err := r.allocate(r.admin, n, p, l3.SubnetSpec{PrefixLen: new(29)}); return err }},
			{"allocate a CIDR", func() error { _, err := r.allocate(r.admin, n, p, l3.SubnetSpec{CIDR: new(block())}); return err }},
			{"subnet of no pool", func() error {
				_, err := r.CreateSubnets(ctx, r.admin, l3.SubnetSpec{NetworkID: &n.ID, CIDR: new(block())})
				return err
			}},
			{"onboard", func() error { _, err := r.OnboardNetworkSubnets(ctx, r.admin, p.ID, n.ID); return err }},
			{"rescope", func() error {
				_, err := r.setPool(r.admin, p, l3.SubnetPoolSpec{AddressScopeID: &scopes[random.IntN(len(scopes))]})
				return err
			}},
			{"add prefixes", func() error { _, err := r.AddPrefixes(ctx, r.admin, p.ID, []netip.Prefix{block()}); return err }},
			{"remove prefixes", func() error { _, err := r.RemovePrefixes(ctx, r.admin, p.ID, []netip.Prefix{block()}); return err }},
			{"delete subnet", func() error {
				if len(subnets) == 0 {
					return notFoundHere
				}
				return r.DeleteSubnet(ctx, r.admin, subnets[random.IntN(len(subnets))].ID, l3.If{})
			}},
			{"attach", func() error {
				if len(subnets) == 0 {
					return notFoundHere
				}
				_, err := r.AddRouterInterface(ctx, r.admin, router.ID, l3.InterfaceSpec{SubnetID: subnets[0].ID})
				return err
			}},
			{"detach", func() error {
				if len(subnets) == 0 {
					return notFoundHere
				}
				_, err := r.RemoveRouterInterface(ctx, r.admin, router.ID, l3.InterfaceSpec{SubnetID: subnets[0].ID})
				return err
			}},
			{"new pool", func() error {
				if err := r.DeleteSubnetPool(ctx, r.admin, p.ID, l3.If{}); err != nil {
					return err
				}
				pools[i] = r.pool(r.member, l3.SubnetPoolSpec{Name: new("again"), Prefixes: &[]netip.Prefix{block()}})
				return nil
			}},
		}
		step := steps[random.IntN(len(steps))]
		err := step.do()
		var refusal *l3.Error
		require.True(r, err == nil || errors.As(err, &refusal), "%s: %v", step.name, err)
		if err == nil {
			done[step.name]++
		}
		require.NoError(r, l3test.Audit(ctx, r.store), "%s", step.name)
	}
	r.Log(done)
}
