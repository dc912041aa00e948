package bridge_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/wiringtest"
)

func TestBridgesAndVeths(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	router, vm, other := h.router("r1"), h.workload("vm1"), h.workload("vm2")
	rp, vp, op := portOn(local("net-a"), "port-r", 1), portOn(local("net-a"), "port-v", 2), portOn(local("net-b"), "port-o", 3)

	require.Equal(t, []string{
		"+ wiring brqnet-a: bridge of network net-a",
		"+ wiring qr-port-r: veth tapport-r in bridge brqnet-a (network net-a)",
	}, plan(t, d, namespace.NS{Router: "r1", FD: -1}, "qr-port-r", rp))
	plug(t, d, router, "qr-port-r", rp)
	plug(t, d, vm, "eth0", vp)
	plug(t, d, other, "eth0", op)
	require.Equal(t, []string{
		"brqnet-a bridge  l3kit network=net-a",
		"tapport-r veth brqnet-a l3kit router=r1 port=port-r network=net-a",
		"tapport-v veth brqnet-a l3kit port=port-v network=net-a",
		"brqnet-b bridge  l3kit network=net-b",
		"tapport-o veth brqnet-b l3kit port=port-o network=net-b",
	}, h.links())

	require.Equal(t, mtu, h.link("tapport-r").Attrs().MTU)
	require.Equal(t, mtu, h.link("brqnet-a").Attrs().MTU, "the bridge follows its ports")
	for _, name := range []string{"brqnet-a", "tapport-r"} {
		addrs, err := h.AddrList(h.link(name), netlink.FAMILY_ALL)
		require.NoError(t, err)
		require.Empty(t, addrs, "the host must not speak on %s", name)
	}
	br := h.link("brqnet-a").(*netlink.Bridge)
	require.False(t, *br.MulticastSnooping)

	require.NoError(t, d.Unplug(t.Context(), router, "qr-port-r"))
	require.NoError(t, d.Unplug(t.Context(), other, "eth0"))
	require.Equal(t, []string{"brqnet-a bridge  l3kit network=net-a", "tapport-v veth brqnet-a l3kit port=port-v network=net-a"}, h.links())
	require.NoError(t, d.Unplug(t.Context(), vm, "eth0"))
	require.Empty(t, h.links())
}

