package nftables

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What others do to the map and the chain of a router that clamps is named, and mended.
func TestTamperedClamping(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		steps  []string
	}{
		"another size":  {`delete element ip l3kit max_mss { "qr-db" }; add element ip l3kit max_mss { "qr-db" : 100 }`, []string{"~ rules max_mss qr-db: 1460, was 100"}},
		"a device less": {`delete element ip6 l3kit max_mss { "qr-web" }`, []string{"+ rules ip6 max_mss qr-web: 1340"}},
		"a device more": {`add element ip l3kit max_mss { "qr-x" : 100 }`, []string{"- rules max_mss qr-x: 100"}},
		"no rules":      {`flush chain ip l3kit clamp`, []string{"~ rules chain clamp: 2 rules missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, r := newPlace(t), routers()["clamped"]
			p.apply(r)
			before := p.Listing()
			p.script(c.script)
			require.Equal(t, c.steps, p.plan(r, nil))
			p.apply(r)
			require.Equal(t, before, p.Listing())
		})
	}
}
