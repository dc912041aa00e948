package namespace

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/monitor"
	"github.com/l3kit/l3kit/internal/netns"
)

func TestASubnetIsNeverWithoutARouteWhileItsAddressChanges(t *testing.T) {
	b := newBench(t)
	r := threeLegs()
	b.apply(t, r)
	f, err := netns.Open(filepath.Join(b.dir, dataplane.NamespaceName("r1")))
	require.NoError(t, err)
	defer f.Close()
	m, err := monitor.Open(int(f.Fd()), unix.RTNLGRP_IPV4_ROUTE)
	require.NoError(t, err)
	defer m.Close()

	r.Gateway.Addrs = prefixes("203.0.113.11/24", "2001:db8::10/64")
	b.apply(t, r)

	routes, changes := 1, 0 // to the gateway's subnet
	err = m.Drain(func(h unix.NlMsghdr, payload []byte) {
		msg := nl.DeserializeRtMsg(payload)
		if msg.Table != unix.RT_TABLE_MAIN || msg.Dst_len != 24 || msg.Type != unix.RTN_UNICAST {
			return
		}
		changes++
		if h.Type == unix.RTM_NEWROUTE {
			routes++
		} else {
			routes--
		}
		require.Positive(t, routes)
	})
	require.NoError(t, err)
	require.GreaterOrEqual(t, changes, 4, "the kernel's route goes and comes, ours comes and goes")
	require.Equal(t, 1, routes)
	require.Equal(t, want(r), b.observed(t, "r1"))
}
