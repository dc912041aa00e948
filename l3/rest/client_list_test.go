package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/attributestags"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/quotas"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/pagination"
	"github.com/stretchr/testify/require"
)

func TestListFilters(t *testing.T) {
	onClouds(t, func(c *cloud) {
		for i, name := range []string{"a", "b", ""} {
			opts := routers.CreateOpts{Name: name, AdminStateUp: new(i != 1), Description: "d" + name}
			ok(routers.Create(c.Context(), c.member, opts).Extract())(c)
		}
		ok(routers.Create(c.Context(), c.other, routers.CreateOpts{Name: "theirs"}).Extract())(c)
		names := func(query string) []string {
			c.Helper()
			status, body := c.raw(c.member, "GET", "routers?sort_key=name&sort_dir=asc"+query, "")
			require.Equal(c, http.StatusOK, status, body)
			var said struct{ Routers []struct{ Name string } }
			require.NoError(c, json.Unmarshal([]byte(body), &said))
			out := []string{}
			for _, r := range said.Routers {
				out = append(out, r.Name)
			}
			return out
		}
		require.Equal(c, []string{"", "a", "b"}, names(""))
		require.Equal(c, []string{"a", "b"}, names("&name=a&name=b&name=theirs"))
		require.Equal(c, []string{""}, names("&name="), "an empty value finds what is empty")
		require.Equal(c, []string{"b"}, names("&admin_state_up=False"))
		require.Equal(c, []string{"", "a"}, names("&status=ACTIVE&project_id=p1"))
		require.Empty(c, names("&tenant_id=p2"))
		require.Empty(c, names("&name=%F0%9F%90%A7"))
		require.Len(c, names("&changed_since=2020-01-01T00:00:00"), 3)
		require.Empty(c, names("&changed_since=2999-01-01T00:00:00Z"))
		status, body := c.raw(c.member, "GET", "routers?colour=red", "")
		require.Equal(c, http.StatusBadRequest, status)
		require.Contains(c, body, "['colour'] is invalid attribute for filtering")
	})
}

func TestListOfPortsByAddress(t *testing.T) {
	onClouds(t, func(c *cloud) {
		n := c.network(c.member, "n")
		sub := c.subnet(c.member, n.ID, "10.0.0.0/24")
		for _, a := range []string{"10.0.0.5", "10.0.0.51", "10.0.0.7"} {
			c.port(c.member, n.ID, a)
		}
		found := func(filters ...ports.FixedIPOpts) int {
			c.Helper()
			return len(all(c, ports.List(c.member, ports.ListOpts{FixedIPs: filters}), ports.ExtractPorts))
		}
		require.Equal(c, 1, found(ports.FixedIPOpts{IPAddress: "10.0.0.5"}))
		require.Equal(c, 2, found(ports.FixedIPOpts{IPAddress: "10.0.0.5"}, ports.FixedIPOpts{IPAddress: "10.0.0.7"}))
		require.Equal(c, 2, found(ports.FixedIPOpts{IPAddressSubstr: "0.0.5"}))
		require.Equal(c, 3, found(ports.FixedIPOpts{SubnetID: sub.ID}))
		require.Equal(c, 0, found(ports.FixedIPOpts{SubnetID: networkID}))
	})
}

func TestPages(t *testing.T) {
	onClouds(t, func(c *cloud) {
		want := []string{}
		for i := range 7 {
			name := fmt.Sprintf("r%d", i)
			ok(routers.Create(c.Context(), c.member, routers.CreateOpts{Name: name}).Extract())(c)
			want = append(want, name)
		}
		for _, limit := range []int{1, 2, 3, 7, 8} {
			var got []string
			list := routers.List(c.member, routers.ListOpts{Limit: limit, SortKey: "name", SortDir: "asc"})
			require.NoError(c, list.EachPage(c.Context(), func(_ context.Context, page pagination.Page) (bool, error) {
				rs, err := routers.ExtractRouters(page)
				require.LessOrEqual(c, len(rs), limit)
				for _, r := range rs {
					got = append(got, r.Name)
				}
				return true, err
			}))
			require.Equal(c, want, got, "pages of %d", limit)
		}

		// There and back again, by the links alone.
		var back []string
		next := "routers?limit=1&sort_key=name&sort_dir=desc"
		var previous string
		for next != "" {
			_, next, previous = c.page(next)
		}
		for previous != "" {
			var names []string
			names, _, previous = c.page(previous)
			back = append(names, back...)
			if len(names) == 0 {
				break
			}
		}
		slices.Reverse(want)
		require.Equal(c, want, back)

		status, body := c.raw(c.member, "GET", "routers?limit=1&marker="+networkID, "")
		require.Contains(c, []int{http.StatusNotFound, http.StatusBadRequest}, status, body)
	})
}

// page follows a link.
func (c *cloud) page(target string) (names []string, next, previous string) {
	c.Helper()
	if _, path, ok := strings.Cut(target, "/v2.0/"); ok {
		target = path
	}
	status, body := c.raw(c.member, "GET", target, "")
	require.Equal(c, http.StatusOK, status, body)
	var said struct {
		Routers []struct{ Name string }
		Links   []struct{ Rel, Href string } `json:"routers_links"`
	}
	require.NoError(c, json.Unmarshal([]byte(body), &said))
	for _, r := range said.Routers {
		names = append(names, r.Name)
	}
	for _, l := range said.Links {
		switch l.Rel {
		case "next":
			next = l.Href
		case "previous":
			previous = l.Href
		}
	}
	return names, next, previous
}

