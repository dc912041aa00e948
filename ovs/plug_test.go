package ovs_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// All that one call plugs is one transaction, whatever it needs besides.
func TestPortsOfOneCallAreOneTransaction(t *testing.T) {
	for _, device := range []ovs.Device{ovs.Veth, ovs.Internal} {
		t.Run(string(device), func(t *testing.T) {
			h := newHost(t)
			h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
			d := h.driver(ovs.Config{
				Device: device, Physical: map[string]string{"ext": "br-ex"},
				Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.2")},
			})
			router, vm := h.Router("r1"), h.Workload("vm")
			what := []namespace.Attachment{
				wiringtest.At("qr-blue", wiringtest.PortOn(wiringtest.VXLAN("blue", 77), "blue", 1)),
				wiringtest.At("qr-red", wiringtest.PortOn(wiringtest.VXLAN("red", 78), "red", 2)),
				wiringtest.At("qr-red2", wiringtest.PortOn(wiringtest.VXLAN("red", 78), "red2", 3)),
				wiringtest.At("qr-local", wiringtest.LocalPort("local", "local", 4)),
				wiringtest.At("qg-ext", wiringtest.PortOn(wiringtest.Flat("ext"), "ext", 5)),
			}
			before := h.transactions()
			require.NoError(t, d.Plug(wiringtest.Soon(t), router, what...))
			require.Equal(t, before+3, h.transactions(), "one for all, and two to open the pair to br-ex")
			name := func(a namespace.Attachment) string {
				if device == ovs.Internal {
					return a.Device
				}
				return "tap" + a.Port.ID
			}
			for i, tag := range []string{" 1", " 2", " 2", " 3", " 4"} {
				require.Contains(t, h.ports(), "br-int "+name(what[i])+tag)
			}
			require.Contains(t, h.ports(), "br-tun vxlan-c0000202")
			for _, a := range what {
				require.Empty(t, wiringtest.Plan(t, d, router, a.Device, a.Port))
			}
			wiringtest.Plug(t, d, vm, "eth0", wiringtest.PortOn(wiringtest.VXLAN("red", 78), "vm", 6))
			wiringtest.Up(t, vm, "eth0", "10.0.0.2/24")
			wiringtest.Up(t, router, "qr-red2", "10.0.0.1/24")
			wiringtest.RequireReach(t, vm, router, "10.0.0.1")

			before = h.transactions()
			require.NoError(t, d.Plug(wiringtest.Soon(t), router, what...))
			require.NoError(t, d.Plug(wiringtest.Soon(t), router))
			require.Equal(t, before, h.transactions(), "again is free")

			// Some are there, one has to be replaced, some are gone.
			h.do("del-port " + name(what[0]))
			h.do("del-port patch-tun")
			require.NoError(t, netdev.In(router.FD, func(n *netlink.Handle) error {
				l, err := n.LinkByName("qr-local")
				if err != nil || device == ovs.Internal {
					return err
				}
				return n.LinkDel(l)
			}))
			require.NoError(t, d.Plug(wiringtest.Soon(t), router, what...))
			for _, a := range what {
				require.Empty(t, wiringtest.Plan(t, d, router, a.Device, a.Port))
			}
			wiringtest.RequireReach(t, vm, router, "10.0.0.1")
			before = h.transactions()
			require.NoError(t, d.Release(wiringtest.Soon(t), "r1"))
			require.Equal(t, before+1, h.transactions())
		})
	}
}

// A direct port has no local VLAN.
func TestPortMovesToADirectNetwork(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-gw -- set bridge br-gw datapath_type=netdev")
	d := h.driver(ovs.Config{Physical: map[string]string{"gw": "br-gw"}, Direct: []string{"gw"}})
	router := h.Router("r1")
	wiringtest.Plug(t, d, router, "qr-stays", wiringtest.LocalPort("old", "stays", 2))
	wiringtest.Plug(t, d, router, "qr-port", wiringtest.LocalPort("new", "port", 1))
	require.Equal(t, []string{"br-int tapport 2", "br-int tapstays 1"}, h.ports())

	moved := wiringtest.PortOn(flat("ext", "gw"), "port", 1)
	require.Equal(t, []string{
		"- wiring qr-port: not on bridge br-gw  !",
		"+ wiring qr-port: veth tapport on bridge br-gw (network ext)",
	}, wiringtest.Plan(t, d, router, "qr-port", moved))
	wiringtest.Plug(t, d, router, "qr-port", moved)
	require.ElementsMatch(t, []string{"br-gw tapport", "br-int tapstays 1"}, h.ports())
	h.do("set port tapport tag=9")
	require.Equal(t, []string{"~ wiring qr-port: no tag, was 9"}, wiringtest.Plan(t, d, router, "qr-port", moved))
	wiringtest.Plug(t, d, router, "qr-port", moved)
}

