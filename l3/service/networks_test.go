package service_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

func TestNetworkDefaults(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{Name: new("web")})
		require.Equal(t, "web", n.Name)
		require.Equal(t, "alice", n.ProjectID)
		require.Equal(t, 1, n.Revision)
		require.Equal(t, l3.StatusActive, n.Status)
		require.True(t, n.AdminStateUp)
		require.True(t, n.PortSecurityEnabled)
		require.False(t, n.Shared || n.External || n.IsDefault)
		require.Equal(t, []l3.Segment{{Type: dataplane.NetworkVXLAN, ID: 1}}, n.Segments)
		require.Equal(t, 1450, n.MTU)
		require.Equal(t, []string{}, n.Subnets)

		sub := c.subnet(n, "10.0.0.0/24")
		got, err := c.GetNetwork(t.Context(), alice, n.ID)
		require.NoError(t, err)
		require.Equal(t, []string{sub.ID}, got.Subnets)
	})
}

func TestNetworkProviderAttributes(t *testing.T) {
	tests := map[string]struct {
		segments []l3.Segment
		kind     error
		refusal  string
	}{
		"flat needs a physical network":     {[]l3.Segment{{Type: "flat"}}, l3.ErrInvalid, "InvalidInput"},
		"flat has no ID":                    {[]l3.Segment{{Type: "flat", Physical: "a", ID: 1}}, l3.ErrInvalid, "InvalidInput"},
		"VLAN out of range":                 {[]l3.Segment{{Type: "vlan", Physical: "a", ID: 4095}}, l3.ErrInvalid, "InvalidInput"},
		"VLAN needs a physical network":     {[]l3.Segment{{Type: "vlan", ID: 7}}, l3.ErrInvalid, "InvalidInput"},
		"VXLAN out of range":                {[]l3.Segment{{Type: "vxlan", ID: 1 << 24}}, l3.ErrInvalid, "InvalidInput"},
		"VXLAN has no physical network":     {[]l3.Segment{{Type: "vxlan", ID: 1, Physical: "a"}}, l3.ErrInvalid, "InvalidInput"},
		"local has no ID":                   {[]l3.Segment{{Type: "local", ID: 1}}, l3.ErrInvalid, "InvalidInput"},
		"an ID needs a type":                {[]l3.Segment{{ID: 1}}, l3.ErrInvalid, "InvalidInput"},
		"unknown type":                      {[]l3.Segment{{Type: "ether"}}, l3.ErrInvalid, "InvalidInput"},
		"physical network not printable":    {[]l3.Segment{{Type: "flat", Physical: "a\x00"}}, l3.ErrInvalid, "InvalidInput"},
		"physical network taken":            {[]l3.Segment{{Type: "flat", Physical: "taken"}}, l3.ErrConflict, "FlatNetworkInUse"},
		"VLAN taken":                        {[]l3.Segment{{Type: "vlan", Physical: "taken", ID: 7}}, l3.ErrConflict, "VlanIdInUse"},
		"VLAN free on the other network":    {[]l3.Segment{{Type: "vlan", Physical: "other", ID: 7}}, nil, ""},
		"VNI taken":                         {[]l3.Segment{{Type: "vxlan", ID: 7}}, l3.ErrConflict, "TunnelIdInUse"},
		"the same number of another type":   {[]l3.Segment{{Type: "geneve", ID: 7}}, nil, ""},
		"one segment twice":                 {[]l3.Segment{{Type: "gre", ID: 9}, {Type: "gre", ID: 9}}, l3.ErrConflict, "TunnelIdInUse"},
		"several segments":                  {[]l3.Segment{{Type: "gre", ID: 9}, {Type: "vlan", Physical: "other", ID: 8}}, nil, ""},
		"local":                             {[]l3.Segment{{Type: "local"}}, nil, ""},
		"no range to allocate from":         {[]l3.Segment{{Type: "gre"}}, l3.ErrExhausted, "NoNetworkAvailable"},
		"no range of this physical network": {[]l3.Segment{{Type: "vlan", Physical: "other"}}, l3.ErrExhausted, "NoNetworkAvailable"},
	}
	onStores(t, func(t *testing.T, c *cloud) {
		for _, seg := range []l3.Segment{{Type: "flat", Physical: "taken"}, {Type: "vlan", Physical: "taken", ID: 7}, {Type: "vxlan", ID: 7}} {
			c.network(admin, l3.NetworkSpec{Segments: &[]l3.Segment{seg}})
		}
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				n, err := c.CreateNetworks(t.Context(), admin, l3.NetworkSpec{Segments: &test.segments})
				if test.refusal != "" {
					refused(t, err, test.kind, test.refusal)
					return
				}
				require.NoError(t, err)
				require.Equal(t, test.segments, n[0].Segments)
				require.NoError(t, c.DeleteNetwork(t.Context(), admin, n[0].ID, l3.If{}))
			})
		}
	})
}

