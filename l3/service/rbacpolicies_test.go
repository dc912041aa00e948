package service_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func (c *cloud) tryShare(who l3.Caller, n l3.Network, action, target string) (l3.RBACPolicy, error) {
	list, err := c.CreateRBACPolicies(c.t.Context(), who, l3.RBACPolicySpec{
		ObjectType: new("network"), ObjectID: &n.ID, Action: &action, TargetProject: &target,
	})
	if err != nil {
		return l3.RBACPolicy{}, err
	}
	return list[0], nil
}

func (c *cloud) share(who l3.Caller, n l3.Network, action, target string) l3.RBACPolicy {
	c.t.Helper()
	p, err := c.tryShare(who, n, action, target)
	require.NoError(c.t, err)
	return p
}

// sees requires that a caller sees a network, and as what.
func (c *cloud) sees(who l3.Caller, n l3.Network, shared, external bool) {
	c.t.Helper()
	got, err := c.GetNetwork(c.t.Context(), who, n.ID)
	require.NoError(c.t, err)
	require.Equal(c.t, shared, got.Shared, "shared")
	require.Equal(c.t, external, got.External, "external")
	for filter, want := range map[bool]int{shared: 1, !shared: 0} {
		list, err := c.ListNetworks(c.t.Context(), who, l3.Query{Filters: []l3.Filter{
			{Field: "id", Values: []any{n.ID}}, {Field: "shared", Values: []any{filter}},
		}})
		require.NoError(c.t, err)
		require.Len(c.t, list, want)
	}
}

func TestRBACSharesWithOneProject(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		c.subnet(n, "10.0.0.0/24")
		policy := c.share(alice, n, l3.AccessAsShared, "bob")
		c.sees(bob, n, true, false)
		c.sees(alice, n, false, false)
		_, err := c.GetNetwork(t.Context(), member("carol"), n.ID)
		unseen(t, err)
		_, err = c.GetRBACPolicy(t.Context(), bob, policy.ID)
		refused(t, err, l3.ErrNotFound, "RbacPolicyNotFound")

		p := c.port(bob, n)
		refused(t, c.DeleteRBACPolicy(t.Context(), alice, policy.ID, l3.If{}), l3.ErrConflict, "RbacPolicyInUse")
		_, err = c.UpdateRBACPolicy(t.Context(), alice, policy.ID, l3.RBACPolicySpec{TargetProject: new("carol")}, l3.If{})
		refused(t, err, l3.ErrConflict, "RbacPolicyInUse")
		external := c.share(admin, n, l3.AccessAsExternal, "bob")
		refused(t, c.DeleteRBACPolicy(t.Context(), alice, policy.ID, l3.If{}), l3.ErrConflict, "RbacPolicyInUse")
		require.NoError(t, c.DeleteRBACPolicy(t.Context(), admin, external.ID, l3.If{}))
		_, err = c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{Shared: new(true)}, l3.If{})
		require.NoError(t, err)
		require.NoError(t, c.DeleteRBACPolicy(t.Context(), alice, policy.ID, l3.If{}), "everyone's policy does as well")
		_, err = c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{Shared: new(false)}, l3.If{})
		refused(t, err, l3.ErrConflict, "InvalidSharedSetting")
		require.NoError(t, c.DeletePort(t.Context(), bob, p.ID, l3.If{}))
		_, err = c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{Shared: new(false)}, l3.If{})
		require.NoError(t, err)
		_, err = c.GetNetwork(t.Context(), bob, n.ID)
		unseen(t, err)
	})
}

func TestRBACUpdateMovesTheShare(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		policy := c.share(alice, n, l3.AccessAsShared, "bob")
		other := c.share(alice, n, l3.AccessAsShared, "dave")
		policy, err := c.UpdateRBACPolicy(t.Context(), alice, policy.ID, l3.RBACPolicySpec{TargetProject: new("carol")}, l3.If{Revision: new(1)})
		require.NoError(t, err)
		require.Equal(t, 2, policy.Revision)
		c.sees(member("carol"), n, true, false)
		_, err = c.GetNetwork(t.Context(), bob, n.ID)
		unseen(t, err)
		_, err = c.UpdateRBACPolicy(t.Context(), alice, other.ID, l3.RBACPolicySpec{TargetProject: new("carol")}, l3.If{})
		refused(t, err, l3.ErrConflict, "DuplicateRbacPolicy")
		_, err = c.UpdateRBACPolicy(t.Context(), alice, other.ID, l3.RBACPolicySpec{TargetProject: new("*")}, l3.If{})
		forbidden(t, err)
	})
}

