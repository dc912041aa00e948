package wiringtest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane/namespace"
)

// secondPlug: neither the process that plugged nor a fresh one writes anything when nothing has
// changed.
func (w Wiring[H]) secondPlug(t *testing.T, h H) {
	d, router, vm := h.Full(), h.Router("r1"), h.Workload("vm")
	plug := func(d namespace.InterfaceDriver) {
		for i, n := range w.Networks {
			id := fmt.Sprintf("port%d", i)
			Plug(t, d, router, "qr-"+id, PortOn(n, id, i))
		}
		Plug(t, d, vm, "eth0", PortOn(w.Networks[0], "vm", 99))
		peers := d.(interface {
			SetPeers(context.Context, []netip.Addr) error
		})
		require.NoError(t, peers.SetPeers(Soon(t), TunnelPeers))
	}
	plug(d)
	written := h.Watch(router)
	plug(d)
	plug(h.Full())
	require.Empty(t, written())
	require.NoError(t, d.Unplug(Soon(t), router, "qr-port0"))
	require.NotEmpty(t, written(), "the test would see a write")
}

func (w Wiring[H]) portMoves(t *testing.T, h H) {
	d, router := h.Driver(), h.Router("r1")
	Plug(t, d, router, "qr-port", LocalPort("old", "port", 1))
	moved := LocalPort("new", "port", 1)
	require.Equal(t, w.Moves, Plan(t, d, router, "qr-port", moved))
	Plug(t, d, router, "qr-port", moved)
	require.Equal(t, w.Moved, h.Ports())
}

func (w Wiring[H]) releaseWithoutNamespace(t *testing.T, h H) {
	d := h.Driver()
	Plug(t, d, h.Router("r1b"), "qr-b", LocalPort("n1", "b", 2))
	alone := h.Ports()
	Plug(t, d, h.Router("r1"), "qr-a", LocalPort("n1", "a", 1))
	Plug(t, d, h.Namespace("r1", "r1c"), "qg-c", LocalPort("n2", "c", 3))
	fresh := h.Driver()
	routers, err := fresh.Routers(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"r1", "r1b"}, routers)

	for range 2 {
		require.NoError(t, fresh.Release(Soon(t), "r1"))
		require.Equal(t, alone, h.Ports())
	}
	require.NoError(t, fresh.Release(Soon(t), "r1b"))
	routers, err = fresh.Routers(t.Context())
	require.NoError(t, err)
	require.Empty(t, routers)
	h.RequireNothing()
}

// halfMade: a process that was killed before it marked a veth leaves one that leads into the
// namespace.
func (w Wiring[H]) halfMade(t *testing.T, h H) {
	d, router := h.Driver(), h.Router("r1")
	half := func(name, dev string) {
		require.NoError(t, h.Links().LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}, PeerName: dev, PeerNamespace: netlink.NsFd(router.FD),
		}))
	}
	half("tapport", "qr-port")
	Plug(t, d, router, "qr-port", LocalPort("net", "port", 1))
	before := h.Ports()
	half("tapother", "qr-other")
	require.NoError(t, d.Unplug(Soon(t), router, "qr-other"))
	require.Equal(t, before, h.Ports())
}

// concurrentPlugs: no two networks share a segment, no network has two, and what a network needed
// goes with its last port.
func (w Wiring[H]) concurrentPlugs(t *testing.T, h H) {
	const n = 20
	var drivers [n]namespace.InterfaceDriver
	var nss [n]namespace.NS
	for i := range nss {
		if nss[i] = h.Router(fmt.Sprintf("r%d", i)); i < w.Drivers {
			drivers[i] = h.Driver()
		} else {
			drivers[i] = drivers[i-w.Drivers]
		}
	}
	shared := func(i int) namespace.Attachment {
		return At("qr-shared", LocalPort("shared", fmt.Sprintf("sha-%d", i), i))
	}
	own := func(i int) namespace.Attachment {
		return At("qr-own", LocalPort(fmt.Sprintf("own%d", i), fmt.Sprintf("own-%d", i), i))
	}
	check := func(routers int) {
		segments := h.Segments()
		require.Len(t, segments, 2*routers)
		for tap, segment := range segments {
			if strings.HasPrefix(tap, "tapsha-") {
				delete(segments, tap)
				segments["shared"] = segment
			}
		}
		used := slices.Sorted(maps.Values(segments))
		require.Len(t, slices.Compact(used), routers+1, "each network has a segment of its own")
		spare, err := drivers[0].Spare(Soon(t), "", nil)
		require.NoError(t, err)
		require.Empty(t, spare)
	}
	must := func(what string, i int, err error) {
		if err != nil {
			t.Errorf("%s %d: %v", what, i, err)
		}
	}
	for range 3 {
		InParallel(n, func(i int) {
			must("plug", i, drivers[i].Plug(Soon(t), nss[i], shared(i)))
			must("plug", i, drivers[i].Plug(Soon(t), nss[i], own(i)))
		})
		check(n)
		// One network loses and gets ports at the same time.
		InParallel(n, func(i int) {
			d := drivers[(i+1)%n]
			if i%2 == 0 {
				must("release", i, d.Release(Soon(t), nss[i].Router))
				return
			}
			must("unplug", i, d.Unplug(Soon(t), nss[i], "qr-shared"))
			must("plug again", i, d.Plug(Soon(t), nss[i], shared(i)))
		})
		for i := 1; i < n; i += 2 {
			require.Empty(t, Plan(t, drivers[0], nss[i], "qr-shared", shared(i).Port))
		}
		check(n / 2)
	}
	InParallel(n, func(i int) { must("release", i, drivers[i].Release(Soon(t), nss[i].Router)) })
	h.RequireNothing()
}