func TestNetworkSegmentsAreAllocatedFromRanges(t *testing.T) {
	ranges := []service.SegmentRange{
		{Type: "vlan", Physical: "left", First: 10, Last: 11}, {Type: "vlan", Physical: "right", First: 10, Last: 10}, {Type: "geneve", First: 5, Last: 5},
	}
	onStoresWith(t, service.Config{SegmentRanges: ranges}, func(t *testing.T, c *cloud) {
		var got []l3.Segment
		var second l3.Network
		for i := range 4 {
			n := c.network(alice, l3.NetworkSpec{})
			got = append(got, n.Segments...)
			if i == 1 {
				second = n
			}
		}
		require.Equal(t, []l3.Segment{{Type: "vlan", Physical: "left", ID: 10}, {Type: "vlan", Physical: "left", ID: 11}, {Type: "vlan", Physical: "right", ID: 10}, {Type: "geneve", Physical: "", ID: 5}}, got)
		_, err := c.CreateNetworks(t.Context(), alice, l3.NetworkSpec{})
		refused(t, err, l3.ErrExhausted, "NoNetworkAvailable")

		require.NoError(t, c.DeleteNetwork(t.Context(), alice, second.ID, l3.If{}))
		require.Equal(t, []l3.Segment{{Type: "vlan", Physical: "left", ID: 11}}, c.network(admin, l3.NetworkSpec{Segments: &[]l3.Segment{{Type: "vlan", Physical: "left"}}}).Segments)
	})
}

// TestNetworkSegmentsAreNotGivenAgainAtOnce: a host may still have the network that was deleted.
func TestNetworkSegmentsAreNotGivenAgainAtOnce(t *testing.T) {
	onStoresWith(t, service.Config{SegmentRanges: []service.SegmentRange{{Type: "vxlan", First: 7, Last: 9}}}, func(t *testing.T, c *cloud) {
		var got []uint32
		for range 4 {
			n := c.network(alice, l3.NetworkSpec{})
			got = append(got, n.Segments[0].ID)
			require.NoError(t, c.DeleteNetwork(t.Context(), alice, n.ID, l3.If{}))
		}
		require.Equal(t, []uint32{7, 8, 9, 7}, got)
	})
}

func TestLocalNetworksNeverRunOut(t *testing.T) {
	ranges := []service.SegmentRange{{Type: "vxlan", First: 7, Last: 7}, {Type: "local"}}
	onStoresWith(t, service.Config{SegmentRanges: ranges}, func(t *testing.T, c *cloud) {
		for _, want := range []l3.Segment{{Type: "vxlan", ID: 7}, {Type: "local"}, {Type: "local"}} {
			require.Equal(t, []l3.Segment{want}, c.network(alice, l3.NetworkSpec{}).Segments)
		}
	})
}

// TestNetworkSegmentsUnderConcurrency: 16 that want a segment each, where there are eight.
func TestNetworkSegmentsUnderConcurrency(t *testing.T) {
	onStoresWith(t, service.Config{SegmentRanges: []service.SegmentRange{{Type: "vxlan", First: 1, Last: 8}}}, func(t *testing.T, c *cloud) {
		made, errs := make([][]l3.Network, 16), make([]error, 16)
		var all sync.WaitGroup
		for i := range made {
			all.Go(func() { made[i], errs[i] = c.CreateNetworks(t.Context(), alice, l3.NetworkSpec{}) })
		}
		all.Wait()
		ids := map[uint32]bool{}
		for i, err := range errs {
			if err != nil {
				refused(t, err, l3.ErrExhausted, "NoNetworkAvailable")
				continue
			}
			ids[made[i][0].Segments[0].ID] = true
		}
		require.Len(t, ids, 8)
	})
}