// A segment belongs to one network on a switch: frames of two would meet.
func TestSegmentsAreNotShared(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	h.do("add-br br-gw -- set bridge br-gw datapath_type=netdev")
	c := ovs.Config{
		Physical: map[string]string{"ext": "br-ex", "gw": "br-gw"}, Direct: []string{"gw"}, Tunnel: ovs.Tunnel{Local: addr("192.0.2.1")},
	}
	d, other := h.driver(c), h.driver(c)
	router := h.Router("r1")
	vlan := func(id string, vid uint32) dataplane.Network {
		return dataplane.Network{ID: id, Type: dataplane.NetworkVLAN, Physical: "ext", Segment: vid}
	}
	gre := dataplane.Network{ID: "net-c", Type: dataplane.NetworkGRE, Segment: 77}
	for _, on := range []struct {
		name                 string
		first, second, third dataplane.Network
	}{
		{`VLAN 7 of physical network "ext"`, vlan("net-a", 7), vlan("net-b", 7), vlan("net-c", 8)},
		{`the flat network of physical network "ext"`, wiringtest.Flat("net-a"), wiringtest.Flat("net-b"), vlan("net-c", 7)},
		{`the flat network of physical network "gw"`, flat("net-a", "gw"), flat("net-b", "gw"), wiringtest.Flat("net-c")},
		{"segment 77 of type vxlan", wiringtest.VXLAN("net-a", 77), wiringtest.VXLAN("net-b", 77), gre},
	} {
		first, second := wiringtest.At("qr-a", wiringtest.PortOn(on.first, "a", 1)), wiringtest.At("qr-b", wiringtest.PortOn(on.second, "b", 2))
		refused := func(err error) {
			t.Helper()
			require.ErrorIs(t, err, dataplane.ErrInvalid)
			require.ErrorContains(t, err, "networks net-a and net-b cannot both be "+on.name)
		}
		refused(d.Plug(wiringtest.Soon(t), router, first, second))
		require.Empty(t, h.ports(), on.name)
		wiringtest.Plug(t, d, router, first.Device, first.Port)
		before := h.ports()
		_, err := other.Plan(wiringtest.Soon(t), router, second)
		refused(err)
		require.ErrorContains(t, err, "net-a has ports of router r1 on this host, remove them or ")
		networks, err := other.Networks(wiringtest.Soon(t), "r1")
		require.NoError(t, err)
		require.Equal(t, map[string]dataplane.Network{"a": on.first}, networks)
		refused(other.Plug(wiringtest.Soon(t), router, second))
		require.Equal(t, before, h.ports())

		wiringtest.Plug(t, other, router, "qr-c", wiringtest.PortOn(on.third, "c", 3))
		moved := wiringtest.At("qr-a", wiringtest.PortOn(on.second, "a", 1))
		require.NoError(t, d.Plug(wiringtest.Soon(t), router, moved, second), "the last port of the one makes way for the other")
		require.Empty(t, wiringtest.Plan(t, other, router, second.Device, second.Port))
		require.NoError(t, d.Release(wiringtest.Soon(t), "r1"))

		errs := make([]error, 2) // of two processes at once
		wiringtest.InParallel(2, func(i int) {
			errs[i] = []*ovs.Driver{d, other}[i].Plug(wiringtest.Soon(t), router, []namespace.Attachment{first, second}[i])
		})
		require.True(t, (errs[0] == nil) != (errs[1] == nil), "%v, %v", errs[0], errs[1])
		refused(errors.Join(errs...))
		require.NoError(t, d.Release(wiringtest.Soon(t), "r1"))
		for _, p := range []string{"int-br-ex", "phy-br-ex", "patch-tun", "patch-int"} {
			h.do("--if-exists del-port " + p)
		}
	}
}
