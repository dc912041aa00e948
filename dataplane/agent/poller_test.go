package agent_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// table is a control plane in memory.
type table struct {
	mu         sync.Mutex
	routers    map[string]dataplane.Router
	gone       map[string]bool
	incomplete error
	err        error
	recorded   []string
}

func (t *table) List(context.Context) (agent.Listing, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return agent.Listing{Routers: maps.Clone(t.routers), Gone: slices.Collect(maps.Keys(t.gone)), Incomplete: t.incomplete}, t.err
}

func (t *table) Record(_ context.Context, router string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone[router], t.recorded = true, append(t.recorded, router)
	return nil
}

func (t *table) Forget(_ context.Context, router string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.gone, router)
	return nil
}

// edit changes the table, and lets the agent list it.
func (t *table) edit(change func()) {
	t.mu.Lock()
	change()
	t.mu.Unlock()
	after(time.Second)
}

// put lists routers, in a version that their MTU tells.
func (t *table) put(list ...agent.Assignment) {
	for _, a := range list {
		t.routers[a.Router.ID] = a.Router
	}
}

// newTable has an agent poll a table.
func newTable(t *testing.T) (*site, *table) {
	s := newSite(t)
	list := &table{routers: map[string]dataplane.Router{}, gone: map[string]bool{}}
	s.config.Source = &agent.Poller{Lister: list, Deployment: "table"}
	return s, list
}

// TestPollerFollowsTheListings: after an interval the host is as the listing says.
func TestPollerFollowsTheListings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, list := newTable(t)
		s.apply(router("orphan", 1, 1))
		list.put(router("r1", 1, 1), router("r2", 1, 1))
		s.start()
		defer s.end()
		s.has(router("r1", 1, 1), router("r2", 1, 1), router("orphan", 1, 1))

		list.edit(func() { list.put(router("r1", 1, 2)) })
		s.has(router("r1", 1, 2), router("r2", 1, 1), router("orphan", 1, 1))

		for range 2 { // a record is obeyed as often as there is one
			list.edit(func() { list.gone["orphan"] = true })
			s.has(router("r1", 1, 2), router("r2", 1, 1))
			require.Empty(t, list.gone, "the record ends with the router")
			s.apply(router("orphan", 1, 1))
			after(time.Second)
		}

		list.edit(func() { list.gone["r1"] = true })
		s.has(router("r1", 1, 2), router("r2", 1, 1), router("orphan", 1, 1))
		require.Empty(t, list.gone, "nor is there one of a router that is listed")

		writes := len(s.dataplane.log())
		after(time.Minute)
		require.Len(t, s.dataplane.log(), writes, "what does not change is not sent")
	})
}

// TestPollerRecordsWhatIsMissing: what is missing once may be about to be replaced, and what an
// incomplete listing lacks may be there.
func TestPollerRecordsWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, list := newTable(t)
		var log bytes.Buffer
		s.config.Source.(*agent.Poller).Logger = slog.New(slog.NewTextHandler(&log, nil))
		list.put(router("r1", 1, 1), router("r2", 1, 1))
		s.start()
		defer s.end()

		list.edit(func() { delete(list.routers, "r1") })
		list.edit(func() { list.put(router("r1", 1, 1)) })
		list.edit(func() { delete(list.routers, "r1") })
		require.Empty(t, list.recorded, "it was missing twice, and not in a row")
		list.edit(func() {
			list.incomplete = errors.New("cannot read a file")
			list.gone["r2"] = true
			delete(list.routers, "r2")
		})
		after(time.Minute)
		s.has(router("r1", 1, 1), router("r2", 1, 1))
		require.Empty(t, list.recorded)
		require.Equal(t, 1, lines(&log, "cannot read a file"), "a fault is logged once")

		list.edit(func() { list.incomplete = nil })
		s.has(router("r1", 1, 1))
		after(time.Second)
		require.Equal(t, []string{"r1"}, list.recorded)
		after(time.Second)
		s.has()
		require.Empty(t, list.gone)
	})
}

// TestPollerKeepsRoutersWhileItCannotList: what a listing lacks that comes after a failed one was
// not removed.
func TestPollerKeepsRoutersWhileItCannotList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, list := newTable(t)
		list.put(router("r1", 1, 1))
		s.start()
		defer s.end()
		list.edit(func() {
			list.err = errors.New("away")
			delete(list.routers, "r1")
		})
		after(time.Minute)
		list.edit(func() {
			list.err = nil
			list.put(router("r2", 1, 1))
		})
		after(2 * time.Minute)
		s.has(router("r1", 1, 1), router("r2", 1, 1))
		require.Empty(t, list.recorded)
	})
}

// TestPollerVersionsGrow: an agent with a cache follows the Poller of a new process.
func TestPollerVersionsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, list := newTable(t)
		s.start()
		for version := range uint64(3) {
			list.edit(func() { list.put(router("r1", 1, version+1)) })
		}
		s.end()
		list.put(router("r1", 1, 9))
		s.config.Source = &agent.Poller{Lister: list, Deployment: "table"}
		require.NoError(t, s.once(t.Context()))
		s.has(router("r1", 1, 9))
	})
}

// TestOnceNamesWhatCouldNotBeRead: what was read is applied.
func TestOnceNamesWhatCouldNotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, list := newTable(t)
		list.put(router("r1", 1, 1))
		list.incomplete = errors.New("cannot read a file")
		plans, err := s.plan()
		require.ErrorIs(t, err, list.incomplete)
		require.Len(t, plans, 1)
		require.ErrorIs(t, s.once(t.Context()), list.incomplete)
		s.has(router("r1", 1, 1))
	})
}

// observer is a table that routes addresses to where they are seen.
type observer struct {
	*table
	err  error
	seen []agent.Sightings
}

func (o *observer) Sight(_ context.Context, s agent.Sightings) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.seen = append(o.seen, s)
	}
	return o.err
}

// TestPollerPassesSightingsOn to a lister that takes them, and again after an error.
func TestPollerPassesSightingsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, list := newTable(t)
		s.config.Dataplane = dataplane.NewFake(s.host)
		o := &observer{table: list, err: errors.New("away")}
		s.config.Source = &agent.Poller{Lister: o, Deployment: "table"}
		list.put(sightingEdge())
		s.start()
		defer s.end()
		after(time.Second)
		require.True(t, s.host.Show("r", "web", address(7)))
		after(time.Second)
		list.edit(func() { o.err = nil })
		after(time.Minute)
		require.Len(t, o.seen, 1)
		require.Len(t, o.seen[0].Addrs, 1)
		require.Equal(t, address(7), o.seen[0].Addrs[0].Addr)
		require.Equal(t, "web", o.seen[0].Addrs[0].PortID)
	})
}