// Every tampering is named by Plan, mended by Plug, and leaves what was up up.
func TestTampering(t *testing.T) {
	const dev = "qr-port"
	tamper := func(f func(h *host, ns *netlink.Handle) error) func(h *host, ns *netlink.Handle) error { return f }
	for _, c := range []struct {
		name  string
		do    func(h *host, ns *netlink.Handle) error
		steps []string
	}{
		{"host end deleted", tamper(func(h *host, _ *netlink.Handle) error { return h.LinkDel(h.link("tapport")) }),
			[]string{"+ wiring qr-port: veth tapport in bridge brqnet (network net)"}},
		{"device deleted", tamper(func(_ *host, ns *netlink.Handle) error {
			l, err := ns.LinkByName(dev)
			if err != nil {
				return err
			}
			return ns.LinkDel(l)
		}), []string{"+ wiring qr-port: veth tapport in bridge brqnet (network net)"}},
		{"out of bridge", tamper(func(h *host, _ *netlink.Handle) error { return h.LinkSetNoMaster(h.link("tapport")) }),
			[]string{"~ wiring qr-port: not in bridge brqnet"}},
		{"in another bridge", tamper(func(h *host, _ *netlink.Handle) error {
			if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "other", TxQLen: -1}}); err != nil {
				return err
			}
			return h.LinkSetMaster(h.link("tapport"), h.link("other"))
		}), []string{"~ wiring qr-port: not in bridge brqnet"}},
		{"host end down", tamper(func(h *host, _ *netlink.Handle) error { return h.LinkSetDown(h.link("tapport")) }),
			[]string{"~ wiring qr-port: host end down"}},
		{"host end's MTU", tamper(func(h *host, _ *netlink.Handle) error { return h.LinkSetMTU(h.link("tapport"), 1200) }),
			[]string{"~ wiring qr-port: host end's mtu 1450, was 1200"}},
		{"mark lost", tamper(func(h *host, _ *netlink.Handle) error { return h.LinkSetAlias(h.link("tapport"), "") }),
			[]string{"~ wiring qr-port: mark lost"}},
		{"mark stolen", tamper(func(h *host, _ *netlink.Handle) error { return h.LinkSetAlias(h.link("tapport"), "mine") }),
			[]string{"~ wiring qr-port: mark lost"}},
		{"bridge deleted", tamper(func(h *host, _ *netlink.Handle) error { return h.LinkDel(h.link("brqnet")) }),
			[]string{"+ wiring brqnet: bridge of network net", "~ wiring qr-port: not in bridge brqnet"}},
		{"bridge down", tamper(func(h *host, _ *netlink.Handle) error { return h.LinkSetDown(h.link("brqnet")) }),
			[]string{"~ wiring brqnet: down"}},
		{"host speaks IPv6", tamper(func(h *host, _ *netlink.Handle) error { return h.setAddrGenMode("tapport", 0) }),
			[]string{"~ wiring qr-port: host speaks IPv6"}},
		{"snooping on", tamper(func(h *host, _ *netlink.Handle) error {
			on := true
			return h.LinkModify(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "brqnet", TxQLen: -1}, MulticastSnooping: &on})
		}),
			[]string{"~ wiring brqnet: multicast snooping or spanning tree on"}},
		{"device's MTU", tamper(func(_ *host, ns *netlink.Handle) error {
			l, err := ns.LinkByName(dev)
			if err != nil {
				return err
			}
			return ns.LinkSetMTU(l, 1300)
		}), []string{"~ wiring qr-port: mtu 1450, was 1300"}},
		{"device's MAC", tamper(func(_ *host, ns *netlink.Handle) error {
			l, err := ns.LinkByName(dev)
			if err != nil {
				return err
			}
			return ns.LinkSetHardwareAddr(l, []byte{2, 0, 0, 0, 0, 9})
		}), []string{"~ wiring qr-port: MAC fa:16:3e:00:00:01, was 02:00:00:00:00:09  !"}},
		{"device renamed", tamper(func(_ *host, ns *netlink.Handle) error {
			l, err := ns.LinkByName(dev)
			if err != nil {
				return err
			}
			if err := ns.LinkSetDown(l); err != nil {
				return err
			}
			return ns.LinkSetName(l, "elsewhere")
		}), []string{
			"- wiring qr-port: attached elsewhere  !",
			"+ wiring qr-port: veth tapport in bridge brqnet (network net)",
		}},
		{"device replaced by another", tamper(func(_ *host, ns *netlink.Handle) error {
			l, err := ns.LinkByName(dev)
			if err != nil {
				return err
			}
			if err := ns.LinkDel(l); err != nil {
				return err
			}
			return ns.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: dev, TxQLen: -1}})
		}), []string{"+ wiring qr-port: veth tapport in bridge brqnet (network net)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			d := h.driver(bridge.Config{})
			router, vm := h.router("r1"), h.workload("vm")
			p, v := portOn(local("net"), "port", 1), portOn(local("net"), "vmport", 2)
			plug(t, d, router, dev, p)
			plug(t, d, vm, "eth0", v)
			up(t, vm, "eth0", "10.0.0.2/24")
			up(t, router, dev, "10.0.0.1/24")
			requireReach(t, vm, router, "10.0.0.1")

			var ns *netlink.Handle
			require.NoError(t, router.Do(func() (err error) {
				ns, err = netlink.NewHandle(unix.NETLINK_ROUTE)
				return err
			}))
			defer ns.Close()
			require.NoError(t, c.do(h, ns))

			require.Equal(t, c.steps, plan(t, d, router, dev, p))
			require.Equal(t, c.steps, plan(t, h.driver(bridge.Config{}), router, dev, p), "a fresh process sees the same")
			plug(t, d, router, dev, p)
			plug(t, d, vm, "eth0", v)
			up(t, router, dev, "10.0.0.1/24")
			requireReach(t, vm, router, "10.0.0.1")
		})
	}
}

