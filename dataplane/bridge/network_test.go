package bridge_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
)

// wire makes a veth on the host, one end of it in a new namespace: a physical interface, and what
// is at the other end of its cable.
func (h *host) wire(nic, addr string) namespace.NS {
	h.t.Helper()
	outside := h.Workload("outside-" + nic)
	require.NoError(h.t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nic, TxQLen: -1}, PeerName: "out0"}))
	require.NoError(h.t, h.LinkSetNsFd(h.link("out0"), outside.FD))
	wiringtest.Up(h.t, outside, "out0", addr)
	return outside
}

func TestFlatOnExistingBridge(t *testing.T) {
	h := newHost(t)
	outside := h.wire("eth1", "203.0.113.1/24")
	require.NoError(t, h.LinkSetHardwareAddr(h.link("eth1"), []byte{0xfe, 0xfe, 0xff, 0xff, 0xff, 0xff})) // as high as a random one may be
	require.NoError(t, h.LinkAdd(wiringtest.Dummy("br-ex")))
	require.NoError(t, h.LinkSetMaster(h.link("eth1"), h.link("br-ex")))
	for _, name := range []string{"eth1", "br-ex"} {
		require.NoError(t, h.LinkSetUp(h.link(name)))
	}
	mac := h.link("br-ex").Attrs().HardwareAddr.String()
	before := h.links()

	d := h.driver(bridge.Config{Physical: map[string]string{"ext": "br-ex"}})
	router := h.Router("r1")
	p := wiringtest.PortOn(wiringtest.Flat("ext-net"), "gw", 1)
	require.Equal(t, []string{"+ wiring qg-gw: veth tapgw in bridge br-ex (network ext-net)"}, wiringtest.Plan(t, d, router, "qg-gw", p))
	wiringtest.Plug(t, d, router, "qg-gw", p)
	wiringtest.Up(t, router, "qg-gw", "203.0.113.10/24")
	wiringtest.RequireReach(t, router, outside, "203.0.113.1")
	wiringtest.RequireReach(t, outside, router, "203.0.113.10")
	require.Equal(t, mac, h.link("br-ex").Attrs().HardwareAddr.String(), "a port must not change the host's own address")

	require.NoError(t, d.Unplug(t.Context(), router, "qg-gw"))
	require.Equal(t, before, h.links())
}

func TestFlatOnInterface(t *testing.T) {
	h := newHost(t)
	outside := h.wire("eth1", "203.0.113.1/24")
	c := bridge.Config{Physical: map[string]string{"ext": "eth1"}}
	d := h.driver(c)
	router := h.Router("r1")
	p := wiringtest.PortOn(wiringtest.Flat("ext-net"), "gw", 1)
	require.Equal(t, []string{
		"+ wiring brqext-net: bridge of network ext-net",
		"~ wiring eth1: down",
		"~ wiring eth1: not in bridge brqext-net",
		"+ wiring qg-gw: veth tapgw in bridge brqext-net (network ext-net)",
	}, wiringtest.Plan(t, d, router, "qg-gw", p))
	wiringtest.Plug(t, d, router, "qg-gw", p)
	require.Empty(t, wiringtest.Plan(t, h.driver(c), router, "qg-gw", p))
	wiringtest.Up(t, router, "qg-gw", "203.0.113.10/24")
	wiringtest.RequireReach(t, router, outside, "203.0.113.1")
	require.Contains(t, h.links(), "eth1 veth brqext-net", "the interface is never marked")

	require.NoError(t, h.driver(bridge.Config{}).Release(t.Context(), "r1"), "without its configuration too")
	require.Equal(t, []string{"eth1 veth"}, h.links())

	t.Run("in use by the host", func(t *testing.T) {
		addr, err := netlink.ParseAddr("198.51.100.1/24")
		require.NoError(t, err)
		require.NoError(t, h.AddrAdd(h.link("eth1"), addr))
		require.ErrorContains(t, d.Plug(t.Context(), router, wiringtest.At("qg-gw", p)), "eth1 has IP addresses")
		require.Equal(t, []string{"eth1 veth"}, h.links())
		require.NoError(t, h.AddrDel(h.link("eth1"), addr))
	})
	t.Run("in another bridge", func(t *testing.T) {
		require.NoError(t, h.LinkAdd(wiringtest.Dummy("br-ex")))
		require.NoError(t, h.LinkSetMaster(h.link("eth1"), h.link("br-ex")))
		require.ErrorContains(t, d.Plug(t.Context(), router, wiringtest.At("qg-gw", p)),
			`interface eth1 is in bridge br-ex already: configure that bridge for physical network "ext", or take the interface out of it`)
		require.Len(t, h.links(), 2)
		require.NoError(t, h.LinkDel(h.link("br-ex")))
	})
	t.Run("another network has it", func(t *testing.T) {
		old := h.Router("old")
		wiringtest.Plug(t, d, old, "qg-old", wiringtest.PortOn(wiringtest.Flat("old-net"), "old", 2))
		_, planned := d.Plan(t.Context(), router, wiringtest.At("qg-gw", p))
		for _, err := range []error{planned, d.Plug(t.Context(), router, wiringtest.At("qg-gw", p))} {
			require.ErrorIs(t, err, dataplane.ErrHostConfig)
			require.ErrorContains(t, err, "interface eth1 is in bridge brqold-net, which carries flat network old-net of router old, "+
				"and an interface carries one flat network: remove that router from this host, or ")
		}
		require.NoError(t, d.Release(t.Context(), "old"))
		wiringtest.Plug(t, d, router, "qg-gw", p)
		require.NoError(t, d.Release(t.Context(), "r1"))
	})
	t.Run("another interface", func(t *testing.T) {
		wiringtest.Plug(t, d, router, "qg-gw", p)
		h.wire("eth2", "203.0.113.2/24")
		d := h.driver(bridge.Config{Physical: map[string]string{"ext": "eth2"}})
		require.Equal(t, []string{
			"~ wiring brqext-net: names another uplink",
			"- wiring eth1: physical interface leaves bridge brqext-net",
			"~ wiring eth2: down",
			"~ wiring eth2: not in bridge brqext-net",
		}, wiringtest.Plan(t, d, router, "qg-gw", p))
		wiringtest.Plug(t, d, router, "qg-gw", p)
		require.NoError(t, d.Release(t.Context(), "r1"))
		require.Equal(t, []string{"eth1 veth", "eth2 veth"}, h.links())
	})
}

