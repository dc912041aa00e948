package namespace

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// A port may lose its IPv6 addresses and the MTU that they need by one change: the kernel takes the
// addresses with the MTU.
func TestIPv6GoesWithTheMTU(t *testing.T) {
	of6 := func(r dataplane.Route) bool { return r.Dest.Addr().Is6() }
	for name, c := range map[string]struct{ with, without dataplane.Router }{
		"an internal port": {threeLegs(), instance(threeLegs(), func(r *dataplane.Router) {
			r.Ports[0].Addrs, r.Ports[0].MTU = r.Ports[0].Addrs[:1], 1000
			r.Routes = slices.DeleteFunc(r.Routes, of6)
		})},
		"the gateway": {threeLegs(), instance(threeLegs(), func(r *dataplane.Router) {
			r.Gateway.Addrs, r.Gateway.NextHops, r.Gateway.MTU = r.Gateway.Addrs[:1], r.Gateway.NextHops[:1], 1000
			r.Routes = slices.DeleteFunc(r.Routes, of6)
		})},
		"the transit": {anEdge(), instance(anEdge(), func(r *dataplane.Router) {
			r.Transit.Centre, r.Transit.MTU = r.Transit.Centre[:1], 1000
			r.Transit.Routes = slices.DeleteFunc(r.Transit.Routes, of6)
			r.Transit.External = slices.DeleteFunc(r.Transit.External, of6)
		})},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.apply(t, c.with)
			before := b.observed(t, c.with.ID)
			for range 2 {
				b.apply(t, c.without)
				require.True(t, b.apply(t, c.without).Empty())
				b.apply(t, c.with)
				require.Equal(t, before, b.observed(t, c.with.ID))
			}
		})
	}
}