func TestSecondPlugWritesNothing(t *testing.T) {
	h := newHost(t)
	require.NoError(t, h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-ex", TxQLen: -1}}))
	var changes bytes.Buffer
	c := bridge.Config{
		Physical: map[string]string{"ext": "br-ex"},
		VXLAN:    bridge.VXLAN{Local: netip.MustParseAddr("192.0.2.1")},
		Logger:   slog.New(slog.NewTextHandler(&changes, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	d := h.driver(c)
	router := h.router("r1")
	ports := []dataplane.Port{
		portOn(local("net"), "port1", 1),
		portOn(dataplane.Network{ID: "ext", Type: dataplane.NetworkFlat, Physical: "ext"}, "port2", 2),
		portOn(dataplane.Network{ID: "vx", Type: dataplane.NetworkVXLAN, Segment: 77}, "port3", 3),
	}
	for _, p := range ports {
		plug(t, d, router, "qr-"+p.ID, p)
	}
	require.Contains(t, changes.String(), "+ wiring qr-port1")
	changes.Reset()
	events := h.watch()
	inside := watchNS(t, router)
	for _, d := range []*bridge.Driver{d, h.driver(c)} {
		for _, p := range ports {
			plug(t, d, router, "qr-"+p.ID, p)
		}
	}
	require.Empty(t, events())
	require.Empty(t, inside())
	require.Empty(t, changes.String())

	require.NoError(t, h.LinkSetMTU(h.link("tapport1"), 1300))
	require.NotEmpty(t, events(), "the test would see a write")
}

func watchNS(t *testing.T, ns namespace.NS) func() []string {
	h := &host{t: t}
	f := dup(t, ns.FD)
	h.ns = f
	return h.watch()
}

func TestForeignObjectsStay(t *testing.T) {
	for _, c := range []struct {
		name, link string
		alias      string
		port       dataplane.Port
	}{
		{"bridge without mark", "brqnet", "", portOn(local("net"), "port", 1)},
		{"bridge of another network", "brqlong-networ", "l3kit network=long-network-2", portOn(local("long-network-1"), "port", 1)},
		{"device called like a tap", "tapport", "", portOn(local("net"), "port", 1)},
		{"tap of another router", "tapport", "l3kit router=r2 port=port network=net", portOn(local("net"), "port", 1)},
		{"tap of a port cut to the same name", "taplong-port-n", "l3kit router=r1 port=long-port-n-2 network=net", portOn(local("net"), "long-port-n-1", 1)},
		{"VXLAN device", "vxlan-9", "", portOn(dataplane.Network{ID: "net", Type: dataplane.NetworkVXLAN, Segment: 9}, "port", 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			require.NoError(t, h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: c.link, TxQLen: -1}}))
			require.NoError(t, h.LinkSetAlias(h.link(c.link), c.alias))
			before := h.links()
			d := h.driver(bridge.Config{VXLAN: bridge.VXLAN{Local: netip.MustParseAddr("192.0.2.1")}})
			router := h.router("r1")
			_, err := d.Plan(t.Context(), router, at("qr-port", c.port))
			require.ErrorIs(t, err, dataplane.ErrForeign)
			err = d.Plug(t.Context(), router, at("qr-port", c.port))
			require.ErrorIs(t, err, dataplane.ErrForeign)
			require.ErrorContains(t, err, c.link)
			require.Equal(t, before, h.links())
			if !strings.HasPrefix(c.alias, "l3kit network=") { // such a bridge would be ours to sweep
				require.NoError(t, d.Release(t.Context(), "r1"))
				if !strings.Contains(c.alias, "router=r1") {
					require.Equal(t, before, h.links())
				}
			}
		})
	}
}

// A device in a workload's namespace that Plug did not make is neither replaced nor removed; in a
// router's namespace it is.
func TestForeignDeviceInWorkload(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	vm := h.workload("vm")
	require.NoError(t, vm.Do(func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0", TxQLen: -1}})
	}))
	require.ErrorIs(t, d.Plug(t.Context(), vm, at("eth0", portOn(local("net"), "port", 1))), dataplane.ErrForeign)
	require.ErrorIs(t, d.Unplug(t.Context(), vm, "eth0"), dataplane.ErrForeign)
	require.Empty(t, h.links(), "nothing stays behind of a Plug that failed")
	require.NoError(t, vm.Do(func() error { _, err := netlink.LinkByName("eth0"); return err }))
}

// When one of several cannot be plugged, those before it go again, with their networks' bridges;
// what was there stays.
func TestPlugIsAllOrNone(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	router := h.router("r1")
	kept := at("qr-kept", portOn(local("kept"), "kept", 1))
	plug(t, d, router, kept.Device, kept.Port)
	before := h.links()
	bad := at("qr-bad", portOn(dataplane.Network{ID: "bad", Type: dataplane.NetworkFlat, Physical: "ext"}, "bad", 4))
	good := []namespace.Attachment{kept, at("qr-a", portOn(local("kept"), "a", 2)), at("qr-b", portOn(local("new"), "b", 3))}
	err := d.Plug(t.Context(), router, append(good[:3:3], bad)...)
	require.ErrorIs(t, err, dataplane.ErrUnsupported)
	var op *dataplane.OpError
	require.ErrorAs(t, err, &op)
	require.Equal(t, "qr-bad", op.Object)
	require.Equal(t, before, h.links())
	require.Empty(t, plan(t, d, router, kept.Device, kept.Port))

	require.NoError(t, d.Plug(t.Context(), router, good...))
	for _, a := range good {
		require.Empty(t, plan(t, d, router, a.Device, a.Port))
	}
	require.NoError(t, d.Plug(t.Context(), router), "nothing")
}

