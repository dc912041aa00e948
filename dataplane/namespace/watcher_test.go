package namespace

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// heard waits for an announcement, or for the end of the channel.
func heard(t *testing.T, announced <-chan dataplane.Drift) (d dataplane.Drift, ok bool) {
	t.Helper()
	select {
	case d, ok = <-announced:
		return d, ok
	case <-time.After(20 * time.Second):
		require.Fail(t, "nothing was announced")
		return d, false
	}
}

func requireAnnounced(t *testing.T, announced <-chan dataplane.Drift, router string, kind dataplane.Kind) {
	t.Helper()
	got, ok := heard(t, announced)
	require.True(t, ok, "Watch has ended")
	require.Equal(t, dataplane.Drift{Router: router, Kind: kind}, got)
}

func addBridge(t *testing.T, b *bench, router, name string) {
	t.Helper()
	b.in(t, router, func(h *netlink.Handle) {
		require.NoError(t, h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}))
	})
}

func removeAddress(t *testing.T, b *bench, router string) {
	t.Helper()
	b.in(t, router, func(h *netlink.Handle) {
		l, err := h.LinkByName("qr-web")
		require.NoError(t, err)
		addrs, err := h.AddrList(l, netlink.FAMILY_V4)
		require.NoError(t, err)
		require.NoError(t, h.AddrDel(l, &addrs[0]))
	})
}

// named is threeLegs with another ID.
func named(id string) dataplane.Router {
	r := threeLegs()
	r.ID = id
	return r
}

func TestWatchAnnouncesOnceUntilApply(t *testing.T) {
	b := newBench(t)
	b.apply(t, named("r1"))
	b.apply(t, named("r2"))
	announced, err := b.Watch(t.Context())
	require.NoError(t, err)
	removeAddress(t, b, "r1")
	requireAnnounced(t, announced, "r1", dataplane.KindAddress)
	// More happens to the first, and Plan is no answer.
	_, err = b.Plan(t.Context(), named("r1"))
	require.NoError(t, err)
	addBridge(t, b, "r1", "qr-more")
	removeAddress(t, b, "r2")
	requireAnnounced(t, announced, "r2", dataplane.KindAddress)
	b.apply(t, named("r1"))
	removeAddress(t, b, "r1")
	requireAnnounced(t, announced, "r1", dataplane.KindAddress)
}

// Somebody who works in a router all the time, but not on what is the router's, is no reason to
// look at it.
func TestWatchIsSilentAboutOthersPossessions(t *testing.T) {
	b := newBench(t)
	b.apply(t, named("r1"))
	b.apply(t, named("r2"))
	announced, err := b.Watch(t.Context())
	require.NoError(t, err)
	for _, name := range []string{"theirs0", "theirs1"} {
		addBridge(t, b, "r1", name)
		b.in(t, "r1", func(h *netlink.Handle) {
			l, err := h.LinkByName(name)
			require.NoError(t, err)
			require.NoError(t, h.LinkSetMTU(l, 1400))
		})
	}
	time.Sleep(3 * settleTime) // that it would be announced first
	removeAddress(t, b, "r2")
	requireAnnounced(t, announced, "r2", dataplane.KindAddress)
}

func TestWatchAnnouncesWhenNotificationsAreLost(t *testing.T) {
	b := newBench(t)
	b.apply(t, named("r1"))
	k, err := b.registry.take(t.Context(), "r1")
	require.NoError(t, err)
	require.NoError(t, k.site.events.SetReadBuffer(4<<10))
	announced, err := b.Watch(t.Context())
	require.NoError(t, err)
	for i := range 40 { // nobody drains while the turn is taken
		addBridge(t, b, "r1", "theirs"+string(rune('a'+i%26))+string(rune('a'+i/26)))
	}
	b.registry.leave(k)
	requireAnnounced(t, announced, "r1", "")
}

func TestWatchEnds(t *testing.T) {
	b := newBench(t)
	b.apply(t, named("r1"))
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		announced, err := b.Watch(ctx)
		require.NoError(t, err)
		_, err = b.Watch(ctx)
		require.ErrorContains(t, err, "already")
		cancel()
		_, ok := heard(t, announced)
		require.False(t, ok)
		b.apply(t, named("r1")) // without a watcher
	}
	announced, err := b.Watch(t.Context())
	require.NoError(t, err)
	require.NoError(t, b.Close())
	_, ok := heard(t, announced)
	require.False(t, ok)
	_, err = b.Watch(t.Context())
	require.ErrorIs(t, err, dataplane.ErrClosed)
}

