package host_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/dataplane/workload"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/iptables"
	"github.com/l3kit/l3kit/nftables"
)

func machine(t *testing.T) *lab.Lab {
	t.Helper()
	needs.Root(t)
	m, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// configOf is for a machine. Open vSwitch runs on it if the wiring is that.
func configOf(t *testing.T, m *lab.Lab, backend, wiring string) host.Config {
	t.Helper()
	c := host.Config{Backend: backend, Wiring: wiring, HostNS: m.HostNS, Dir: m.Dir}
	if backend == "iptables" {
		needs.Program(t, "iptables-restore", "iptables")
	}
	if wiring == "ovs" {
		needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
		s, err := m.Switch(t.Context())
		require.NoError(t, err)
		c.OVS = host.OVS{Endpoints: []string{s.Endpoint}, RunDir: s.RunDir, Datapath: "netdev"}
	}
	return c
}

func open(t *testing.T, c host.Config) *host.Host {
	t.Helper()
	h, err := host.Open(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func port(id, network, addr string, last byte) dataplane.Port {
	return dataplane.Port{
		ID: id, Network: dataplane.Network{ID: network}, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, last}, MTU: 1500,
		Addrs: []netip.Prefix{netip.MustParsePrefix(addr)},
	}
}

// office translates to a floating IP, so that its backend has something to do.
func office(id string) dataplane.Router {
	return dataplane.Router{
		ID: id, Ports: []dataplane.Port{port("lan-"+id, "lan", "10.0.1.1/24", 1)},
		Gateway:     &dataplane.Gateway{SNAT: true, Port: port("wan-"+id, "wan", "203.0.113.2/24", 2)},
		FloatingIPs: []dataplane.FloatingIP{{ID: "f", Addr: netip.MustParseAddr("203.0.113.5"), Fixed: netip.MustParseAddr("10.0.1.5")}},
	}
}

// TestPackets: with each backend and each wiring, a client reaches the floating IP of a workload
// that was attached by the same host.
func TestPackets(t *testing.T) {
	for _, c := range []struct{ backend, wiring string }{{"", ""}, {"iptables", "bridge"}, {"nftables", "ovs"}} {
		t.Run(c.backend+" "+c.wiring, func(t *testing.T) {
			m := machine(t)
			config := configOf(t, m, c.backend, c.wiring)
			h := open(t, config)
			_, err := h.Apply(t.Context(), office("office"))
			require.NoError(t, err)

			web, err := netns.New(nil)
			require.NoError(t, err)
			defer web.Close()
			path := fmt.Sprintf("/proc/self/fd/%d", web.Fd())
			require.NoError(t, h.Wiring.Attach(t.Context(), path, "eth0", workload.Config{
				Port: port("web", "lan", "10.0.1.5/24", 3), NextHops: []netip.Addr{netip.MustParseAddr("10.0.1.1")},
			}))
			tap, err := h.Wiring.AttachTap(t.Context(), port("machine", "lan", "10.0.1.6/24", 4))
			require.NoError(t, err)
			require.True(t, there(t, m, tap))
			require.Equal(t, []string{"machine", "web"}, attached(t, h))
			client, err := m.Attach(t.Context(), h.Wiring, lab.Spec{Name: "client", Ports: []dataplane.Port{port("client", "wan", "203.0.113.1/24", 5)}})
			require.NoError(t, err)
			require.NoError(t, client.Ping(t.Context(), "203.0.113.5"))

			require.NoError(t, h.Wiring.DetachTap(t.Context(), "machine"))
			require.False(t, there(t, m, tap))
			require.NoError(t, h.Wiring.Detach(t.Context(), path, "eth0"))
			require.Equal(t, []string{"client"}, attached(t, h))
			require.ErrorIs(t, h.Wiring.Detach(t.Context(), "", "eth0"), os.ErrNotExist, "no path is not the caller's namespace")
			require.NoError(t, h.Close())

			again := open(t, config)
			left, err := again.List(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{"office"}, left, "routers outlive who applied them")
			require.NoError(t, again.Delete(t.Context(), "office"))
		})
	}
}

func attached(t *testing.T, h *host.Host) []string {
	t.Helper()
	ports, err := h.Wiring.Workloads(t.Context())
	require.NoError(t, err)
	return ports
}

// there reports whether the machine has a device.
func there(t *testing.T, m *lab.Lab, device string) (found bool) {
	t.Helper()
	inside(t, m, func() error {
		_, err := netlink.LinkByName(device)
		found = err == nil
		return nil
	})
	return found
}

// inside runs fn in the machine's namespace.
func inside(t *testing.T, m *lab.Lab, fn func() error) {
	t.Helper()
	h, err := m.Enter(m.HostNS)
	require.NoError(t, err)
	require.NoError(t, h.Do(fn))
}

// TestZeroConfig: the namespace is the calling thread's, and routers have names in /run/netns.
func TestZeroConfig(t *testing.T) {
	m := machine(t)
	id := "l3kit-test-" + rand.Text()
	inside(t, m, func() error {
		h, err := host.Open(t.Context(), host.Config{})
		if err != nil {
			return err
		}
		defer h.Close()
		_, err = h.Apply(t.Context(), office(id))
		require.NoError(t, err)
		_, err = os.Stat("/run/netns/" + dataplane.NamespaceName(id))
		require.NoError(t, err)
		require.NoError(t, h.Wiring.CheckConfig(t.Context()))
		return h.Delete(t.Context(), id)
	})
}

// TestTakeOver: the rules of the other backend go with the next Apply, unless they are not looked
// for.
func TestTakeOver(t *testing.T) {
	for _, c := range []struct{ from, to string }{{"iptables", "nftables"}, {"nftables", "iptables"}} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			m := machine(t)
			before := open(t, configOf(t, m, c.from, ""))
			_, err := before.Apply(t.Context(), office("office"))
			require.NoError(t, err)
			require.NoError(t, before.Close())
			require.True(t, wrote(t, m, c.from))

			config := configOf(t, m, c.to, "")
			config.NoTakeOver = true
			for _, stays := range []bool{true, false} {
				h := open(t, config)
				_, err = h.Apply(t.Context(), office("office"))
				require.NoError(t, err)
				require.NoError(t, h.Close())
				require.True(t, wrote(t, m, c.to))
				require.Equal(t, stays, wrote(t, m, c.from))
				config.NoTakeOver = false
			}
		})
	}
}

