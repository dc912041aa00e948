package rest_test

import (
	"net/http"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/attributestags"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/addressscopes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/rbacpolicies"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/subnetpools"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/stretchr/testify/require"
)

func TestSubnetPoolByItsClient(t *testing.T) {
	onClouds(t, func(c *cloud) {
		ctx := c.Context()
		scope := ok(addressscopes.Create(ctx, c.member, addressscopes.CreateOpts{Name: "scope", IPVersion: 4}).Extract())(c)
		require.Equal(c, addressscopes.AddressScope{ID: scope.ID, Name: "scope", TenantID: "p1", ProjectID: "p1", IPVersion: 4}, *scope)
		p := ok(subnetpools.Create(ctx, c.member, subnetpools.CreateOpts{
			Name: "pool", Description: "d", Prefixes: []string{"10.8.0.0/16", "10.9.0.0/16"}, DefaultPrefixLen: 24, MinPrefixLen: 16, MaxPrefixLen: 28,
			DefaultQuota: 1024, AddressScopeID: scope.ID,
		}).Extract())(c)
		require.Equal(c, subnetpools.SubnetPool{
			ID: p.ID, Name: "pool", Description: "d", TenantID: "p1", ProjectID: "p1", Prefixes: []string{"10.8.0.0/15"}, IPversion: 4,
			DefaultPrefixLen: 24, MinPrefixLen: 16, MaxPrefixLen: 28, DefaultQuota: 1024, AddressScopeID: scope.ID,
			CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt, RevisionNumber: 1, Tags: []string{},
		}, *p)
		require.Equal(c, p, ok(subnetpools.Get(ctx, c.member, p.ID).Extract())(c))
		_, answer := c.raw(c.member, "GET", "subnetpools/"+p.ID+"?fields=min_prefixlen&fields=default_quota&fields=ip_version", "")
		require.JSONEq(c, `{"subnetpool": {"min_prefixlen": "16", "default_quota": 1024, "ip_version": 4}}`, answer, "as Neutron shows it")

		n := c.network(c.member, "n")
		s := ok(subnets.Create(ctx, c.member, subnets.CreateOpts{NetworkID: n.ID, IPVersion: gophercloud.IPv4, SubnetPoolID: p.ID}).Extract())(c)
		require.Equal(c, "10.8.0.0/24", s.CIDR)
		require.Equal(c, "10.8.0.1", s.GatewayIP)
		require.Equal(c, p.ID, s.SubnetPoolID)
		s = ok(subnets.Create(ctx, c.member, subnets.CreateOpts{NetworkID: n.ID, IPVersion: gophercloud.IPv4, SubnetPoolID: p.ID, Prefixlen: 26}).Extract())(c)
		require.Equal(c, "10.8.1.0/26", s.CIDR)
		_, answer = c.raw(c.member, "GET", "networks/"+n.ID+"?fields=ipv4_address_scope&fields=ipv6_address_scope", "")
		require.JSONEq(c, `{"network": {"ipv4_address_scope": "`+scope.ID+`", "ipv6_address_scope": null}}`, answer)
		_, err := subnets.Create(ctx, c.member, subnets.CreateOpts{NetworkID: n.ID, IPVersion: gophercloud.IPv4, SubnetPoolID: p.ID, Prefixlen: 16}).Extract()
		c.refused(err, http.StatusConflict, "SubnetPoolQuotaExceeded")
		_, err = subnets.Create(ctx, c.member, subnets.CreateOpts{NetworkID: n.ID, IPVersion: gophercloud.IPv4, SubnetPoolID: p.ID, CIDR: "10.8.0.0/26"}).Extract()
		c.refused(err, http.StatusConflict, "SubnetAllocationError")

		for _, opts := range []subnetpools.ListOpts{
			{ID: p.ID}, {Name: "pool"}, {MinPrefixLen: 16}, {DefaultQuota: 1024}, {AddressScopeID: scope.ID}, {IPVersion: 4}, {Shared: new(false)}, {Limit: 1},
		} {
			require.Equal(c, []subnetpools.SubnetPool{*p}, all(c, subnetpools.List(c.member, opts), subnetpools.ExtractSubnetPools), "%+v", opts)
		}
		require.Empty(c, all(c, subnetpools.List(c.other, nil), subnetpools.ExtractSubnetPools))
		require.Equal(c, []addressscopes.AddressScope{*scope}, all(c, addressscopes.List(c.member, addressscopes.ListOpts{IPVersion: 4}), addressscopes.ExtractAddressScopes))

		grown := ok(subnetpools.AddPrefixes(ctx, c.member, p.ID, subnetpools.PrefixesOpsOpts{Prefixes: []string{"10.12.0.0/16"}}).Extract())(c)
		require.Equal(c, []string{"10.8.0.0/15", "10.12.0.0/16"}, grown)
		_, err = subnetpools.RemovePrefixes(ctx, c.member, p.ID, subnetpools.PrefixesOpsOpts{Prefixes: []string{"10.8.0.0/24"}}).Extract()
		c.refused(err, http.StatusBadRequest, "IllegalSubnetPoolPrefixUpdate")
		rest := ok(subnetpools.RemovePrefixes(ctx, c.member, p.ID, subnetpools.PrefixesOpsOpts{Prefixes: []string{"10.12.0.0/17"}}).Extract())(c)
		require.Equal(c, []string{"10.8.0.0/15", "10.12.128.0/17"}, rest)

		share := func(typ, id string) string {
			opts := rbacpolicies.CreateOpts{Action: rbacpolicies.ActionAccessShared, ObjectType: typ, ObjectID: id, TargetTenant: "p2"}
			return ok(rbacpolicies.Create(ctx, c.member, opts).Extract())(c).ID
		}
		share("address_scope", scope.ID)
		policy := share("subnetpool", p.ID)
		require.True(c, ok(subnetpools.Get(ctx, c.other, p.ID).Extract())(c).Shared)
		require.True(c, ok(addressscopes.Get(ctx, c.other, scope.ID).Extract())(c).Shared)
		require.Len(c, all(c, rbacpolicies.List(c.member, rbacpolicies.ListOpts{}), rbacpolicies.ExtractRBACPolicies), 2)
		status, answer := c.raw(c.member, "GET", "rbac-policies?object_type=subnetpool&fields=id", "")
		require.Equal(c, http.StatusOK, status)
		require.JSONEq(c, `{"rbac_policies": [{"id": "`+policy+`"}]}`, answer)

		_, err = subnetpools.Update(ctx, c.member, p.ID, subnetpools.UpdateOpts{Name: "x", RevisionNumber: new(1)}).Extract()
		c.refused(err, http.StatusPreconditionFailed, "RevisionNumberConstraintFailed")
		changed := ok(subnetpools.Update(ctx, c.member, p.ID, subnetpools.UpdateOpts{
			Name: "new", Description: new(""), DefaultQuota: new(0), DefaultPrefixLen: 20, AddressScopeID: new(scope.ID),
		}).Extract())(c)
		require.Equal(c, "new", changed.Name)
		require.Equal(c, 20, changed.DefaultPrefixLen)
		require.Zero(c, changed.DefaultQuota)
		require.NoError(c, attributestags.Add(ctx, c.member, "subnetpools", p.ID, "blue").ExtractErr())
		require.Equal(c, []string{"blue"}, ok(subnetpools.Get(ctx, c.member, p.ID).Extract())(c).Tags)

		c.refused(addressscopes.Delete(ctx, c.member, scope.ID).Err, http.StatusConflict, "AddressScopeInUse")
		c.refused(subnetpools.Delete(ctx, c.member, p.ID).Err, http.StatusBadRequest, "SubnetPoolDeleteError")
		plain := c.network(c.member, "plain")
		outside := c.subnet(c.member, plain.ID, "10.77.0.0/24")
		status, answer = c.raw(c.member, "PUT", "subnetpools/"+p.ID+"/onboard_network_subnets", `{"network_id": "`+plain.ID+`"}`)
		require.Equal(c, http.StatusOK, status, answer)
		require.JSONEq(c, `[{"id": "`+outside.ID+`", "cidr": "10.77.0.0/24"}]`, answer)
		for _, id := range []string{n.ID, plain.ID} {
			status, answer := c.raw(c.member, "DELETE", "networks/"+id, "")
			require.Equal(c, http.StatusNoContent, status, answer)
		}
		require.NoError(c, subnetpools.Delete(ctx, c.member, p.ID).Err)
		require.Equal(c, "renamed", ok(addressscopes.Update(ctx, c.member, scope.ID, addressscopes.UpdateOpts{Name: new("renamed")}).Extract())(c).Name)
		require.NoError(c, addressscopes.Delete(ctx, c.member, scope.ID).Err)
		c.refused(addressscopes.Get(ctx, c.member, scope.ID).Err, http.StatusNotFound, "AddressScopeNotFound")
	})
}