// TestRBACStandsForSharedAndExternal: the attributes make policies, and the policies make the
// attributes.
func TestRBACStandsForSharedAndExternal(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(admin, l3.NetworkSpec{Shared: new(true), External: new(true)})
		policies, err := c.ListRBACPolicies(t.Context(), admin, l3.Query{})
		require.NoError(t, err)
		require.Len(t, policies, 2)
		for _, p := range policies {
			require.Equal(t, "*", p.TargetProject)
			require.NoError(t, c.DeleteRBACPolicy(t.Context(), admin, p.ID, l3.If{}))
		}
		got, err := c.GetNetwork(t.Context(), admin, n.ID)
		require.NoError(t, err)
		require.False(t, got.Shared || got.External)
		_, err = c.GetNetwork(t.Context(), alice, n.ID)
		unseen(t, err)

		c.share(admin, n, l3.AccessAsExternal, "alice")
		c.sees(alice, n, false, true)
		_, err = c.GetNetwork(t.Context(), bob, n.ID)
		unseen(t, err)
		c.share(admin, n, l3.AccessAsShared, "*")
		c.sees(bob, n, true, true)
		_, err = c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{External: new(false)}, l3.If{})
		require.NoError(t, err)
		policies, err = c.ListRBACPolicies(t.Context(), admin, l3.Query{})
		require.NoError(t, err)
		require.Len(t, policies, 1)
	})
}

func TestRBACExternalInUse(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(admin, l3.NetworkSpec{})
		c.subnet(n, "198.51.100.0/24")
		mine, theirs := c.share(admin, n, l3.AccessAsExternal, "alice"), c.share(admin, n, l3.AccessAsExternal, "bob")
		_, err := c.CreateRouters(t.Context(), alice, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: n.ID}})
		require.NoError(t, err)
		refused(t, c.DeleteRBACPolicy(t.Context(), admin, mine.ID, l3.If{}), l3.ErrConflict, "RbacPolicyInUse")
		require.NoError(t, c.DeleteRBACPolicy(t.Context(), admin, theirs.ID, l3.If{}))

		public := c.network(admin, l3.NetworkSpec{External: new(true), IsDefault: new(true)})
		policies, err := c.ListRBACPolicies(t.Context(), admin, l3.Query{Filters: []l3.Filter{{Field: "object_id", Values: []any{public.ID}}}})
		require.NoError(t, err)
		refused(t, c.DeleteRBACPolicy(t.Context(), admin, policies[0].ID, l3.If{}), l3.ErrConflict, "RbacPolicyInUse")
	})
}

func TestRBACFaults(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n, shared := c.network(alice, l3.NetworkSpec{}), c.network(admin, l3.NetworkSpec{Shared: new(true)})
		_, err := c.tryShare(alice, n, l3.AccessAsShared, "*")
		forbidden(t, err)
		_, err = c.tryShare(alice, shared, l3.AccessAsShared, "bob")
		bad(t, err)
		_, err = c.tryShare(bob, n, l3.AccessAsShared, "carol")
		refused(t, err, l3.ErrNotFound, "NetworkNotFound")
		_, err = c.tryShare(alice, n, "access_as_friend", "bob")
		refused(t, err, l3.ErrInvalid, "InvalidActionForType")
		_, err = c.tryShare(alice, n, l3.AccessAsShared, "")
		bad(t, err)
		_, err = c.CreateRBACPolicies(t.Context(), alice, l3.RBACPolicySpec{ObjectType: new("router"), ObjectID: &n.ID})
		bad(t, err)
		c.share(alice, n, l3.AccessAsShared, "bob")
		_, err = c.tryShare(alice, n, l3.AccessAsShared, "bob")
		refused(t, err, l3.ErrConflict, "DuplicateRbacPolicy")
	})
}
