package iptables

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

func eachSize(b *testing.B, fn func(b *testing.B, p *place, n int)) {
	for _, v := range []Variant{NFT, Legacy} {
		for _, n := range []int{0, 100, 1000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", v, n), func(b *testing.B) { fn(b, newPlace(b, v), n) })
		}
	}
}

// BenchmarkFIPAdd is one floating IP more, with so many present.
func BenchmarkFIPAdd(b *testing.B) {
	eachSize(b, func(b *testing.B, p *place, n int) {
		before, after := example(fips(1, 1+n)...), example(fips(1, 2+n)...)
		p.apply(before)
		one := []dataplane.FloatingIP{fip(1 + n)}
		add := namespace.Change{Want: after, Since: &namespace.Delta{Added: one}}
		remove := namespace.Change{Want: before, Since: &namespace.Delta{Removed: one}}
		for b.Loop() {
			_, err := p.rules.Plan(b.Context(), add)
			require.NoError(b, err)
			_, err = p.rules.Apply(b.Context(), add)
			require.NoError(b, err)
			b.StopTimer()
			_, err = p.rules.Apply(b.Context(), remove)
			require.NoError(b, err)
			b.StartTimer()
		}
	})
}

// BenchmarkPlanSame is the proof that nothing has changed.
func BenchmarkPlanSame(b *testing.B) {
	eachSize(b, func(b *testing.B, p *place, n int) {
		r := example(fips(1, 1+n)...)
		p.apply(r)
		for b.Loop() {
			steps, err := p.rules.Plan(b.Context(), namespace.Change{Want: r, Since: &namespace.Delta{}})
			require.NoError(b, err)
			require.Empty(b, steps)
		}
	})
}

// BenchmarkPlanAfresh reads everything back, as the first plan of a process does.
func BenchmarkPlanAfresh(b *testing.B) {
	eachSize(b, func(b *testing.B, p *place, n int) {
		r := example(fips(1, 1+n)...)
		p.apply(r)
		for b.Loop() {
			require.Empty(b, p.plan(r, nil))
		}
	})
}

// BenchmarkApplyNew is the first Apply in a namespace.
func BenchmarkApplyNew(b *testing.B) {
	eachSize(b, func(b *testing.B, p *place, n int) {
		r := example(fips(1, 1+n)...)
		for b.Loop() {
			require.NotEmpty(b, p.plan(r, nil))
			p.apply(r)
			b.StopTimer()
			require.NoError(b, p.rules.Clear(b.Context()))
			b.StartTimer()
		}
	})
}
