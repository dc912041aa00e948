package nftables

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// A floating IP more or less, in address scopes, leads by the delta to where a fresh Apply leads,
// and what others do to the sets is named and mended.
func TestScopes(t *testing.T) {
	for _, name := range []string{"scoped", "scoped-without-snat"} {
		t.Run(name, func(t *testing.T) {
			p, r := newPlace(t), routers()[name]
			p.apply(r)
			before := p.Listing()
			more := without(r, func(r *dataplane.Router) { r.FloatingIPs = append(r.FloatingIPs, fip(20)) })
			undo, err := p.rules.Apply(t.Context(), namespace.Change{Want: more, Since: &namespace.Delta{Added: fips(20, 21)}})
			require.NoError(t, err)
			require.NotZero(t, p.rules.generation, "it took the long way")
			require.Empty(t, p.plan(more, nil), "the delta led elsewhere")
			require.NoError(t, undo(t.Context()))
			require.Equal(t, before, p.Listing())

			p.script(`delete element ip l3kit scope_0 { "qr-db" }`)
			require.Equal(t, []string{"+ rules scope_0 qr-db"}, p.plan(r, nil))
			p.apply(r)
			require.Equal(t, before, p.Listing())
		})
	}
	p, r := newPlace(t), routers()["scoped-without-snat"]
	p.apply(r)
	p.script("delete element ip l3kit leaving { 10.0.0.5 }")
	require.Equal(t, []string{"+ rules leaving 10.0.0.5"}, p.plan(r, nil))
}
