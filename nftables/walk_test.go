package nftables

import (
	"context"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// Random changes, with and without deltas, taken back or not, through other processes and other
// writers, end where a fresh Apply ends.
func TestRandomWalk(t *testing.T) {
	needs.Root(t)
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p, r := newPlace(t), example()
		other := newSocket(p.fd)
		defer other.Close()
		p.apply(r)
		rt.Repeat(map[string]func(*rapid.T){
			"floating IPs": func(rt *rapid.T) {
				next := r
				next.FloatingIPs = drawFloatingIPs(rt)
				change := namespace.Change{Want: next, Since: since(r.FloatingIPs, next.FloatingIPs)}
				planned, err := p.rules.Plan(t.Context(), change)
				require.NoError(rt, err)
				undo, err := p.rules.Apply(t.Context(), change)
				require.NoError(rt, err)
				require.Equal(rt, len(planned) > 0, undo != nil, "planned %v", planned)
				r = keep(rt, undo, r, next)
			},
			"gateway": func(rt *rapid.T) {
				next := without(r, func(r *dataplane.Router) {
					r.Gateway = example().Gateway
					r.Gateway.SNAT = rapid.Bool().Draw(rt, "snat")
					r.Gateway.ID = rapid.SampledFrom([]string{"out", "other"}).Draw(rt, "gateway")
					r.Ports = r.Ports[:rapid.IntRange(0, len(r.Ports)).Draw(rt, "ports")]
				})
				r = keep(rt, p.apply(next), r, next)
			},
			"another process": func(*rapid.T) { p.Reopen() },
			"tampering": func(rt *rapid.T) {
				victim := rapid.SampledFrom(program(instance{}).sets).Draw(rt, "set")
				b := &batch{family: ipv4}
				b.add("flush set", unix.NFT_MSG_DELSETELEM, 0, func(ae *netlink.AttributeEncoder) {
					ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
					ae.String(unix.NFTA_SET_ELEM_LIST_SET, victim.name)
				})
				require.NoError(rt, other.commit(b, 0))
				p.apply(r)
			},
			"": func(rt *rapid.T) { require.Empty(rt, p.plan(r, nil)) },
		})
		fresh := newPlace(t)
		fresh.apply(r)
		require.Equal(rt, fresh.Listing(), p.Listing())
	})
}

// keep takes an Apply back, or not, and says which router that leaves.
func keep(rt *rapid.T, undo func(context.Context) error, before, after dataplane.Router) dataplane.Router {
	if undo == nil || !rapid.Bool().Draw(rt, "undo") {
		return after
	}
	require.NoError(rt, undo(context.Background()))
	return before
}

// drawFloatingIPs draws from few addresses, so that they are often taken from one another.
func drawFloatingIPs(rt *rapid.T) []dataplane.FloatingIP {
	numbers := rapid.SliceOfNDistinct(rapid.IntRange(1, 6), 0, 6, rapid.ID[int])
	addrs, fixed := numbers.Draw(rt, "addresses"), numbers.Draw(rt, "fixed addresses")
	var list []dataplane.FloatingIP
	for i := range min(len(addrs), len(fixed)) {
		f := fip(addrs[i])
		f.Fixed = fip(fixed[i]).Fixed
		list = append(list, f)
	}
	return list
}

func since(before, after []dataplane.FloatingIP) *namespace.Delta {
	absent := func(list, from []dataplane.FloatingIP) (out []dataplane.FloatingIP) {
		for _, f := range list {
			if !slices.Contains(from, f) {
				out = append(out, f)
			}
		}
		return out
	}
	return &namespace.Delta{Removed: absent(before, after), Added: absent(after, before)}
}
