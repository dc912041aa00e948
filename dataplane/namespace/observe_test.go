package namespace

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
)

// Whatever others do to their own devices and addresses in the meantime, the router is read whole.
// Its addresses take many parts to list, and the kernel marks a listing in which something changed
// between two parts.
func TestObservationIsCompleteAmidChanges(t *testing.T) {
	b := newBench(t)
	r := threeLegs()
	r.Routes, r.FloatingIPs, r.Ports[1].Addrs = nil, nil, prefixes("10.9.0.1/16")
	for i := range 1500 {
		at := func(a, b byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, byte(i/250 + 100), byte(i%250 + 1)}) }
		r.FloatingIPs = append(r.FloatingIPs, dataplane.FloatingIP{ID: fmt.Sprint("n", i), Addr: at(198, 18), Fixed: at(10, 9)})
	}
	b.apply(t, r)
	b.in(t, "r1", func(h *netlink.Handle) {
		require.NoError(t, h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "theirs"}}))
	})
	done := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		b.in(t, "r1", func(h *netlink.Handle) {
			l, err := h.LinkByName("theirs")
			require.NoError(t, err)
			for {
				for _, change := range []func(netlink.Link, *netlink.Addr) error{h.AddrAdd, h.AddrDel} {
					require.NoError(t, change(l, mustAddr("192.0.2.1/24")))
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	})
	defer churn.Wait()
	defer close(done)
	wanted := want(r)
	for range 40 {
		b.in(t, "r1", func(h *netlink.Handle) {
			now, err := observe(h)
			require.NoError(t, err)
			require.Len(t, now.links["qg-gw"].addrs, len(wanted.links["qg-gw"].addrs))
		})
	}
}