// TestClampMSS: routers clamp on a host that is told so, whether or not they ask for it.
func TestClampMSS(t *testing.T) {
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			m := machine(t)
			clamping := configOf(t, m, backend, "")
			clamping.ClampMSS = true
			asking := office("office")
			asking.ClampMSS = true
			for _, c := range []struct {
				config host.Config
				same   dataplane.Router
			}{{clamping, asking}, {configOf(t, m, backend, ""), office("office")}} {
				h := open(t, c.config)
				plan, err := h.Plan(t.Context(), office("office"))
				require.NoError(t, err)
				require.False(t, plan.Empty())
				_, err = h.Apply(t.Context(), office("office"))
				require.NoError(t, err)
				require.NoError(t, h.Close())

				h = open(t, configOf(t, m, backend, ""))
				plan, err = h.Plan(t.Context(), c.same)
				require.NoError(t, err)
				require.Empty(t, plan.Steps)
				require.NoError(t, h.Close())
			}
		})
	}
}

// TestVariant: the rules are where the variant's own tools see them.
func TestVariant(t *testing.T) {
	for _, variant := range []iptables.Variant{iptables.NFT, iptables.Legacy} {
		m := machine(t)
		config := configOf(t, m, "iptables", "")
		config.IPTables = variant
		h := open(t, config)
		_, err := h.Apply(t.Context(), office("office"))
		require.NoError(t, err)
		save := exec.CommandContext(t.Context(), "nsenter", "--net="+m.Dir+"/"+dataplane.NamespaceName("office"), "iptables-"+string(variant)+"-save")
		rules, err := save.Output()
		require.NoError(t, err)
		require.Contains(t, string(rules), "203.0.113.5")
	}
}

