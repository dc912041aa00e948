package ovs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

func TestWiring(t *testing.T) {
	const plugged = "+ wiring qr-port: veth tapport on bridge br-int (network net)"
	const bridge = "add-br br-int -- set bridge br-int datapath_type=netdev -- "
	mark := func(port, id, router string) string {
		return fmt.Sprintf(" -- set port %s external_ids:l3kit=port external_ids:l3kit-port=%s external_ids:l3kit-router=%s"+
			" external_ids:l3kit-network=net", port, id, router)
	}
	tamper := func(name, vsctl string, steps ...string) wiringtest.Tampering[*host] {
		return wiringtest.Tampering[*host]{Name: name, Steps: steps, Do: func(h *host, _ namespace.NS) error {
			_, err := h.Vsctl(strings.Fields(vsctl)...)
			return err
		}}
	}
	// foreign is a port where the driver wants one.
	foreign := func(name, says, vsctl string, p dataplane.Port, spare bool) wiringtest.Foreign[*host] {
		return wiringtest.Foreign[*host]{Name: name, Says: says, Port: p, Spare: spare, Make: func(h *host) { h.do(bridge + vsctl) }}
	}
	port := wiringtest.LocalPort("net", "port", 1)
	w := wiringtest.Wiring[*host]{
		NewHost: func(t testing.TB) *host { return newHost(t) },
		Networks: []dataplane.Network{
			wiringtest.VXLAN("vx", 77), wiringtest.Local("net"), wiringtest.Flat("ext"), flat("gw", "gw"),
			{ID: "vlan", Type: dataplane.NetworkVLAN, Physical: "ext", Segment: 7},
		},
		Drivers: 3,
		Planned: []string{
			"+ wiring br-int: bridge with the netdev datapath",
			"+ wiring qr-port-r: veth tapport-r on bridge br-int (network net-a)",
		},
		Shared: []string{
			"br-int tapport-v 1", "br-int tapport-r 1", "br-int tapport-o 2", "device tapport-v", "device tapport-r", "device tapport-o",
		},
		Check:   func(h *host) { h.requireInterface("tapport-r") },
		Plugged: plugged,
		Gone:    []string{"- wiring qr-port: its device is gone  !", plugged},
		Moves:   []string{"~ wiring qr-port: network new, was old, local VLAN 2, was 1  !"},
		Moved:   []string{"br-int tapport 2", "device tapport"},
		Tamperings: []wiringtest.Tampering[*host]{
			tamper("port deleted", "del-port tapport", plugged),
			tamper("bridge deleted", "del-br br-int", "+ wiring br-int: bridge with the netdev datapath", plugged),
			tamper("tag", "set port tapport tag=77", "~ wiring qr-port: local VLAN 1, was 77"),
			tamper("no tag", "clear port tapport tag", "~ wiring qr-port: local VLAN 1, was 0"),
			tamper("a trunk", "set port tapport vlan_mode=trunk trunks=1,2", "~ wiring qr-port: carries other VLANs"),
			tamper("mark lost", "clear port tapport external_ids", "~ wiring qr-port: mark lost"),
			tamper("other tools' marks", "remove interface tapport external_ids iface-id", "~ wiring qr-port: external_ids"),
			tamper("MTU request", "set interface tapport mtu_request=1300", "~ wiring qr-port: mtu_request 1450, was 1300"),
			tamper("fail mode", "del-fail-mode br-int", "~ wiring br-int: fail_mode secure, was standalone"),
			tamper("on another bridge", "del-port tapport -- add-br other -- set bridge other datapath_type=netdev -- add-port other tapport"+
				mark("tapport", "port", "r1"), "- wiring qr-port: not on bridge br-int  !", plugged),
		},
		Foreign: []wiringtest.Foreign[*host]{
			foreign("port without mark", "port tapport", "add-port br-int tapport -- set interface tapport type=internal", port, false),
			foreign("port of another router", "port port of router r2",
				"add-port br-int tapport -- set interface tapport type=internal"+mark("tapport", "port", "r2"), port, false),
			foreign("port cut to the same name", "long-port-n-2",
				"add-port br-int taplong-port-n -- set interface taplong-port-n type=internal"+mark("taplong-port-n", "long-port-n-2", "r1"),
				wiringtest.LocalPort("net", "long-port-n-1", 1), true),
			foreign("patch port", "port int-br-ex", "add-port br-int int-br-ex -- set interface int-br-ex type=patch options:peer=elsewhere",
				wiringtest.PortOn(wiringtest.Flat("net"), "port", 1), false),
		},
		Impossible: []wiringtest.Impossible[*host]{
			{
				Name: "one device twice", Bad: wiringtest.At("qr-a", wiringtest.LocalPort("net-c", "c", 3)), Object: "qr-a",
				Is: dataplane.ErrInvalid, Says: "cannot be one device",
			},
			{
				Name: "one name twice", Bad: wiringtest.At("qr-c", wiringtest.LocalPort("net-c", "b", 3)), Object: "qr-c",
				Is: dataplane.ErrInvalid, Says: "would both be tapb",
			},
			{
				Name: "refused by ovs-vswitchd", Bad: wiringtest.At("qr-c", wiringtest.PortOn(wiringtest.VXLAN("net-c", 77), "c", 3)),
				Object: "qr-kept, qr-a, qr-b, qr-c", Says: "port vxlan-c0000202: ovs-vswitchd says:",
				Prepare: func(h *host) {
					h.do("add-port br-ex rival -- set interface rival type=vxlan" +
						" options:remote_ip=192.0.2.2 options:local_ip=192.0.2.1 options:key=flow")
				},
			},
		},
	}
	t.Run("veth", w.Run)
	w.NewHost = func(t testing.TB) *host { h := newHost(t); h.device = ovs.Internal; return h }
	w.Planned = []string{w.Planned[0], "+ wiring qr-port-r: internal port on bridge br-int (network net-a)"}
	w.Shared = []string{"br-int tapport-v 1", "br-int qr-port-r 1", "br-int tapport-o 2", "device tapport-v", "device tapport-o"}
	w.Check = func(h *host) { h.requireInterface("qr-port-r") }
	t.Run("internal port", w.Basics)
}

