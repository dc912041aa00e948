package ovs_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// Flows that an earlier process left on a physical bridge go, though nobody plugs anything: they
// let out a local VLAN that is free for others.
func TestStaleFlowsOfPhysicalBridgesGo(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	h.do("add-br br-sys") // which needs the kernel's datapath, that may not be there
	c := ovs.Config{Physical: map[string]string{"ext": "br-ex", "sys": "br-sys", "none": "br-none"}}
	d := h.driver(c)
	_, err := h.Ofctl("add-flow", h.RunDir+"/br-ex.mgmt", "cookie=0x1234,priority=77,in_port=77,actions=drop")
	require.NoError(t, err)
	router := h.Router("r1")
	wiringtest.Plug(t, d, router, "qr-port", wiringtest.PortOn(wiringtest.Flat("net"), "port", 1))
	wiringtest.Plug(t, d, router, "qr-other", wiringtest.PortOn(dataplane.Network{ID: "other", Type: dataplane.NetworkVLAN, Physical: "ext", Segment: 7}, "other", 2))
	full := h.flows("br-ex")
	require.NoError(t, d.Close())
	h.do("del-port tapport")
	require.Equal(t, full, h.flows("br-ex"), "nobody is there to take them away")
	lets := func(f string) bool { return strings.Contains(f, "dl_vlan=1 ") }
	require.True(t, slices.ContainsFunc(full, lets))

	h.driver(c)
	require.Eventually(t, func() bool { return !slices.ContainsFunc(h.flows("br-ex"), lets) }, time.Minute, 20*time.Millisecond)
	require.Equal(t, slices.DeleteFunc(full, lets), h.flows("br-ex"), "nothing else")
}

// Two processes, each with an integration bridge of its own, share a physical bridge, and leave
// each other's flows alone.
func TestTwoIntegrationBridgesShareAPhysicalBridge(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	physical := map[string]string{"ext": "br-ex"}
	one, two := ovs.Config{Physical: physical}, ovs.Config{Physical: physical, Integration: "br-two"}
	router, vm := h.Router("r1"), h.Workload("vm")
	rp, vp := wiringtest.PortOn(wiringtest.Flat("net"), "router", 1), wiringtest.PortOn(wiringtest.Flat("net"), "vm", 2)
	wiringtest.Plug(t, h.driver(one), router, "qr-port", rp)
	alone := h.flows("br-ex")
	wiringtest.Plug(t, h.driver(two), vm, "eth0", vp)
	require.Subset(t, h.flows("br-ex"), alone)
	require.Contains(t, h.ports(), "br-two tapvm 2")
	wiringtest.Up(t, vm, "eth0", "10.0.0.2/24")
	wiringtest.Up(t, router, "qr-port", "10.0.0.1/24")
	wiringtest.RequireReach(t, vm, router, "10.0.0.1")

	flows := h.flows("br-ex")
	first, second := h.driver(one), h.driver(two)
	require.Empty(t, wiringtest.Plan(t, first, router, "qr-port", rp))
	require.Empty(t, wiringtest.Plan(t, second, vm, "eth0", vp))
	require.NoError(t, first.Plug(wiringtest.Soon(t), router, wiringtest.At("qr-port", rp)))
	require.NoError(t, second.Plug(wiringtest.Soon(t), vm, wiringtest.At("eth0", vp)))
	require.Equal(t, flows, h.flows("br-ex"))
	require.NoError(t, second.Unplug(wiringtest.Soon(t), vm, "eth0"))
	require.Subset(t, h.flows("br-ex"), alone)
	require.Len(t, h.flows("br-ex"), len(alone)+1, "one to refuse what comes from br-two")
}

// A port can leave a network whose bridge somebody has deleted.
func TestPortLeavesABridgeThatHasGone(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	d := h.driver(ovs.Config{Physical: map[string]string{"ext": "br-ex"}})
	router := h.Router("r1")
	wiringtest.Plug(t, d, router, "qr-port", wiringtest.PortOn(wiringtest.Flat("net"), "port", 1))
	h.do("del-br br-ex")
	_, err := d.Plan(wiringtest.Soon(t), router, wiringtest.At("qr-port", wiringtest.PortOn(wiringtest.Flat("net"), "port", 1)))
	require.ErrorContains(t, err, "Open vSwitch has no bridge br-ex")
	wiringtest.Plug(t, d, router, "qr-port", wiringtest.LocalPort("other", "port", 1))
	require.Contains(t, h.ports(), "br-int tapport 2")
}

// A local VLAN that a killed process has freed may still have flows on the bridge that its network
// left by. They have gone before a port of another network with that VLAN is set up.
func TestStaleFlowsGoBeforeAnotherNetworkGetsTheVLAN(t *testing.T) {
	h, c := containing(t)
	d, router := h.driver(c), h.Router("r1")
	vlan := dataplane.Network{ID: "old", Type: dataplane.NetworkVLAN, Physical: "ext", Segment: 7}
	for _, network := range []dataplane.Network{vlan, wiringtest.VXLAN("old", 7)} { // lest numbers of new patch ports have it look at all flows
		wiringtest.Plug(t, d, router, "qr-old", wiringtest.PortOn(network, "old", 1))
		require.NoError(t, d.Unplug(wiringtest.Soon(t), router, "qr-old"))
	}
	lets := func(f string) bool { return strings.Contains(f, "dl_vlan=1 ") }
	for _, step := range []struct {
		bridge    string
		old, next dataplane.Network
	}{
		{"br-tun", wiringtest.VXLAN("old", 7), flat("next", "ext")},
		{"br-ex", vlan, wiringtest.VXLAN("next", 7)},
	} {
		killed := h.driver(c)
		wiringtest.Plug(t, killed, router, "qr-old", wiringtest.PortOn(step.old, "old", 1))
		require.NoError(t, killed.Close())
		require.True(t, slices.ContainsFunc(h.flows(step.bridge), lets))
		h.do("del-port tapold")
		wiringtest.Plug(t, d, router, "qr-next", wiringtest.PortOn(step.next, "next", 2))
		require.Contains(t, h.ports(), "br-int tapnext 1")
		require.False(t, slices.ContainsFunc(h.flows(step.bridge), lets), step.bridge)
		require.NoError(t, d.Unplug(wiringtest.Soon(t), router, "qr-next"))
	}
}