// wrote reports whether a backend has rules in the router's namespace.
func wrote(t *testing.T, m *lab.Lab, backend string) bool {
	t.Helper()
	inside, err := m.Enter(m.Dir + "/" + dataplane.NamespaceName("office"))
	require.NoError(t, err)
	firewall := map[string]namespace.Firewall{"nftables": nftables.Firewall{}, "iptables": &iptables.Firewall{}}[backend]
	rules, err := firewall.Open(namespace.NS{Router: "office", FD: inside.FD()})
	require.NoError(t, err)
	defer rules.Close()
	present, err := rules.Present(t.Context())
	require.NoError(t, err)
	return present
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		config host.Config
		says   string
	}{
		{host.Config{Backend: "pf"}, `Backend: "pf" does not exist: choose one of nftables, iptables`},
		{host.Config{Wiring: "Bridge"}, `Wiring: "Bridge" does not exist: choose one of bridge, ovs`},
		{host.Config{Mode: "dvr_no_external"}, `Mode: "dvr_no_external" does not exist: choose one of dvr, dvr_snat, legacy`},
		{host.Config{Mode: "dvr_snat"}, "Mode: dvr_snat is for hosts that reach external networks, and this one has no physical network"},
		{host.Config{IPTables: "ebtables"}, `IPTables: "ebtables" does not exist: choose one of nft, legacy`},
		{host.Config{OVS: host.OVS{Datapath: "dpdk"}}, `OVS.Datapath: "dpdk" does not exist: choose one of system, netdev`},
		{host.Config{OVS: host.OVS{Device: "tap"}}, `OVS.Device: "tap" does not exist: choose one of auto, internal, veth`},
		{host.Config{Tunnel: host.Tunnel{Local: netip.MustParseAddr("127.0.0.1")}}, "Tunnel.Local: 127.0.0.1 is not an address that other hosts can reach"},
		{host.Config{Tunnel: host.Tunnel{Peers: []netip.Addr{{}}}}, "Tunnel.Peers: element 0, invalid IP, is not an address of another host"},
		{host.Config{Physical: map[string]string{"public": ""}}, `Physical: "public"="" is not a network and its device`},
		{host.Config{Physical: map[string]string{"": "eth0"}}, `Physical: ""="eth0" is not a network and its device`},
		{host.Config{Wiring: "ovs", OVS: host.OVS{Direct: []string{"public"}}}, `OVS.Direct: "public" is not among the physical networks`},
	} {
		require.ErrorContains(t, c.config.Validate(), c.says)
		_, err := host.Open(t.Context(), c.config)
		require.ErrorIs(t, err, dataplane.ErrInvalid)
		require.ErrorAs(t, err, new(*host.ConfigError))
		require.ErrorContains(t, err, c.says)
		_, err = host.OpenWiring(t.Context(), c.config)
		require.ErrorContains(t, err, c.says)
	}
	require.NoError(t, host.Config{}.Validate())
	require.NoError(t, host.Config{Backend: "iptables", Wiring: "ovs", IPTables: "nft", OVS: host.OVS{Datapath: "system", Device: "auto"}}.Validate())
	for _, path := range []string{"/nowhere", "/etc/passwd"} {
		_, err := host.Open(t.Context(), host.Config{HostNS: path})
		var wrong *host.ConfigError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, "HostNS", wrong.Field)
		require.ErrorIs(t, err, dataplane.ErrHostConfig)
	}
	t.Setenv("PATH", "/nowhere")
	for _, config := range []host.Config{{Backend: "iptables"}, {Wiring: "ovs"}} {
		_, err := host.Open(t.Context(), config)
		require.ErrorIs(t, err, dataplane.ErrUnsupported)
		require.ErrorContains(t, err, "needs the program")
	}
}

// TestOpenLeavesNothingOpen: neither files nor goroutines stay of a host that could not be opened.
func TestOpenLeavesNothingOpen(t *testing.T) {
	m := machine(t)
	config := host.Config{HostNS: m.HostNS, Dir: m.Dir}
	once := open(t, config)
	require.NoError(t, once.Close()) // what a process opens once, it has
	require.NoError(t, once.Close())
	before := files(t)
	defer goleak.VerifyNone(t)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := host.Open(cancelled, config)
	require.ErrorIs(t, err, context.Canceled)
	_, err = host.Open(t.Context(), host.Config{HostNS: m.Dir})
	require.ErrorIs(t, err, netns.ErrNotNamespace)
	config.Tunnel = host.Tunnel{Local: netip.MustParseAddr("192.0.2.1"), Peers: []netip.Addr{netip.MustParseAddr("224.0.0.1")}}
	_, err = host.Open(t.Context(), config)
	require.ErrorIs(t, err, dataplane.ErrInvalid)
	require.Equal(t, before, files(t))
}

// files counts the file descriptors of this process.
func files(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(open)
}

