package iptables

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/firewalltest"
)

// At no instant does an edge lead an address out by the gateway that has no translation there.
func TestSteeringFollowsTranslation(t *testing.T) {
	moved := without(firewalltest.Edge(fip(5), fip(6)), func(r *dataplane.Router) { r.FloatingIPs[0].Fixed = fip(9).Fixed })
	for name, c := range map[string]struct{ before, after dataplane.Router }{
		"floating IP more": {firewalltest.Edge(fip(5)), firewalltest.Edge(fip(5), fip(300))},
		"floating IP less": {firewalltest.Edge(fip(5), fip(6)), firewalltest.Edge(fip(6))},
		"all gone":         {firewalltest.Edge(fip(5), fip(6)), firewalltest.Edge()},
		"moved":            {firewalltest.Edge(fip(5), fip(6)), moved},
		"edge to whole":    {firewalltest.Edge(fip(5), fip(6)), example(fip(6))},
		"whole to edge":    {example(fip(5), fip(6)), firewalltest.Edge(fip(6), fip(7))},
		"edge to centre":   {firewalltest.Edge(fip(5), fip(6)), firewalltest.Centre(fip(8))},
	} {
		t.Run(name, func(t *testing.T) {
			eachVariant(t, func(t *testing.T, v Variant) {
				p := newPlace(t, v)
				p.apply(c.before)
				have, _, err := p.side().read(t.Context())
				require.NoError(t, err)
				for _, s := range compare(have, render(c.after, " --random-fully")).sections() {
					run := p.script
					f, table := splitTable(s.table)
					if f == ipv6 {
						run = p.script6
					}
					run("*" + table + "\n" + s.lines + "COMMIT\n")
					rs, _, err := p.side().read(t.Context())
					require.NoError(t, err)
					if len(rs.chain(mangle, byFixed)) == 0 {
						continue
					}
					for chain, list := range rs[mangle].chains {
						for _, r := range list {
							if a, ok := parseMember(chain, r); ok && rootOf(chain) == byFixed {
								_, translated := rs.find(bySrc, a)
								require.True(t, translated, "%s after %s: %s", a, s.table, s.lines)
							}
						}
					}
				}
				require.Empty(t, p.plan(c.after, nil))
			})
		})
	}
}