func TestPortMovesBetweenNetworks(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	router := h.router("r1")
	plug(t, d, router, "qr-port", portOn(local("old"), "port", 1))
	moved := portOn(local("new"), "port", 1)
	require.Equal(t, []string{
		"+ wiring brqnew: bridge of network new",
		"- wiring qr-port: on network old  !",
		"+ wiring qr-port: veth tapport in bridge brqnew (network new)",
	}, plan(t, d, router, "qr-port", moved))
	plug(t, d, router, "qr-port", moved)
	require.Equal(t, []string{"brqnew bridge  l3kit network=new", "tapport veth brqnew l3kit router=r1 port=port network=new"}, h.links())
}

// ending is a context that ends when it has been looked at so many times.
type ending struct {
	context.Context
	looks int
}

func (e *ending) Err() error {
	if e.looks--; e.looks < 0 {
		return context.Canceled
	}
	return nil
}

// Whenever a context ends, no bridge stays behind that no later call would find.
func TestACancelledCallLeavesNoBridgeWithoutPorts(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	router := h.router("r1")
	for name, call := range map[string]func(ctx context.Context) error{
		"unplug": func(ctx context.Context) error { return d.Unplug(ctx, router, "qr-port") },
		"move": func(ctx context.Context) error {
			return d.Plug(ctx, router, at("qr-port", portOn(local("new"), "port", 1)))
		},
	} {
		for looks := 0; ; looks++ {
			plug(t, d, router, "qr-port", portOn(local("old"), "port", 1))
			err := call(&ending{t.Context(), looks})
			bridges, ports := 0, 0
			for _, l := range h.links() {
				if strings.HasPrefix(l, "brq") {
					bridges++
				} else {
					ports++
				}
			}
			require.Equal(t, ports, bridges, "%s, ended after %d looks", name, looks)
			if err == nil {
				break
			}
			require.ErrorIs(t, err, context.Canceled)
		}
	}
}

func TestReleaseWithoutNamespace(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	plug(t, d, h.router("r1"), "qr-a", portOn(local("n1"), "a", 1))
	plug(t, d, h.router("r1b"), "qr-b", portOn(local("n1"), "b", 2))
	plug(t, d, h.namespace("r1", "r1c"), "qg-c", portOn(local("n2"), "c", 3))
	fresh := h.driver(bridge.Config{})
	routers, err := fresh.Routers(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"r1", "r1b"}, routers)

	require.NoError(t, fresh.Release(t.Context(), "r1"))
	require.Equal(t, []string{"brqn1 bridge  l3kit network=n1", "tapb veth brqn1 l3kit router=r1b port=b network=n1"}, h.links())
	require.NoError(t, fresh.Release(t.Context(), "r1"))
	require.NoError(t, fresh.Release(t.Context(), "r1b"))
	require.Empty(t, h.links())
	require.ErrorIs(t, fresh.Release(t.Context(), ""), dataplane.ErrInvalid, "workloads have no router")
}

