package nftables_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/dataplanetest"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/nftables"
)

func TestKilled(t *testing.T) {
	t.Parallel()
	times := 200
	if testing.Short() {
		times = 20
	}
	dataplanetest.RunKilled(t, open, times)
}

// A process that is killed between removing a port and the bridge that was there for it leaves a
// bridge that no router has to do with.
func TestAPlanNamesWhatAKilledProcessLeft(t *testing.T) {
	needs.Root(t)
	l, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	host, err := vnetns.GetFromPath(l.HostNS)
	require.NoError(t, err)
	defer host.Close()
	h, err := netlink.NewHandleAt(host, unix.NETLINK_ROUTE)
	require.NoError(t, err)
	defer h.Close()
	process := func() *namespace.Dataplane {
		wiring, err := bridge.New(bridge.Config{HostNS: l.HostNS})
		require.NoError(t, err)
		dp, err := nftables.New(namespace.Config{Wiring: wiring, HostNS: l.HostNS, Dir: l.Dir})
		require.NoError(t, err)
		return dp
	}
	port := dataplane.Port{
		ID: "gone", Network: dataplane.Network{ID: "left"}, MAC: dataplane.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500,
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
	}
	before, after := dataplane.Router{ID: "r1", Ports: []dataplane.Port{port}}, dataplane.Router{ID: "r1"}

	killed := process()
	_, err = killed.Apply(t.Context(), before)
	require.NoError(t, err)
	tap, err := h.LinkByName("tapgone")
	require.NoError(t, err)
	require.NoError(t, h.LinkDel(tap))
	require.NoError(t, killed.Close())

	dp := process()
	defer dp.Close()
	plan, err := dp.Plan(t.Context(), after)
	require.NoError(t, err)
	require.Equal(t, "router r1\n  - rules inside 10.0.0.0/24\n  - wiring brqleft: network left has no port here", plan.String())
	done, err := dp.Apply(t.Context(), after)
	require.NoError(t, err)
	require.Equal(t, plan, done)
	_, err = h.LinkByName("brqleft")
	require.True(t, errors.As(err, new(netlink.LinkNotFoundError)), "%v", err)
	plan, err = dp.Plan(t.Context(), after)
	require.NoError(t, err)
	require.Empty(t, plan.Steps)
}
