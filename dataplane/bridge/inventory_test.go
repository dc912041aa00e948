package bridge_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
)

// TestNetworks: a process that has just started finds out how the networks of a router are carried.
func TestNetworks(t *testing.T) {
	h := newHost(t)
	h.wire("eth1", "203.0.113.1/24")
	require.NoError(t, h.LinkAdd(wiringtest.Dummy("br-ex")))
	c := bridge.Config{
		Physical: map[string]string{"ext": "eth1", "there": "br-ex"},
		VXLAN:    bridge.VXLAN{Local: netip.MustParseAddr("192.0.2.1")},
	}
	d := h.driver(c)
	want := map[string]dataplane.Network{
		"lan":    {ID: "lan-net", Type: dataplane.NetworkLocal},
		"tunnel": {ID: "tunnel-net", Type: dataplane.NetworkVXLAN, Segment: 4711},
		"nic":    {ID: "nic-net", Type: dataplane.NetworkFlat, Physical: "ext"},
		"own":    {ID: "own-net", Type: dataplane.NetworkFlat, Physical: "there"},
	}
	ns, n := h.Router("r1"), 0
	for id, network := range want {
		n++
		wiringtest.Plug(t, d, ns, dataplane.PortDevice(id), wiringtest.PortOn(network, id, n))
	}
	wiringtest.Plug(t, d, h.Router("r2"), "qr-other", wiringtest.LocalPort("other-net", "other", 9))
	got, err := h.driver(c).Networks(t.Context(), "r1")
	require.NoError(t, err)
	require.Equal(t, want, got)

	got, err = h.driver(bridge.Config{}).Networks(t.Context(), "r1")
	require.NoError(t, err)
	require.Equal(t, dataplane.Network{ID: "nic-net", Type: dataplane.NetworkFlat}, got["nic"], "another configuration names no such device")
	got, err = d.Networks(t.Context(), "r3")
	require.NoError(t, err)
	require.Empty(t, got)
}

// TestSegmentOfAnotherNetwork: who has it is said, and what to do.
func TestSegmentOfAnotherNetwork(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{VXLAN: bridge.VXLAN{Local: netip.MustParseAddr("192.0.2.1")}})
	on := func(network string) dataplane.Network {
		return dataplane.Network{ID: network, Type: dataplane.NetworkVXLAN, Segment: 4711}
	}
	wiringtest.Plug(t, d, h.Router("old"), "qr-old", wiringtest.PortOn(on("old-net"), "old", 1))
	err := d.Plug(t.Context(), h.Router("new"), wiringtest.At("qr-new", wiringtest.PortOn(on("new-net"), "new", 2)))
	require.ErrorIs(t, err, dataplane.ErrHostConfig)
	require.ErrorContains(t, err, "network old-net of router old has the segment of device vxlan-4711 on this host: remove that router from this host, or ")
}