// The states in which a killed process can leave a network: after each system call of Plug, and of
// Unplug.
func TestHalfMade(t *testing.T) {
	h := newHost(t)
	add := func(l netlink.Link, alias string) {
		require.NoError(t, h.LinkAdd(l))
		require.NoError(t, h.LinkSetAlias(h.link(l.Attrs().Name), alias))
	}
	attrs := func(name string) netlink.LinkAttrs { return netlink.LinkAttrs{Name: name, TxQLen: -1} }
	half := func() {
		add(&netlink.Bridge{LinkAttrs: attrs("brqnet")}, "l3kit network=net")
		add(&netlink.Bridge{LinkAttrs: attrs("bronet1")}, "l3kit network=net overflow=1")
		add(&netlink.Veth{LinkAttrs: attrs("tbqnet2"), PeerName: "tbonet2"}, "l3kit network=net overflow=2")
		require.NoError(t, h.LinkSetAlias(h.link("tbonet2"), "l3kit network=net overflow=2"))
		add(&netlink.Vxlan{LinkAttrs: attrs("vxlan-5"), VxlanId: 5, Port: 4789}, "l3kit network=net")
	}
	half()
	d := h.driver(bridge.Config{})
	require.NoError(t, d.Release(t.Context(), "anyone"))
	require.Empty(t, h.links(), "Release sweeps what was left")

	half()
	d = h.driver(bridge.Config{})
	router := h.router("r1")
	plug(t, d, router, "qr-port", portOn(local("net"), "port", 1))
	require.NoError(t, d.Unplug(t.Context(), router, "qr-port"))
	require.Empty(t, h.links(), "so does the last Unplug")

	half()
	d = h.driver(bridge.Config{})
	require.NoError(t, h.LinkAdd(&netlink.Veth{LinkAttrs: attrs("guest0"), PeerName: "guest1"}))
	require.NoError(t, h.LinkSetMaster(h.link("guest0"), h.link("brqnet")))
	require.NoError(t, d.Release(t.Context(), "anyone"))
	require.Contains(t, strings.Join(h.links(), "\n"), "guest0 veth brqnet", "a bridge that somebody else uses stays")
}

func TestConcurrentPlugs(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	const n = 20
	nss := make([]namespace.NS, n)
	for i := range nss {
		nss[i] = h.router(fmt.Sprintf("r%d", i))
	}
	for range 3 {
		each(n, func(i int) {
			for _, network := range []string{"shared", fmt.Sprintf("own%d", i)} {
				p := portOn(local(network), fmt.Sprintf("%s-%d", network[:3], i), i)
				if err := d.Plug(t.Context(), nss[i], at("qr-"+network, p)); err != nil {
					t.Errorf("plug %d: %v", i, err)
				}
			}
		})
		require.Len(t, h.links(), 1+n+2*n)
		// Sweeping and building one network at the same time.
		each(n, func(i int) {
			if i%2 == 0 {
				if err := d.Release(t.Context(), nss[i].Router); err != nil {
					t.Errorf("release %d: %v", i, err)
				}
				return
			}
			if err := d.Unplug(t.Context(), nss[i], "qr-shared"); err != nil {
				t.Errorf("unplug %d: %v", i, err)
			}
			if err := d.Plug(t.Context(), nss[i], at("qr-shared", portOn(local("shared"), fmt.Sprintf("sha-%d", i), i))); err != nil {
				t.Errorf("plug again %d: %v", i, err)
			}
		})
		for i := 1; i < n; i += 2 {
			require.Empty(t, plan(t, d, nss[i], "qr-shared", portOn(local("shared"), fmt.Sprintf("sha-%d", i), i)))
		}
		require.Len(t, h.links(), 1+n/2+2*(n/2))
	}
	each(n, func(i int) {
		if err := d.Release(t.Context(), nss[i].Router); err != nil {
			t.Error(err)
		}
	})
	require.Empty(t, h.links())
}

// The kernel does not tell of a mark on a device that is down; the driver asks.
func TestMarkedWhileDown(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	plug(t, d, h.router("r1"), "qr-other", portOn(local("other"), "other", 1))
	require.NoError(t, h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "brqnet", TxQLen: -1}}))
	router, p := h.router("r2"), portOn(local("net"), "port", 2)
	require.ErrorIs(t, d.Plug(t.Context(), router, at("qr-port", p)), dataplane.ErrForeign)
	require.NoError(t, h.LinkSetAlias(h.link("brqnet"), "l3kit network=net"))
	plug(t, d, router, "qr-port", p)
	require.NoError(t, h.LinkSetDown(h.link("brqnet")))
	require.NoError(t, h.LinkSetAlias(h.link("brqnet"), "mine"))
	require.ErrorIs(t, d.Plug(t.Context(), router, at("qr-port", p)), dataplane.ErrForeign)
}

// A namespace that comes after another may have its inode number, and its ID on the host, or that
// of a third.
func TestNamespacesComeAndGo(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	for round := range 15 {
		t.Run("", func(t *testing.T) { // its namespaces go at the end
			h := &host{t: t, dir: h.dir, path: h.path, ns: h.ns, Handle: h.Handle}
			nss := []namespace.NS{h.router("r0"), h.router("r1"), h.router("r2")}
			for i := range nss { // the order in which they get their IDs
				i = (i + round) % len(nss)
				plug(t, d, nss[i], "qr-x", portOn(local("net"), fmt.Sprintf("port%d-%d", i, round), i))
			}
			for _, ns := range nss { // the kernel does this by itself, but later
				require.NoError(t, d.Release(t.Context(), ns.Router))
			}
		})
	}
}

