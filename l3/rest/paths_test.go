package rest_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

// TestPathsAsClientsWriteThem: as in Neutron, a path may end in a slash, and in .json.
func TestPathsAsClientsWriteThem(t *testing.T) {
	f := &fake{routers: []l3.Router{sampleRouter}}
	h := api(f)
	list, item := ask(h, "GET", "/v2.0/routers", "").Body.String(), ask(h, "GET", "/v2.0/routers/"+routerID, "").Body.String()
	require.Contains(t, item, routerID)
	for path, want := range map[string]string{
		"/v2.0/routers/": list, "/v2.0/routers.json": list, "/v2.0/routers/?name=x": list,
		"/v2.0/routers/" + routerID + "/": item, "/v2.0/routers/" + routerID + ".json": item,
		"/v2.0/rou%74ers/": list, "/v2.0/rou%74ers/" + routerID + ".json": item,
	} {
		w := ask(h, "GET", path, "")
		require.Equal(t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
		require.Equal(t, want, w.Body.String(), path)
	}
	require.Equal(t, http.StatusCreated, ask(h, "POST", "/v2.0/routers.json", `{"router": {}}`).Code)
	require.Equal(t, http.StatusOK, ask(h, "PUT", "/v2.0/routers/"+routerID+"/", `{"router": {}}`).Code)
	require.Equal(t, routerID, f.id)
	require.Equal(t, http.StatusNoContent, ask(h, "DELETE", "/v2.0/routers/"+routerID+".json", "").Code)
	require.Equal(t, routerID, f.id)
	for _, path := range []string{"/v2.0/security_groups.json", "/v2.0/security-groups/"} {
		require.Equal(t, http.StatusMethodNotAllowed, ask(h, "PATCH", path, "").Code, path)
	}
	for path, allow := range map[string]string{
		"/v2.0/routers": "GET, HEAD, POST", "/v2.0/routers/x": "DELETE, GET, HEAD, PUT", "/v2.0/routers/x/add_router_interface/": "PUT",
		"/v2.0/quotas/x/details.json": "GET, HEAD",
	} {
		w := ask(h, "PATCH", path, "")
		require.Equal(t, http.StatusMethodNotAllowed, w.Code, path)
		require.Equal(t, allow, w.Header().Get("Allow"), path)
	}
	for _, path := range []string{"/v2.0/routers//", "/v2.0/nothing/", "/v2.0/nothing.json", "/routers.json", "/v2.0/routers/x/nothing/"} {
		require.Equal(t, http.StatusNotFound, ask(h, "GET", path, "").Code, path)
	}
}

// TestTagsMayEndLikePaths: what Neutron allows at the end of a path belongs to a tag there.
func TestTagsMayEndLikePaths(t *testing.T) {
	onClouds(t, func(c *cloud) {
		path := "networks/" + c.network(c.admin, "n").ID + "/tags"
		for _, tag := range []string{"a.json", "a%2F"} {
			status, body := c.raw(c.admin, "PUT", path+"/"+tag, "")
			require.Equal(c, http.StatusCreated, status, body)
		}
		_, body := c.raw(c.admin, "GET", path, "")
		require.JSONEq(c, `{"tags": ["a.json", "a/"]}`, body)
		status, _ := c.raw(c.admin, "GET", path+"/a", "")
		require.Equal(c, http.StatusNotFound, status)
		status, _ = c.raw(c.admin, "DELETE", path+"/%2F", "")
		require.Equal(c, http.StatusNotFound, status, "it does not remove all")
	})
}

// TestSortKeysThatAreEmpty are no keys.
func TestSortKeysThatAreEmpty(t *testing.T) {
	f := &fake{}
	require.Equal(t, http.StatusOK, ask(api(f), "GET", "/v2.0/routers?sort_key=&sort_dir=", "").Code)
	require.Empty(t, f.query.Sort)
	require.Equal(t, http.StatusOK, ask(api(f), "GET", "/v2.0/routers?sort_key=&sort_key=name&sort_dir=asc", "").Code)
	require.Equal(t, []l3.Sort{{Field: "name"}}, f.query.Sort)
}
