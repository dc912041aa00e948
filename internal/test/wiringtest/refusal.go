package wiringtest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
)

// Dummy is a device that is nothing to the wiring, of a kind that every kernel has.
func Dummy(name string) netlink.Link {
	return &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}}
}

// Foreign is something on a host that is not ours, or another's, and is in the way of a port.
type Foreign[H Host] struct {
	Name, Says string
	Make       func(H)
	Port       dataplane.Port
	Spare      bool // Release of router r1 takes it away: it says that it is r1's, or that nobody needs it
}

// foreignObjectsStay: nothing is touched but what is ours.
func (w Wiring[H]) foreignObjectsStay(t *testing.T) {
	dummy := func(h H) { require.NoError(t, h.Links().LinkAdd(Dummy("tapport"))) }
	p := LocalPort("net", "port", 1)
	for _, c := range append([]Foreign[H]{{"device of the host", "device tapport", dummy, p, false}}, w.Foreign...) {
		t.Run(c.Name, func(t *testing.T) {
			h := w.NewHost(t)
			d := h.Full()
			c.Make(h)
			before, router := h.Ports(), h.Router("r1")
			_, err := d.Plan(Soon(t), router, At("qr-port", c.Port))
			require.ErrorIs(t, err, dataplane.ErrForeign)
			err = d.Plug(Soon(t), router, At("qr-port", c.Port))
			require.ErrorIs(t, err, dataplane.ErrForeign)
			require.ErrorContains(t, err, c.Says)
			require.Equal(t, before, h.Ports())
			require.NoError(t, d.Release(Soon(t), "r1"))
			if c.Spare {
				require.NotEqual(t, before, h.Ports())
			} else {
				require.Equal(t, before, h.Ports())
			}
		})
	}
	t.Run("device of the workload", func(t *testing.T) { // in a router's namespace it would be replaced
		h := w.NewHost(t)
		d, vm := h.Driver(), h.Workload("vm")
		require.NoError(t, netdev.In(vm.FD, func(h *netlink.Handle) error { return h.LinkAdd(Dummy("eth0")) }))
		before := h.Ports()
		require.ErrorIs(t, d.Plug(Soon(t), vm, At("eth0", p)), dataplane.ErrForeign)
		require.ErrorIs(t, d.Unplug(Soon(t), vm, "eth0"), dataplane.ErrForeign)
		require.Equal(t, before, h.Ports())
		require.Equal(t, []string{"eth0", "lo"}, devices(t, vm))
	})
}

func devices(t *testing.T, ns namespace.NS) (names []string) {
	require.NoError(t, netdev.In(ns.FD, func(h *netlink.Handle) error {
		links, err := h.LinkList()
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return err
	}))
	slices.Sort(names)
	return names
}

// Impossible is something that cannot be plugged, after ports of networks net-a and net-b.
type Impossible[H Host] struct {
	Name    string
	Prepare func(H) // nil: nothing
	Bad     namespace.Attachment
	Object  string // that the error names
	Is      error  // nil: any
	Says    string
}

// plugIsAllOrNone: when one of several cannot be plugged, the error is about that one, and what the
// call made for the others is gone again; what was there stays.
func (w Wiring[H]) plugIsAllOrNone(t *testing.T) {
	kept := At("qr-kept", LocalPort("net-a", "kept", 9))
	good := []namespace.Attachment{kept, At("qr-a", LocalPort("net-a", "a", 1)), At("qr-b", LocalPort("net-b", "b", 2))}
	foreign := func(h H) { require.NoError(t, h.Links().LinkAdd(Dummy("tapforeign"))) }
	none := Flat("net-c")
	none.Physical = "none"
	for _, c := range append([]Impossible[H]{
		{"foreign device", foreign, At("qr-c", LocalPort("net-c", "foreign", 3)), "qr-c", dataplane.ErrForeign, "device tapforeign"},
		{"impossible network", nil, At("qr-c", PortOn(none, "c", 3)), "qr-c", dataplane.ErrUnsupported, `physical network "none"`},
		{"impossible ID", nil, At("qr-c", LocalPort("net-c", "c/c", 3)), "qr-c", dataplane.ErrInvalid, `"c/c"`},
		{"refused by the kernel", nil, At("a-name-of-17-char", LocalPort("net-c", "c", 3)), "a-name-of-17-char", nil, "make"},
	}, w.Impossible...) {
		t.Run(c.Name, func(t *testing.T) {
			h := w.NewHost(t)
			d, router := h.Full(), h.Router("r1")
			if c.Prepare != nil {
				c.Prepare(h)
			}
			Plug(t, d, router, kept.Device, kept.Port)
			ports, inside := h.Ports(), devices(t, router)
			err := d.Plug(Soon(t), router, append(good[:3:3], c.Bad)...)
			require.ErrorContains(t, err, c.Says)
			if c.Is != nil {
				require.ErrorIs(t, err, c.Is)
			}
			var op *dataplane.OpError
			require.ErrorAs(t, err, &op)
			require.Equal(t, c.Object, op.Object, "%v", err)
			require.Equal(t, ports, h.Ports())
			require.Equal(t, inside, devices(t, router))
			require.Empty(t, Plan(t, d, router, kept.Device, kept.Port))

			require.NoError(t, d.Plug(Soon(t), router, good...))
			for _, a := range good {
				require.Empty(t, Plan(t, d, router, a.Device, a.Port))
			}
			require.NoError(t, d.Plug(Soon(t), router), "nothing")
		})
	}
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

func (w Wiring[H]) refusals(t *testing.T, h H) {
	d, ns := h.Driver(), h.Router("r1")
	RequireRefused(t, d, ns, h.Ports,
		Refusal{Net(dataplane.NetworkVXLAN, "", 1), dataplane.ErrUnsupported, "networks need a local tunnel address"},
		Refusal{Net(dataplane.NetworkVXLAN, "", 0), dataplane.ErrInvalid, "Network.Segment: 0 is not between 1 and 16777215"},
		Refusal{Net(dataplane.NetworkVLAN, "ext", 4095), dataplane.ErrInvalid, "Network.Segment: 4095 is not between 1 and 4094"},
		Refusal{Net(dataplane.NetworkFlat, "ext", 0), dataplane.ErrUnsupported, `physical network "ext"`},
		Refusal{Net(dataplane.NetworkFlat, "", 5), dataplane.ErrInvalid, "Network.Segment: 5 on a network that has none"},
		Refusal{Net(dataplane.NetworkLocal, "ext", 0), dataplane.ErrInvalid, `Network.Physical: "ext"`},
		Refusal{Net("carrier-pigeon", "", 0), dataplane.ErrInvalid, "carrier-pigeon"},
		Refusal{dataplane.Network{ID: "n o"}, dataplane.ErrInvalid, "n o"},
	)
	p := At("qr-p", LocalPort("n", "p", 1))
	require.ErrorIs(t, d.Plug(t.Context(), namespace.NS{Router: "r1", FD: -1}, p), dataplane.ErrInvalid)
	require.ErrorIs(t, d.Release(t.Context(), ""), dataplane.ErrInvalid, "workloads have no router")
	h.RequireNothing()
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Plug(t.Context(), ns, p), dataplane.ErrClosed)
	require.NoError(t, d.Close(), "a second Close is fine")
}
