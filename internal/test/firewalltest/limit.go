package firewalltest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// Limit limits the nth floating IP, in both directions differently.
func Limit(n int, rate, burst uint32) dataplane.Limit {
	return dataplane.Limit{
		Addr:   FIP(n).Addr,
		Egress: dataplane.Bandwidth{Rate: rate, Burst: burst}, Ingress: dataplane.Bandwidth{Rate: 2 * rate, Burst: burst},
	}
}

// Limited limits floating IPs and the gateway of the example, some in one direction alone, at rates
// from the least to the greatest.
func Limited(fips ...dataplane.FloatingIP) dataplane.Router {
	r := Example(fips...)
	r.Limits = []dataplane.Limit{
		{Addr: r.Gateway.Addrs[0].Addr(), Egress: dataplane.Bandwidth{Rate: 10_000}, Ingress: dataplane.Bandwidth{Rate: 20_000, Burst: 100_000}},
	}
	for i, f := range fips {
		rate := []uint32{1, 10, 64, 999, 1000, 1024, 8389, 10_000, 123_457, 1_000_000, 10_000_000, 50_000_000}[i%12]
		l := Limit(0, rate, []uint32{0, 1, rate + rate/2, 20 * rate}[i%4]%32_000_000)
		l.Addr = f.Addr
		switch i % 3 {
		case 0:
			l.Egress = dataplane.Bandwidth{}
		case 1:
			l.Ingress = dataplane.Bandwidth{}
		}
		r.Limits = append(r.Limits, l)
	}
	return r
}

// limitPlan: what is said of limits that come, go and change, and what a delta writes.
func (s Suite[P]) limitPlan(t *testing.T) {
	r := Example(FIP(5), FIP(6))
	r.Limits = []dataplane.Limit{Limit(5, 10_000, 0), Limit(6, 1000, 5000)}
	for name, c := range map[string]struct {
		limits []dataplane.Limit
		steps  []string
	}{
		"one less": {r.Limits[:1], []string{
			"- limit 203.0.0.6 egress: 1000 kbit/s, 625000 bytes at once",
			"- limit 203.0.0.6 ingress: 2000 kbit/s, 625000 bytes at once",
		}},
		"one more": {append(slices.Clone(r.Limits), dataplane.Limit{Addr: Addr("203.0.255.2"), Egress: dataplane.Bandwidth{Rate: 64}}),
			[]string{"+ limit 203.0.255.2 egress: 64 kbit/s, 65536 bytes at once"}},
		"another rate": {[]dataplane.Limit{Limit(5, 20_000, 0), r.Limits[1]}, []string{
			"~ limit 203.0.0.5 egress: 20000 kbit/s, 2500000 bytes at once, was 10000 kbit/s, 1250000 bytes at once",
			"~ limit 203.0.0.5 ingress: 40000 kbit/s, 5000000 bytes at once, was 20000 kbit/s, 2500000 bytes at once"}},
		"another burst": {[]dataplane.Limit{r.Limits[0], Limit(6, 1000, 3000)}, []string{
			"~ limit 203.0.0.6 egress: 1000 kbit/s, 375000 bytes at once, was 1000 kbit/s, 625000 bytes at once",
			"~ limit 203.0.0.6 ingress: 2000 kbit/s, 375000 bytes at once, was 2000 kbit/s, 625000 bytes at once"}},
		"one way": {[]dataplane.Limit{r.Limits[0], {Addr: FIP(6).Addr, Ingress: r.Limits[1].Ingress}}, []string{
			"- limit 203.0.0.6 egress: 1000 kbit/s, 625000 bytes at once"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.Open(t)
			Apply(t, p.Rules(), r)
			want := Without(r, func(r *dataplane.Router) { r.Limits = c.limits })
			since := limitsSince(r, want)
			require.Equal(t, c.steps, Plan(t, p.Rules(), want, nil), "by reading back")
			require.Equal(t, c.steps, Plan(t, p.Rules(), want, since), "by the delta")
			before := p.Listing()
			undo, err := p.Rules().Apply(t.Context(), namespace.Change{Want: want, Since: since})
			require.NoError(t, err)
			requireUnchanged(t, p, true)
			require.Empty(t, Plan(t, p.Rules(), want, nil), "the delta led elsewhere")
			require.NoError(t, undo(t.Context()))
			require.Equal(t, before, p.Listing())
		})
	}
}

func limitsSince(before, after dataplane.Router) *namespace.Delta {
	return &namespace.Delta{
		Removed: lacking(before.FloatingIPs, after.FloatingIPs), Added: lacking(after.FloatingIPs, before.FloatingIPs),
		Limits: namespace.Difference[dataplane.Limit]{Removed: lacking(before.Limits, after.Limits), Added: lacking(after.Limits, before.Limits)},
	}
}

// limitWalk: random changes of floating IPs and their limits, by deltas, end where a fresh Apply ends.
func (s Suite[P]) limitWalk(t *testing.T) {
	p, fresh := s.Open(t), s.Open(t)
	random := rand.New(rand.NewPCG(5, 6))
	now := Example()
	Apply(t, p.Rules(), now)
	for step := range 12 {
		next := now
		next.FloatingIPs, next.Limits = nil, nil
		for n := range 60 {
			if random.IntN(2) == 0 {
				continue
			}
			next.FloatingIPs = append(next.FloatingIPs, FIP(n*7))
			if step%5 != 3 && random.IntN(3) > 0 {
				next.Limits = append(next.Limits, Limit(n*7, 1+random.Uint32N(1000), random.Uint32N(3000)))
			}
		}
		_, err := p.Rules().Apply(t.Context(), namespace.Change{Want: next, Since: limitsSince(now, next)})
		require.NoError(t, err)
		require.NoError(t, fresh.Rules().Clear(t.Context()))
		Apply(t, fresh.Rules(), next)
		require.Equal(t, fresh.Listing(), p.Listing(), fmt.Sprint(step))
		now = next
	}
}
