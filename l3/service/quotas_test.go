package service_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

func TestQuotaDefaults(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		want := map[string]int{"network": 100, "subnet": 100, "subnetpool": -1, "address_scope": -1, "port": 500, "router": 10, "router_route": 30, "floatingip": 50, "port_forwarding": 500,
			"security_group": 10, "security_group_rule": 100, "rbac_policy": 10}
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
		for resource := range service.DefaultQuotas() {
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
			refused(t, err, l3.ErrOverQuota, "OverQuota")
			require.ErrorContains(t, err, "['"+resource+"']")
		}
		got, err := c.SetQuota(t.Context(), admin, "alice", map[string]int{"network": 2})
		require.NoError(t, err)
		require.Equal(t, 2, got["network"])
		require.Equal(t, 0, got["port"], "others stay")
		_, err = c.CreateNetworks(t.Context(), alice, l3.NetworkSpec{}, l3.NetworkSpec{})
		refused(t, err, l3.ErrOverQuota, "OverQuota")
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
		require.Equal(t, service.DefaultQuotas(), got)
	})
}

func TestQuotaFaults(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		_, err := c.SetQuota(t.Context(), admin, "alice", map[string]int{"horse": 1})
		refused(t, err, l3.ErrInvalid, "HTTPBadRequest")
		_, err = c.SetQuota(t.Context(), admin, "alice", map[string]int{"port": -2})
		bad(t, err)
		c.network(alice, l3.NetworkSpec{})
		_, err = c.SetQuotaAboveUsage(t.Context(), admin, "alice", map[string]int{"network": 0})
		refused(t, err, l3.ErrInvalid, "HTTPBadRequest")
		require.ErrorContains(t, err, "Quota limit 0 for network must be greater than or equal to already used 1")
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
			refused(t, err, l3.ErrOverQuota, "OverQuota")
		}
		require.Equal(t, 5, made)
	})
}

// TestQuotaOfSeveral: limits of several resources are set at once, and deleted at once.
func TestQuotaOfSeveral(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		all, err := c.SetQuota(t.Context(), admin, "alice", map[string]int{"subnetpool": 7, "network": 8})
		require.NoError(t, err)
		require.Equal(t, 7, all["subnetpool"])
		require.Equal(t, 8, all["network"])
		details, err := c.QuotaDetails(t.Context(), alice, "alice")
		require.NoError(t, err)
		require.Equal(t, l3.QuotaDetail{Limit: 7}, details["subnetpool"])

		require.NoError(t, c.DeleteQuota(t.Context(), admin, "alice"))
		for _, project := range []string{"alice", "nobody"} {
			refused(t, c.DeleteQuota(t.Context(), admin, project), l3.ErrNotFound, "TenantQuotaNotFound")
		}
	})
}

// TestQuotaOfRules: a new group brings two rules, and is not made without leave for both. The
// default group, which every project has, is not hindered.
func TestQuotaOfRules(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		create := func() error {
			_, err := c.CreateSecurityGroups(t.Context(), alice, l3.SecurityGroupSpec{Name: new("web")})
			return err
		}
		for limit, fits := range map[int]bool{0: false, 4: false, 5: false, 6: true} {
			_, err := c.SetQuota(t.Context(), admin, "alice", map[string]int{"security_group_rule": limit})
			require.NoError(t, err)
			if fits {
				continue // done below, when nothing is left to refuse
			}
			err = create()
			refused(t, err, l3.ErrOverQuota, "OverQuota")
			require.ErrorContains(t, err, "['security_group_rule']")
			require.Len(t, c.groups(alice), 1, "the default group alone")
		}
		_, err := c.SetQuota(t.Context(), admin, "alice", map[string]int{"security_group_rule": 6})
		require.NoError(t, err)
		require.NoError(t, create())
		refused(t, create(), l3.ErrOverQuota, "OverQuota")
		require.Len(t, c.groups(alice), 2)
	})
}

