package ovs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
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
			router, vm := h.router("r1"), h.workload("vm")
			what := []namespace.Attachment{
				at("qr-blue", portOn(vxlan("blue", 77), "blue", 1)),
				at("qr-red", portOn(vxlan("red", 78), "red", 2)),
				at("qr-red2", portOn(vxlan("red", 78), "red2", 3)),
				at("qr-local", portOn(local("local"), "local", 4)),
				at("qg-ext", portOn(flat("ext", "ext"), "ext", 5)),
			}
			before := h.transactions()
			require.NoError(t, d.Plug(soon(t), router, what...))
			require.Equal(t, before+1, h.transactions())
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
				require.Empty(t, plan(t, d, router, a.Device, a.Port))
			}
			plug(t, d, vm, "eth0", portOn(vxlan("red", 78), "vm", 6))
			up(t, vm, "eth0", "10.0.0.2/24")
			up(t, router, "qr-red2", "10.0.0.1/24")
			requireReach(t, vm, router, "10.0.0.1")

			before = h.transactions()
			require.NoError(t, d.Plug(soon(t), router, what...))
			require.NoError(t, d.Plug(soon(t), router))
			require.Equal(t, before, h.transactions(), "again is free")

			// Some are there, one has to be replaced, some are gone.
			h.do("del-port " + name(what[0]))
			h.do("del-port patch-tun")
			inside(t, router, func(n *netlink.Handle) error {
				l, err := n.LinkByName("qr-local")
				if err != nil || device == ovs.Internal {
					return err
				}
				return n.LinkDel(l)
			})
			require.NoError(t, d.Plug(soon(t), router, what...))
			for _, a := range what {
				require.Empty(t, plan(t, d, router, a.Device, a.Port))
			}
			requireReach(t, vm, router, "10.0.0.1")
			require.NoError(t, d.Release(soon(t), "r1"))
			require.NoError(t, d.Unplug(soon(t), vm, "eth0"))
		})
	}
}

