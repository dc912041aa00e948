package ovs_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
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
	ns := h.router("r1")
	network := func(kind dataplane.NetworkType, physical string, segment uint32) dataplane.Network {
		return dataplane.Network{ID: "n", Type: kind, Physical: physical, Segment: segment}
	}
	state := func() []string { return append(h.ports(), h.do("list-br")) }
	refuse := func(n dataplane.Network, is error, says string) {
		wiringtest.RequireRefused(t, d, ns, state, wiringtest.Refusal{Network: n, Is: is, Says: says})
	}
	refuse(network(dataplane.NetworkGeneve, "", 1<<24), dataplane.ErrInvalid, "VNI 16777216")
	refuse(network(dataplane.NetworkVLAN, "gone", 4095), dataplane.ErrInvalid, "VLAN ID 4095")
	refuse(network(dataplane.NetworkVLAN, "direct", 5), dataplane.ErrUnsupported, "is configured as direct on this host")
	refuse(network(dataplane.NetworkFlat, "gone", 0), dataplane.ErrHostConfig, `physical network "gone": Open vSwitch has no bridge br-gone`)
	refuse(network(dataplane.NetworkFlat, "sys", 0), dataplane.ErrUnsupported,
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
		_, err := ovs.New(soon(t), c.config)
		require.ErrorContains(t, err, c.says)
		if c.is != nil {
			require.ErrorIs(t, err, c.is)
		}
	}
}

// Nobody's things are touched but ours.
func TestForeignObjectsStay(t *testing.T) {
	host := newHost(t)
	host.do("add-br br-int -- set bridge br-int datapath_type=netdev")
	host.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	const bad = "-- set interface tapport type=internal"
	for _, c := range []struct {
		name, vsctl, undo, says string
		port                    dataplane.Port
	}{
		{"port without mark", "add-port br-int tapport " + bad, "del-port tapport", "port tapport", portOn(local("net"), "port", 1)},
		{
			"port of another router", "add-port br-int tapport " + bad +
				" -- set port tapport external_ids:l3kit=port external_ids:l3kit-port=port external_ids:l3kit-router=r2 external_ids:l3kit-network=net",
			"del-port tapport", "port port of router r2", portOn(local("net"), "port", 1),
		},
		{
			"port cut to the same name", "add-port br-int taplong-port-n -- set interface taplong-port-n type=internal" +
				" -- set port taplong-port-n external_ids:l3kit=port external_ids:l3kit-port=long-port-n-2 external_ids:l3kit-router=r1" +
				" external_ids:l3kit-network=net",
			"del-port taplong-port-n", "long-port-n-2", portOn(local("net"), "long-port-n-1", 1),
		},
		{
			"patch port", "add-port br-int int-br-ex -- set interface int-br-ex type=patch options:peer=elsewhere",
			"del-port int-br-ex", "port int-br-ex", portOn(flat("net", "ext"), "port", 1),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host.on(t)
			_, err := h.Vsctl(append([]string{"--no-wait"}, fields(c.vsctl)...)...)
			require.NoError(t, err)
			before := h.ports()
			d := h.driver(ovs.Config{Physical: map[string]string{"ext": "br-ex"}})
			router := h.router("r1")
			_, err = d.Plan(soon(t), router, at("qr-port", c.port))
			require.ErrorIs(t, err, dataplane.ErrForeign)
			err = d.Plug(soon(t), router, at("qr-port", c.port))
			require.ErrorIs(t, err, dataplane.ErrForeign)
			require.ErrorContains(t, err, c.says)
			require.Equal(t, before, h.ports())
			h.do(c.undo)
		})
	}
	t.Run("device of the host", func(t *testing.T) {
		h := host.on(t)
		require.NoError(t, h.net.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "tapport", TxQLen: -1}}))
		before := h.devices()
		err := h.driver(ovs.Config{}).Plug(soon(t), h.router("r1"), at("qr-port", portOn(local("net"), "port", 1)))
		require.ErrorIs(t, err, dataplane.ErrForeign)
		require.ErrorContains(t, err, "device tapport")
		require.Equal(t, before, h.devices())
		require.NoError(t, h.net.LinkDel(h.link("tapport")))
	})
	t.Run("device of the workload", func(t *testing.T) {
		h := host.on(t)
		d, vm := h.driver(ovs.Config{}), h.workload("vm")
		inside(t, vm, func(n *netlink.Handle) error {
			return n.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0", TxQLen: -1}})
		})
		before := h.ports()
		require.ErrorIs(t, d.Plug(soon(t), vm, at("eth0", portOn(local("net"), "port", 1))), dataplane.ErrForeign)
		require.ErrorIs(t, d.Unplug(soon(t), vm, "eth0"), dataplane.ErrForeign)
		require.Equal(t, before, h.ports())
		inside(t, vm, func(n *netlink.Handle) error { _, err := n.LinkByName("eth0"); return err })
	})
}