// TestCheck: what the host lacks is named, and is no longer when it is there.
func TestCheck(t *testing.T) {
	m := machine(t)
	h := open(t, host.Config{
		HostNS: m.HostNS, Dir: m.Dir, Tunnel: host.Tunnel{Local: netip.MustParseAddr("192.0.2.1")},
		Physical: map[string]string{"missing": "eth9", "used": "eth1", "bridged": "br-ex"},
	})
	address := func(device, addr string) {
		inside(t, m, func() error {
			l, err := netlink.LinkByName(device)
			if err != nil {
				return err
			}
			a, err := netlink.ParseAddr(addr)
			if err != nil {
				return err
			}
			return netlink.AddrAdd(l, a)
		})
	}
	device := func(l netlink.Link) { inside(t, m, func() error { return netlink.LinkAdd(l) }) }
	device(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-ex"}})
	address("br-ex", "198.51.100.1/24")
	device(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "far"})
	address("eth1", "192.0.2.7/24")

	err := h.Wiring.CheckConfig(t.Context())
	require.ErrorIs(t, err, dataplane.ErrHostConfig)
	require.ErrorContains(t, err, "Physical: missing=eth9: there is no interface eth9 on this host")
	require.ErrorContains(t, err, "Physical: used=eth1: interface eth1 has the address 192.0.2.7/24")
	require.NotContains(t, err.Error(), "br-ex")
	require.ErrorContains(t, err, "Tunnel.Local: this host does not have the address 192.0.2.1")

	address("lo", "192.0.2.1/32")
	device(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth9"}})
	err = h.Wiring.CheckConfig(t.Context())
	require.NotContains(t, err.Error(), "Tunnel.Local")
	require.NotContains(t, err.Error(), "eth9")
}

// TestCheckSwitch asks the switch, and not the kernel.
func TestCheckSwitch(t *testing.T) {
	m := machine(t)
	config := configOf(t, m, "", "ovs")
	config.Physical = map[string]string{"public": "br-ex"}
	h := open(t, config)
	err := h.Wiring.CheckConfig(t.Context())
	require.ErrorIs(t, err, dataplane.ErrHostConfig)
	require.ErrorContains(t, err, "Physical: public=br-ex: ")
}

func TestCapabilities(t *testing.T) {
	m := machine(t)
	config := host.Config{HostNS: m.HostNS, Dir: m.Dir}
	c := open(t, config).Capabilities()
	require.Equal(t, "nftables", c.Dataplane)
	require.Equal(t, "bridge", c.Wiring)
	require.Equal(t, []string{}, c.PhysicalNetworks, "none is not the same as not to say")
	require.Empty(t, c.TunnelTypes)
	require.False(t, c.TunnelAddress.IsValid())
	require.NotEmpty(t, c.Other["kernel"])

	config.Physical = map[string]string{"public": "eth1", "lab": "eth2"}
	config.Tunnel.Local = netip.MustParseAddr("192.0.2.1")
	c = open(t, config).Capabilities()
	require.Equal(t, []string{"lab", "public"}, c.PhysicalNetworks)
	require.Equal(t, []dataplane.NetworkType{dataplane.NetworkVXLAN}, c.TunnelTypes)
	require.Equal(t, config.Tunnel.Local, c.TunnelAddress)
}

// TestMode: a host has the part in distributed routers that it can have, or a smaller one that it
// is told to have.
func TestMode(t *testing.T) {
	for _, wiring := range []string{"bridge", "ovs"} {
		for _, backend := range []string{"nftables", "iptables"} {
			t.Run(wiring+"/"+backend, func(t *testing.T) {
				config := configOf(t, machine(t), backend, wiring)
				w, err := host.OpenWiring(t.Context(), config)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, w.Close()) })
				lacking := w.CheckAnycast(t.Context())
				if wiring == "ovs" {
					require.NoError(t, lacking)
				}
				reaching := config
				reaching.Physical = map[string]string{"public": "br-ex"}
				for _, m := range []struct {
					config      host.Config
					asked, want string
				}{
					{config, "", agent.ModeDVRNoExternal},
					{reaching, "", agent.ModeDVRSNAT},
					{config, agent.ModeDVR, agent.ModeDVR},
					{reaching, agent.ModeDVR, agent.ModeDVR},
					{reaching, agent.ModeDVRSNAT, agent.ModeDVRSNAT},
					{reaching, agent.ModeLegacy, agent.ModeLegacy},
				} {
					m.config.Mode = m.asked
					if lacking != nil && m.asked != "" && m.asked != agent.ModeLegacy {
						_, err := host.Open(t.Context(), m.config)
						require.ErrorIs(t, err, dataplane.ErrUnsupported)
						require.ErrorContains(t, err, "Mode: "+m.asked+" is for hosts that can have edges of distributed routers: ")
						require.ErrorContains(t, err, lacking.Error())
						continue
					}
					if lacking != nil {
						m.want = agent.ModeLegacy
					}
					require.Equal(t, m.want, open(t, m.config).Capabilities().Mode, "%q with %v", m.asked, m.config.Physical)
				}
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				require.Error(t, w.CheckAnycast(ended))
			})
		}
	}
}

// TestPeersOfTheConfigStay: peers that are named later are added to them.
func TestPeersOfTheConfigStay(t *testing.T) {
	m := machine(t)
	h := open(t, host.Config{HostNS: m.HostNS, Dir: m.Dir, Tunnel: host.Tunnel{
		Local: netip.MustParseAddr("192.0.2.1"), Peers: []netip.Addr{netip.MustParseAddr("192.0.2.2")},
	}})
	inside(t, m, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(netip.MustParseAddr("192.0.2.1").AsSlice())})
	})
	far := port("far", "far", "10.0.2.1/24", 1)
	far.Network.Type, far.Network.Segment, far.MTU = dataplane.NetworkVXLAN, 42, 1450
	_, err := h.Apply(t.Context(), dataplane.Router{ID: "overlay", Ports: []dataplane.Port{far}})
	require.NoError(t, err)
	require.NoError(t, h.Wiring.SetPeers(t.Context(), []netip.Addr{netip.MustParseAddr("192.0.2.3")}))
	peers, err := m.FloodPeers("vxlan-42")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"192.0.2.2", "192.0.2.3"}, peers)
}
