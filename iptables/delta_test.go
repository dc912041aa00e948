package iptables

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/firewalltest"
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

// The same of forwardings, of which one address has few or many.
func TestDeltaOfForwardingsIsWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	draw := func(r *dataplane.Router, n int) {
		for range n {
			first := 1 + random.IntN(1<<(4+random.IntN(12)))
			last := min(65535, first+random.IntN(4)/3*random.IntN(1<<random.IntN(12)))
			f := firewalltest.Forward(200+random.IntN(3)*random.IntN(2), []dataplane.Proto{dataplane.TCP, dataplane.UDP, dataplane.SCTP}[random.IntN(3)*random.IntN(2)],
				dataplane.PortRange{First: uint16(first), Last: uint16(last)}.String(), -80)
			clash := func(o dataplane.PortForwarding) bool {
				return o.Addr == f.Addr && o.Proto == f.Proto && o.Ports.First <= f.Ports.Last && f.Ports.First <= o.Ports.Last
			}
			if !slices.ContainsFunc(r.PortForwardings, clash) {
				r.PortForwardings = append(r.PortForwardings, f)
			}
		}
	}
	deepest := 0
	for range 150 {
		base := example(fip(5))
		draw(&base, random.IntN(200))
		before, after := base.Clone(), base.Clone()
		draw(&before, random.IntN(4))
		draw(&after, random.IntN(4))
		d, ok := delta(namespace.Change{Want: after, Since: &namespace.Delta{Forwardings: namespace.Difference[dataplane.PortForwarding]{
			Removed: lacking(before.PortForwardings, after.PortForwardings), Added: lacking(after.PortForwardings, before.PortForwardings),
		}}})
		require.True(t, ok)
		whole := render(after, "")
		requireWhole(t, d, render(before, ""), whole)
		for chain, rules := range whole[nat].chains {
			require.LessOrEqual(t, len(chain), 28, chain)
			require.LessOrEqual(t, len(rules), 2*maxForwardings, chain)
			p, _ := portsOf(chain)
			deepest = max(deepest, len(p.digits))
		}
	}
	require.Equal(t, portDigits-1, deepest)
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
