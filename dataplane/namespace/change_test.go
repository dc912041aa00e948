package namespace_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// What a difference in routes makes of the inside is what a look at both routers finds.
func TestInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) dataplane.Route {
			b := rapid.SliceOfN(rapid.Uint8Range(0, 3), 2, 2).Draw(t, "address")
			bits := rapid.SampledFrom([]int{14, 16, 24, 31, 32}).Draw(t, "length")
			return dataplane.Route{
				Dest:    netip.PrefixFrom(netip.AddrFrom4([4]byte{10, b[0], 0, b[1]}), bits).Masked(),
				NextHop: netip.AddrFrom4([4]byte{169, 254, 0, rapid.Uint8Range(2, 3).Draw(t, "instance")}),
			}
		}), 0, 12, func(r dataplane.Route) netip.Prefix { return r.Dest })
		router := func(routes []dataplane.Route) dataplane.Router {
			return dataplane.Router{
				Ports:   []dataplane.Port{{Addrs: []netip.Prefix{netip.MustParsePrefix("10.3.0.1/16")}}},
				Transit: &dataplane.Transit{Routes: routes},
			}
		}
		before, after := draw.Draw(t, "before"), draw.Draw(t, "after")
		lacking := func(a, b []dataplane.Route) []dataplane.Route {
			return slices.DeleteFunc(slices.Clone(a), func(r dataplane.Route) bool { return slices.Contains(b, r) })
		}
		was, is := namespace.Inside(router(before)), namespace.Inside(router(after))
		change := namespace.Change{Want: router(after), Since: &namespace.Delta{Routes: namespace.Difference[dataplane.Route]{
			Removed: lacking(before, after), Added: lacking(after, before),
		}}}
		d := change.Inside()
		got := append(slices.DeleteFunc(slices.Clone(was), func(p netip.Prefix) bool { return slices.Contains(d.Removed, p) }), d.Added...)
		require.ElementsMatch(t, is, got)
		for i, p := range is {
			require.False(t, slices.ContainsFunc(is[:i], p.Overlaps), "%v", is)
		}
		for _, r := range after {
			require.True(t, slices.ContainsFunc(is, func(p netip.Prefix) bool { return p.Overlaps(r.Dest) && p.Bits() <= r.Dest.Bits() }))
		}
	})
}
