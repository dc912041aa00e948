package iptables

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// A floating IP more or less, in address scopes, leads by the delta to where a fresh Apply leads,
// and what others do to the chains is named and mended.
func TestScopes(t *testing.T) {
	for _, name := range []string{"scoped", "scoped-without-snat"} {
		t.Run(name, func(t *testing.T) {
			eachVariant(t, func(t *testing.T, v Variant) {
				p, r := newPlace(t, v), routers()[name]
				p.apply(r)
				before := p.Listing()
				more := without(r, func(r *dataplane.Router) { r.FloatingIPs = append(r.FloatingIPs, fip(8), fip(700)) })
				undo, err := p.rules.Apply(t.Context(), namespace.Change{Want: more, Since: added(fip(8), fip(700))})
				require.NoError(t, err)
				require.Empty(t, p.plan(more, nil), "the delta led elsewhere")
				require.NoError(t, undo(t.Context()))
				require.Equal(t, before, p.Listing())

				p.script("*filter\n-D l3kit-scopes -i qr-db -g l3kit-scope-0\nCOMMIT\n")
				require.Equal(t, []string{"+ rules filter l3kit-scopes: -i qr-db -g l3kit-scope-0"}, p.plan(r, nil))
				p.apply(r)
				require.Equal(t, before, p.Listing())
			})
		})
	}
}

// In address scopes no state between two tables lets anything out that neither router does: SNAT is
// there before the guard lets out what it is to translate, and goes after.
func TestScopesOrder(t *testing.T) {
	order := func(from, to dataplane.Router) (tables []string) {
		for _, s := range compare(render(from, ""), render(to, "")).sections() {
			tables = append(tables, s.table)
		}
		return tables
	}
	on, off, none := routers()["scoped"], routers()["scoped-without-snat"], routers()["snat-off"]
	require.Equal(t, []string{nat, filter}, order(off, on))
	require.Equal(t, []string{filter, nat}, order(on, off))
	require.Equal(t, []string{filter, nat}, order(none, on)[:2])
	require.Equal(t, filter, order(none, off)[0])
}
