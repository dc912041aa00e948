package ovs_test

import (
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// What cannot be plugged is refused with a reason, and leaves nothing.
func TestRefusals(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-sys")
	h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	d := h.driver(ovs.Config{
		Physical: map[string]string{"gone": "br-gone", "sys": "br-sys", "direct": "br-ex"}, Direct: []string{"direct"},
	})
	ns := h.Router("r1")
	state := func() []string { return append(h.ports(), h.do("list-br")) }
	refuse := func(n dataplane.Network, is error, says string) {
		wiringtest.RequireRefused(t, d, ns, state, wiringtest.Refusal{Network: n, Is: is, Says: says})
	}
	refuse(wiringtest.Net(dataplane.NetworkGeneve, "", 1<<24), dataplane.ErrInvalid, "Network.Segment: 16777216")
	refuse(wiringtest.Net(dataplane.NetworkVLAN, "gone", 4095), dataplane.ErrInvalid, "Network.Segment: 4095")
	refuse(wiringtest.Net(dataplane.NetworkVLAN, "direct", 5), dataplane.ErrUnsupported, "is configured as direct on this host")
	refuse(wiringtest.Net(dataplane.NetworkFlat, "gone", 0), dataplane.ErrHostConfig, `physical network "gone": Open vSwitch has no bridge br-gone`)
	refuse(wiringtest.Net(dataplane.NetworkFlat, "sys", 0), dataplane.ErrUnsupported,
		"bridge br-sys has datapath_type system, and this host is configured for datapath netdev")
}

func TestConfigsThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		config ovs.Config
		is     error
		says   string
	}{
		{ovs.Config{Endpoints: []string{"unix:" + dir + "/none.sock"}}, nil, "ovsdb-server at unix:" + dir + "/none.sock does not answer"},
		{ovs.Config{Endpoints: []string{"tcp:127.0.0.1:1"}}, nil, "ovsdb-server at tcp:127.0.0.1:1 does not answer"},
		{ovs.Config{Endpoints: []string{"127.0.0.1:6640"}}, dataplane.ErrInvalid, `endpoint "127.0.0.1:6640"`},
		{ovs.Config{Endpoints: []string{"unix:"}}, dataplane.ErrInvalid, `endpoint "unix:"`},
		{ovs.Config{HostNS: filepath.Join(dir, "nowhere")}, nil, "nowhere"},
		{ovs.Config{Datapath: "dpdk"}, dataplane.ErrInvalid, "dpdk"},
		{ovs.Config{Device: "tap"}, dataplane.ErrInvalid, "tap"},
		{ovs.Config{Integration: "br-tun"}, dataplane.ErrInvalid, "br-tun"},
		{ovs.Config{Integration: "a-name-of-17-char"}, dataplane.ErrInvalid, "a-name-of-17-char"},
		{ovs.Config{Physical: map[string]string{"ext": "br-int"}}, dataplane.ErrInvalid, `physical network "ext"`},
		{ovs.Config{Physical: map[string]string{"a": "br-ex", "b": "br-ex"}}, dataplane.ErrInvalid, `physical network "b"`},
		{ovs.Config{Direct: []string{"ext"}}, dataplane.ErrInvalid, `physical network "ext"`},
		{ovs.Config{Tunnel: ovs.Tunnel{Peers: []netip.Addr{{}}}}, dataplane.ErrInvalid, "tunnel peer"},
		{ovs.Config{Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("2001:db8::1")}}, dataplane.ErrInvalid, "address family"},
	} {
		_, err := ovs.New(wiringtest.Soon(t), c.config)
		require.ErrorContains(t, err, c.says)
		if c.is != nil {
			require.ErrorIs(t, err, c.is)
		}
	}
}

