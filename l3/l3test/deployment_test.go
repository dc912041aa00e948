package l3test_test

import (
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/server"
)

// client calls the API of a deployment, as a program that knows only OpenStack does.
func client(d *l3test.Deployment) *gophercloud.ServiceClient {
	return &gophercloud.ServiceClient{
		ProviderClient: &gophercloud.ProviderClient{}, Endpoint: d.URL + "/", ResourceBase: d.URL + "/v2.0/",
	}
}

// TestDeployment: a router that was made with gophercloud is ACTIVE, and a host has it, with its
// floating IP. When the agent ends, another host takes it over.
func TestDeployment(t *testing.T) {
	d := l3test.StartConfig(t, server.Config{AgentDownTime: server.MinAgentDownTime}, "h1", "h2")
	c, ctx := client(d), t.Context()
	network, err := networks.Create(ctx, c, networks.CreateOpts{Name: "blue"}).Extract()
	require.NoError(t, err)
	subnet, err := subnets.Create(ctx, c, subnets.CreateOpts{NetworkID: network.ID, CIDR: "10.0.1.0/24", IPVersion: 4}).Extract()
	require.NoError(t, err)
	outside, err := networks.Create(ctx, c, external{networks.CreateOpts{Name: "public"}}).Extract()
	require.NoError(t, err)
	_, err = subnets.Create(ctx, c, subnets.CreateOpts{NetworkID: outside.ID, CIDR: "203.0.113.0/24", IPVersion: 4}).Extract()
	require.NoError(t, err)
	router, err := routers.Create(ctx, c, routers.CreateOpts{Name: "r1", GatewayInfo: &routers.GatewayInfo{NetworkID: outside.ID}}).Extract()
	require.NoError(t, err)
	_, err = routers.AddInterface(ctx, c, router.ID, routers.AddInterfaceOpts{SubnetID: subnet.ID}).Extract()
	require.NoError(t, err)
	port, err := ports.Create(ctx, c, ports.CreateOpts{NetworkID: network.ID}).Extract()
	require.NoError(t, err)
	fip, err := floatingips.Create(ctx, c, floatingips.CreateOpts{FloatingNetworkID: outside.ID, PortID: port.ID}).Extract()
	require.NoError(t, err)

	active := func() bool {
		r, err := routers.Get(ctx, c, router.ID).Extract()
		require.NoError(t, err)
		f, err := floatingips.Get(ctx, c, fip.ID).Extract()
		require.NoError(t, err)
		return r.Status == "ACTIVE" && f.Status == "ACTIVE"
	}
	require.Eventually(t, active, time.Minute, 5*time.Millisecond)
	at, other := d.Hosts[0], d.Hosts[1]
	if _, there := at.Kernel.Router(router.ID); !there {
		at, other = other, at
	}
	realised, there := at.Kernel.Router(router.ID)
	require.True(t, there)
	require.Equal(t, subnet.GatewayIP, realised.Ports[0].Addrs[0].Addr().String())
	require.Equal(t, fip.FloatingIP, realised.FloatingIPs[0].Addr.String())
	_, there = other.Kernel.Router(router.ID)
	require.False(t, there)

	at.Stop()
	require.Eventually(t, func() bool { _, there := other.Kernel.Router(router.ID); return there }, time.Minute, 5*time.Millisecond)
	require.Eventually(t, active, time.Minute, 5*time.Millisecond)
}

// external is a network outside of the deployment.
type external struct{ networks.CreateOpts }

func (e external) ToNetworkCreateMap() (map[string]any, error) {
	m, err := e.CreateOpts.ToNetworkCreateMap()
	if err == nil {
		m["network"].(map[string]any)["router:external"] = true
	}
	return m, err
}

// TestDeploymentsShareNothing: tests may run beside each other.
func TestDeploymentsShareNothing(t *testing.T) {
	one, two := l3test.Start(t), l3test.Start(t)
	require.Equal(t, "host1", one.Hosts[0].Name)
	network, err := networks.Create(t.Context(), client(one), networks.CreateOpts{Name: "blue"}).Extract()
	require.NoError(t, err)
	_, err = networks.Get(t.Context(), client(two), network.ID).Extract()
	require.True(t, gophercloud.ResponseCodeIs(err, 404), err)
}
