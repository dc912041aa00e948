package bridge_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
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
	router := h.Router("r1")
	for name, call := range map[string]func(ctx context.Context) error{
		"unplug": func(ctx context.Context) error { return d.Unplug(ctx, router, "qr-port") },
		"move": func(ctx context.Context) error {
			return d.Plug(ctx, router, wiringtest.At("qr-port", wiringtest.LocalPort("new", "port", 1)))
		},
	} {
		for looks := 0; ; looks++ {
			wiringtest.Plug(t, d, router, "qr-port", wiringtest.LocalPort("old", "port", 1))
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
	router := h.Router("r1")
	wiringtest.Plug(t, d, router, "qr-port", wiringtest.LocalPort("net", "port", 1))
	require.NoError(t, d.Unplug(t.Context(), router, "qr-port"))
	require.Empty(t, h.links(), "so does the last Unplug")

	half()
	d = h.driver(bridge.Config{})
	require.NoError(t, h.LinkAdd(&netlink.Veth{LinkAttrs: attrs("guest0"), PeerName: "guest1"}))
	require.NoError(t, h.LinkSetMaster(h.link("guest0"), h.link("brqnet")))
	require.NoError(t, d.Release(t.Context(), "anyone"))
	require.Contains(t, strings.Join(h.links(), "\n"), "guest0 veth brqnet", "a bridge that somebody else uses stays")
}

// The kernel does not tell of a mark on a device that is down; the driver asks.
func TestMarkedWhileDown(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	wiringtest.Plug(t, d, h.Router("r1"), "qr-other", wiringtest.LocalPort("other", "other", 1))
	require.NoError(t, h.LinkAdd(wiringtest.Dummy("brqnet")))
	router, p := h.Router("r2"), wiringtest.LocalPort("net", "port", 2)
	require.ErrorIs(t, d.Plug(t.Context(), router, wiringtest.At("qr-port", p)), dataplane.ErrForeign)
	require.NoError(t, h.LinkSetAlias(h.link("brqnet"), "l3kit network=net"))
	wiringtest.Plug(t, d, router, "qr-port", p)
	require.NoError(t, h.LinkSetDown(h.link("brqnet")))
	require.NoError(t, h.LinkSetAlias(h.link("brqnet"), "mine"))
	require.ErrorIs(t, d.Plug(t.Context(), router, wiringtest.At("qr-port", p)), dataplane.ErrForeign)
}

// A namespace that comes after another may have its inode number, and its ID on the host, or that
// of a third.
func TestNamespacesComeAndGo(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	for round := range 15 {
		t.Run("", func(t *testing.T) { // its namespaces go at the end
			routers := wiringtest.NamespacesIn(t, h.dir)
			nss := []namespace.NS{routers.Router("r0"), routers.Router("r1"), routers.Router("r2")}
			for i := range nss { // the order in which they get their IDs
				i = (i + round) % len(nss)
				wiringtest.Plug(t, d, nss[i], "qr-x", wiringtest.LocalPort("net", fmt.Sprintf("port%d-%d", i, round), i))
			}
			for _, ns := range nss { // the kernel does this by itself, but later
				require.NoError(t, d.Release(t.Context(), ns.Router))
			}
		})
	}
}

// An agent makes a leg on a network while a workload is attached to it: whoever comes second uses
// what the other has made.
func TestTwoProcessesMakeANetwork(t *testing.T) {
	h := newHost(t)
	drivers := []*bridge.Driver{h.driver(bridge.Config{}), h.driver(bridge.Config{}), h.driver(bridge.Config{})}
	nss := []namespace.NS{h.Router("r0"), h.Router("r1"), h.Workload("vm")}
	for range 40 {
		wiringtest.InParallel(len(drivers), func(i int) {
			p := wiringtest.LocalPort("net", fmt.Sprintf("port%d", i), i)
			if i == 0 {
				p.Anycast = &dataplane.Anycast{}
			}
			if err := drivers[i].Plug(t.Context(), nss[i], wiringtest.At("qr-x", p)); err != nil {
				t.Error(err)
			}
		})
		for i, d := range drivers {
			require.NoError(t, d.Unplug(t.Context(), nss[i], "qr-x"))
		}
		require.Empty(t, h.links())
	}
}

// Two processes on one host: what they do to each other in the same instant, the next Plug mends.
func TestTwoProcesses(t *testing.T) {
	h := newHost(t)
	drivers := []*bridge.Driver{h.driver(bridge.Config{}), h.driver(bridge.Config{})}
	nss := []namespace.NS{h.Router("r0"), h.Router("r1")}
	port := func(i int) dataplane.Port { return wiringtest.LocalPort("net", fmt.Sprintf("port%d", i), i) }
	for range 20 {
		wiringtest.InParallel(2, func(i int) {
			for range 3 {
				_ = drivers[i].Plug(t.Context(), nss[i], wiringtest.At("qr-x", port(i))) // may lose its bridge
				if err := drivers[i].Unplug(t.Context(), nss[i], "qr-x"); err != nil {
					t.Error(err)
				}
			}
		})
		for i, d := range drivers {
			wiringtest.Plug(t, d, nss[i], "qr-x", port(i))
		}
		require.Empty(t, wiringtest.Plan(t, drivers[0], nss[0], "qr-x", port(0)))
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
	router := h.Router("r1")
	p := wiringtest.LocalPort("net", "port", 1)
	wiringtest.Plug(t, d, router, "qr-port", p)
	require.NoError(t, d.SetReadBuffer(4096))
	for i := range 20 {
		wiringtest.Plug(t, other, router, fmt.Sprintf("qr-%d", i), wiringtest.LocalPort("net", fmt.Sprint(i), i))
	}
	require.NoError(t, other.Release(t.Context(), "r1"))
	require.NotEmpty(t, wiringtest.Plan(t, d, router, "qr-port", p))
	routers, err := d.Routers(t.Context())
	require.NoError(t, err)
	require.Empty(t, routers)
	wiringtest.Plug(t, d, router, "qr-port", p)
}

func TestRefusals(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{Physical: map[string]string{"gone": "eth9"}})
	wiringtest.RequireRefused(t, d, h.Router("r1"), h.links,
		wiringtest.Refusal{Network: wiringtest.Net(dataplane.NetworkGeneve, "", 1), Is: dataplane.ErrUnsupported, Says: "use the ovs wiring"},
		wiringtest.Refusal{Network: wiringtest.Net(dataplane.NetworkGRE, "", 1), Is: dataplane.ErrUnsupported, Says: "use the ovs wiring"},
		wiringtest.Refusal{Network: wiringtest.Net(dataplane.NetworkVLAN, "gone", 4095), Is: dataplane.ErrInvalid, Says: "Network.Segment: 4095"},
		wiringtest.Refusal{Network: wiringtest.Net(dataplane.NetworkFlat, "gone", 0), Is: dataplane.ErrHostConfig, Says: "no bridge or interface eth9"},
	)
	_, err := bridge.New(bridge.Config{HostNS: filepath.Join(h.dir, "nowhere")})
	require.ErrorContains(t, err, "nowhere")
}

// Devices too small for IPv6 have no IPv6 to switch off.
func TestSmallMTU(t *testing.T) {
	h := newHost(t)
	d := h.driver(bridge.Config{})
	ns := h.Router("r1")
	p := wiringtest.LocalPort("net", "port", 1)
	p.MTU = 500
	wiringtest.Plug(t, d, ns, "qr-port", p)
	p.MTU = 9000
	wiringtest.Plug(t, d, ns, "qr-port", p)
	require.Empty(t, wiringtest.Plan(t, h.driver(bridge.Config{}), ns, "qr-port", p))
	h.requireSilent("brqnet", "tapport")
	p.MTU = 68
	wiringtest.Plug(t, d, ns, "qr-port", p)
	require.Empty(t, wiringtest.Plan(t, h.driver(bridge.Config{}), ns, "qr-port", p))
}

// What each of several anycast ports needs of the table is told of each, though it reads the same:
// whoever plugs only what has something to do plugs them all.
func TestPlanOfSeveralAnycastPorts(t *testing.T) {
	h := newHost(t)
	d, witness := h.driver(bridge.Config{}), h.driver(bridge.Config{})
	ns := h.Router("r0")
	at := func(i int, addr string) namespace.Attachment {
		p := wiringtest.LocalPort(fmt.Sprintf("net%d", i), fmt.Sprintf("port%d", i), i)
		p.Anycast, p.Addrs = &dataplane.Anycast{}, []netip.Prefix{netip.MustParsePrefix(addr)}
		return wiringtest.At(fmt.Sprintf("qr-%d", i), p)
	}
	before := []namespace.Attachment{at(1, "10.0.1.1/24"), at(2, "10.0.2.1/24")}
	after := []namespace.Attachment{at(1, "10.0.1.9/24"), at(2, "10.0.2.9/24")}
	require.NoError(t, d.Plug(t.Context(), ns, before...))
	plans, err := d.Plan(t.Context(), ns, after...)
	require.NoError(t, err)
	for i, steps := range plans {
		require.NotEmpty(t, steps, "of the port %s", after[i].Device)
		require.NoError(t, d.Plug(t.Context(), ns, after[i]))
	}
	left, err := witness.Plan(t.Context(), ns, after...)
	require.NoError(t, err)
	require.Empty(t, slices.Concat(left...))
}