func TestTagsOfEveryResource(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		f := c.floatingIP(at.public.ID, "")
		_, groups := c.raw(c.member, "GET", "security-groups?name=default", "")
		var said struct {
			Groups []struct{ ID string } `json:"security_groups"`
		}
		require.NoError(c, json.Unmarshal([]byte(groups), &said))
		require.Len(c, said.Groups, 1, "each project has a default group")
		for kind, id := range map[string]string{"networks": at.inside.ID, "subnets": at.subnet.ID, "ports": at.port.ID, "routers": at.router.ID,
			"floatingips": f.ID, "security-groups": said.Groups[0].ID} {
			tags := ok(attributestags.ReplaceAll(c.Context(), c.member, kind, id, attributestags.ReplaceAllOpts{Tags: []string{"b", "a"}}).Extract())(c)
			require.ElementsMatch(c, []string{"a", "b"}, tags)
			require.NoError(c, attributestags.Add(c.Context(), c.member, kind, id, "c").ExtractErr())
			require.NoError(c, attributestags.Add(c.Context(), c.member, kind, id, "c").ExtractErr(), "twice is fine")
			require.True(c, ok(attributestags.Confirm(c.Context(), c.member, kind, id, "c").Extract())(c))
			require.NoError(c, attributestags.Delete(c.Context(), c.member, kind, id, "a").ExtractErr())
			c.refused(attributestags.Delete(c.Context(), c.member, kind, id, "a").ExtractErr(), http.StatusNotFound, "TagNotFound")
			require.ElementsMatch(c, []string{"b", "c"}, ok(attributestags.List(c.Context(), c.member, kind, id).Extract())(c))
			_, err := attributestags.List(c.Context(), c.other, kind, id).Extract()
			require.Error(c, err, "another project's")

			for query, count := range map[string]int{"tags=b,c": 1, "tags=b,a": 0, "tags-any=a,b": 1, "not-tags=b,c": 0, "not-tags-any=x&tags=b": 1} {
				status, body := c.raw(c.member, "GET", kind+"?fields=id&id="+id+"&"+query, "")
				require.Equal(c, http.StatusOK, status, body)
				require.Equal(c, count, strings.Count(body, id), "%s?%s: %s", kind, query, body)
			}
			require.NoError(c, attributestags.DeleteAll(c.Context(), c.member, kind, id).ExtractErr())
			require.Empty(c, ok(attributestags.List(c.Context(), c.member, kind, id).Extract())(c))
		}
	})
}

func TestBulkIsAllOrNothing(t *testing.T) {
	onClouds(t, func(c *cloud) {
		status, body := c.raw(c.member, "POST", "networks", `{"networks": [{"name": "a"}, {"name": "b"}]}`)
		require.Equal(c, http.StatusCreated, status, body)
		require.Len(c, all(c, networks.List(c.member, nil), networks.ExtractNetworks), 2)
		status, body = c.raw(c.member, "POST", "networks", `{"networks": [{"name": "c"}, {"shared": true}]}`)
		require.Equal(c, http.StatusForbidden, status, body)
		require.Len(c, all(c, networks.List(c.member, nil), networks.ExtractNetworks), 2)
		status, body = c.raw(c.member, "POST", "routers", `{"routers": [`+strings.Repeat(`{},`, 10)+`{}]}`)
		require.Equal(c, http.StatusConflict, status, body)
		require.Contains(c, body, "OverQuota")
		require.Empty(c, all(c, routers.List(c.member, nil), routers.ExtractRouters))
	})
}

func TestQuotas(t *testing.T) {
	onClouds(t, func(c *cloud) {
		q := ok(quotas.Get(c.Context(), c.member, "p1").Extract())(c)
		require.Equal(c, 10, q.Router)
		require.Equal(c, 500, q.Port)
		q = ok(quotas.Update(c.Context(), c.admin, "p1", quotas.UpdateOpts{Router: new(1), Network: new(-1)}).Extract())(c)
		require.Equal(c, 1, q.Router)
		require.Equal(c, -1, q.Network)
		ok(routers.Create(c.Context(), c.member, routers.CreateOpts{}).Extract())(c)
		c.refused(routers.Create(c.Context(), c.member, routers.CreateOpts{}).Err, http.StatusConflict, "OverQuota")
		d := ok(quotas.GetDetail(c.Context(), c.member, "p1").Extract())(c)
		require.Equal(c, 1, d.Router.Used)
		require.Equal(c, 1, d.Router.Limit)
		status, body := c.raw(c.admin, "PUT", "quotas/p1", `{"quota": {"router": 0, "check_limit": true}}`)
		require.Contains(c, []int{http.StatusBadRequest, http.StatusConflict}, status, body)
		status, body = c.raw(c.admin, "PUT", "quotas/p1", `{"quota": {"cats": 9}}`)
		require.Equal(c, http.StatusBadRequest, status, body)
		require.Contains(c, body, "cats")
		_, body = c.raw(c.admin, "GET", "quotas", "")
		require.Contains(c, body, `"project_id":"p1"`)
		_, body = c.raw(c.member, "GET", "quotas/p1/default", "")
		require.Contains(c, body, `"router":10`)

		c.refused(quotas.Update(c.Context(), c.member, "p1", quotas.UpdateOpts{Router: new(99)}).Err, http.StatusForbidden, "PolicyNotAuthorized")
		require.Error(c, quotas.Get(c.Context(), c.other, "p1").Err)
		require.NoError(c, quotas.Delete(c.Context(), c.admin, "p1").ExtractErr())
		require.Equal(c, 10, ok(quotas.Get(c.Context(), c.member, "p1").Extract())(c).Router)
	})
}
