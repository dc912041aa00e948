package service_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
)

func TestTagsOnEveryResource(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		public, n := c.external(), c.network(alice, l3.NetworkSpec{})
		c.subnet(public, "198.51.100.0/24")
		routers, err := c.CreateRouters(t.Context(), alice, l3.RouterSpec{})
		require.NoError(t, err)
		floating, err := c.CreateFloatingIPs(t.Context(), alice, l3.FloatingIPSpec{NetworkID: &public.ID})
		require.NoError(t, err)
		group := c.groups(alice)[0]
		resources := map[l3.Kind]string{
			l3.KindNetwork: n.ID, l3.KindSubnet: c.subnet(n, "10.0.0.0/24").ID, l3.KindPort: c.port(alice, n).ID, l3.KindRouter: routers[0].ID,
			l3.KindFloatingIP: floating[0].ID, l3.KindSecurityGroup: group.ID, l3.KindSecurityGroupRule: group.Rules[0].ID,
			l3.KindRBACPolicy: c.share(alice, n, l3.AccessAsShared, "bob").ID,
		}
		n, err = c.GetNetwork(t.Context(), alice, n.ID)
		require.NoError(t, err)
		before := n.Revision
		for kind, id := range resources {
			t.Run(string(kind), func(t *testing.T) {
				tags, err := c.SetTags(t.Context(), alice, kind, id, []string{"red", "blue"})
				require.NoError(t, err)
				require.Equal(t, []string{"blue", "red"}, tags)
				require.NoError(t, c.AddTag(t.Context(), alice, kind, id, "green"))
				require.NoError(t, c.AddTag(t.Context(), alice, kind, id, "green"), "twice is fine")
				require.NoError(t, c.RemoveTag(t.Context(), alice, kind, id, "blue"))
				refused(t, c.RemoveTag(t.Context(), alice, kind, id, "blue"), l3.ErrNotFound, "TagNotFound")
				tags, err = c.GetTags(t.Context(), alice, kind, id)
				require.NoError(t, err)
				require.Equal(t, []string{"green", "red"}, tags)
				_, err = c.GetTags(t.Context(), member("carol"), kind, id)
				unseen(t, err)
			})
		}
		n, err = c.GetNetwork(t.Context(), alice, n.ID)
		require.NoError(t, err)
		require.Equal(t, before+3, n.Revision, "what changed nothing does not count")
		require.Equal(t, []string{"green", "red"}, n.Tags)
	})
}

func TestTagFaults(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		var many []string
		for i := range 51 {
			many = append(many, fmt.Sprint(i))
		}
		_, err := c.SetTags(t.Context(), alice, l3.KindNetwork, n.ID, many)
		refused(t, err, l3.ErrInvalid, "BadRequest")
		_, err = c.SetTags(t.Context(), alice, l3.KindNetwork, n.ID, many[:50])
		require.NoError(t, err)
		refused(t, c.AddTag(t.Context(), alice, l3.KindNetwork, n.ID, "one more"), l3.ErrInvalid, "BadRequest")
		for _, tags := range [][]string{{"a", "a"}, {""}, {strings.Repeat("x", 256)}, {"\x00"}} {
			_, err := c.SetTags(t.Context(), alice, l3.KindNetwork, n.ID, tags)
			bad(t, err)
		}
		refused(t, c.AddTag(t.Context(), admin, l3.KindAgent, "x", "y"), l3.ErrNotFound, "TagResourceNotFound")
		shared := c.network(admin, l3.NetworkSpec{Shared: new(true)})
		forbidden(t, c.AddTag(t.Context(), alice, l3.KindNetwork, shared.ID, "mine"))
	})
}
