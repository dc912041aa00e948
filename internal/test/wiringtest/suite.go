package wiringtest

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
)

// Host is a machine with wiring, and with the namespaces of its routers and workloads.
type Host interface {
	// Driver is a driver without configuration, as a fresh process has it. Full is one for which
	// the host has a bridge for the physical network "ext", and the tunnel addresses below. Whoever
	// made the host closes them.
	Driver() namespace.InterfaceDriver
	Full() namespace.InterfaceDriver
	Router(id string) namespace.NS
	Workload(id string) namespace.NS
	Namespace(router, name string) namespace.NS

	Links() *netlink.Handle      // in the host's own namespace
	Ports() []string             // what is plugged, and the host's devices
	Segments() map[string]string // of each port, by its device on the host: what tells its network from others
	RequireNothing()             // fails the test if something of ours is left

	// Watch returns a function that says what was written since it was last called, on the host and
	// in the namespace of a router.
	Watch(router namespace.NS) func() []string
}

// TunnelLocal and TunnelPeers are the tunnel addresses of [Host.Full].
var (
	TunnelLocal = netip.MustParseAddr("192.0.2.1")
	TunnelPeers = []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
)

// Wiring is one way to attach devices, and what the suite cannot know about it.
type Wiring[H Host] struct {
	NewHost  func(testing.TB) H
	Networks []dataplane.Network // that Full carries
	Drivers  int                 // processes that may plug at once

	Planned []string // the steps that plug port "port-r" on network "net-a" on a new host, as device qr-port-r
	Shared  []string // Ports after that, and after ports "port-v" on "net-a" and "port-o" on "net-b"
	Check   func(H)  // looks at the host in that state

	Plugged string   // the step that plugs port "port" on network "net"
	Gone    []string // the steps that replace it after one of its devices has gone
	Moves   []string // the steps that move it from network "old" to "new"
	Moved   []string // Ports after that

	Tamperings []Tampering[H]
	Foreign    []Foreign[H]
	Impossible []Impossible[H]
}

// Run holds wiring to what does not depend on how it attaches devices, and to answers of its own.
func (w Wiring[H]) Run(t *testing.T) {
	w.Basics(t)
	w.run(t, map[string]func(*testing.T, H){
		"port moves between networks": w.portMoves,
		"half made":                   w.halfMade,
		"concurrent plugs":            w.concurrentPlugs,
	})
	t.Run("tampering", w.tampering)
	t.Run("foreign objects stay", w.foreignObjectsStay)
	t.Run("plug is all or none", w.plugIsAllOrNone)
}

// Basics holds wiring to what does not depend on the kind of its devices either.
func (w Wiring[H]) Basics(t *testing.T) {
	w.run(t, map[string]func(*testing.T, H){
		"carries frames":             w.carriesFrames,
		"plans of several":           w.plansOfSeveral,
		"refusals":                   w.refusals,
		"ended contexts":             w.endedContexts,
		"second plug writes nothing": w.secondPlug,
		"release without namespace":  w.releaseWithoutNamespace,
	})
}

func (w Wiring[H]) run(t *testing.T, tests map[string]func(*testing.T, H)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, w.NewHost(t)) })
	}
}

