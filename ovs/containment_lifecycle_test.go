package ovs_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

func vlanOf(id string, vid uint32) dataplane.Network {
	return dataplane.Network{ID: id, Type: dataplane.NetworkVLAN, Physical: "ext", Segment: vid}
}

// containing is a host with a physical network and tunnels.
func containing(t *testing.T) (*host, ovs.Config) {
	h := newHost(t)
	h.do("add-br br-ex -- set bridge br-ex datapath_type=netdev")
	return h, ovs.Config{
		Physical: map[string]string{"ext": "br-ex"}, Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.2")},
	}
}

// allFlows returns the flows of every bridge that a network here may pass.
func (h *host) allFlows() (all []string) {
	for _, bridge := range []string{"br-int", "br-tun", "br-ex"} {
		for _, f := range h.flows(bridge) {
			all = append(all, bridge+" "+f)
		}
	}
	return all
}

func (h *host) protected() []string {
	list := strings.Fields(h.do("--bare --columns=name find port protected=true"))
	slices.Sort(list)
	return list
}

// ordinary is the port of legPort before the router is distributed.
func ordinary(p dataplane.Port) dataplane.Port {
	p.Anycast, p.Outside = nil, false
	return p
}

// A port becomes an anycast one and back in place. Flows come with it, and go with the last such
// port of the network; patch ports are protected as long as networks with such ports use them.
func TestContainmentComesAndGoes(t *testing.T) {
	h, c := containing(t)
	d := h.driver(c)
	router, other, vm := h.Router("r1"), h.Router("r2"), h.Workload("vm")
	wiringtest.Plug(t, d, vm, "eth0", wiringtest.PortOn(wiringtest.VXLAN("tunnelled", 77), "vm1", 7))
	wiringtest.Plug(t, d, vm, "eth1", wiringtest.PortOn(vlanOf("tagged", 7), "vm2", 8))
	tunnelled, tagged := legPort("tunnelled", wiringtest.VXLAN("tunnelled", 77)), legPort("tagged", vlanOf("tagged", 7))
	second := legPort("second", wiringtest.VXLAN("tunnelled", 77))
	second.MAC[5], second.Addrs = 0xb, []netip.Prefix{netip.MustParsePrefix("10.0.1.2/24")}
	wiringtest.Plug(t, d, router, "qr-tunnelled", ordinary(tunnelled))
	wiringtest.Plug(t, d, router, "qr-tagged", ordinary(tagged))
	wiringtest.Plug(t, d, other, "qr-second", ordinary(second))
	before := h.allFlows()
	require.Empty(t, h.protected())
	anew := func(name string) []string { return strings.Fields(h.do("--columns=_uuid find port name=" + name)) }
	row := anew("taptunnelled")

	require.Equal(t, []string{
		"~ wiring patch-tun: protected true, was false",
		"~ wiring qr-tunnelled: anycast fa:16:3e:0a:0a:0a 10.0.1.1 2001:db8:a::1, protected true, was false",
	}, wiringtest.Plan(t, d, router, "qr-tunnelled", tunnelled))
	wiringtest.Plug(t, d, router, "qr-tunnelled", tunnelled)
	require.Equal(t, []string{"patch-tun", "taptunnelled"}, h.protected())
	wiringtest.Plug(t, d, router, "qr-tagged", tagged)
	require.Equal(t, []string{"int-br-ex", "patch-tun", "taptagged", "taptunnelled"}, h.protected())
	require.Equal(t, row, anew("taptunnelled"), "the port stays")
	one := h.allFlows()
	wiringtest.Plug(t, d, other, "qr-second", second)
	require.Greater(t, len(h.allFlows()), len(one))

	writes, flows := h.transactions(), h.allFlows()
	for _, d := range []*ovs.Driver{d, h.driver(c)} {
		neighbours := tunnelled
		neighbours.Anycast = &dataplane.Anycast{Neighbours: addrs("10.0.1.11", "2001:db8:a::11")}
		wiringtest.Plug(t, d, router, "qr-tunnelled", neighbours)
		wiringtest.Plug(t, d, router, "qr-tagged", tagged)
		wiringtest.Plug(t, d, other, "qr-second", second)
		wiringtest.Plug(t, d, vm, "eth0", wiringtest.PortOn(wiringtest.VXLAN("tunnelled", 77), "vm1", 7))
	}
	require.Equal(t, writes, h.transactions())
	require.Equal(t, flows, h.allFlows())

	changed := tagged
	changed.Addrs = []netip.Prefix{netip.MustParsePrefix("10.0.7.1/24")}
	require.Equal(t, []string{"~ wiring qr-tagged: anycast fa:16:3e:0a:0a:0a 10.0.7.1"}, wiringtest.Plan(t, d, router, "qr-tagged", changed))
	wiringtest.Plug(t, d, router, "qr-tagged", changed)
	require.True(t, slices.ContainsFunc(h.flows("br-ex"), func(f string) bool { return strings.Contains(f, "10.0.7.1") }))
	require.False(t, slices.ContainsFunc(h.flows("br-ex"), func(f string) bool { return strings.Contains(f, "10.0.1.1") }))

	outside := second
	outside.Anycast, outside.Outside = nil, true
	wiringtest.Plug(t, d, other, "qr-second", outside)
	require.NotContains(t, h.protected(), "tapsecond")
	wiringtest.Plug(t, d, other, "qr-second", second)

	require.NoError(t, d.Unplug(wiringtest.Soon(t), router, "qr-tunnelled"))
	require.Equal(t, []string{"int-br-ex", "patch-tun", "tapsecond", "taptagged"}, h.protected(), "another router has a port on the network")
	wiringtest.Plug(t, d, other, "qr-second", ordinary(second))
	require.Equal(t, []string{"int-br-ex", "taptagged"}, h.protected())
	wiringtest.Plug(t, d, router, "qr-tagged", ordinary(tagged))
	require.Empty(t, h.protected())
	wiringtest.Plug(t, d, router, "qr-tunnelled", ordinary(tunnelled))
	require.Equal(t, before, h.allFlows())

	for name, remove := range map[string]func() error{
		"unplug":  func() error { return d.Unplug(wiringtest.Soon(t), router, "qr-tagged") },
		"release": func() error { return d.Release(wiringtest.Soon(t), "r1") },
		"sweep":   func() error { return d.Sweep(wiringtest.Soon(t), "r1", []string{"qr-tunnelled"}) },
		"elsewhere": func() error {
			return d.Plug(wiringtest.Soon(t), router, wiringtest.At("qr-tagged", ordinary(legPort("tagged", wiringtest.Local("elsewhere")))))
		},
	} {
		wiringtest.Plug(t, d, router, "qr-tunnelled", ordinary(tunnelled))
		wiringtest.Plug(t, d, router, "qr-tagged", tagged)
		require.Equal(t, []string{"int-br-ex", "taptagged"}, h.protected(), name)
		require.NoError(t, remove(), name)
		require.Empty(t, h.protected(), name)
		require.False(t, slices.ContainsFunc(h.allFlows(), func(f string) bool { return strings.Contains(f, anycastMAC.String()) }), name)
	}
}