func TestNetworkTwoAllocatedSegmentsDiffer(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(admin, l3.NetworkSpec{Segments: &[]l3.Segment{{Type: "vxlan"}, {Type: "vxlan"}}})
		require.Equal(t, []l3.Segment{{Type: "vxlan", ID: 1}, {Type: "vxlan", ID: 2}}, n.Segments)
		_, err := c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{Segments: &[]l3.Segment{{Type: "vxlan", ID: 3}}}, l3.If{})
		bad(t, err)
		_, err = c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{Segments: &n.Segments}, l3.If{})
		require.NoError(t, err, "the same ones are no change")
	})
}

func TestNetworkAttributesOfAdministrators(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		for name, spec := range map[string]l3.NetworkSpec{
			"shared":                {Shared: new(true)},
			"router:external":       {External: new(true)},
			"is_default":            {IsDefault: new(true)},
			"provider:network_type": {Segments: &[]l3.Segment{{Type: "local"}}},
		} {
			_, err := c.CreateNetworks(t.Context(), alice, spec)
			forbidden(t, err)
			require.ErrorContains(t, err, "(rule:create_network:"+name+") is disallowed by policy")
			_, err = c.UpdateNetwork(t.Context(), alice, c.network(alice, l3.NetworkSpec{}).ID, spec, l3.If{})
			forbidden(t, err)
			require.ErrorContains(t, err, "(rule:update_network:"+name+") is disallowed by policy")
		}
		c.network(alice, l3.NetworkSpec{Shared: new(false), External: new(false)})
	})
}

func TestNetworkMTU(t *testing.T) {
	onStoresWith(t, service.Config{PhysicalMTU: 2000}, func(t *testing.T, c *cloud) {
		for kind, most := range map[dataplane.NetworkType]int{"vlan": 2000, "local": 2000, "vxlan": 1950, "geneve": 1950, "gre": 1958} {
			seg := l3.Segment{Type: kind, ID: 77}
			switch kind {
			case "vlan":
				seg.Physical = "p"
			case "local":
				seg.ID = 0
			}
			_, err := c.CreateNetworks(t.Context(), admin, l3.NetworkSpec{Segments: &[]l3.Segment{seg}, MTU: new(most + 1)})
			bad(t, err)
			n := c.network(admin, l3.NetworkSpec{Segments: &[]l3.Segment{seg}})
			require.Equal(t, most, n.MTU, kind)
			n, err = c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{MTU: new(1300)}, l3.If{})
			require.NoError(t, err)
			require.Equal(t, 1300, n.MTU)
			n, err = c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{MTU: new(0)}, l3.If{})
			require.NoError(t, err)
			require.Equal(t, most, n.MTU)
			_, err = c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{MTU: new(67)}, l3.If{})
			bad(t, err)
		}
	})
}

func TestNetworkMTUHasRoomForIPv6(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{MTU: new(1000)})
		_, err := c.trySubnet(n, "2001:db8::/64")
		refused(t, err, l3.ErrConflict, "NetworkMTUSubnetConflict")
		c.subnet(n, "10.0.0.0/24")
		n = c.network(alice, l3.NetworkSpec{})
		c.subnet(n, "2001:db8::/64")
		_, err = c.UpdateNetwork(t.Context(), alice, n.ID, l3.NetworkSpec{MTU: new(1279)}, l3.If{})
		refused(t, err, l3.ErrConflict, "NetworkMTUSubnetConflict")
	})
}

