package iptables

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// The chains that a delta is about are as they are in the whole rulesets before and after, and no
// other chain differs. Wherever all floating IPs but few are in one subnet, the root of a tree
// leads past the chain for that subnet, or to it, as the others come and go.
func TestDeltaIsWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	draw := func() (list []dataplane.FloatingIP) {
		for range random.IntN(3) {
			list = append(list, fip(random.IntN(1<<(4+random.IntN(11)))))
		}
		return list
	}
	for range 2000 {
		stay := draw()
		for range random.IntN(5) {
			stay = append(stay, fip(256+random.IntN(256))) // together in a /24
		}
		before, after := example(distinct(stay, draw())...), example(distinct(stay, draw())...)
		d, ok := delta(namespace.Change{Want: after, Since: &namespace.Delta{
			Removed: lacking(before.FloatingIPs, after.FloatingIPs), Added: lacking(after.FloatingIPs, before.FloatingIPs),
		}})
		require.True(t, ok)
		requireWhole(t, d, render(before, ""), render(after, ""))
	}
}

func requireWhole(t *testing.T, d difference, before, after ruleset) {
	t.Helper()
	for _, part := range []struct{ part, whole ruleset }{{d.have, before}, {d.want, after}} {
		for table, list := range part.part {
			for chain, rules := range list.chains {
				require.ElementsMatch(t, part.whole[table].chains[chain], rules, "%s %s", table, chain)
				require.Contains(t, part.whole[table].chains, chain)
			}
		}
	}
	type name struct{ table, chain string }
	var told, differ []name
	for _, c := range d.chains {
		told = append(told, name{c.table, c.name})
	}
	for _, c := range compare(before, after).chains {
		differ = append(differ, name{c.table, c.name})
	}
	require.Equal(t, differ, told)
}

// distinct joins lists without repetition.
func distinct(lists ...[]dataplane.FloatingIP) (out []dataplane.FloatingIP) {
	for _, list := range lists {
		for _, f := range list {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

// lacking lists what is in the first list alone.
func lacking[T comparable](list, other []T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool { return slices.Contains(other, v) })
}
