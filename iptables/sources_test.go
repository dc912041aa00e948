package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The chains drop exactly what comes from the sources, whatever those are, and no list is long.
func TestSources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		six := rapid.Bool().Draw(t, "IPv6")
		var sources []netip.Prefix
		for _, b := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 4, 4), 0, 60).Draw(t, "addresses") {
			a := netip.AddrFrom4([4]byte(b))
			if six {
				a = netip.AddrFrom16([16]byte{0xfd, 0, 4: b[0], 7: b[1], 11: b[2], 15: b[3]})
			}
			p := netip.PrefixFrom(a, rapid.IntRange(4, a.BitLen()).Draw(t, "length")).Masked()
			if !slices.ContainsFunc(sources, p.Overlaps) {
				sources = append(sources, p)
			}
		}
		into := &table{chains: map[string][]rule{}}
		dropAll(into, own, sources)
		for name, list := range into.chains {
			require.LessOrEqual(t, len(name), 28, "the kernel cuts longer names")
			require.LessOrEqual(t, len(list), 2<<stride, "%s: %v", name, list)
		}
		for _, p := range sources {
			require.True(t, drops(t, into, own, p.Addr()), "%s in %v", p, into.chains)
			for _, a := range []netip.Addr{p.Addr().Prev(), p.Addr().Next()} {
				in := slices.ContainsFunc(sources, func(s netip.Prefix) bool { return s.Contains(a) })
				require.Equal(t, in, drops(t, into, own, a), "%s in %v", a, into.chains)
			}
		}
	})
}

// drops does what the kernel does with a packet from an address.
func drops(t *rapid.T, tb *table, chain string, a netip.Addr) bool {
	list, ok := tb.chains[chain]
	require.True(t, ok, chain)
	for _, r := range list {
		var match, action, to string
		_, err := fmt.Sscan(r.spec, new(string), &match, &action, &to)
		require.NoError(t, err)
		if !netip.MustParsePrefix(match).Contains(a) {
			continue
		}
		if action == "-g" {
			return drops(t, tb, to, a)
		}
		return strings.HasSuffix(r.spec, " -j DROP")
	}
	return false
}