// When one of several cannot be plugged, none is, and the error is about that one.
func TestPlugIsAllOrNone(t *testing.T) {
	host := newHost(t)
	host.do("add-br br-x -- set bridge br-x datapath_type=netdev -- add-port br-x rival -- set interface rival type=vxlan" +
		" options:remote_ip=192.0.2.2 options:local_ip=192.0.2.1 options:key=flow")
	host.do("add-port br-x tapforeign -- set interface tapforeign type=internal")
	good := []namespace.Attachment{at("qr-a", portOn(local("net-a"), "a", 1)), at("qr-b", portOn(local("net-b"), "b", 2))}
	for _, c := range []struct {
		name   string
		bad    namespace.Attachment
		object string
		is     error
		says   string
	}{
		{"foreign port", at("qr-c", portOn(local("net-c"), "foreign", 3)), "qr-c", dataplane.ErrForeign, "port tapforeign"},
		{"impossible network", at("qr-c", portOn(flat("net-c", "ext"), "c", 3)), "qr-c", dataplane.ErrUnsupported, `physical network "ext"`},
		{"impossible ID", at("qr-c", portOn(local("net-c"), "c/c", 3)), "qr-c", dataplane.ErrInvalid, `"c/c"`},
		{"one device twice", at("qr-a", portOn(local("net-c"), "c", 3)), "qr-a", dataplane.ErrInvalid, "cannot be one device"},
		{"one name twice", at("qr-c", portOn(local("net-c"), "b", 3)), "qr-c", dataplane.ErrInvalid, "would both be tapb"},
		{"refused by ovs-vswitchd", at("qr-c", portOn(vxlan("net-c", 77), "c", 3)), "qr-a, qr-b, qr-c", nil, "port vxlan-c0000202: ovs-vswitchd says:"},
		{"refused by the kernel", at("a-name-of-17-char", portOn(local("net-c"), "c", 3)), "a-name-of-17-char", nil, "make the veth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host.on(t)
			d := h.driver(ovs.Config{Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.2")}})
			router := h.router("r1")
			ports, devices := h.ports(), h.devices()
			err := d.Plug(soon(t), router, append(good[:2:2], c.bad)...)
			require.ErrorContains(t, err, c.says)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			var op *dataplane.OpError
			require.True(t, errors.As(err, &op))
			require.Equal(t, c.object, op.Object, "%v", err)
			require.Equal(t, ports, h.ports())
			require.Equal(t, devices, h.devices())
			inside(t, router, func(n *netlink.Handle) error {
				links, err := n.LinkList()
				for _, l := range links {
					require.NotEqual(t, "veth", l.Type())
				}
				return err
			})
		})
	}
	t.Run("out of time", func(t *testing.T) {
		h := host.on(t)
		d := h.driver(ovs.Config{})
		router := h.router("r1")
		devices := h.devices()
		require.NoError(t, h.KillDaemon())
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, d.Plug(ctx, router, good...), context.DeadlineExceeded)
		require.NotContains(t, h.do("--no-wait list-br"), "br-int")
		require.NoError(t, h.StartDaemon(soon(t)))
		require.Equal(t, devices, h.devices())
		require.NoError(t, d.Plug(soon(t), router, good...))
	})
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
	router := h.router("r1")
	vlan := func(id string, vid uint32) dataplane.Network {
		return dataplane.Network{ID: id, Type: dataplane.NetworkVLAN, Physical: "ext", Segment: vid}
	}
	gre := dataplane.Network{ID: "net-c", Type: dataplane.NetworkGRE, Segment: 77}
	for _, on := range []struct {
		name                 string
		first, second, third dataplane.Network
	}{
		{`VLAN 7 of physical network "ext"`, vlan("net-a", 7), vlan("net-b", 7), vlan("net-c", 8)},
		{`the flat network of physical network "ext"`, flat("net-a", "ext"), flat("net-b", "ext"), vlan("net-c", 7)},
		{`the flat network of physical network "gw"`, flat("net-a", "gw"), flat("net-b", "gw"), flat("net-c", "ext")},
		{"segment 77 of type vxlan", vxlan("net-a", 77), vxlan("net-b", 77), gre},
	} {
		first, second := at("qr-a", portOn(on.first, "a", 1)), at("qr-b", portOn(on.second, "b", 2))
		refused := func(err error) {
			t.Helper()
			require.ErrorIs(t, err, dataplane.ErrInvalid)
			require.ErrorContains(t, err, "networks net-a and net-b cannot both be "+on.name)
		}
		refused(d.Plug(soon(t), router, first, second))
		require.Empty(t, h.ports(), on.name)
		plug(t, d, router, first.Device, first.Port)
		before := h.ports()
		_, err := other.Plan(soon(t), router, second)
		refused(err)
		require.ErrorContains(t, err, "net-a has ports of router r1 on this host, remove them or ")
		networks, err := other.Networks(soon(t), "r1")
		require.NoError(t, err)
		require.Equal(t, map[string]dataplane.Network{"a": on.first}, networks)
		refused(other.Plug(soon(t), router, second))
		require.Equal(t, before, h.ports())

		plug(t, other, router, "qr-c", portOn(on.third, "c", 3))
		moved := at("qr-a", portOn(on.second, "a", 1))
		require.NoError(t, d.Plug(soon(t), router, moved, second), "the last port of the one makes way for the other")
		require.Empty(t, plan(t, other, router, second.Device, second.Port))
		require.NoError(t, d.Release(soon(t), "r1"))

		errs := make([]error, 2) // of two processes at once
		each(2, func(i int) {
			errs[i] = []*ovs.Driver{d, other}[i].Plug(soon(t), router, []namespace.Attachment{first, second}[i])
		})
		require.True(t, (errs[0] == nil) != (errs[1] == nil), "%v, %v", errs[0], errs[1])
		refused(errors.Join(errs...))
		require.NoError(t, d.Release(soon(t), "r1"))
		for _, p := range []string{"int-br-ex", "phy-br-ex", "patch-tun", "patch-int"} {
			h.do("--if-exists del-port " + p)
		}
	}
}