// Two processes on one host: what they do to each other in the same instant, the next Plug mends.
func TestTwoProcesses(t *testing.T) {
	h := newHost(t)
	drivers := []*bridge.Driver{h.driver(bridge.Config{}), h.driver(bridge.Config{})}
	nss := []namespace.NS{h.router("r0"), h.router("r1")}
	port := func(i int) dataplane.Port { return portOn(local("net"), fmt.Sprintf("port%d", i), i) }
	for range 20 {
		each(2, func(i int) {
			for range 3 {
				_ = drivers[i].Plug(t.Context(), nss[i], at("qr-x", port(i))) // may lose its bridge
				if err := drivers[i].Unplug(t.Context(), nss[i], "qr-x"); err != nil {
					t.Error(err)
				}
			}
		})
		for i, d := range drivers {
			plug(t, d, nss[i], "qr-x", port(i))
		}
		require.Empty(t, plan(t, drivers[0], nss[0], "qr-x", port(0)))
		require.Len(t, h.links(), 3)
	}
	for i, d := range drivers {
		require.NoError(t, d.Release(t.Context(), nss[i].Router))
	}
	require.Empty(t, h.links())
}

// A driver that missed what others did lists the host again.
func TestOverrun(t *testing.T) {
	h := newHost(t)
	d, other := h.driver(bridge.Config{}), h.driver(bridge.Config{})
	router := h.router("r1")
	p := portOn(local("net"), "port", 1)
	plug(t, d, router, "qr-port", p)
	require.NoError(t, d.SetReadBuffer(4096))
	for i := range 20 {
		plug(t, other, router, fmt.Sprintf("qr-%d", i), portOn(local("net"), fmt.Sprint(i), i))
	}
	require.NoError(t, other.Release(t.Context(), "r1"))
	require.NotEmpty(t, plan(t, d, router, "qr-port", p))
	routers, err := d.Routers(t.Context())
	require.NoError(t, err)
	require.Empty(t, routers)
	plug(t, d, router, "qr-port", p)
}

func each(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

func TestRefusals(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{Physical: map[string]string{"gone": "eth9"}})
	network := func(kind dataplane.NetworkType, physical string, segment uint32) dataplane.Network {
		return dataplane.Network{ID: "n", Type: kind, Physical: physical, Segment: segment}
	}
	wiringtest.RequireRefused(t, d, h.router("r1"), h.links,
		wiringtest.Refusal{Network: network(dataplane.NetworkGeneve, "", 1), Is: dataplane.ErrUnsupported, Says: "use the ovs wiring"},
		wiringtest.Refusal{Network: network(dataplane.NetworkGRE, "", 1), Is: dataplane.ErrUnsupported, Says: "use the ovs wiring"},
		wiringtest.Refusal{Network: network(dataplane.NetworkVLAN, "gone", 4095), Is: dataplane.ErrInvalid, Says: "VLAN ID 4095"},
		wiringtest.Refusal{Network: network(dataplane.NetworkFlat, "gone", 0), Is: dataplane.ErrHostConfig, Says: "no bridge or interface eth9"},
	)
	_, err := bridge.New(bridge.Config{HostNS: filepath.Join(h.dir, "nowhere")})
	require.ErrorContains(t, err, "nowhere")
}

// Devices too small for IPv6 have no IPv6 to switch off.
func TestSmallMTU(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	ns := h.router("r1")
	p := portOn(local("net"), "port", 1)
	p.MTU = 500
	plug(t, d, ns, "qr-port", p)
	p.MTU = 9000
	plug(t, d, ns, "qr-port", p)
	require.Empty(t, plan(t, h.driver(bridge.Config{}), ns, "qr-port", p))
	for _, name := range []string{"brqnet", "tapport"} {
		addrs, err := h.AddrList(h.link(name), netlink.FAMILY_ALL)
		require.NoError(t, err)
		require.Empty(t, addrs, "the host must not speak on %s", name)
	}
	p.MTU = 68
	plug(t, d, ns, "qr-port", p)
	require.Empty(t, plan(t, h.driver(bridge.Config{}), ns, "qr-port", p))
}
