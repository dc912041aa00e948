package firewalltest

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
)

// CountingPlace is a [Place] whose counters can be set and seen.
type CountingPlace interface {
	Place

	// Count gives the counters of floating IP 5 values, so that it shows if they are lost.
	Count()

	// Counted is everything in the namespace with the counters of rules of ours, line by line, in
	// any order, and without what passes with time.
	Counted() []string
}

// Tamperings is what somebody else does to rules, by name.
type Tamperings map[string]struct {
	Script string
	Steps  []string // of the Plan after it
	Lost   bool     // it loses the counters itself
}

// Tamper holds a backend to this: what others do to its rules is named by Plan, mended by Apply and
// by nothing but that, and found in its place again after an undo. zeroed makes of a line with the
// values that Count sets one with zeros; stays reports whether a line is somebody else's, which
// tampering may have added and Apply leaves alone.
func Tamper[P CountingPlace](
	t *testing.T, open func(testing.TB) P, script func(P, string), cases Tamperings,
	zeroed *strings.Replacer, stays func(line string) bool,
) {
	r := Without(Example(FIP(5), FIP(6)), func(r *dataplane.Router) {
		r.Ports[0].Addrs = append(slices.Clone(r.Ports[0].Addrs), netip.MustParsePrefix("fd00::1/64"))
		r.PortForwardings = []dataplane.PortForwarding{Forward(200, dataplane.TCP, "80-81", 8080)}
	})
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			p.Foreign()
			Apply(t, p.Rules(), r)
			p.Count()
			whole := p.Counted()
			require.NotEqual(t, whole, each(whole, zeroed.Replace), "nothing was counted")
			require.Empty(t, Plan(t, p.Rules(), r, nil), "counters make no difference")

			script(p, c.Script)
			tampered := p.Counted()
			require.Equal(t, c.Steps, Plan(t, p.Rules(), r, nil))
			require.ElementsMatch(t, tampered, p.Counted(), "planning wrote")

			undo := Apply(t, p.Rules(), r)
			want := whole
			if c.Lost {
				want = each(whole, zeroed.Replace)
			}
			got := slices.DeleteFunc(p.Counted(), func(line string) bool { return stays(line) && !slices.Contains(whole, line) })
			require.ElementsMatch(t, want, got)
			require.Empty(t, Plan(t, p.Rules(), r, nil))
			if len(c.Steps) == 0 {
				require.Nil(t, undo)
				return
			}
			require.NoError(t, undo(t.Context()))
			require.ElementsMatch(t, tampered, p.Counted(), "undone")
		})
	}
}

func each(lines []string, fn func(string) string) []string {
	changed := make([]string, len(lines))
	for i, l := range lines {
		changed[i] = fn(l)
	}
	return changed
}
