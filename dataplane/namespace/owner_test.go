package namespace

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// TestOwnerBesideTheMark: the alias of lo stays as older versions write it, who compare it as a
// whole.
func TestOwnerBesideTheMark(t *testing.T) {
	b := newBench(t)
	r := dataplane.Router{ID: "r1", Owner: "one"}
	b.apply(t, r)
	lo := b.loopback(t)
	require.Equal(t, "l3kit router=r1", lo.Alias)
	require.Equal(t, []string{"l3kit-one"}, lo.AltNames)
}

// TestOwnerIsMended: what somebody else does to the owner is seen, also by the watch, and put
// right. What is not ours stays.
func TestOwnerIsMended(t *testing.T) {
	b := newBench(t)
	r := dataplane.Router{ID: "r1", Owner: "one"}
	b.apply(t, r)
	b.apply(t, r) // trusted from now on
	announced, err := b.Watch(t.Context())
	require.NoError(t, err)
	for name, change := range map[string]func(*netlink.Handle, netlink.Link) error{
		"taken away":      func(h *netlink.Handle, lo netlink.Link) error { return h.LinkDelAltName(lo, "l3kit-one") },
		"another as well": func(h *netlink.Handle, lo netlink.Link) error { return h.LinkAddAltName(lo, "l3kit-two") },
	} {
		b.in(t, "r1", func(h *netlink.Handle) {
			lo, err := h.LinkByIndex(loopbackIndex)
			require.NoError(t, err)
			if name == "taken away" {
				require.NoError(t, h.LinkAddAltName(lo, "somebody-else-s"))
			}
			require.NoError(t, change(h, lo))
		})
		select {
		case d := <-announced:
			require.Equal(t, dataplane.Drift{Router: "r1", Kind: dataplane.KindLink}, d, name) // the owner is a name of lo
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: not announced", name)
		}
		plan, err := b.Plan(t.Context(), r)
		require.NoError(t, err)
		require.Len(t, plan.Steps, 1, name)
		require.Equal(t, dataplane.KindOwner, plan.Steps[0].Kind)
		require.False(t, plan.Disturbs())
		require.Equal(t, plan.Steps, b.apply(t, r).Steps)
		require.Empty(t, b.apply(t, r).Steps, name)
	}
	require.ElementsMatch(t, []string{"somebody-else-s", "l3kit-one"}, b.loopback(t).AltNames)
}

// TestOwnerOfTwo: when somebody has added a second owner, nobody knows which is true.
func TestOwnerOfTwo(t *testing.T) {
	b := newBench(t)
	b.apply(t, dataplane.Router{ID: "r1", Owner: "one"})
	in, err := b.Inspect(t.Context(), "r1")
	require.NoError(t, err)
	require.Equal(t, "one", in.Owner)
	b.in(t, "r1", func(h *netlink.Handle) {
		lo, err := h.LinkByIndex(loopbackIndex)
		require.NoError(t, err)
		require.NoError(t, h.LinkAddAltName(lo, "l3kit-two"))
	})
	in, err = b.Inspect(t.Context(), "r1")
	require.NoError(t, err)
	require.Empty(t, in.Owner)
}

// TestWithoutAlternativeNames: on a kernel that has none the router is realised, and nothing is
// planned that cannot be done.
func TestWithoutAlternativeNames(t *testing.T) {
	b := newBench(t)
	b.cfg.owning.asked, b.cfg.owning.has = true, false
	r := dataplane.Router{ID: "r1", Owner: "one"}
	plan, err := b.Plan(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, plan.Steps, b.apply(t, r).Steps)
	require.Empty(t, b.loopback(t).AltNames)
	require.Empty(t, b.apply(t, r).Steps)
	r.Owner = "two"
	require.Empty(t, b.apply(t, r).Steps)
}

// TestOwnerIsTakenBack: a change that fails leaves the owner as it was.
func TestOwnerIsTakenBack(t *testing.T) {
	b := newBench(t)
	b.apply(t, dataplane.Router{ID: "r1", Owner: "one"})
	k, err := b.registry.take(t.Context(), "r1")
	require.NoError(t, err)
	j, err := b.longJob(t.Context(), k.site, dataplane.Router{ID: "r1", Owner: "two"}, false, false)
	require.NoError(t, err)
	j.actions = append(j.actions[:1:1], action{do: func(context.Context) error { return unix.EIO }})
	err = j.run(t.Context())
	b.registry.leave(k)
	require.ErrorIs(t, err, dataplane.ErrOldInForce)
	require.Equal(t, []string{"l3kit-one"}, b.loopback(t).AltNames)
}

func (b *bench) loopback(t *testing.T) (a netlink.LinkAttrs) {
	t.Helper()
	b.in(t, "r1", func(h *netlink.Handle) {
		lo, err := h.LinkByIndex(loopbackIndex)
		require.NoError(t, err)
		a = *lo.Attrs()
	})
	return a
}