// VLAN devices need a kernel with 802.1Q; one without says so.
func TestVLAN(t *testing.T) {
	h := newHost(t)
	outside := h.wire("a-long-nic-name", "192.0.2.1/24")
	before := h.links()
	d := h.driver(bridge.Config{Physical: map[string]string{"phys": "a-long-nic-name"}})
	router := h.Router("r1")
	p := wiringtest.PortOn(dataplane.Network{ID: "net", Type: dataplane.NetworkVLAN, Physical: "phys", Segment: 4094}, "port", 1)
	_, planned := d.Plan(t.Context(), router, wiringtest.At("qr-port", p))
	require.Equal(t, before, h.links(), "Plan makes nothing")
	err := d.Plug(t.Context(), router, wiringtest.At("qr-port", p))
	probe := netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "probe", TxQLen: -1, ParentIndex: h.link("a-long-nic-name").Attrs().Index}, VlanId: 7}
	if unsupported := h.LinkAdd(&probe); unsupported != nil {
		require.ErrorIs(t, unsupported, unix.EOPNOTSUPP)
		require.ErrorIs(t, planned, dataplane.ErrUnsupported)
		require.ErrorIs(t, err, dataplane.ErrUnsupported)
		require.NotContains(t, err.Error(), "\n")
		require.Equal(t, before, h.links())
		return
	}
	require.NoError(t, planned)
	require.NoError(t, err)
	require.Contains(t, h.links(), "a-long-nic.4094 vlan brqnet l3kit network=net")
	require.NoError(t, outside.Do(func() error {
		out, err := netlink.LinkByName("out0")
		if err != nil {
			return err
		}
		return netlink.LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "tagged", TxQLen: -1, ParentIndex: out.Attrs().Index}, VlanId: 4094})
	}))
	wiringtest.Up(t, outside, "tagged", "10.0.0.1/24")
	wiringtest.Up(t, router, "qr-port", "10.0.0.2/24")
	wiringtest.RequireReach(t, router, outside, "10.0.0.1")
	require.NoError(t, d.Release(t.Context(), "r1"))
	require.NotContains(t, strings.Join(h.links(), "\n"), "l3kit")
}

