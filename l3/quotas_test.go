package l3_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func TestQuotaDefaults(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		want := map[string]int{"network": 100, "subnet": 100, "port": 500, "router": 10, "floatingip": 50, "security_group": 10, "security_group_rule": 100, "rbac_policy": 10}
		for _, get := range []func() (map[string]int, error){
			func() (map[string]int, error) { return c.GetQuota(t.Context(), alice, "alice") },
			func() (map[string]int, error) { return c.DefaultQuota(t.Context(), alice, "alice") },
		} {
			got, err := get()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		_, err := c.GetQuota(t.Context(), alice, "bob")
		forbidden(t, err)
		_, err = c.QuotaDetails(t.Context(), alice, "bob")
		forbidden(t, err)
		_, err = c.ListQuotas(t.Context(), alice)
		forbidden(t, err)
		_, err = c.SetQuota(t.Context(), alice, "alice", map[string]int{"port": -1})
		forbidden(t, err)
		forbidden(t, c.DeleteQuota(t.Context(), alice, "alice"))
	})
}

func TestQuotaOverQuota(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		zero := map[string]int{}
		for resource := range l3.DefaultQuotas() {
			zero[resource] = 0
		}
		n := c.network(alice, l3.NetworkSpec{})
		groups := c.groups(alice)
		_, err := c.SetQuota(t.Context(), admin, "alice", zero)
		require.NoError(t, err)
		for resource, create := range map[string]func() error{
			"network": func() error { _, err := c.CreateNetworks(t.Context(), alice, l3.NetworkSpec{}); return err },
			"subnet":  func() error { _, err := c.trySubnet(n, "10.0.0.0/24"); return err },
			"port":    func() error { _, err := c.tryPort(alice, n); return err },
			"router":  func() error { _, err := c.CreateRouters(t.Context(), alice, l3.RouterSpec{}); return err },
			"security_group": func() error {
				_, err := c.CreateSecurityGroups(t.Context(), alice, l3.SecurityGroupSpec{})
				return err
			},
			"security_group_rule": func() error {
				_, err := c.CreateSecurityGroupRules(t.Context(), alice, l3.SecurityGroupRuleSpec{SecurityGroupID: groups[0].ID, Direction: "ingress"})
				return err
			},
			"rbac_policy": func() error { _, err := c.tryShare(alice, n, l3.AccessAsShared, "bob"); return err },
		} {
			err := create()
			refused(t, err, 409, "OverQuota")
			require.ErrorContains(t, err, "['"+resource+"']")
		}
		got, err := c.SetQuota(t.Context(), admin, "alice", map[string]int{"network": 2})
		require.NoError(t, err)
		require.Equal(t, 2, got["network"])
		require.Equal(t, 0, got["port"], "others stay")
		_, err = c.CreateNetworks(t.Context(), alice, l3.NetworkSpec{}, l3.NetworkSpec{})
		refused(t, err, 409, "OverQuota")
		c.network(alice, l3.NetworkSpec{})
		details, err := c.QuotaDetails(t.Context(), alice, "alice")
		require.NoError(t, err)
		require.Equal(t, l3.QuotaDetail{Limit: 2, Used: 2}, details["network"])
		require.Equal(t, l3.QuotaDetail{Limit: 0, Used: 1}, details["security_group"])

		all, err := c.ListQuotas(t.Context(), admin)
		require.NoError(t, err)
		require.Equal(t, map[string]map[string]int{"alice": got}, all)
		_, err = c.SetQuota(t.Context(), admin, "alice", map[string]int{"network": -1})
		require.NoError(t, err)
		c.network(alice, l3.NetworkSpec{})
		require.NoError(t, c.DeleteQuota(t.Context(), admin, "alice"))
		got, err = c.GetQuota(t.Context(), alice, "alice")
		require.NoError(t, err)
		require.Equal(t, l3.DefaultQuotas(), got)
	})
}

func TestQuotaFaults(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		_, err := c.SetQuota(t.Context(), admin, "alice", map[string]int{"horse": 1})
		refused(t, err, 400, "HTTPBadRequest")
		_, err = c.SetQuota(t.Context(), admin, "alice", map[string]int{"port": -2})
		bad(t, err)
		c.network(alice, l3.NetworkSpec{})
		_, err = c.SetQuotaAboveUsage(t.Context(), admin, "alice", map[string]int{"network": 0})
		refused(t, err, 409, "InvalidQuotaValue")
		_, err = c.SetQuotaAboveUsage(t.Context(), admin, "alice", map[string]int{"network": 1})
		require.NoError(t, err)
	})
}

// TestQuotaHoldsUnderConcurrency: 16 that want a port each, where there is leave for five.
func TestQuotaHoldsUnderConcurrency(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		_, err := c.SetQuota(t.Context(), admin, "alice", map[string]int{"port": 5})
		require.NoError(t, err)
		errs := make([]error, 16)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() {
				_, errs[i] = c.CreatePorts(t.Context(), alice, l3.PortSpec{NetworkID: &n.ID, Name: new(fmt.Sprint(i))})
			})
		}
		all.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
				continue
			}
			refused(t, err, 409, "OverQuota")
		}
		require.Equal(t, 5, made)
	})
}
