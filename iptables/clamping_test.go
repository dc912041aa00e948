package iptables

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What others do to the chain of a router that clamps is named, and mended.
func TestTamperedClamping(t *testing.T) {
	const rule = "-i qr-db -p tcp -m tcp --tcp-flags SYN,RST SYN -m tcpmss --mss 1461:65535 -j TCPMSS --set-mss 1460"
	for name, c := range map[string]struct {
		script string
		steps  []string
	}{
		"a rule less": {"-D l3kit-mss " + rule, []string{"+ rules filter l3kit-mss: " + rule}},
		"a rule more": {"-A l3kit-mss -p tcp -j DROP", []string{"- rules filter l3kit-mss: -p tcp -j DROP"}},
		"no rules":    {"-D FORWARD " + isSYN + " -j l3kit-mss", []string{"~ rules filter FORWARD: our rule is not once, and first"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachVariant(t, func(t *testing.T, v Variant) {
				p, r := newPlace(t, v), routers()["clamped"]
				p.apply(r)
				before := p.Listing()
				p.script("*filter\n" + c.script + "\nCOMMIT\n")
				require.Equal(t, c.steps, p.plan(r, nil))
				p.apply(r)
				require.Equal(t, before, p.Listing())
			})
		})
	}
}