// A bridge that ovs-vswitchd cannot make, for want of a kernel module, is taken back. With the
// module, it is made.
func TestKernelDatapath(t *testing.T) {
	h := newHost(t)
	d, err := ovs.New(wiringtest.Soon(t), ovs.Config{HostNS: h.HostNS, Endpoints: []string{h.Endpoint}, RunDir: h.RunDir})
	require.NoError(t, err)
	defer d.Close()
	router := h.Router("r1")
	err = d.Plug(wiringtest.Soon(t), router, wiringtest.At("qr-port", wiringtest.LocalPort("net", "port", 1)))
	if err == nil {
		require.Empty(t, wiringtest.Plan(t, d, router, "qr-port", wiringtest.LocalPort("net", "port", 1)))
		require.NoError(t, d.Release(wiringtest.Soon(t), "r1"))
		require.Empty(t, h.ports())
		return
	}
	require.ErrorIs(t, err, dataplane.ErrUnsupported)
	require.ErrorContains(t, err, "module openvswitch")
	_, err = d.Plan(wiringtest.Soon(t), router, wiringtest.At("qr-p", wiringtest.LocalPort("n", "p", 1)))
	require.ErrorIs(t, err, dataplane.ErrUnsupported, "Plan refuses what Plug refuses")
	require.ErrorContains(t, err, "configure the datapath netdev")
	require.Empty(t, h.do("list-br"))
	require.Empty(t, h.devices())
}

func TestVLANsRunOut(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{})
	d.SetVLANs(1, 3)
	h.do("add-br br-int -- set bridge br-int datapath_type=netdev -- add-port br-int other tag=2 -- set interface other type=internal")
	router := h.Router("r1")
	wiringtest.Plug(t, d, router, "qr-a", wiringtest.LocalPort("net-a", "a", 1))
	wiringtest.Plug(t, d, router, "qr-b", wiringtest.LocalPort("net-b", "b", 2))
	require.Equal(t, []string{"br-int other 2", "br-int tapa 1", "br-int tapb 3"}, h.ports(), "a tag that somebody else uses is left to him")
	err := d.Plug(wiringtest.Soon(t), router, wiringtest.At("qr-c", wiringtest.LocalPort("net-c", "c", 3)))
	require.ErrorContains(t, err, "no local VLAN is left for network net-c")
	require.NotContains(t, h.devices(), "tapc")
	wiringtest.Plug(t, d, router, "qr-d", wiringtest.LocalPort("net-b", "d", 4))
	require.NoError(t, d.Unplug(wiringtest.Soon(t), router, "qr-a"))
	wiringtest.Plug(t, d, router, "qr-c", wiringtest.LocalPort("net-c", "c", 3))
	require.Equal(t, "1", h.do("get port tapc tag"), "freed with the last port")
}

// What ovs-vswitchd refuses is taken back, as far as nobody else needs it.
func TestRefusedByDaemon(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-x -- set bridge br-x datapath_type=netdev -- add-port br-x rival -- set interface rival type=vxlan" +
		" options:remote_ip=192.0.2.2 options:local_ip=192.0.2.1 options:key=flow")
	d := h.driver(ovs.Config{Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.2")}})
	router := h.Router("r1")
	before := h.ports()
	refused := func() {
		t.Helper()
		err := d.Plug(wiringtest.Soon(t), router, wiringtest.At("qr-port", wiringtest.PortOn(wiringtest.VXLAN("net", 77), "port", 1)))
		require.ErrorContains(t, err, "port vxlan-c0000202: ovs-vswitchd says:")
		require.NotContains(t, h.devices(), "tapport")
		require.NoError(t, netdev.In(router.FD, func(n *netlink.Handle) error {
			_, err := n.LinkByName("qr-port")
			require.Error(t, err)
			return nil
		}))
	}
	refused()
	require.Equal(t, before, h.ports())
	require.Equal(t, "br-x", h.do("list-br"))

	wiringtest.Plug(t, d, router, "qr-local", wiringtest.LocalPort("local", "local", 2))
	refused()
	require.Equal(t, []string{"br-int taplocal 1", "br-x rival"}, h.ports())
	require.Len(t, h.flows("br-int"), 2)

	gre := wiringtest.PortOn(dataplane.Network{ID: "gre", Type: dataplane.NetworkGRE, Segment: 5}, "gre", 3)
	wiringtest.Plug(t, d, router, "qr-gre", gre)
	refused()
	require.Equal(t, []string{"br-int patch-tun", "br-int tapgre 2", "br-int taplocal 1", "br-tun gre-c0000202", "br-tun patch-int", "br-x rival"}, h.ports())
	wiringtest.Plug(t, d, router, "qr-gre", gre)
}