// What is lost of containment is noticed, and comes back with the next Plug; flows also without.
func TestContainmentIsRepaired(t *testing.T) {
	h, c := containing(t)
	router, vm := h.Router("r1"), h.Workload("vm")
	p := legPort("leg", wiringtest.VXLAN("net", 77))
	d := h.driver(c)
	wiringtest.Plug(t, d, vm, "eth0", wiringtest.PortOn(wiringtest.VXLAN("net", 77), "vmport", 7))
	wiringtest.Plug(t, d, router, "qr-leg", p)
	// Flows of somebody else, among ours.
	for _, flow := range []string{"br-int table=0,priority=14,dl_src=02:00:00:00:00:01,actions=drop", "br-tun table=2,priority=14,dl_src=02:00:00:00:00:01,actions=drop"} {
		bridge, text, _ := strings.Cut(flow, " ")
		_, err := h.Ofctl("add-flow", h.RunDir+"/"+bridge+".mgmt", "cookie=0x1234,"+text)
		require.NoError(t, err)
	}
	flows := h.allFlows()
	require.Len(t, slices.DeleteFunc(slices.Clone(flows), func(f string) bool { return !strings.Contains(f, "cookie=0x1234,") }), 2)
	for _, c2 := range []struct{ vsctl, step string }{
		{"set port tapleg protected=false", "~ wiring qr-leg: protected true, was false"},
		{"set port patch-tun protected=false", "~ wiring patch-tun: protected true, was false"},
		{"remove port tapleg external_ids l3kit-contain", "~ wiring qr-leg: anycast fa:16:3e:0a:0a:0a 10.0.1.1 2001:db8:a::1"},
		{"set port tapleg external_ids:l3kit-contain=anycast", "~ wiring qr-leg: anycast fa:16:3e:0a:0a:0a 10.0.1.1 2001:db8:a::1"},
	} {
		h.do(c2.vsctl)
		require.Equal(t, []string{c2.step}, wiringtest.Plan(t, h.driver(c), router, "qr-leg", p)[:1], c2.vsctl)
		wiringtest.Plug(t, d, router, "qr-leg", p)
		require.Equal(t, flows, h.allFlows(), c2.vsctl)
		require.Equal(t, []string{"patch-tun", "tapleg"}, h.protected(), c2.vsctl)
	}

	for _, match := range []string{"br-tun table=2,dl_dst=" + anycastMAC.String(), "br-int arp,arp_op=1,arp_spa=" + gateway4} {
		bridge, text, _ := strings.Cut(match, " ")
		_, err := h.Ofctl("del-flows", h.RunDir+"/"+bridge+".mgmt", text)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return slices.Equal(flows, h.allFlows()) }, time.Minute, 5*time.Millisecond, match)
	}
	require.NoError(t, h.RestartDaemon(wiringtest.Soon(t)))
	ours := func(all []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(f string) bool { return strings.Contains(f, "cookie=0x1234,") })
	}
	require.Eventually(t, func() bool { return slices.Equal(ours(flows), h.allFlows()) }, time.Minute, 20*time.Millisecond)
	require.Empty(t, wiringtest.Plan(t, d, router, "qr-leg", p))
}

