package service_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func TestNetworkIPAvailability(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n, empty := c.network(alice, l3.NetworkSpec{Name: new("web")}), c.network(alice, l3.NetworkSpec{Name: new("empty")})
		four, six := c.subnet(n, "10.0.0.0/24", pools(pool("10.0.0.10", "10.0.0.19"), pool("10.0.0.30", "10.0.0.30"))), c.subnet(n, "2001:db8::/64")
		c.port(alice, n)
		c.port(alice, n, at(ip("10.0.0.99")))
		ask := func(who l3.Caller, field string, value any) []l3.IPAvailability {
			t.Helper()
			list, err := c.IPAvailability(t.Context(), who, l3.Query{Filters: []l3.Filter{{Field: field, Values: []any{value}}}})
			require.NoError(t, err)
			return list
		}
		got := ask(admin, "network_name", "web")
		require.Len(t, got, 1)
		require.ElementsMatch(t, []l3.SubnetIPAvailability{
			{SubnetID: four.ID, CIDR: "10.0.0.0/24", IPVersion: 4, TotalIPs: "11", UsedIPs: 2},
			{SubnetID: six.ID, CIDR: "2001:db8::/64", IPVersion: 6, TotalIPs: "18446744073709551614", UsedIPs: 1},
		}, got[0].Subnets)
		require.Equal(t, "18446744073709551625", got[0].TotalIPs)
		require.Equal(t, 3, got[0].UsedIPs)

		require.Equal(t, "0", ask(admin, "network_id", empty.ID)[0].TotalIPs)
		require.Len(t, ask(admin, "project_id", "alice"), 2)
		for _, a := range ask(admin, "ip_version", 4) {
			require.LessOrEqual(t, len(a.Subnets), 1)
		}
		require.Empty(t, ask(alice, "network_id", n.ID))
	})
}