func TestVXLANBetweenHosts(t *testing.T) {
	underlay := newHost(t)
	require.NoError(t, underlay.LinkAdd(wiringtest.Dummy("lan")))
	require.NoError(t, underlay.LinkSetUp(underlay.link("lan")))
	const n = 3
	hosts, drivers, vms := [n]*host{}, [n]*bridge.Driver{}, [n]namespace.NS{}
	tunnel := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}) }
	config := func(i int) bridge.Config {
		return bridge.Config{VXLAN: bridge.VXLAN{Local: tunnel(i), Peers: []netip.Addr{tunnel(0), tunnel(1), tunnel(i)}}}
	}
	port := func(i int) dataplane.Port {
		return wiringtest.PortOn(dataplane.Network{ID: "net", Type: dataplane.NetworkVXLAN, Segment: 4711}, fmt.Sprintf("port%d", i), i)
	}
	for i := range n {
		h := newHost(t)
		name := fmt.Sprintf("host%d", i)
		require.NoError(t, underlay.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}, PeerName: "eth0"}))
		require.NoError(t, underlay.LinkSetNsFd(underlay.link("eth0"), h.ns.FD))
		require.NoError(t, underlay.LinkSetMaster(underlay.link(name), underlay.link("lan")))
		require.NoError(t, underlay.LinkSetUp(underlay.link(name)))
		wiringtest.Up(t, h.ns, "eth0", tunnel(i).String()+"/24")
		hosts[i], drivers[i], vms[i] = h, h.driver(config(i)), h.Workload("vm")
		wiringtest.Plug(t, drivers[i], vms[i], "eth0", port(i))
		wiringtest.Up(t, vms[i], "eth0", fmt.Sprintf("10.0.0.%d/24", i+1))
	}
	require.Equal(t, wiringtest.MTU, hosts[0].link("vxlan-4711").Attrs().MTU, "the underlay's MTU does not limit the tunnel's")
	wiringtest.RequireReach(t, vms[0], vms[1], "10.0.0.2")
	wiringtest.RequireReach(t, vms[1], vms[0], "10.0.0.1")

	// The third host knows the others, but they learn of it only now; so far broadcasts do not
	// reach it.
	wiringtest.RequireNoReach(t, vms[0], vms[2], "10.0.0.3")
	events := hosts[0].watch()
	all := []netip.Addr{tunnel(0), tunnel(1), tunnel(2)}
	for _, d := range drivers {
		require.NoError(t, d.SetPeers(t.Context(), all))
	}
	wiringtest.RequireReach(t, vms[0], vms[2], "10.0.0.3")
	wiringtest.RequireReach(t, vms[2], vms[1], "10.0.0.2")
	require.Empty(t, events(), "no device was touched")

	require.NoError(t, drivers[0].SetPeers(t.Context(), nil))
	require.Empty(t, hosts[0].floods("vxlan-4711"))
	require.NoError(t, drivers[0].SetPeers(t.Context(), all))
	require.Equal(t, []string{"192.0.2.2", "192.0.2.3"}, hosts[0].floods("vxlan-4711"))
	for _, bad := range []string{"2001:db8::1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "fe80::1%eth0", "::1"} {
		err := drivers[0].SetPeers(t.Context(), []netip.Addr{tunnel(1), netip.MustParseAddr(bad), {}, tunnel(2)})
		require.ErrorIs(t, err, dataplane.ErrInvalid)
		require.ErrorContains(t, err, bad)
		require.Equal(t, []string{"192.0.2.2", "192.0.2.3"}, hosts[0].floods("vxlan-4711"), "the others are peers")
	}
	require.ErrorIs(t, drivers[0].SetPeers(t.Context(), []netip.Addr{netip.MustParseAddr("2001:db8::1"), tunnel(2)}), dataplane.ErrInvalid)
	require.Equal(t, []string{"192.0.2.3"}, hosts[0].floods("vxlan-4711"), "one that has gone is removed all the same")
	require.NoError(t, drivers[0].SetPeers(t.Context(), all))

	// A fresh process has a list of its own.
	fresh := hosts[0].driver(config(0))
	require.Equal(t, []string{"~ wiring vxlan-4711: 0 peers missing, 1 too many"}, wiringtest.Plan(t, fresh, vms[0], "eth0", port(0)))
	wiringtest.Plug(t, fresh, vms[0], "eth0", port(0))
	require.Equal(t, []string{"192.0.2.2"}, hosts[0].floods("vxlan-4711"))

	// A larger MTU raises the tunnel's, a smaller one does not lower it: others on the host may
	// need it.
	p := port(0)
	p.MTU = 8000
	wiringtest.Plug(t, fresh, vms[0], "eth0", p)
	p.MTU = 1400
	wiringtest.Plug(t, fresh, vms[0], "eth0", p)
	require.Equal(t, 8000, hosts[0].link("vxlan-4711").Attrs().MTU)

	// Another tunnel address, another device.
	c := config(0)
	c.VXLAN.Port = 8472
	wiringtest.Plug(t, hosts[0].driver(c), vms[0], "eth0", p)
	require.Equal(t, 8472, hosts[0].link("vxlan-4711").(*netlink.Vxlan).Port)

	for i, d := range drivers {
		require.NoError(t, d.Unplug(t.Context(), vms[i], "eth0"))
		require.Equal(t, []string{"eth0 veth"}, hosts[i].links())
	}
}

