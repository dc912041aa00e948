package natsbus_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/natsbus"
	"github.com/l3kit/l3kit/l3/service"
)

// TestJoined: from a call of the service to the kernel's stand-in on a host, and back to the status
// that the caller sees.
func TestJoined(t *testing.T) {
	r := &rig{T: t, server: start(t, natsbus.ServerConfig{Secret: secret, Dir: t.TempDir(), Listen: loopback})}
	r.nc = connect(t, natsbus.Login{Server: r.server})
	store := l3test.Open(t, l3test.SQLiteURL(t))
	svc, err := service.New(service.Config{Store: store})
	require.NoError(t, err)
	r.bus, err = natsbus.Open(t.Context(), r.nc, svc, natsbus.Options{Poll: time.Hour}) // it is told
	require.NoError(t, err)
	background(t, r.bus.Run)

	host := &dataplane.FakeHost{}
	peers := make(chan []netip.Addr, 16)
	a, err := agent.New(agent.Config{
		Host: "h1", Source: r.source("h1"), Dataplane: dataplane.NewFake(host), HeartbeatEvery: time.Second, CheckEvery: -1, Cache: t.TempDir(),
		Capabilities: agent.Capabilities{TunnelAddress: netip.MustParseAddr("192.0.2.1")},
		SetPeers: func(_ context.Context, addrs []netip.Addr) error {
			peers <- addrs
			return nil
		},
	})
	require.NoError(t, err)
	background(t, a.Run)

	ctx, who := t.Context(), l3.Caller{Project: "p1", Admin: true}
	networks, err := svc.CreateNetworks(ctx, who, l3.NetworkSpec{})
	require.NoError(t, err)
	subnets, err := svc.CreateSubnets(ctx, who, l3.SubnetSpec{NetworkID: &networks[0].ID, CIDR: new(netip.MustParsePrefix("10.0.1.0/24"))})
	require.NoError(t, err)
	routers, err := svc.CreateRouters(ctx, who, l3.RouterSpec{})
	require.NoError(t, err)
	id := routers[0].ID
	spec := l3.InterfaceSpec{SubnetID: subnets[0].ID}
	_, err = svc.AddRouterInterface(ctx, who, id, spec)
	require.NoError(t, err)
	active := func() bool {
		seen, err := svc.GetRouter(ctx, who, id)
		require.NoError(t, err)
		return seen.Status == l3.StatusActive
	}
	require.Eventually(t, active, patience, 10*time.Millisecond, "the router is ACTIVE")
	desired, err := svc.DesiredOf(ctx, id)
	require.NoError(t, err)
	realised, ok := host.Router(id)
	require.True(t, ok)
	require.Equal(t, agent.Realised(desired), realised)
	for addrs := range peers {
		if len(addrs) == 1 {
			require.Equal(t, "192.0.2.1", addrs[0].String())
			break
		}
	}

	_, err = svc.RemoveRouterInterface(ctx, who, id, spec)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, there := host.Router(id)
		return !there
	}, patience, 10*time.Millisecond, "with nothing to realise it is taken away")
	_, err = svc.AddRouterInterface(ctx, who, id, spec)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, there := host.Router(id)
		return there && active()
	}, patience, 10*time.Millisecond, "and it comes back")
}