// A bridge that ovs-vswitchd cannot make, for want of a kernel module, is taken back. With the
// module, it is made.
func TestKernelDatapath(t *testing.T) {
	h := newHost(t)
	d, err := ovs.New(soon(t), ovs.Config{HostNS: h.HostNS, Endpoints: []string{h.Endpoint}, RunDir: h.RunDir})
	require.NoError(t, err)
	defer d.Close()
	router := h.router("r1")
	err = d.Plug(soon(t), router, at("qr-port", portOn(local("net"), "port", 1)))
	if err == nil {
		require.Empty(t, plan(t, d, router, "qr-port", portOn(local("net"), "port", 1)))
		require.NoError(t, d.Release(soon(t), "r1"))
		require.Empty(t, h.ports())
		return
	}
	require.ErrorIs(t, err, dataplane.ErrUnsupported)
	require.ErrorContains(t, err, "module openvswitch")
	_, err = d.Plan(soon(t), router, at("qr-p", portOn(local("n"), "p", 1)))
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
	router := h.router("r1")
	plug(t, d, router, "qr-a", portOn(local("net-a"), "a", 1))
	plug(t, d, router, "qr-b", portOn(local("net-b"), "b", 2))
	require.Equal(t, []string{"br-int other 2", "br-int tapa 1", "br-int tapb 3"}, h.ports(), "a tag that somebody else uses is left to him")
	err := d.Plug(soon(t), router, at("qr-c", portOn(local("net-c"), "c", 3)))
	require.ErrorContains(t, err, "no local VLAN is left for network net-c")
	require.NotContains(t, h.devices(), "tapc")
	plug(t, d, router, "qr-d", portOn(local("net-b"), "d", 4))
	require.NoError(t, d.Unplug(soon(t), router, "qr-a"))
	plug(t, d, router, "qr-c", portOn(local("net-c"), "c", 3))
	require.Equal(t, "1", h.do("get port tapc tag"), "freed with the last port")
}

// What ovs-vswitchd refuses is taken back, as far as nobody else needs it.
func TestRefusedByDaemon(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-x -- set bridge br-x datapath_type=netdev -- add-port br-x rival -- set interface rival type=vxlan" +
		" options:remote_ip=192.0.2.2 options:local_ip=192.0.2.1 options:key=flow")
	d := h.driver(ovs.Config{Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.2")}})
	router := h.router("r1")
	before := h.ports()
	refused := func() {
		t.Helper()
		err := d.Plug(soon(t), router, at("qr-port", portOn(vxlan("net", 77), "port", 1)))
		require.ErrorContains(t, err, "port vxlan-c0000202: ovs-vswitchd says:")
		require.NotContains(t, h.devices(), "tapport")
		inside(t, router, func(n *netlink.Handle) error {
			_, err := n.LinkByName("qr-port")
			require.Error(t, err)
			return nil
		})
	}
	refused()
	require.Equal(t, before, h.ports())
	require.Equal(t, "br-x", h.do("list-br"))

	plug(t, d, router, "qr-local", portOn(local("local"), "local", 2))
	refused()
	require.Equal(t, []string{"br-int taplocal 1", "br-x rival"}, h.ports())
	require.Len(t, h.flows("br-int"), 2)

	gre := portOn(dataplane.Network{ID: "gre", Type: dataplane.NetworkGRE, Segment: 5}, "gre", 3)
	plug(t, d, router, "qr-gre", gre)
	refused()
	require.Equal(t, []string{"br-int patch-tun", "br-int tapgre 2", "br-int taplocal 1", "br-tun gre-c0000202", "br-tun patch-int", "br-x rival"}, h.ports())
	plug(t, d, router, "qr-gre", gre)
}

// Calls with a context that has ended say so.
func TestEndedContextOfAttached(t *testing.T) {
	d := newHost(t).driver(ovs.Config{})
	ended, end := context.WithCancel(t.Context())
	end()
	for range 30 { // a select takes either of two that are ready
		_, err := d.Attached(ended, "r1")
		require.ErrorIs(t, err, context.Canceled)
	}
}
