package wiringtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
)

// Tampering is something that is done to the port "port" of a router, which is the device qr-port,
// and the steps that repair it.
type Tampering[H Host] struct {
	Name  string
	Do    func(h H, router namespace.NS) error
	Steps []string
}

// tamperings are those of every wiring, and the others.
func (w Wiring[H]) tamperings() []Tampering[H] {
	type change = func(*netlink.Handle, netlink.Link) error
	link := func(h *netlink.Handle, name string, do change) error {
		l, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		return do(h, l)
	}
	host := func(do change) func(H, namespace.NS) error {
		return func(h H, _ namespace.NS) error { return link(h.Links(), "tapport", do) }
	}
	inside := func(do change) func(H, namespace.NS) error {
		return func(_ H, ns namespace.NS) error {
			return netdev.In(ns.FD, func(h *netlink.Handle) error { return link(h, "qr-port", do) })
		}
	}
	return append([]Tampering[H]{
		{"host end deleted", host((*netlink.Handle).LinkDel), w.Gone},
		{"host end down", host((*netlink.Handle).LinkSetDown), []string{"~ wiring qr-port: host end down"}},
		{"device deleted", inside((*netlink.Handle).LinkDel), w.Gone},
		{"device's MTU", inside(func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetMTU(l, 1300) }),
			[]string{"~ wiring qr-port: mtu 1450, was 1300"}},
		{"device's MAC", inside(func(h *netlink.Handle, l netlink.Link) error {
			return h.LinkSetHardwareAddr(l, []byte{2, 0, 0, 0, 0, 9})
		}), []string{"~ wiring qr-port: MAC fa:16:3e:00:00:01, was 02:00:00:00:00:09  !"}},
		{"device renamed", inside(func(h *netlink.Handle, l netlink.Link) error {
			if err := h.LinkSetDown(l); err != nil {
				return err
			}
			return h.LinkSetName(l, "elsewhere")
		}), []string{"- wiring qr-port: attached elsewhere  !", w.Plugged}},
		{"device replaced by another", inside(func(h *netlink.Handle, l netlink.Link) error {
			if err := h.LinkDel(l); err != nil {
				return err
			}
			return h.LinkAdd(Dummy("qr-port"))
		}), w.Gone},
	}, w.Tamperings...)
}

// tampering is named by Plan, mended by Plug, and leaves what was up up.
func (w Wiring[H]) tampering(t *testing.T) {
	for _, c := range w.tamperings() {
		t.Run(c.Name, func(t *testing.T) {
			h := w.NewHost(t)
			d, router, vm := h.Driver(), h.Router("r1"), h.Workload("vm")
			p, v := LocalPort("net", "port", 1), LocalPort("net", "vmport", 2)
			Plug(t, d, router, "qr-port", p)
			Plug(t, d, vm, "eth0", v)
			Up(t, vm, "eth0", "10.0.0.2/24")
			Up(t, router, "qr-port", "10.0.0.1/24")
			RequireReach(t, vm, router, "10.0.0.1")

			require.NoError(t, c.Do(h, router))
			require.Equal(t, c.Steps, Plan(t, d, router, "qr-port", p))
			require.Equal(t, c.Steps, Plan(t, h.Driver(), router, "qr-port", p), "a fresh process sees the same")
			Plug(t, d, router, "qr-port", p)
			made := slices.ContainsFunc(Plan(t, d, vm, "eth0", v), func(s string) bool { return strings.HasPrefix(s, "+") })
			Plug(t, d, vm, "eth0", v)
			if made { // the workload's device went with the bridge
				Up(t, vm, "eth0", "10.0.0.2/24")
			}
			Up(t, router, "qr-port", "10.0.0.1/24")
			RequireReach(t, vm, router, "10.0.0.1")
		})
	}
}