func (w Wiring[H]) carriesFrames(t *testing.T, h H) {
	d := h.Driver()
	router, vm, other := h.Router("r1"), h.Workload("vm1"), h.Workload("vm2")
	port := LocalPort("net-a", "port-r", 1)
	require.Equal(t, w.Planned, Plan(t, d, namespace.NS{Router: "r1", FD: -1}, "qr-port-r", port))
	Plug(t, d, vm, "eth0", LocalPort("net-a", "port-v", 2))
	alone := h.Ports()
	Plug(t, d, router, "qr-port-r", port)
	Plug(t, d, other, "eth0", LocalPort("net-b", "port-o", 3))
	require.ElementsMatch(t, w.Shared, h.Ports())
	w.Check(h)
	require.NoError(t, netdev.In(router.FD, func(n *netlink.Handle) error {
		l, err := n.LinkByName("qr-port-r")
		if err != nil {
			return err
		}
		require.Equal(t, "fa:16:3e:00:00:01", l.Attrs().HardwareAddr.String())
		require.Equal(t, MTU, l.Attrs().MTU)
		require.Zero(t, l.Attrs().RawFlags&unix.IFF_UP, "created down")
		return nil
	}))
	Up(t, router, "qr-port-r", "10.0.0.1/24")
	Up(t, vm, "eth0", "10.0.0.2/24")
	Up(t, other, "eth0", "10.0.0.3/24")
	RequireReach(t, router, vm, "10.0.0.2")
	RequireReach(t, vm, router, "10.0.0.1")
	RequireNoReach(t, router, other, "10.0.0.3")

	routers, err := d.Routers(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"r1"}, routers, "workloads are not routers")
	require.NoError(t, d.Unplug(t.Context(), router, "qr-port-r"))
	require.NoError(t, d.Unplug(t.Context(), router, "qr-port-r"), "a device that is not there is fine")
	require.NoError(t, d.Unplug(t.Context(), other, "eth0"))
	require.Equal(t, alone, h.Ports())
	require.NoError(t, d.Unplug(t.Context(), vm, "eth0"))
	h.RequireNothing()
}

// plansOfSeveral: each device has steps of its own, and what they share is told once.
func (w Wiring[H]) plansOfSeveral(t *testing.T, h H) {
	d, router := h.Driver(), h.Router("r1")
	var what []namespace.Attachment
	for i, dev := range []string{"qr-b", "qr-a", "qr-c"} {
		what = append(what, At(dev, LocalPort("net", dev[3:], i)))
	}
	none, err := d.Plan(t.Context(), router)
	require.NoError(t, err)
	require.Empty(t, none)
	plans, err := d.Plan(t.Context(), router, what...)
	require.NoError(t, err)
	require.Len(t, plans, 3)
	require.Greater(t, len(plans[0]), 1, "the bridge is told with the first")
	for i, steps := range plans {
		own := steps[len(steps)-1]
		require.Equal(t, []any{dataplane.Add, what[i].Device}, []any{own.Op, own.Object})
		require.True(t, i == 0 || len(steps) == 1, "told again: %v", steps)
	}
	require.NoError(t, d.Plug(t.Context(), router, what[0], what[2]))
	plans, err = d.Plan(t.Context(), router, what...)
	require.NoError(t, err)
	require.Equal(t, []int{0, 1, 0}, []int{len(plans[0]), len(plans[1]), len(plans[2])})
	require.NoError(t, d.Plug(t.Context(), router, what...))
	plans, err = h.Driver().Plan(t.Context(), router, what...)
	require.NoError(t, err)
	require.Len(t, plans, 3)
	require.Empty(t, slices.Concat(plans...))
	require.NoError(t, d.Release(t.Context(), "r1"))
	h.RequireNothing()
}

func (w Wiring[H]) endedContexts(t *testing.T, h H) {
	d, router := h.Driver(), h.Router("r1")
	wanted := At("qr-a", LocalPort("n1", "a", 1))
	more := At("qr-b", LocalPort("n1", "b", 2))
	Plug(t, d, router, wanted.Device, wanted.Port)
	before := h.Ports()
	ended, end := context.WithCancel(t.Context())
	end()
	calls := map[string]func() error{
		"Plan":     func() error { _, err := d.Plan(ended, router, wanted); return err },
		"Plug":     func() error { return d.Plug(ended, router, more) },
		"Unplug":   func() error { return d.Unplug(ended, router, "qr-a") },
		"Release":  func() error { return d.Release(ended, "r1") },
		"Routers":  func() error { _, err := d.Routers(ended); return err },
		"Networks": func() error { _, err := d.Networks(ended, "r1"); return err },
		"Spare":    func() error { _, err := d.Spare(ended, "r1", nil); return err },
		"Sweep":    func() error { return d.Sweep(ended, "r1", nil) },
	}
	type attached interface {
		Attached(ctx context.Context, router string) ([]string, error)
	}
	if d, ok := d.(attached); ok {
		calls["Attached"] = func() error { _, err := d.Attached(ended, "r1"); return err }
	}
	for name, call := range calls {
		for range 30 { // a select takes either of two that are ready
			require.ErrorIs(t, call(), context.Canceled, name)
		}
	}
	require.Equal(t, before, h.Ports())
}
