package bridge_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
)

func TestWiring(t *testing.T) {
	const plugged = "+ wiring qr-port: veth tapport in bridge brqnet (network net)"
	tamper := func(name string, do func(*host, netlink.Link) error, steps ...string) wiringtest.Tampering[*host] {
		return wiringtest.Tampering[*host]{Name: name, Steps: steps, Do: func(h *host, _ namespace.NS) error { return do(h, h.link("tapport")) }}
	}
	// foreign is a device with an alias where the driver wants one.
	foreign := func(name, device, alias string, p dataplane.Port, spare bool) wiringtest.Foreign[*host] {
		return wiringtest.Foreign[*host]{Name: name, Says: device, Port: p, Spare: spare, Make: func(h *host) {
			require.NoError(h.t, h.LinkAdd(wiringtest.Dummy(device)))
			require.NoError(h.t, h.LinkSetAlias(h.link(device), alias))
		}}
	}
	port := wiringtest.LocalPort("net", "port", 1)
	wiringtest.Wiring[*host]{
		NewHost:  func(t testing.TB) *host { return newHost(t) },
		Networks: []dataplane.Network{wiringtest.Local("net"), wiringtest.Flat("ext"), wiringtest.VXLAN("vx", 77)},
		Drivers:  1, // one may sweep a bridge that another is about to use: see TestTwoProcesses
		Planned: []string{
			"+ wiring brqnet-a: bridge of network net-a",
			"+ wiring qr-port-r: veth tapport-r in bridge brqnet-a (network net-a)",
		},
		Shared: []string{
			"brqnet-a bridge  l3kit network=net-a",
			"tapport-r veth brqnet-a l3kit router=r1 port=port-r network=net-a",
			"tapport-v veth brqnet-a l3kit port=port-v network=net-a",
			"brqnet-b bridge  l3kit network=net-b",
			"tapport-o veth brqnet-b l3kit port=port-o network=net-b",
		},
		Check: func(h *host) {
			require.Equal(h.t, wiringtest.MTU, h.link("tapport-r").Attrs().MTU)
			require.Equal(h.t, wiringtest.MTU, h.link("brqnet-a").Attrs().MTU, "the bridge follows its ports")
			h.requireSilent("brqnet-a", "tapport-r")
			require.False(h.t, *h.link("brqnet-a").(*netlink.Bridge).MulticastSnooping)
		},
		Plugged: plugged,
		Gone:    []string{plugged},
		Moves: []string{
			"+ wiring brqnew: bridge of network new",
			"- wiring qr-port: on network old  !",
			"+ wiring qr-port: veth tapport in bridge brqnew (network new)",
		},
		Moved: []string{"brqnew bridge  l3kit network=new", "tapport veth brqnew l3kit router=r1 port=port network=new"},
		Tamperings: []wiringtest.Tampering[*host]{
			tamper("out of bridge", func(h *host, tap netlink.Link) error { return h.LinkSetNoMaster(tap) },
				"~ wiring qr-port: not in bridge brqnet"),
			tamper("in another bridge", func(h *host, tap netlink.Link) error {
				if err := h.LinkAdd(wiringtest.Dummy("other")); err != nil {
					return err
				}
				return h.LinkSetMaster(tap, h.link("other"))
			}, "~ wiring qr-port: not in bridge brqnet"),
			tamper("host end's MTU", func(h *host, tap netlink.Link) error { return h.LinkSetMTU(tap, 1200) },
				"~ wiring qr-port: host end's mtu 1450, was 1200"),
			tamper("mark lost", func(h *host, tap netlink.Link) error { return h.LinkSetAlias(tap, "") },
				"~ wiring qr-port: mark lost"),
			tamper("mark stolen", func(h *host, tap netlink.Link) error { return h.LinkSetAlias(tap, "mine") },
				"~ wiring qr-port: mark lost"),
			tamper("bridge deleted", func(h *host, _ netlink.Link) error { return h.LinkDel(h.link("brqnet")) },
				"+ wiring brqnet: bridge of network net", "~ wiring qr-port: not in bridge brqnet"),
			tamper("bridge down", func(h *host, _ netlink.Link) error { return h.LinkSetDown(h.link("brqnet")) },
				"~ wiring brqnet: down"),
			tamper("host speaks IPv6", func(h *host, _ netlink.Link) error { return h.setAddrGenMode("tapport", 0) },
				"~ wiring qr-port: host speaks IPv6"),
			tamper("snooping on", func(h *host, _ netlink.Link) error {
				return h.LinkModify(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "brqnet", TxQLen: -1}, MulticastSnooping: new(true)})
			}, "~ wiring brqnet: multicast snooping or spanning tree on"),
		},
		Foreign: []wiringtest.Foreign[*host]{
			foreign("bridge without mark", "brqnet", "", port, false),
			foreign("bridge of another network", "brqlong-networ", "l3kit network=long-network-2",
				wiringtest.LocalPort("long-network-1", "port", 1), true),
			foreign("tap of another router", "tapport", "l3kit router=r2 port=port network=net", port, false),
			foreign("tap of a port cut to the same name", "taplong-port-n", "l3kit router=r1 port=long-port-n-2 network=net",
				wiringtest.LocalPort("net", "long-port-n-1", 1), true),
			foreign("VXLAN device", "vxlan-9", "", wiringtest.PortOn(wiringtest.VXLAN("net", 9), "port", 1), false),
		},
	}.Run(t)
}

func (h *host) Driver() namespace.InterfaceDriver { return h.driver(bridge.Config{}) }

func (h *host) Full() namespace.InterfaceDriver {
	if _, err := h.LinkByName("br-ex"); err != nil {
		require.NoError(h.t, h.LinkAdd(wiringtest.Dummy("br-ex")))
	}
	return h.driver(bridge.Config{
		Physical: map[string]string{"ext": "br-ex"},
		VXLAN:    bridge.VXLAN{Local: wiringtest.TunnelLocal, Peers: wiringtest.TunnelPeers},
		Logger:   slog.New(slog.NewTextHandler(&h.changes, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
}

func (h *host) Links() *netlink.Handle { return h.Handle }
func (h *host) Ports() []string        { return h.links() }
func (h *host) RequireNothing()        { h.t.Helper(); require.Empty(h.t, h.links()) }

// Segments returns the bridge that each port is in.
func (h *host) Segments() map[string]string {
	segments := map[string]string{}
	for _, l := range h.links() {
		if name, rest, _ := strings.Cut(l, " veth "); strings.Contains(rest, " port=") {
			segments[name], _, _ = strings.Cut(rest, " ")
		}
	}
	return segments
}

// Watch also says what Full's drivers have logged.
func (h *host) Watch(router namespace.NS) func() []string {
	require.Contains(h.t, h.changes.String(), "+ wiring qr-port0")
	h.changes.Reset()
	outside, inside := h.watch(), (&host{t: h.t, ns: router}).watch()
	return func() []string {
		defer h.changes.Reset()
		return slices.Concat(outside(), inside(), strings.Fields(h.changes.String()))
	}
}