// floods lists the peers that a VXLAN device floods to.
func (h *host) floods(name string) (peers []string) {
	h.t.Helper()
	neighs, err := h.NeighList(h.link(name).Attrs().Index, unix.AF_BRIDGE)
	require.NoError(h.t, err)
	for _, n := range neighs {
		if n.HardwareAddr.String() == "00:00:00:00:00:00" {
			peers = append(peers, n.IP.String())
		}
	}
	slices.Sort(peers)
	return peers
}

// More ports than a bridge takes: a thousand routers on one external network. The existing bridge
// has ports of others, too.
func TestMorePortsThanABridgeTakes(t *testing.T) {
	for _, existing := range []bool{false, true} {
		t.Run(fmt.Sprintf("existing=%v", existing), func(t *testing.T) {
			h := newHost(t)
			network, c, first := wiringtest.Local("net"), bridge.Config{}, "brqnet"
			if existing {
				require.NoError(t, h.LinkAdd(wiringtest.Dummy("br-ex")))
				require.NoError(t, h.LinkSetUp(h.link("br-ex")))
				network, c, first = wiringtest.Flat("net"), bridge.Config{Physical: map[string]string{"ext": "br-ex"}}, "br-ex"
			}
			d := h.driver(c)
			const n = 1105
			many, one, last := h.Router("many"), h.Router("one"), h.Router("last")
			id := func(i int) string { return fmt.Sprintf("p%d", i) }
			wiringtest.Plug(t, d, one, "qg-one", wiringtest.PortOn(network, "one", n))
			for i := range n {
				require.NoError(t, d.Plug(t.Context(), many, wiringtest.At("qg-"+id(i), wiringtest.PortOn(network, id(i), i))))
			}
			wiringtest.Plug(t, d, last, "qg-last", wiringtest.PortOn(network, "last", n+1))
			wiringtest.Up(t, one, "qg-one", "10.0.0.1/16")
			wiringtest.Up(t, last, "qg-last", "10.0.0.2/16")
			wiringtest.Up(t, many, "qg-"+id(n-1), "10.0.0.3/16")
			wiringtest.RequireReach(t, one, last, "10.0.0.2")
			wiringtest.RequireReach(t, last, one, "10.0.0.1")
			wiringtest.RequireReach(t, many, one, "10.0.0.1")

			require.Equal(t, 988+1, h.ports(first), "and the trunk")
			require.Equal(t, n+2-988+1, h.ports("bronet1"))
			fresh := h.driver(c)
			require.Empty(t, wiringtest.Plan(t, fresh, last, "qg-last", wiringtest.PortOn(network, "last", n+1)))

			t.Run("trunk broken", func(t *testing.T) {
				for _, tamper := range []func(){
					func() { require.NoError(t, h.LinkDel(h.link("tbqnet1"))) },
					func() { require.NoError(t, h.LinkSetNoMaster(h.link("tbonet1"))) },
					func() { require.NoError(t, h.LinkSetDown(h.link("tbqnet1"))) },
				} {
					tamper()
					require.NotEmpty(t, wiringtest.Plan(t, fresh, last, "qg-last", wiringtest.PortOn(network, "last", n+1)))
					wiringtest.Plug(t, fresh, last, "qg-last", wiringtest.PortOn(network, "last", n+1))
					wiringtest.RequireReach(t, one, last, "10.0.0.2")
				}
			})

			// A place in the first bridge is used again; an overflow bridge without ports goes.
			require.NoError(t, fresh.Unplug(t.Context(), one, "qg-one"))
			wiringtest.Plug(t, fresh, one, "qg-one", wiringtest.PortOn(network, "one", n))
			require.Equal(t, h.link(first).Attrs().Index, h.link("tapone").Attrs().MasterIndex)

			// The namespace takes its devices along. The kernel does that in its own time; here it
			// is done at once, as one list.
			emptyNS(t, many)
			require.NoError(t, fresh.Release(t.Context(), "last"))
			require.Len(t, h.links(), 2, "the first bridge and one port")
			require.NoError(t, fresh.Release(t.Context(), "one"))
			if existing {
				require.Equal(t, []string{"br-ex bridge"}, h.links())
			} else {
				require.Empty(t, h.links())
			}
		})
	}
}

