package sqlstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// TestIndexes: an index is used only for the very expression that it is on, so each is tried with the query that it is there for.
func TestIndexes(t *testing.T) {
	for name, address := range l3test.Databases() {
		t.Run(name, func(t *testing.T) {
			s := l3test.Open(t, address(t))
			by := func(field string, values ...any) l3.Query {
				return l3.Query{Filters: []l3.Filter{{Field: field, Values: values}}}
			}
			uses(t, s, l3.Tx.Networks, by("project_id", "p"), "networks_project")
			uses(t, s, l3.Tx.Networks, by("project_id", "p", "q"), "networks_project")
			uses(t, s, l3.Tx.Networks, by("name", "n"), "networks_name")
			uses(t, s, l3.Tx.Networks, by("name", ""), "networks_name")
			uses(t, s, l3.Tx.Subnets, by("network_id", "n"), "subnets_network")
			uses(t, s, l3.Tx.Ports, by("network_id", "n"), "ports_mac")
			uses(t, s, l3.Tx.Ports, by("device_id", "n"), "ports_device")
			uses(t, s, l3.Tx.Routers, by("external_gateway_info.network_id", "n"), "routers_gateway")
			uses(t, s, l3.Tx.RouterStates, by("agent_id", ""), "router_states_agent")
			uses(t, s, l3.Tx.FloatingIPs, by("floating_network_id", "n"), "floatingips_network")
			uses(t, s, l3.Tx.FloatingIPs, by("router_id", "r"), "floatingips_router")
			uses(t, s, l3.Tx.FloatingIPs, by("port_id", "r"), "floatingips_") // either of two
			uses(t, s, l3.Tx.SecurityGroupRules, by("security_group_id", "g"), "security_group_rules_group")
			uses(t, s, l3.Tx.RBACPolicies, by("object_id", "n"), "rbac_policies_object")
			uses(t, s, l3.Tx.Agents, by("host", "h"), "agents_host")
			for _, desc := range []bool{false, true} {
				uses(t, s, l3.Tx.Routers, l3.Query{Sort: []l3.Sort{{Field: "name", Desc: desc}}, Limit: 100}, "routers_name")
			}
		})
	}
}

func uses[R any](t *testing.T, s *sqlstore.Store, of func(l3.Tx) l3.Table[R], q l3.Query, index string) {
	t.Helper()
	plan, err := sqlstore.Explain(t.Context(), s, of, q)
	require.NoError(t, err)
	require.Contains(t, plan, index)
	if len(q.Sort) > 0 {
		require.NotContains(t, plan, "Sort", "the index has the order")
		require.NotContains(t, plan, "TEMP B-TREE", "the index has the order")
	}
}
