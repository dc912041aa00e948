package ovs_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/ovs"
)

func fields(command string) []string { return strings.Fields(command) }

func TestPortMovesBetweenNetworks(t *testing.T) {
	h := newHost(t)
	h.do("add-br br-gw -- set bridge br-gw datapath_type=netdev")
	d := h.driver(ovs.Config{Physical: map[string]string{"gw": "br-gw"}, Direct: []string{"gw"}})
	router := h.router("r1")
	plug(t, d, router, "qr-stays", portOn(local("old"), "stays", 2))
	plug(t, d, router, "qr-port", portOn(local("old"), "port", 1))
	moved := portOn(local("new"), "port", 1)
	require.Equal(t, []string{"~ wiring qr-port: network new, was old, local VLAN 2, was 1  !"}, plan(t, d, router, "qr-port", moved))
	plug(t, d, router, "qr-port", moved)
	require.Equal(t, []string{"br-int tapport 2", "br-int tapstays 1"}, h.ports())

	moved = portOn(flat("ext", "gw"), "port", 1)
	require.Equal(t, []string{
		"- wiring qr-port: not on bridge br-gw  !",
		"+ wiring qr-port: veth tapport on bridge br-gw (network ext)",
	}, plan(t, d, router, "qr-port", moved))
	plug(t, d, router, "qr-port", moved)
	require.ElementsMatch(t, []string{"br-gw tapport", "br-int tapstays 1"}, h.ports(), "a direct port has no local VLAN")
	h.do("set port tapport tag=9")
	require.Equal(t, []string{"~ wiring qr-port: no tag, was 9"}, plan(t, d, router, "qr-port", moved))
	plug(t, d, router, "qr-port", moved)
}

func TestReleaseWithoutNamespace(t *testing.T) {
	h := newHost(t)
	for _, device := range []ovs.Device{ovs.Veth, ovs.Internal} {
		d := h.driver(ovs.Config{Device: device})
		t.Run(string(device), func(t *testing.T) {
			h := h.on(t)
			plug(t, d, h.router("r1"), "qr-a", portOn(local("n1"), "a", 1))
			plug(t, d, h.router("r1b"), "qr-b", portOn(local("n1"), "b", 2))
			plug(t, d, h.namespace("r1", "r1c"), "qg-c", portOn(local("n2"), "c", 3))
			fresh := h.driver(ovs.Config{})
			routers, err := fresh.Routers(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{"r1", "r1b"}, routers)

			before := h.transactions()
			require.NoError(t, fresh.Release(soon(t), "r1"))
			require.Equal(t, before+1, h.transactions(), "one for all of a router's ports")
			require.Len(t, h.ports(), 1)
			require.NoError(t, fresh.Release(soon(t), "r1"))
			require.NoError(t, fresh.Release(soon(t), "r1b"))
			require.Empty(t, h.ports())
			require.Equal(t, []string{"br-int"}, h.devices())
		})
	}
}

// A process that was killed between making a veth and the transaction leaves a veth that leads into
// the namespace.
func TestHalfMade(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{})
	router := h.router("r1")
	require.NoError(t, h.net.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "tapport", TxQLen: -1}, PeerName: "qr-port", PeerNamespace: netlink.NsFd(router.FD),
	}))
	plug(t, d, router, "qr-port", portOn(local("net"), "port", 1))

	require.NoError(t, h.net.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "tapother", TxQLen: -1}, PeerName: "qr-other", PeerNamespace: netlink.NsFd(router.FD),
	}))
	require.NoError(t, d.Unplug(soon(t), router, "qr-other"))
	require.NotContains(t, h.devices(), "tapother")
}