func TestNetworkOfAnotherProjectIsNotFound(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		_, err := c.GetNetwork(t.Context(), bob, n.ID)
		refused(t, err, l3.ErrNotFound, "NetworkNotFound")
		_, err = c.UpdateNetwork(t.Context(), bob, n.ID, l3.NetworkSpec{Name: new("x")}, l3.If{})
		unseen(t, err)
		unseen(t, c.DeleteNetwork(t.Context(), bob, n.ID, l3.If{}))
		_, err = c.CreateSubnets(t.Context(), bob, l3.SubnetSpec{NetworkID: &n.ID})
		unseen(t, err)
		_, err = c.tryPort(bob, n)
		unseen(t, err)
		list, err := c.ListNetworks(t.Context(), bob, l3.Query{})
		require.NoError(t, err)
		require.Empty(t, list)

		_, err = c.CreateNetworks(t.Context(), bob, l3.NetworkSpec{ProjectID: new("alice")})
		refused(t, err, l3.ErrInvalid, "HTTPBadRequest")
		_, err = c.CreateNetworks(t.Context(), l3.Caller{}, l3.NetworkSpec{})
		forbidden(t, err)
		list, err = c.ListNetworks(t.Context(), l3.Caller{}, l3.Query{})
		require.NoError(t, err)
		require.Empty(t, list)
		require.Equal(t, "bob", c.network(admin, l3.NetworkSpec{ProjectID: new("bob")}).ProjectID)
	})
}

func TestNetworkSharedAndExternalAreVisible(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		shared, public := c.network(admin, l3.NetworkSpec{Shared: new(true)}), c.external()
		hidden, sub := c.subnet(public, "198.51.100.0/24"), c.subnet(shared, "10.0.0.0/24")
		for _, n := range []l3.Network{shared, public} {
			got, err := c.GetNetwork(t.Context(), alice, n.ID)
			require.NoError(t, err)
			require.Equal(t, n.Shared, got.Shared)
			require.Equal(t, n.External, got.External)
			_, err = c.UpdateNetwork(t.Context(), alice, n.ID, l3.NetworkSpec{Name: new("mine")}, l3.If{})
			forbidden(t, err)
			forbidden(t, c.DeleteNetwork(t.Context(), alice, n.ID, l3.If{}))
			_, err = c.CreateSubnets(t.Context(), alice, l3.SubnetSpec{NetworkID: &n.ID})
			forbidden(t, err)
		}
		list, err := c.ListNetworks(t.Context(), alice, l3.Query{})
		require.NoError(t, err)
		require.Len(t, list, 2)
		subnets, err := c.ListSubnets(t.Context(), alice, l3.Query{})
		require.NoError(t, err)
		require.Len(t, subnets, 1, "a network that is external and not shared keeps its subnets to itself")
		require.Equal(t, sub.ID, subnets[0].ID)
		_, err = c.GetSubnet(t.Context(), alice, hidden.ID)
		unseen(t, err)
		c.share(admin, public, l3.AccessAsShared, "alice")
		_, err = c.GetSubnet(t.Context(), alice, hidden.ID)
		require.NoError(t, err)
		c.port(alice, shared)
	})
}

func TestNetworkExternalNetworkInUse(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.external()
		c.subnet(n, "198.51.100.0/24")
		_, err := c.CreateRouters(t.Context(), alice, l3.RouterSpec{Gateway: &l3.GatewaySpec{NetworkID: n.ID}})
		require.NoError(t, err)
		_, err = c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{External: new(false)}, l3.If{})
		refused(t, err, l3.ErrConflict, "ExternalNetworkInUse")
		refused(t, c.DeleteNetwork(t.Context(), admin, n.ID, l3.If{}), l3.ErrConflict, "NetworkInUse")

		quiet := c.external()
		quiet, err = c.UpdateNetwork(t.Context(), admin, quiet.ID, l3.NetworkSpec{External: new(false)}, l3.If{})
		require.NoError(t, err)
		require.False(t, quiet.External)
		_, err = c.GetNetwork(t.Context(), alice, quiet.ID)
		unseen(t, err)
	})
}

func TestNetworkDefaultIsOneExternalNetwork(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		_, err := c.CreateNetworks(t.Context(), admin, l3.NetworkSpec{IsDefault: new(true)})
		bad(t, err)
		n := c.network(admin, l3.NetworkSpec{External: new(true), IsDefault: new(true)})
		_, err = c.CreateNetworks(t.Context(), admin, l3.NetworkSpec{External: new(true), IsDefault: new(true)})
		refused(t, err, l3.ErrConflict, "DefaultExternalNetworkExists")
		n, err = c.UpdateNetwork(t.Context(), admin, n.ID, l3.NetworkSpec{External: new(false)}, l3.If{})
		require.NoError(t, err)
		require.False(t, n.IsDefault)
	})
}