// A process that was killed has removed a leg, but not its flows: they would stop an ordinary port
// with its MAC. The next process removes them, though nobody plugs anything.
func TestContainmentOfADeadProcessGoes(t *testing.T) {
	h, c := containing(t)
	d := h.driver(c)
	router := h.Router("r1")
	wiringtest.Plug(t, d, router, "qr-plain", wiringtest.PortOn(wiringtest.VXLAN("net", 77), "plain", 7))
	require.NoError(t, d.SetEntries(wiringtest.Soon(t), []ovs.Entry{{Network: "net", MAC: dataplane.MAC{2, 1}, Addr: addr("10.0.1.77"), Peer: addr("192.0.2.2")}}))
	for _, bridge := range []string{"br-int", "br-tun"} {
		_, err := h.Ofctl("add-flow", h.RunDir+"/"+bridge+".mgmt", "cookie=0x1234,priority=77,in_port=77,actions=drop")
		require.NoError(t, err)
	}
	want := h.allFlows()
	wiringtest.Plug(t, d, router, "qr-leg", legPort("leg", wiringtest.VXLAN("net", 77)))
	require.NoError(t, d.Close())
	h.do("del-port tapleg")
	contained := func(f string) bool { return strings.Contains(f, anycastMAC.String()) }
	require.True(t, slices.ContainsFunc(h.flows("br-int"), contained))
	require.True(t, slices.ContainsFunc(h.flows("br-tun"), contained))

	h.driver(c)
	require.Eventually(t, func() bool { return slices.Equal(want, h.allFlows()) }, time.Minute, 20*time.Millisecond)
}

