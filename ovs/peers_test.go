package ovs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
	"github.com/l3kit/l3kit/ovs"
)

// Tunnels follow the list of peers, and so do flows.
func TestPeers(t *testing.T) {
	h := newHost(t)
	d := h.driver(ovs.Config{Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.2")}})
	router := h.Router("r1")
	p := wiringtest.PortOn(wiringtest.VXLAN("net", 77), "port", 1)
	require.Equal(t, []string{
		"+ wiring br-int: bridge with the netdev datapath",
		"+ wiring br-tun: bridge with the netdev datapath",
		"+ wiring patch-tun: patch port to bridge br-tun on bridge br-int",
		"+ wiring patch-int: patch port to bridge br-int on bridge br-tun",
		"+ wiring vxlan-c0000202: vxlan tunnel to 192.0.2.2 on bridge br-tun",
		"+ wiring qr-port: veth tapport on bridge br-int (network net)",
	}, wiringtest.Plan(t, d, router, "qr-port", p))
	before := h.transactions()
	wiringtest.Plug(t, d, router, "qr-port", p)
	require.Equal(t, before+1, h.transactions(), "all of that in one transaction")
	require.Equal(t, []string{"br-int patch-tun", "br-int tapport 1", "br-tun patch-int", "br-tun vxlan-c0000202"}, h.ports())
	options := h.do("get interface vxlan-c0000202 options")
	require.Contains(t, options, `remote_ip="192.0.2.2"`)
	require.Contains(t, options, `local_ip="192.0.2.1"`)
	require.Contains(t, options, `key=flow`)

	before = h.transactions()
	require.NoError(t, d.SetPeers(wiringtest.Soon(t), addrs("192.0.2.1", "192.0.2.3", "192.0.2.4")))
	require.Equal(t, before+1, h.transactions())
	require.Equal(t, []string{"br-tun patch-int", "br-tun vxlan-c0000203", "br-tun vxlan-c0000204"}, h.ports()[2:])
	require.Empty(t, wiringtest.Plan(t, d, router, "qr-port", p))

	geneve := wiringtest.PortOn(dataplane.Network{ID: "gnv", Type: dataplane.NetworkGeneve, Segment: 77}, "gnv", 2)
	wiringtest.Plug(t, d, router, "qr-gnv", geneve)
	require.Equal(t, []string{
		"br-tun geneve-c0000203", "br-tun geneve-c0000204", "br-tun patch-int", "br-tun vxlan-c0000203", "br-tun vxlan-c0000204",
	}, h.ports()[3:])

	h.do("del-port vxlan-c0000203 -- set interface vxlan-c0000204 options:remote_ip=192.0.2.9")
	require.Equal(t, []string{
		"+ wiring vxlan-c0000203: vxlan tunnel to 192.0.2.3 on bridge br-tun",
		"~ wiring vxlan-c0000204: made with other settings  !",
	}, wiringtest.Plan(t, d, router, "qr-port", p))
	wiringtest.Plug(t, d, router, "qr-port", p)

	fresh := h.driver(ovs.Config{Tunnel: ovs.Tunnel{Local: addr("192.0.2.1"), Peers: addrs("192.0.2.3")}})
	require.Equal(t, []string{"- wiring vxlan-c0000204: tunnel to a host that is no peer"}, wiringtest.Plan(t, fresh, router, "qr-port", p))
	require.NoError(t, fresh.SetPeers(wiringtest.Soon(t), nil))
	require.Equal(t, []string{"br-tun patch-int"}, h.ports()[3:])
	for _, bad := range []string{"2001:db8::1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "fe80::1%eth0", "::1"} {
		err := fresh.SetPeers(wiringtest.Soon(t), addrs("192.0.2.3", bad, "192.0.2.4"))
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
	require.NoError(t, d.SetEntries(wiringtest.Soon(t), entries), "before there is anything that they could be about")
	router := h.Router("r1")
	p := wiringtest.PortOn(wiringtest.VXLAN("net", 77), "port", 1)
	wiringtest.Plug(t, d, router, "qr-port", p)
	known := func() bool {
		return strings.Contains(strings.Join(h.flows("br-tun"), "\n"), "dl_dst=02:00:00:00:00:07")
	}
	require.True(t, known())
	require.NoError(t, h.RestartDaemon(wiringtest.Soon(t)))
	require.Eventually(t, known, time.Minute, 20*time.Millisecond)

	fresh := h.driver(c)
	require.NotEmpty(t, wiringtest.Plan(t, fresh, router, "qr-port", p), "it has not been told")
	require.NoError(t, fresh.SetEntries(wiringtest.Soon(t), entries))
	require.Empty(t, wiringtest.Plan(t, fresh, router, "qr-port", p))
	require.NoError(t, d.Close())
	require.NoError(t, fresh.SetEntries(wiringtest.Soon(t), nil))
	require.False(t, known())
	require.ErrorIs(t, fresh.SetEntries(wiringtest.Soon(t), []ovs.Entry{{Network: "net"}}), dataplane.ErrInvalid)
}