func TestNetworkInUse(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{})
		c.subnet(n, "10.0.0.0/24")
		c.port(admin, n, owner("network:dhcp"))
		p := c.port(alice, n)
		refused(t, c.DeleteNetwork(t.Context(), alice, n.ID, l3.If{}), l3.ErrConflict, "NetworkInUse")
		require.NoError(t, c.DeletePort(t.Context(), alice, p.ID, l3.If{}))
		require.NoError(t, c.DeleteNetwork(t.Context(), alice, n.ID, l3.If{}), "DHCP's port is no reason to stay")
		_, err := c.GetNetwork(t.Context(), alice, n.ID)
		unseen(t, err)
		subnets, err := c.ListSubnets(t.Context(), admin, l3.Query{})
		require.NoError(t, err)
		require.Empty(t, subnets)
		unseen(t, c.DeleteNetwork(t.Context(), alice, n.ID, l3.If{}))
	})
}

func TestNetworkNoChangeLeavesTheRevision(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	onStoresWith(t, service.Config{Now: func() time.Time { return now }}, func(t *testing.T, c *cloud) {
		n := c.network(alice, l3.NetworkSpec{Name: new("a")})
		require.Equal(t, now.Truncate(time.Second), n.CreatedAt)
		now = now.Add(time.Minute)
		same, err := c.UpdateNetwork(t.Context(), alice, n.ID, l3.NetworkSpec{Name: new("a"), AdminStateUp: new(true), MTU: &n.MTU}, l3.If{})
		require.NoError(t, err)
		require.Equal(t, n, same)
		other, err := c.UpdateNetwork(t.Context(), alice, n.ID, l3.NetworkSpec{Name: new("b")}, l3.If{Revision: new(1)})
		require.NoError(t, err)
		require.Equal(t, 2, other.Revision)
		require.Equal(t, n.CreatedAt.Add(time.Minute), other.UpdatedAt)
		_, err = c.UpdateNetwork(t.Context(), alice, n.ID, l3.NetworkSpec{Name: new("c")}, l3.If{Revision: new(1)})
		refused(t, err, l3.ErrRevision, "RevisionNumberConstraintFailed")
		refused(t, c.DeleteNetwork(t.Context(), alice, n.ID, l3.If{Revision: new(3)}), l3.ErrRevision, "RevisionNumberConstraintFailed")
		require.Empty(t, c.Committed())
	})
}

func TestNetworkBulkIsAllOrNothing(t *testing.T) {
	onStores(t, func(t *testing.T, c *cloud) {
		_, err := c.CreateNetworks(t.Context(), alice, l3.NetworkSpec{Name: new("a")}, l3.NetworkSpec{MTU: new(1 << 20)})
		bad(t, err)
		list, err := c.ListNetworks(t.Context(), alice, l3.Query{})
		require.NoError(t, err)
		require.Empty(t, list)
		made, err := c.CreateNetworks(t.Context(), alice, l3.NetworkSpec{Name: new("a")}, l3.NetworkSpec{Name: new("b")})
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, []string{made[0].Name, made[1].Name})
	})
}

func TestNamesAreKeepable(t *testing.T) {
	long := string(slices.Repeat([]byte("é"), 256))
	onStores(t, func(t *testing.T, c *cloud) {
		for _, name := range []string{long, "a\x00b", "\xff"} {
			_, err := c.CreateNetworks(t.Context(), alice, l3.NetworkSpec{Name: &name})
			bad(t, err)
			require.ErrorContains(t, err, "name")
		}
		c.network(alice, l3.NetworkSpec{Name: new(long[:2*255])})
	})
}

func TestNetworkAvailabilityZoneHints(t *testing.T) {
	onRigs(t, func(r *rig) {
		hints := func(zones ...string) error {
			_, err := r.CreateNetworks(r.Context(), r.member, l3.NetworkSpec{AZHints: &zones})
			return err
		}
		require.NoError(r, hints("nova"))
		r.refused(hints("nova", "east"), l3.ErrNotFound, "AvailabilityZoneNotFound")
		require.Len(r, ok(r.ListNetworks(r.Context(), r.member, l3.Query{}))(r), 1)
		r.beat(agent.Heartbeat{Host: "h2", AvailabilityZone: "east"})
		require.NoError(r, hints("nova", "east"))
		r.refused(hints("east", "east"), l3.ErrInvalid, "InvalidInput")
	})
}