// TestSubnetPoolForms: what neutron-server 21 answers to requests that are not plainly right.
func TestSubnetPoolForms(t *testing.T) {
	onClouds(t, func(c *cloud) {
		_, answer := c.raw(c.member, "POST", "subnetpools", `{"subnetpool": {"name": "p", "prefixes": ["10.0.0.1/8"], "min_prefixlen": "9"}}`)
		require.Contains(c, answer, `"prefixes":["10.0.0.0/8"]`)
		require.Contains(c, answer, `"min_prefixlen":"9"`)
		require.Contains(c, answer, `"default_quota":null`)
		pool := "subnetpools/" + idOf(c.T, answer)
		_, answer = c.raw(c.member, "POST", "networks", `{"network": {}}`)
		onNetwork := `{"subnet": {"ip_version": 4, "network_id": "` + idOf(c.T, answer) + `", `
		_, answer = c.raw(c.member, "POST", "subnets", onNetwork+`"cidr": null, "subnetpool_id": "`+pool[12:]+`", "prefixlen": "24"}}`)
		require.Contains(c, answer, `"cidr":"10.0.0.0/24"`)
		require.NotContains(c, answer, "prefixlen")
		for _, r := range []struct {
			request, body, says string
			status              int
		}{
			{"POST subnetpools", `{"subnetpool": {"prefixes": ["10.0.0.0/8"]}}`, "Required attribute 'name' not specified", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p"}}`, "Required attribute 'prefixes' not specified", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": []}}`, "Empty subnet pool prefix list.", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": "10.0.0.0/8"}}`, "'10.0.0.0/8' is not a list", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": null}}`, "'None' is not a list", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": ["x"]}}`, "'x' is not a valid IP subnet", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": ["10.0.0.0/8", "10.0.0.0/8"]}}`, "Duplicate items in the list: '10.0.0.0/8'", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "", "prefixes": ["10.0.0.0/8"]}}`, "'' Blank strings are not permitted", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": ["10.0.0.0/8"], "default_quota": -1}}`, "default_quota", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": ["10.0.0.0/8"], "default_quota": null}}`, "'None' is not an integer", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": ["10.0.0.0/8"], "min_prefixlen": -1}}`, "min_prefixlen", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": ["10.0.0.0/8"], "max_prefixlen": 33}}`, "max_prefixlen=33, ip_version_max=32", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": ["10.0.0.0/8"], "ip_version": 4}}`, "Attribute 'ip_version' not allowed in POST", 400},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": ["10.0.0.0/8"], "shared": true}}`, "create_subnetpool:shared", 403},
			{"POST subnetpools", `{"subnetpool": {"name": "p", "prefixes": ["10.0.0.0/8"], "is_default": "true"}}`, "create_subnetpool:is_default", 403},
			{"PUT " + pool, `{"subnetpool": {"shared": true}}`, "Cannot update read-only attribute shared", 400},
			{"PUT " + pool, `{"subnetpool": {"default_quota": null}}`, "'None' is not an integer", 400},
			{"PUT " + pool, `{"subnetpool": {"address_scope_id": "x"}}`, "'x' is not a valid UUID", 400},
			{"PUT " + pool + "/add_prefixes", `{"prefixes": []}`, "Request body contains invalid data", 400},
			{"PUT " + pool + "/add_prefixes", `{}`, "prefixes", 400},
			{"PUT " + pool + "/add_prefixes", `{"prefixes": ["x"]}`, "'x' is not a valid IP subnet", 400},
			{"PUT " + pool + "/remove_prefixes", `{"prefixes": "10.0.0.0/8"}`, "'10.0.0.0/8' is not a list", 400},
			{"PUT " + pool + "/onboard_network_subnets", `{}`, "network_id must be specified", 400},
			{"PUT " + pool + "/onboard_network_subnets", `{"network_id": "x"}`, "Network x could not be found.", 404},
			{"POST subnets", onNetwork + `"subnetpool_id": "nonsense"}}`, "'nonsense' is not a valid UUID", 400},
			{"POST subnets", onNetwork + `"subnetpool_id": "` + networkID + `"}}`, "Subnet pool " + networkID + " could not be found.", 404},
			{"POST subnets", onNetwork + `"subnetpool_id": "` + pool[12:] + `", "prefixlen": -7}}`, "prefixlen", 400},
			{"POST subnets", onNetwork + `"subnetpool_id": "` + pool[12:] + `", "prefixlen": 99}}`, "maximum allowed prefix is 32", 400},
			{"POST subnets", onNetwork + `"prefixlen": 24}}`, "a subnetpool must be specified in the absence of a cidr.", 400},
			{"POST subnets", onNetwork + `"use_default_subnetpool": true}}`, "No default subnetpool found for IPv4.", 400},
			{"POST subnets", onNetwork + `"cidr": null, "subnetpool_id": null}}`, "a subnetpool must be specified in the absence of a cidr.", 400},
			{"POST address-scopes", `{"address_scope": {"name": "s"}}`, "Required attribute 'ip_version' not specified", 400},
			{"POST address-scopes", `{"address_scope": {"ip_version": 5}}`, "ip_version", 400},
			{"POST address-scopes", `{"address_scope": {"ip_version": 4, "description": "d"}}`, "Unrecognized attribute(s) 'description'", 400},
			{"POST address-scopes", `{"address_scope": {"ip_version": 4, "shared": true}}`, "create_address_scope:shared", 403},
			{"POST rbac-policies", `{"rbac_policy": {"object_type": "subnetpool", "object_id": "` + networkID + `", "action": "access_as_shared", "target_tenant": "x"}}`,
				"Subnet pool " + networkID + " could not be found.", 404},
			{"POST rbac-policies", `{"rbac_policy": {"object_type": "subnetpool", "object_id": "` + pool[12:] + `", "action": "access_as_external", "target_tenant": "x"}}`,
				"Invalid action 'access_as_external' for object type 'subnetpool'", 400},
			{"GET rbac-policies?object_type=bogus", "", "'bogus' is not a valid RBAC object type", 400},
		} {
			method, path := cut(r.request)
			status, answer := c.raw(c.member, method, path, r.body)
			require.Equal(c, r.status, status, "%s %s: %s", r.request, r.body, answer)
			require.Contains(c, messageOf(c.T, answer), r.says, "%s %s", r.request, r.body)
		}
	})
}

// TestSubnetPoolByOpenstack: the commands of the openstack client, by names.
func TestSubnetPoolByOpenstack(t *testing.T) {
	onClouds(t, func(c *cloud) {
		said := c.openstack(
			"address scope create --ip-version 4 inner -f shell",
			"subnet pool create --pool-prefix 10.8.0.0/16 --pool-prefix 10.9.0.0/16 --default-prefix-length 24 --address-scope inner --description d --tag blue pool -f shell",
			"network create net -f value -c name",
			"subnet create --network net --subnet-pool pool first -f shell",
			"subnet create --network net --subnet-pool pool --prefix-length 26 second -f shell",
			"subnet create --network net --subnet-range 10.99.0.0/24 third",
			"network show net -f shell",
			"subnet pool set --pool-prefix 10.12.0.0/16 --default-prefix-length 20 --default-quota 4096 --name big pool",
			"subnet pool show big -f shell",
			"subnet pool list --address-scope inner -f csv",
			"subnet list --subnet-pool big -f csv",
			"address scope set --name outer inner",
			"address scope show outer -f shell",
			"address scope delete outer",
			"subnet pool delete big",
			"subnet delete first second",
			"subnet pool unset --tag blue big",
			"subnet pool set --no-address-scope big",
			"address scope delete outer",
			"subnet pool delete big",
			"subnet pool list -f json",
			"address scope list -f json",
		)
		for _, want := range []string{
			`ip_version="4"`, `shared="False"`, `cidr="10.8.0.0/24"`, `cidr="10.8.1.0/26"`, "must be allocated from the same subnet pool",
			`ipv4_address_scope="`, `default_prefixlen="20"`, `default_quota="4096"`, `10.12.0.0/16`, `10.8.0.0/15`,
			`name="outer"`, "There are one or more subnet pools in use on the address scope", "Subnet pool has existing allocations",
		} {
			require.Contains(c, said, want)
		}
		require.NotContains(c, said, `ipv4_address_scope="None"`)
		status, answer := c.raw(c.admin, "GET", "subnetpools", "")
		require.Equal(c, http.StatusOK, status)
		require.JSONEq(c, `{"subnetpools": []}`, answer)
		_, answer = c.raw(c.admin, "GET", "address-scopes", "")
		require.JSONEq(c, `{"address_scopes": []}`, answer)
	})
}