func TestWatchSeesNamesGoBeforeThereWasADirectory(t *testing.T) {
	b := newBench(t)
	require.NoDirExists(t, b.dir)
	announced, err := b.Watch(t.Context())
	require.NoError(t, err)
	b.apply(t, named("r1"))
	require.NoError(t, netns.Remove(b.dir, dataplane.NamespaceName("r1")))
	requireAnnounced(t, announced, "r1", dataplane.KindNamespace)
}

// doubtfulWiring fails to say how it is for a while.
type doubtfulWiring struct {
	*looseWiring
	mu      sync.Mutex
	failing bool
	lacks   bool
	changed chan func(string)
}

func (w *doubtfulWiring) Plan(ctx context.Context, ns NS, what ...Attachment) ([][]dataplane.Step, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.failing:
		w.failing = false
		return nil, errors.New("the switch does not answer")
	case w.lacks:
		return [][]dataplane.Step{{{Op: dataplane.Add, Kind: dataplane.KindWiring, Object: what[0].Device}}}, nil
	}
	return w.looseWiring.Plan(ctx, ns, what...)
}

func (w *doubtfulWiring) Watch(ctx context.Context, changed func(string)) error {
	w.changed <- changed
	<-ctx.Done()
	return ctx.Err()
}

// Wiring that cannot be asked is asked again; that is no reason to announce every router of the
// host.
func TestWatchAsksWiringAgain(t *testing.T) {
	b := newBench(t)
	w := &doubtfulWiring{looseWiring: b.wiring, changed: make(chan func(string), 1)}
	b.Dataplane.cfg.Wiring = w
	b.apply(t, named("r1"))
	announced, err := b.Watch(t.Context())
	require.NoError(t, err)
	changed := <-w.changed
	for _, router := range []string{"r1", ""} {
		b.apply(t, named("r1"))
		w.mu.Lock()
		w.failing, w.lacks = true, true
		w.mu.Unlock()
		changed(router)
		requireAnnounced(t, announced, "r1", dataplane.KindWiring)
		w.mu.Lock()
		require.False(t, w.failing)
		w.lacks = false
		w.mu.Unlock()
	}
}

// A reader who is slow, or does not read, holds up nothing, and finds each router once.
func TestWatchGathersForASlowReader(t *testing.T) {
	b := newBench(t)
	announced, err := b.Watch(t.Context())
	require.NoError(t, err)
	for range 3 {
		for _, id := range []string{"r1", "r2"} {
			b.apply(t, named(id))
			removeAddress(t, b, id)
		}
		require.Eventually(t, func() bool {
			k1, err1 := b.registry.take(t.Context(), "r1")
			require.NoError(t, err1)
			defer b.registry.leave(k1)
			k2, err2 := b.registry.take(t.Context(), "r2")
			require.NoError(t, err2)
			defer b.registry.leave(k2)
			return k1.site.told && k2.site.told
		}, 20*time.Second, 10*time.Millisecond)
	}
	got := map[string]int{}
	for len(got) < 2 {
		d, ok := heard(t, announced)
		require.True(t, ok)
		got[d.Router]++
	}
	require.LessOrEqual(t, got["r1"]+got["r2"], 3, "one may have been on its way")
}

// TestWatchAnnouncesAddressesOfLoopback: the router would answer for them.
func TestWatchAnnouncesAddressesOfLoopback(t *testing.T) {
	b := newBench(t)
	b.apply(t, named("r1"))
	announced, err := b.Watch(t.Context())
	require.NoError(t, err)
	for _, text := range []string{"10.77.0.2/32", "fd00:77::1/128"} {
		b.in(t, "r1", func(h *netlink.Handle) {
			l, err := h.LinkByName("lo")
			require.NoError(t, err)
			a, err := netlink.ParseAddr(text)
			require.NoError(t, err)
			require.NoError(t, h.AddrAdd(l, a))
		})
		requireAnnounced(t, announced, "r1", dataplane.KindAddress)
		plan, err := b.Plan(t.Context(), named("r1"))
		require.NoError(t, err)
		require.Contains(t, plan.String(), text)
		b.apply(t, named("r1"))
		plan, err = b.Plan(t.Context(), named("r1"))
		require.NoError(t, err)
		require.Empty(t, plan.Steps)
	}
}