// ports counts the ports of a bridge.
func (h *host) ports(name string) (count int) {
	h.t.Helper()
	links, err := h.LinkList()
	require.NoError(h.t, err)
	index := h.link(name).Attrs().Index
	for _, l := range links {
		if l.Attrs().MasterIndex == index {
			count++
		}
	}
	return count
}

// emptyNS deletes all devices of a namespace with one request: by group.
func emptyNS(t testing.TB, ns namespace.NS) {
	t.Helper()
	hd := wiringtest.Links(t, ns)
	links, err := hd.LinkList()
	require.NoError(t, err)
	const group = 7
	for _, l := range links {
		if l.Type() == "veth" {
			require.NoError(t, hd.LinkSetGroup(l, group))
		}
	}
	require.NoError(t, ns.Do(func() error {
		req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	}))
}

func BenchmarkPlan(b *testing.B) {
	h := newHost(b)
	d := h.driver(bridge.Config{})
	router := h.Router("r1")
	p := wiringtest.LocalPort("net", "port", 1)
	wiringtest.Plug(b, d, router, "qr-port", p)
	b.ReportAllocs()
	for b.Loop() {
		if steps, err := d.Plan(b.Context(), router, wiringtest.At("qr-port", p)); err != nil || len(steps[0]) > 0 {
			b.Fatal(steps, err)
		}
	}
}

// BenchmarkPlug makes ports; BenchmarkPlugFloor makes the same with as few requests as there can
// be, and no looking.
func BenchmarkPlug(b *testing.B) {
	h := newHost(b)
	d := h.driver(bridge.Config{})
	router := h.Router("r1")
	wiringtest.Plug(b, d, router, "qr-first", wiringtest.LocalPort("net", "first", 0))
	plugMany(b, router, func(i int, id string) error {
		return d.Plug(b.Context(), router, wiringtest.At("qr-"+id, wiringtest.LocalPort("net", id, i)))
	})
}

func plugMany(b *testing.B, router namespace.NS, plug func(i int, id string) error) {
	for i := 0; b.Loop(); {
		if err := plug(i, fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
		if i++; i%500 == 0 {
			b.StopTimer()
			emptyNS(b, router)
			b.StartTimer()
		}
	}
}

func BenchmarkPlugFloor(b *testing.B) {
	h := newHost(b)
	router := h.Router("r1")
	require.NoError(b, h.LinkAdd(wiringtest.Dummy("br")))
	br := h.link("br")
	require.NoError(b, h.LinkSetUp(br))
	plugMany(b, router, func(_ int, id string) error {
		l := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: "tap" + id, TxQLen: -1, MTU: wiringtest.MTU, MasterIndex: br.Attrs().Index},
			PeerName:      "qr-" + id,
			PeerNamespace: netlink.NsFd(router.FD),
		}
		return errors.Join(h.LinkAdd(l), h.LinkSetUp(l))
	})
}

func BenchmarkUnplug(b *testing.B) {
	h := newHost(b)
	d := h.driver(bridge.Config{})
	router := h.Router("r1")
	wiringtest.Plug(b, d, router, "qr-first", wiringtest.LocalPort("net", "first", 0))
	for b.Loop() {
		b.StopTimer()
		if err := d.Plug(b.Context(), router, wiringtest.At("qr-x", wiringtest.LocalPort("net", "x", 1))); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := d.Unplug(b.Context(), router, "qr-x"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRelease(b *testing.B) {
	h := newHost(b)
	d := h.driver(bridge.Config{})
	router := h.Router("r1")
	for b.Loop() {
		b.StopTimer()
		for i := range 3 {
			p := wiringtest.LocalPort(fmt.Sprintf("net%d", i), fmt.Sprintf("p%d", i), i)
			if err := d.Plug(b.Context(), router, wiringtest.At(dataplane.PortDevice(p.ID), p)); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if err := d.Release(b.Context(), "r1"); err != nil {
			b.Fatal(err)
		}
	}
}
