package sqlstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// TestIndexes: an index is used only for the very expression that it is on, so each is tried with
// the query that it is there for.
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
			states := func(tx l3.Tx) l3.Table[l3.RouterState] { return tx.RouterStates() }
			uses(t, s, states, by("agent_id", ""), "router_states_agent")
			uses(t, s, states, by("router_id", "r", "q"), "router_states_router")
			uses(t, s, l3.Tx.Sightings, by("network_id", "n"), "sightings_network")
			uses(t, s, l3.Tx.FloatingIPs, by("floating_network_id", "n"), "floatingips_network")
			uses(t, s, l3.Tx.FloatingIPs, by("router_id", "r"), "floatingips_router")
			uses(t, s, l3.Tx.FloatingIPs, by("floating_ip_address", "a", "b"), "floatingips_address")
			uses(t, s, l3.Tx.FloatingIPs, by("port_id", "r"), "floatingips_") // either of two
			uses(t, s, l3.Tx.PortForwardings, by("floatingip_id", "f", "g"), "port_forwardings_external")
			uses(t, s, l3.Tx.PortForwardings, by("internal_port_id", "p"), "port_forwardings_internal")
			uses(t, s, l3.Tx.PortForwardings, by("router_id", "r"), "port_forwardings_router")
			uses(t, s, l3.Tx.PortForwardings, by("project_id", "p"), "port_forwardings_project")
			uses(t, s, l3.Tx.FloatingIPs, by("qos_policy_id", "p"), "floatingips_qos")
			uses(t, s, l3.Tx.Networks, by("qos_policy_id", "p"), "networks_qos")
			uses(t, s, l3.Tx.Routers, by("external_gateway_info.qos_policy_id", "p"), "routers_qos")
			uses(t, s, l3.Tx.Ports, by("qos_policy_id", "p"), "ports_qos")
			uses(t, s, l3.Tx.QoSRules, by("qos_policy_id", "p", "q"), "qos_rules_type")
			uses(t, s, l3.Tx.QoSPolicies, by("project_id", "p"), "qos_policies_project")
			uses(t, s, l3.Tx.SecurityGroupRules, by("security_group_id", "g"), "security_group_rules_group")
			uses(t, s, l3.Tx.RBACPolicies, by("object_id", "n"), "rbac_policies_object")
			uses(t, s, l3.Tx.Subnets, by("subnetpool_id", "p", "q"), "subnets_pool")
			uses(t, s, l3.Tx.SubnetPools, by("project_id", "p"), "subnetpools_project")
			uses(t, s, l3.Tx.SubnetPools, by("address_scope_id", "a"), "subnetpools_scope")
			uses(t, s, l3.Tx.AddressScopes, by("project_id", "p"), "address_scopes_project")
			uses(t, s, l3.Tx.Agents, by("host", "h"), "agents_host")
			for _, op := range []l3.Op{l3.Before, l3.NotBefore} {
				late := l3.Filter{Field: "heartbeat_timestamp", Op: op, Values: []any{"2026-01-01"}}
				plan := explain(t, s, l3.Tx.Agents, l3.Query{Filters: []l3.Filter{late}, Sort: []l3.Sort{{Field: "heartbeat_timestamp"}}})
				require.Contains(t, plan, "agents_heartbeat")
			}

			// Few statuses are on many rows: the index on them has the order, and gives way to any
			// other.
			status := l3.Filter{Field: "status", Values: []any{"ACTIVE"}}
			elsewhere := l3.Filter{Field: "host", Op: l3.NotIn, Values: []any{"h"}}
			own := []l3.Filter{{Field: "project_id", Values: []any{"p"}}}
			page := l3.Query{Filters: []l3.Filter{status, elsewhere}, Limit: 100}
			uses(t, s, l3.Tx.Routers, page, "routers_status")
			uses(t, s, l3.Tx.FloatingIPs, page, "floatingips_status")
			sorted := l3.Query{Sort: []l3.Sort{{Field: "status"}}, Limit: 100}
			uses(t, s, l3.Tx.Routers, sorted, "routers_status")
			uses(t, s, l3.Tx.Ports, sorted, "ports_status")
			uses(t, s, l3.Tx.Ports, l3.Query{Filters: []l3.Filter{{Field: "binding.binding:host_id", Values: []any{"h"}}}}, "ports_host")
			uses(t, s, l3.Tx.Routers, l3.Query{Filters: []l3.Filter{status}, Scope: own}, "routers_project")
			uses(t, s, l3.Tx.FloatingIPs, l3.Query{Filters: []l3.Filter{status}, Scope: own}, "floatingips_project")
			uses(t, s, l3.Tx.Routers, l3.Query{Filters: []l3.Filter{{Field: "name", Values: []any{"n"}}, status}, Limit: 100}, "routers_name")
			uses(t, s, l3.Tx.Ports, l3.Query{Filters: []l3.Filter{{Field: "device_id", Values: []any{"r"}}, status}}, "ports_device")
			uses(t, s, l3.Tx.FloatingIPs, l3.Query{Filters: []l3.Filter{{Field: "router_id", Values: []any{"r"}}, status}}, "floatingips_router")
			down := l3.Filter{Op: l3.Either, Of: []l3.Filter{{Field: "status", Values: []any{"DOWN"}}, {Field: "host", Values: []any{"h"}}}}
			uses(t, s, l3.Tx.Routers, l3.Query{Filters: []l3.Filter{down}}, "routers_status")
			uses(t, s, l3.Tx.Routers, l3.Query{Filters: []l3.Filter{down}}, "routers_host")
			ownDown := l3.Filter{Op: l3.Either, Of: []l3.Filter{
				{Op: l3.Every, Of: []l3.Filter{own[0], down.Of[0]}}, {Op: l3.Every, Of: []l3.Filter{own[0], down.Of[1]}},
			}}
			uses(t, s, l3.Tx.Routers, l3.Query{Filters: []l3.Filter{ownDown}, Scope: own}, "routers_project_host")
			uses(t, s, l3.Tx.FloatingIPs, l3.Query{Filters: []l3.Filter{ownDown}, Scope: own}, "floatingips_project_host")
			for _, desc := range []bool{false, true} {
				uses(t, s, l3.Tx.Routers, l3.Query{Sort: []l3.Sort{{Field: "name", Desc: desc}}, Limit: 100}, "routers_name")
			}
		})
	}
}

func uses[R any](t *testing.T, s *sqlstore.Store, of func(l3.Tx) l3.Table[R], q l3.Query, index string) {
	t.Helper()
	plan := explain(t, s, of, q)
	require.Contains(t, plan, index)
	if len(q.Sort) > 0 {
		require.NotContains(t, plan, "Sort", "the index has the order")
		require.NotContains(t, plan, "TEMP B-TREE", "the index has the order")
	}
}

func explain[R any](t *testing.T, s *sqlstore.Store, of func(l3.Tx) l3.Table[R], q l3.Query) string {
	t.Helper()
	plan, err := sqlstore.Explain(t.Context(), s, of, q)
	require.NoError(t, err)
	return plan
}
