package wiringtest

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/netns"
)

// Host is a machine with wiring, and with the namespaces of its routers and workloads.
type Host interface {
	// Driver is a driver without configuration, as a fresh process has it. Whoever made the host
	// closes it.
	Driver() namespace.InterfaceDriver
	Router(id string) namespace.NS
	Workload(id string) namespace.NS
	Ports() []string // what is plugged
}

// Namespace makes a namespace for a router, or with an empty router for a workload.
func Namespace(t testing.TB, dir, router, name string) namespace.NS {
	t.Helper()
	f, err := netns.Create(dir, name, "", nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, f.Close())
		require.NoError(t, netns.Remove(dir, name))
	})
	return namespace.NS{Router: router, FD: int(f.Fd())}
}

// Run holds wiring to what does not depend on how it attaches devices.
func Run(t *testing.T, newHost func(testing.TB) Host) {
	for name, test := range map[string]func(*testing.T, Host){
		"carries frames":   carriesFrames,
		"plans of several": plansOfSeveral,
		"refusals":         refusals,
		"ended contexts":   endedContexts,
	} {
		t.Run(name, func(t *testing.T) { test(t, newHost(t)) })
	}
}

func carriesFrames(t *testing.T, h Host) {
	d := h.Driver()
	router, vm, other := h.Router("r1"), h.Workload("vm1"), h.Workload("vm2")
	Plug(t, d, router, "qr-port-r", PortOn(Local("net-a"), "port-r", 1))
	Plug(t, d, vm, "eth0", PortOn(Local("net-a"), "port-v", 2))
	Plug(t, d, other, "eth0", PortOn(Local("net-b"), "port-o", 3))
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
	require.NotEmpty(t, h.Ports())
	require.NoError(t, d.Unplug(t.Context(), vm, "eth0"))
	require.Empty(t, h.Ports())
}

// plansOfSeveral: each device has steps of its own, and what they share is told once.
func plansOfSeveral(t *testing.T, h Host) {
	d, router := h.Driver(), h.Router("r1")
	var what []namespace.Attachment
	for i, dev := range []string{"qr-b", "qr-a", "qr-c"} {
		what = append(what, At(dev, PortOn(Local("net"), dev[3:], i)))
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
	require.Empty(t, h.Ports())
}

// Refusal is a network that cannot be plugged, and what is said about it.
type Refusal struct {
	Network dataplane.Network
	Is      error
	Says    string
}

// RequireRefused fails the test unless networks are refused with a reason, and nothing is left.
func RequireRefused(t *testing.T, d namespace.InterfaceDriver, ns namespace.NS, state func() []string, list ...Refusal) {
	t.Helper()
	before := state()
	for _, c := range list {
		what := At("qr-p", PortOn(c.Network, "p", 1))
		_, planned := d.Plan(t.Context(), ns, what)
		require.ErrorIs(t, planned, c.Is, "Plan refuses what Plug refuses")
		require.ErrorContains(t, planned, c.Says)
		err := d.Plug(t.Context(), ns, what)
		require.ErrorIs(t, err, c.Is)
		require.ErrorContains(t, err, c.Says)
		require.NotContains(t, err.Error(), "Config.", "it is read by users of flags, too")
		require.ErrorAs(t, err, new(*dataplane.OpError))
		require.Equal(t, before, state())
	}
}

func refusals(t *testing.T, h Host) {
	d, ns := h.Driver(), h.Router("r1")
	network := func(kind dataplane.NetworkType, physical string, segment uint32) dataplane.Network {
		return dataplane.Network{ID: "n", Type: kind, Physical: physical, Segment: segment}
	}
	RequireRefused(t, d, ns, h.Ports,
		Refusal{network(dataplane.NetworkVXLAN, "", 1), dataplane.ErrUnsupported, "networks need a local tunnel address"},
		Refusal{network(dataplane.NetworkVXLAN, "", 0), dataplane.ErrInvalid, "VNI 0"},
		Refusal{network(dataplane.NetworkVLAN, "ext", 4095), dataplane.ErrInvalid, "VLAN ID 4095"},
		Refusal{network(dataplane.NetworkFlat, "ext", 0), dataplane.ErrUnsupported, `physical network "ext"`},
		Refusal{network("carrier-pigeon", "", 0), dataplane.ErrInvalid, "carrier-pigeon"},
		Refusal{dataplane.Network{ID: "n o"}, dataplane.ErrInvalid, "n o"},
	)
	p := At("qr-p", PortOn(Local("n"), "p", 1))
	require.ErrorIs(t, d.Plug(t.Context(), namespace.NS{Router: "r1", FD: -1}, p), dataplane.ErrInvalid)
	require.ErrorIs(t, d.Release(t.Context(), ""), dataplane.ErrInvalid, "workloads have no router")
	require.Empty(t, h.Ports())
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Plug(t.Context(), ns, p), dataplane.ErrClosed)
	require.NoError(t, d.Close(), "a second Close is fine")
}

func endedContexts(t *testing.T, h Host) {
	d, router := h.Driver(), h.Router("r1")
	wanted := At("qr-a", PortOn(Local("n1"), "a", 1))
	more := At("qr-b", PortOn(Local("n1"), "b", 2))
	Plug(t, d, router, wanted.Device, wanted.Port)
	before := h.Ports()
	ended, end := context.WithCancel(t.Context())
	end()
	for name, call := range map[string]func() error{
		"Plan":     func() error { _, err := d.Plan(ended, router, wanted); return err },
		"Plug":     func() error { return d.Plug(ended, router, more) },
		"Unplug":   func() error { return d.Unplug(ended, router, "qr-a") },
		"Release":  func() error { return d.Release(ended, "r1") },
		"Routers":  func() error { _, err := d.Routers(ended); return err },
		"Networks": func() error { _, err := d.Networks(ended, "r1"); return err },
		"Spare":    func() error { _, err := d.Spare(ended, "r1", nil); return err },
		"Sweep":    func() error { return d.Sweep(ended, "r1", nil) },
	} {
		for range 30 { // a select takes either of two that are ready
			require.ErrorIs(t, call(), context.Canceled, name)
		}
	}
	require.Equal(t, before, h.Ports())
}