func each(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

// Several processes, and several calls in each: no VLAN is given to two networks, and no network
// has two.
func TestConcurrentPlugs(t *testing.T) {
	h := newHost(t)
	const n, processes = 12, 3
	drivers := make([]*ovs.Driver, processes)
	for i := range drivers {
		drivers[i] = h.driver(ovs.Config{})
	}
	nss := make([]namespace.NS, n)
	for i := range nss {
		nss[i] = h.router(fmt.Sprintf("r%d", i))
	}
	for range 2 {
		each(n, func(i int) {
			for _, network := range []string{"shared", fmt.Sprintf("own%d", i)} {
				p := portOn(local(network), fmt.Sprintf("%s-%d", network[:3], i), i)
				if err := drivers[i%processes].Plug(soon(t), nss[i], at("qr-"+network, p)); err != nil {
					t.Errorf("plug %d: %v", i, err)
				}
			}
		})
		tags := map[string]string{}
		for _, line := range h.ports() {
			f := strings.Fields(line)
			network := f[1]
			if strings.HasPrefix(network, "tapsha-") {
				network = "shared"
			}
			if network == "shared" && tags[f[2]] == network {
				continue
			}
			require.Empty(t, tags[f[2]], "VLAN %s has two networks", f[2])
			tags[f[2]] = network
		}
		require.Len(t, tags, n+1, "each network has one VLAN")

		each(n, func(i int) {
			d := drivers[(i+1)%processes]
			if i%2 == 0 {
				if err := d.Release(soon(t), nss[i].Router); err != nil {
					t.Errorf("release %d: %v", i, err)
				}
				return
			}
			if err := d.Unplug(soon(t), nss[i], "qr-shared"); err != nil {
				t.Errorf("unplug %d: %v", i, err)
			}
			if err := d.Plug(soon(t), nss[i], at("qr-shared", portOn(local("shared"), fmt.Sprintf("sha-%d", i), i))); err != nil {
				t.Errorf("plug again %d: %v", i, err)
			}
		})
		for i := 1; i < n; i += 2 {
			require.Empty(t, plan(t, drivers[0], nss[i], "qr-shared", portOn(local("shared"), fmt.Sprintf("sha-%d", i), i)))
		}
		require.Len(t, h.ports(), n)
	}
	each(n, func(i int) {
		if err := drivers[i%processes].Release(soon(t), nss[i].Router); err != nil {
			t.Error(err)
		}
	})
	require.Empty(t, h.ports())
	require.Len(t, h.flows("br-int"), 2, "flows of networks go with their last ports")
}

// Tunnels follow the list of peers, and so do flows.
func TestPeers(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.2")}})
	router := h.router("r1")
	p := portOn(vxlan("net", 77), "port", 1)
	require.Equal(t, []string{
		"+ wiring br-int: bridge with the netdev datapath",
		"+ wiring br-tun: bridge with the netdev datapath",
		"+ wiring patch-tun: patch port to bridge br-tun on bridge br-int",
		"+ wiring patch-int: patch port to bridge br-int on bridge br-tun",
		"+ wiring vxlan-c0000202: vxlan tunnel to 192.0.2.2 on bridge br-tun",
		"+ wiring qr-port: veth tapport on bridge br-int (network net)",
	}, plan(t, d, router, "qr-port", p))
	before := h.transactions()
	plug(t, d, router, "qr-port", p)
	require.Equal(t, before+1, h.transactions(), "all of that in one transaction")
	require.Equal(t, []string{"br-int patch-tun", "br-int tapport 1", "br-tun patch-int", "br-tun vxlan-c0000202"}, h.ports())
	options := h.do("get interface vxlan-c0000202 options")
	require.Contains(t, options, `remote_ip="192.0.2.2"`)
	require.Contains(t, options, `local_ip="192.0.2.1"`)
	require.Contains(t, options, `key=flow`)

	before = h.transactions()
	require.NoError(t, d.SetPeers(soon(t), addrs("192.0.2.1", "192.0.2.3", "192.0.2.4")))
	require.Equal(t, before+1, h.transactions())
	require.Equal(t, []string{"br-tun patch-int", "br-tun vxlan-c0000203", "br-tun vxlan-c0000204"}, h.ports()[2:])
	require.Empty(t, plan(t, d, router, "qr-port", p))

	geneve := portOn(dataplane.Network{ID: "gnv", Type: dataplane.NetworkGeneve, Segment: 77}, "gnv", 2)
	plug(t, d, router, "qr-gnv", geneve)
	require.Equal(t, []string{
		"br-tun geneve-c0000203", "br-tun geneve-c0000204", "br-tun patch-int", "br-tun vxlan-c0000203", "br-tun vxlan-c0000204",
	}, h.ports()[3:])

	h.do("del-port vxlan-c0000203 -- set interface vxlan-c0000204 options:remote_ip=192.0.2.9")
	require.Equal(t, []string{
		"+ wiring vxlan-c0000203: vxlan tunnel to 192.0.2.3 on bridge br-tun",
		"~ wiring vxlan-c0000204: made with other settings  !",
	}, plan(t, d, router, "qr-port", p))
	plug(t, d, router, "qr-port", p)

	fresh := h.driver(ovs.Config{Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.3")}})
	require.Equal(t, []string{"- wiring vxlan-c0000204: tunnel to a host that is no peer"}, plan(t, fresh, router, "qr-port", p))
	require.NoError(t, fresh.SetPeers(soon(t), nil))
	require.Equal(t, []string{"br-tun patch-int"}, h.ports()[3:])
	for _, bad := range []string{"2001:db8::1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "fe80::1%eth0", "::1"} {
		err := fresh.SetPeers(soon(t), addrs("192.0.2.3", bad, "192.0.2.4"))
		require.ErrorIs(t, err, dataplane.ErrInvalid)
		require.ErrorContains(t, err, bad)
		ports := h.ports()
		require.Contains(t, ports, "br-tun vxlan-c0000203", "the others are peers")
		require.Contains(t, ports, "br-tun vxlan-c0000204")
	}
}

// Entries are in force for networks that are here, and come back when ovs-vswitchd does.
func TestEntries(t *testing.T) {
	h := newHost(t)
	c := ovs.Config{Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.2")}}
	d := h.driver(c)
	entries := []ovs.Entry{{Network: "net", MAC: dataplane.MAC{2, 0, 0, 0, 0, 7}, Addr: addr("10.0.0.7"), Peer: addr("192.0.2.2")}}
	require.NoError(t, d.SetEntries(soon(t), entries), "before there is anything that they could be about")
	router := h.router("r1")
	p := portOn(vxlan("net", 77), "port", 1)
	plug(t, d, router, "qr-port", p)
	known := func() bool {
		return strings.Contains(strings.Join(h.flows("br-tun"), "\n"), "dl_dst=02:00:00:00:00:07")
	}
	require.True(t, known())
	require.NoError(t, h.RestartDaemon(soon(t)))
	require.Eventually(t, known, time.Minute, 20*time.Millisecond)

	fresh := h.driver(c)
	require.NotEmpty(t, plan(t, fresh, router, "qr-port", p), "it has not been told")
	require.NoError(t, fresh.SetEntries(soon(t), entries))
	require.Empty(t, plan(t, fresh, router, "qr-port", p))
	require.NoError(t, d.Close())
	require.NoError(t, fresh.SetEntries(soon(t), nil))
	require.False(t, known())
	require.ErrorIs(t, fresh.SetEntries(soon(t), []ovs.Entry{{Network: "net"}}), dataplane.ErrInvalid)
}