// requireInterface looks at what other tools read of the port port-r.
func (h *host) requireInterface(name string) {
	for _, column := range []string{"iface-id=port-r", `attached-mac="fa:16:3e:00:00:01"`, "iface-status=active"} {
		require.Contains(h.t, h.do("get interface "+name+" external_ids"), column)
	}
	require.Equal(h.t, "1450", h.do("get interface "+name+" mtu_request"))
}

func (h *host) Driver() namespace.InterfaceDriver { return h.driver(ovs.Config{Device: h.device}) }

func (h *host) Full() namespace.InterfaceDriver {
	for _, bridge := range []string{"br-ex", "br-gw"} {
		h.do("--may-exist add-br " + bridge + " -- set bridge " + bridge + " datapath_type=netdev")
	}
	return h.driver(ovs.Config{
		Physical: map[string]string{"ext": "br-ex", "gw": "br-gw"}, Direct: []string{"gw"}, Device: h.device,
		Tunnel: ovs.Tunnel{Local: wiringtest.TunnelLocal, Peers: wiringtest.TunnelPeers},
	})
}

func (h *host) Links() *netlink.Handle { return h.net }

func (h *host) Ports() []string {
	list := h.ports()
	bridges := strings.Fields(h.do("list-br"))
	for _, device := range h.devices() {
		if !slices.Contains(bridges, device) {
			list = append(list, "device "+device)
		}
	}
	return list
}

// RequireNothing leaves the integration bridge, and the two flows that it always has.
func (h *host) RequireNothing() {
	h.t.Helper()
	require.Empty(h.t, h.Ports())
	if strings.Contains(h.do("list-br"), "br-int") {
		require.Len(h.t, h.flows("br-int"), 2, "flows of networks go with their last ports")
	}
}

// Segments returns the local VLAN of each port.
func (h *host) Segments() map[string]string {
	segments := map[string]string{}
	for _, line := range h.ports() {
		f := strings.Fields(line)
		segments[f[1]] = f[2]
	}
	return segments
}

func (h *host) Watch(namespace.NS) func() []string {
	state := func() []string {
		return slices.Concat([]string{fmt.Sprint(h.transactions(), " transactions")}, h.flows("br-int"), h.flows("br-ex"), h.flows("br-tun"))
	}
	before := state()
	return func() []string {
		now := state()
		if slices.Equal(before, now) {
			return nil
		}
		before = now
		return now
	}
}