// TestAutoAllocatedTopologyByOpenstack: the commands of the openstack client, and what
// neutron-server 21 answers.
func TestAutoAllocatedTopologyByOpenstack(t *testing.T) {
	onClouds(t, func(c *cloud) {
		check := func(who *client, path string, status int, says string) string {
			c.Helper()
			got, answer := c.raw(who, "GET", "auto-allocated-topology/"+path, "")
			require.Equal(c, status, got, answer)
			require.Contains(c, answer, says)
			return answer
		}
		check(c.member, "p1?fields=dry-run", http.StatusConflict, "Deployment error: No default router:external network.")
		public, _ := c.external("public", "203.0.113.0/24")
		status, answer := c.raw(c.admin, "PUT", "networks/"+public.ID, `{"network": {"is_default": true}}`)
		require.Equal(c, http.StatusOK, status, answer)
		_, err := subnetpools.Create(c.Context(), c.admin, subnetpools.CreateOpts{
			Name: "default", Prefixes: []string{"10.8.0.0/16"}, DefaultPrefixLen: 26, IsDefault: true, Shared: true,
		}).Extract()
		require.NoError(c, err)
		require.JSONEq(c, `{"auto_allocated_topology": {"id": "dry-run=pass", "tenant_id": "p1", "project_id": "p1"}}`, check(c.member, "None?fields=dry-run", 200, ""))
		check(c.member, "p1?fields=id", http.StatusBadRequest, "Bad auto_allocate request: Unrecognized field.")
		check(c.member, "p2", http.StatusForbidden, "PolicyNotAuthorized")
		check(c.member, "None", http.StatusOK, `"tenant_id":"p1"`)
		check(c.member, "p1", http.StatusOK, `"tenant_id":"p1"`)
		said := c.openstack( // which, without Keystone, does not know its project, and so makes and deletes none
			"network auto allocated topology create --check-resources -f shell",
			"network list --internal -f csv",
			"router list -f csv",
			"subnet list --subnet-pool default -f csv",
		)
		for _, want := range []string{"dry_run=", "auto_allocated_network", "auto_allocated_router", "auto_allocated_subnet_v4", "10.8.0.0/26"} {
			require.Contains(c, said, want)
		}
		status, answer = c.raw(c.member, "DELETE", "auto-allocated-topology/p1", "")
		require.Equal(c, http.StatusNoContent, status, answer)
		_, answer = c.raw(c.admin, "GET", "routers", "")
		require.JSONEq(c, `{"routers": []}`, answer)
		status, _ = c.raw(c.member, "DELETE", "auto-allocated-topology/p1", "")
		require.Equal(c, http.StatusNoContent, status)
	})
}
