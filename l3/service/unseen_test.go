package service_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

// TestRefusalsNameNothingOfOthers: when what others have stands in the way of a change, the refusal
// does not say whose or which it is.
func TestRefusalsNameNothingOfOthers(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		public, shared := c.external(), c.network(alice, l3.NetworkSpec{})
		c.subnet(public, "198.51.100.0/24")
		sub := c.subnet(shared, "10.0.0.0/24")
		policy := c.share(alice, shared, l3.AccessAsShared, "bob")
		made, err := c.CreateRouters(t.Context(), bob, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: public.ID}})
		require.NoError(t, err)
		router := made[0]
		i, err := c.AddRouterInterface(t.Context(), bob, router.ID, l3.InterfaceSpec{SubnetID: sub.ID})
		require.NoError(t, err)

		carol := member("carol")
		other := c.network(carol, l3.NetworkSpec{})
		theirs, err := c.CreateSubnets(t.Context(), admin, l3.SubnetSpec{NetworkID: &other.ID, ProjectID: new("alice"), CIDR: &sub.CIDR})
		require.NoError(t, err)
		carols, err := c.CreateRouters(t.Context(), carol, l3.RouterSpec{})
		require.NoError(t, err)
		port, err := c.AddRouterInterface(t.Context(), admin, carols[0].ID, l3.InterfaceSpec{SubnetID: theirs[0].ID})
		require.NoError(t, err)
		_, err = c.UpdateSubnet(t.Context(), alice, theirs[0].ID, l3.SubnetSpec{GatewayIP: new(netip.Addr{})}, l3.If{})
		refused(t, err, l3.ErrConflict, "GatewayIpInUse")
		require.NotContains(t, err.Error(), port.PortID)

		c.port(bob, shared)
		err = c.DeleteRBACPolicy(t.Context(), alice, policy.ID, l3.If{})
		refused(t, err, l3.ErrConflict, "RbacPolicyInUse")
		require.NotContains(t, err.Error(), "bob")

		// A floating IP of alice goes through the router of bob.
		p := c.port(alice, shared)
		fips, err := c.CreateFloatingIPs(t.Context(), alice, l3.FloatingIPSpec{NetworkID: &public.ID, PortID: &p.ID})
		require.NoError(t, err)
		_, err = c.RemoveRouterInterface(t.Context(), bob, router.ID, l3.InterfaceSpec{PortID: i.PortID})
		refused(t, err, l3.ErrConflict, "RouterInterfaceInUseByFloatingIP")
		require.NotContains(t, err.Error(), fips[0].Address.String())
		require.NotContains(t, err.Error(), addresses(p)[0])
	})
}

// TestChangeThatAnothersRouterCannotHave: a network's owner changes a gateway address, and the
// router of another project there has a reason against it, which is not told.
func TestChangeThatAnothersRouterCannotHave(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		public := c.external()
		outside := c.subnet(public, "198.51.100.0/24")
		inside := c.subnet(c.network(alice, l3.NetworkSpec{}), "10.0.0.0/24")
		made, err := c.CreateRouters(t.Context(), alice, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: public.ID}})
		require.NoError(t, err)
		_, err = c.AddRouterInterface(t.Context(), alice, made[0].ID, l3.InterfaceSpec{SubnetID: inside.ID})
		require.NoError(t, err)
		fips, err := c.CreateFloatingIPs(t.Context(), alice, l3.FloatingIPSpec{NetworkID: &public.ID})
		require.NoError(t, err)
		p := c.port(alice, l3.Network{Meta: l3.Meta{ID: inside.NetworkID}})
		_, err = c.UpdateFloatingIP(t.Context(), alice, fips[0].ID, l3.FloatingIPSpec{PortID: &p.ID}, l3.If{})
		require.NoError(t, err)

		// The next hop would be a floating IP of the router.
		taken := l3.SubnetSpec{GatewayIP: &fips[0].Address, AllocationPools: &[]l3.AddressRange{}}
		_, err = c.UpdateSubnet(t.Context(), admin, outside.ID, taken, l3.If{})
		require.ErrorContains(t, err, made[0].ID, "the administrator sees the router")
		provider := member(outside.ProjectID)
		_, err = c.UpdateSubnet(t.Context(), provider, outside.ID, taken, l3.If{})
		refused(t, err, l3.ErrInvalid, "InvalidRoutes")
		for _, secret := range []string{made[0].ID, fips[0].ID} {
			require.NotContains(t, err.Error(), secret)
		}
	})
}
