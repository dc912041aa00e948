package namespace

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

func TestAChangeOfLimitsIsADelta(t *testing.T) {
	limit := func(a string, rate uint32) dataplane.Limit {
		return dataplane.Limit{Addr: netip.MustParseAddr(a), Egress: dataplane.Bandwidth{Rate: rate}}
	}
	r := threeLegs()
	r.FloatingIPs = []dataplane.FloatingIP{fip("a", "203.0.113.20", "10.0.1.5"), fip("b", "203.0.113.21", "10.0.1.6")}
	r.Limits = []dataplane.Limit{limit("203.0.113.20", 10), limit("203.0.113.10", 20)} // the latter is the gateway's
	require.NoError(t, r.Validate())
	for name, c := range map[string]struct {
		change func(*dataplane.Router)
		ok     bool
		limits Difference[dataplane.Limit]
	}{
		"another rate": {func(r *dataplane.Router) { r.Limits[0] = limit("203.0.113.20", 11) }, true,
			Difference[dataplane.Limit]{[]dataplane.Limit{limit("203.0.113.20", 10)}, []dataplane.Limit{limit("203.0.113.20", 11)}}},
		"one more":      {func(r *dataplane.Router) { r.Limits = append(r.Limits, limit("203.0.113.21", 5)) }, true, Difference[dataplane.Limit]{Added: []dataplane.Limit{limit("203.0.113.21", 5)}}},
		"one less":      {func(r *dataplane.Router) { r.Limits = r.Limits[:1] }, true, Difference[dataplane.Limit]{Removed: []dataplane.Limit{limit("203.0.113.10", 20)}}},
		"with its FIP":  {func(r *dataplane.Router) { r.Limits, r.FloatingIPs = r.Limits[1:], r.FloatingIPs[1:] }, true, Difference[dataplane.Limit]{Removed: []dataplane.Limit{limit("203.0.113.20", 10)}}},
		"FIP moved":     {func(r *dataplane.Router) { r.FloatingIPs[0].Fixed = netip.MustParseAddr("10.0.1.7") }, true, Difference[dataplane.Limit]{}},
		"FIP gone":      {func(r *dataplane.Router) { r.FloatingIPs = r.FloatingIPs[1:] }, false, Difference[dataplane.Limit]{}},
		"nobody's":      {func(r *dataplane.Router) { r.Limits = append(r.Limits, limit("203.0.113.99", 5)) }, false, Difference[dataplane.Limit]{}},
		"twice":         {func(r *dataplane.Router) { r.Limits = append(r.Limits, limit("203.0.113.20", 5)) }, false, Difference[dataplane.Limit]{}},
		"without limit": {func(r *dataplane.Router) { r.Limits[0].Egress.Rate = 0 }, false, Difference[dataplane.Limit]{}},
	} {
		t.Run(name, func(t *testing.T) {
			m := remember(r, want(r).links)
			wanted := r.Clone()
			c.change(&wanted)
			require.Equal(t, c.ok, wanted.Validate() == nil)
			d, ok := m.delta(wanted)
			require.Equal(t, c.ok, ok)
			if !ok {
				return
			}
			require.ElementsMatch(t, c.limits.Removed, d.Limits.Removed)
			require.ElementsMatch(t, c.limits.Added, d.Limits.Added)
			require.Equal(t, len(d.Removed)+len(d.Added) == 0, len(touchedBy(wanted, d.Delta).touched) == 0, "limits touch no connection")
			m.learn(d)
			require.True(t, m.router.Equal(wanted))
			require.Equal(t, remember(wanted, want(wanted).links).index, m.index)
			require.Equal(t, d.Empty(), slices.Equal(r.Limits, wanted.Limits) && slices.Equal(r.FloatingIPs, wanted.FloatingIPs))
		})
	}
}