// TestQuotaOfRoutes: the quota is a project's, and bounds each of its routers by itself.
func TestQuotaOfRoutes(t *testing.T) {
	onStoresWith(t, service.Config{MaxRoutes: 3}, func(t *testing.T, c *cloud) {
		sub := c.subnet(c.network(alice, l3.NetworkSpec{}), "10.0.0.0/24")
		made, err := c.CreateRouters(t.Context(), alice, l3.RouterSpec{}, l3.RouterSpec{})
		require.NoError(t, err)
		ports := c.port(alice, l3.Network{Meta: l3.Meta{ID: sub.NetworkID}}, at(in(sub)))
		_, err = c.AddRouterInterface(t.Context(), alice, made[0].ID, l3.InterfaceSpec{SubnetID: sub.ID})
		require.NoError(t, err)
		_, err = c.AddRouterInterface(t.Context(), alice, made[1].ID, l3.InterfaceSpec{PortID: ports.ID})
		require.NoError(t, err)
		put := func(router, n int) error {
			routes := []l3.Route{}
			for i := range n {
				routes = append(routes, route(fmt.Sprintf("172.16.%d.0/24", i), "10.0.0.99"))
			}
			_, err := c.UpdateRouter(t.Context(), alice, made[router].ID, l3.RouterSpec{Routes: &routes}, l3.If{})
			return err
		}
		limits, err := c.GetQuota(t.Context(), alice, "alice")
		require.NoError(t, err)
		require.Equal(t, 3, limits["router_route"], "by default the server's limit")
		require.NoError(t, put(0, 3))
		refused(t, put(0, 4), l3.ErrInvalid, "RoutesExhausted")

		_, err = c.SetQuota(t.Context(), admin, "alice", map[string]int{"router_route": 5})
		require.NoError(t, err)
		require.NoError(t, put(0, 5))
		require.NoError(t, put(1, 5), "each router by itself")
		err = put(0, 6)
		refused(t, err, l3.ErrOverQuota, "OverQuota")
		require.ErrorContains(t, err, "['router_route']")
		_, err = c.AddExtraRoutes(t.Context(), alice, made[0].ID, []l3.Route{route("172.17.0.0/16", "10.0.0.99")})
		refused(t, err, l3.ErrOverQuota, "OverQuota")

		_, err = c.SetQuota(t.Context(), admin, "alice", map[string]int{"router_route": 1})
		require.NoError(t, err)
		require.NoError(t, put(0, 4), "fewer is fine, also when it is still too many")
		_, err = c.SetQuota(t.Context(), admin, "alice", map[string]int{"router_route": -1})
		require.NoError(t, err)
		require.NoError(t, put(0, 40))
	})
}

// TestDefaultGroupIsMadeByUse: as in Neutron, by making a network, a port or a group, by changing a
// port, and by listing groups or rules; a list of another project's makes that project's, for those
// who see it.
func TestDefaultGroupIsMadeByUse(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		groups := func(project string) (n int) {
			require.NoError(t, c.store.View(t.Context(), func(tx l3.Tx) error {
				list, err := tx.SecurityGroups().List(t.Context(), l3.Query{Filters: []l3.Filter{{Field: "project_id", Values: []any{project}}}})
				n = len(list)
				return err
			}))
			return n
		}
		nobodys := c.network(admin, l3.NetworkSpec{ProjectID: new("owner"), Shared: new(true)})
		require.Equal(t, 1, groups("owner"), "made by the network, for the project that owns it")
		require.Zero(t, groups("operators"))
		sub := c.subnet(nobodys, "10.0.0.0/24")
		byProject := func(project string) l3.Query {
			return l3.Query{Filters: []l3.Filter{{Field: "project_id", Values: []any{project}}}}
		}
		for use, step := range map[string]struct {
			do    func(who l3.Caller) error
			makes bool
		}{
			"network": {func(who l3.Caller) error { _, err := c.CreateNetworks(t.Context(), who, l3.NetworkSpec{}); return err }, true},
			"port":    {func(who l3.Caller) error { _, err := c.tryPort(who, nobodys); return err }, true},
			"port without groups": {func(who l3.Caller) error {
				_, err := c.tryPort(who, nobodys, func(s *l3.PortSpec) { s.SecurityGroups = &[]string{} })
				return err
			}, true},
			"port made for it": {func(who l3.Caller) error {
				_, err := c.tryPort(admin, nobodys, func(s *l3.PortSpec) { s.ProjectID = &who.Project })
				return err
			}, true},
			"groups": {func(who l3.Caller) error { _, err := c.ListSecurityGroups(t.Context(), who, l3.Query{}); return err }, true},
			"rules": {func(who l3.Caller) error {
				_, err := c.ListSecurityGroupRules(t.Context(), who, l3.Query{})
				return err
			}, true},
			"groups listed by an administrator": {func(who l3.Caller) error {
				list, err := c.ListSecurityGroups(t.Context(), admin, byProject(who.Project))
				if err == nil && len(list) != 1 {
					return fmt.Errorf("%d groups", len(list))
				}
				return err
			}, true},
			"rules listed by an administrator": {func(who l3.Caller) error {
				_, err := c.ListSecurityGroupRules(t.Context(), admin, byProject(who.Project))
				return err
			}, true},
			"groups listed by a stranger": {func(who l3.Caller) error {
				_, err := c.ListSecurityGroups(t.Context(), bob, byProject(who.Project))
				return err
			}, false},
			"router":   {func(who l3.Caller) error { _, err := c.CreateRouters(t.Context(), who, l3.RouterSpec{}); return err }, false},
			"networks": {func(who l3.Caller) error { _, err := c.ListNetworks(t.Context(), who, l3.Query{}); return err }, false},
		} {
			project := "by " + use
			require.NoError(t, step.do(member(project)), use)
			want := 0
			if step.makes {
				want = 1
			}
			require.Equal(t, want, groups(project), use)
		}

		// A port whose project has lost its default group gets it back with a change.
		p := c.port(alice, nobodys, at(in(sub)), func(s *l3.PortSpec) { s.SecurityGroups = &[]string{} })
		require.NoError(t, c.DeleteSecurityGroup(t.Context(), admin, c.groups(alice)[0].ID, l3.If{}))
		require.Zero(t, groups("alice"))
		_, err := c.update(p, alice, l3.PortSpec{Name: new("x")})
		require.NoError(t, err)
		require.Equal(t, 1, groups("alice"))
	})
}
