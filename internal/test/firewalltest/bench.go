package firewalltest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/namespace"
)

// Benchmark measures rules with 0 to 10,000 floating IPs.
func Benchmark(b *testing.B, open func(testing.TB) namespace.Rules) {
	for _, n := range []int{0, 100, 1000, 10000} {
		before, after := Example(FIPs(1, 1+n)...), Example(FIPs(1, 2+n)...)
		each := func(what string, fn func(b *testing.B, rules namespace.Rules)) {
			b.Run(fmt.Sprintf("%s/%d", what, n), func(b *testing.B) { fn(b, open(b)) })
		}
		// One floating IP more.
		each("FIPAdd", func(b *testing.B, rules namespace.Rules) {
			Apply(b, rules, before)
			one := FIPs(1+n, 2+n)
			add := namespace.Change{Want: after, Since: &namespace.Delta{Added: one}}
			remove := namespace.Change{Want: before, Since: &namespace.Delta{Removed: one}}
			for b.Loop() {
				_, err := rules.Plan(b.Context(), add)
				require.NoError(b, err)
				_, err = rules.Apply(b.Context(), add)
				require.NoError(b, err)
				b.StopTimer()
				_, err = rules.Apply(b.Context(), remove)
				require.NoError(b, err)
				b.StartTimer()
			}
		})
		// The proof that nothing has changed.
		each("PlanSame", func(b *testing.B, rules namespace.Rules) {
			Apply(b, rules, before)
			for b.Loop() {
				require.Empty(b, Plan(b, rules, before, &namespace.Delta{}))
			}
		})
		// Everything is read back, as by the first plan of a process.
		each("PlanAfresh", func(b *testing.B, rules namespace.Rules) {
			Apply(b, rules, before)
			for b.Loop() {
				require.Empty(b, Plan(b, rules, before, nil))
			}
		})
		// The first Apply in a namespace.
		each("ApplyNew", func(b *testing.B, rules namespace.Rules) {
			for b.Loop() {
				require.NotEmpty(b, Plan(b, rules, before, nil))
				Apply(b, rules, before)
				b.StopTimer()
				require.NoError(b, rules.Clear(b.Context()))
				b.StartTimer()
			}
		})
	}
}