// A process that was killed has plugged a leg, but written no flows.
func TestContainmentIsCompleted(t *testing.T) {
	h, c := containing(t)
	d := h.driver(c)
	router := h.Router("r1")
	p := legPort("leg", wiringtest.VXLAN("net", 77))
	wiringtest.Plug(t, d, router, "qr-leg", p)
	want := h.allFlows()
	require.NoError(t, d.Close())
	for _, bridge := range []string{"br-int", "br-tun"} {
		_, err := h.Ofctl("del-flows", h.RunDir+"/"+bridge+".mgmt")
		require.NoError(t, err)
	}
	d = h.driver(c)
	require.Contains(t, strings.Join(wiringtest.Plan(t, d, router, "qr-leg", p), "\n"), "flows missing")
	wiringtest.Plug(t, d, router, "qr-leg", p)
	require.Equal(t, want, h.allFlows())
}

// Legs of several routers on one host are neighbours, as other routers' ports are.
func TestLegsReachEachOther(t *testing.T) {
	h, c := containing(t)
	for _, device := range []ovs.Device{ovs.Veth, ovs.Internal} {
		for _, network := range []dataplane.Network{wiringtest.VXLAN("tunnelled", 77), vlanOf("tagged", 7), wiringtest.Local("local")} {
			t.Run(fmt.Sprintf("%s %s", device, network.ID), func(t *testing.T) {
				h := h.on(t)
				c.Device = device
				d := h.driver(c)
				nd := &node{host: h, driver: d}
				router := func(id string, n byte, as func(dataplane.Port) dataplane.Port) namespace.NS {
					p := legPort(id, network)
					p.MAC[5], p.Addrs = n, []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.1.%d/24", n)), netip.MustParsePrefix(fmt.Sprintf("2001:db8:a::%d/64", n))}
					return namespace.NS{FD: nd.resident(id, as(p)).ns}
				}
				leg := func(p dataplane.Port) dataplane.Port { return p }
				one, two, three, plain := router("one", 1, leg), router("two", 2, leg), router("three", 3, leg), router("plain", 4, ordinary)
				wiringtest.RequireReach(t, one, two, "10.0.1.2")
				wiringtest.RequireReach(t, two, one, "2001:db8:a::1")
				wiringtest.RequireReach(t, two, three, "10.0.1.3")
				wiringtest.RequireReach(t, three, plain, "10.0.1.4")
				wiringtest.RequireReach(t, plain, one, "10.0.1.1")
				for _, router := range []string{"one", "two", "three", "plain"} {
					require.NoError(t, d.Release(wiringtest.Soon(t), router))
				}
				require.Empty(t, h.protected())
			})
		}
	}
}

// An anycast port that nothing could contain is refused.
func TestContainmentIsRefused(t *testing.T) {
	h, c := containing(t)
	c.Direct = []string{"ext"}
	d := h.driver(c)
	ports := h.ports()
	err := d.Plug(wiringtest.Soon(t), h.Router("r1"), wiringtest.At("qr-leg", legPort("leg", flat("net", "ext"))))
	require.ErrorIs(t, err, dataplane.ErrUnsupported)
	require.ErrorContains(t, err, "cannot contain an anycast port")
	require.Equal(t, ports, h.ports())
	wiringtest.Plug(t, d, h.Router("r2"), "qr-centre", centrePort("centre", flat("net", "ext")))
}

// When a Plug fails, patch ports are as they were.
func TestContainmentOfAFailedPlug(t *testing.T) {
	h, c := containing(t)
	d := h.driver(c)
	router := h.Router("r1")
	wiringtest.Plug(t, d, router, "qr-plain", wiringtest.PortOn(wiringtest.VXLAN("net", 77), "plain", 7))
	flows := h.allFlows()
	h.do("add-port br-int rival -- set interface rival type=vxlan options:remote_ip=192.0.2.9 options:key=flow options:local_ip=192.0.2.1")
	c.Tunnel.Peers = addrs("192.0.2.2", "192.0.2.9")
	other := h.driver(c) // whose tunnel ovs-vswitchd refuses
	err := other.Plug(wiringtest.Soon(t), router, wiringtest.At("qr-leg", legPort("leg", wiringtest.VXLAN("net", 77))))
	require.ErrorContains(t, err, "ovs-vswitchd says")
	require.Empty(t, h.protected())
	require.Equal(t, flows, h.allFlows())
}
