package natsbus_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3/natsbus"
)

func TestPublisherTellsHosts(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1", "h2")
	w.put("h1", "r1", "r2")
	r.publish(w)
	one, two := watch(t, r.source("h1")), watch(t, r.source("h2"))
	one.until("h1 has two", func() bool { return one.synced == 1 && len(one.have) == 2 })
	two.until("h2 has none", func() bool { return two.synced == 1 && len(two.have) == 0 })
	w.put("h1", "r1")
	one.until("the change", func() bool { return one.have["r1"].Revision == 2 })
	require.Equal(t, "h1", one.have["r1"].Host)
	w.put("h2", "r1")
	one.until("it left h1", func() bool { return one.gone["r1"] == 1 })
	two.until("it came to h2", func() bool { return two.have["r1"].Epoch == 3 })
	w.put("h1", "r1")
	one.until("it came back", func() bool { return one.have["r1"].Epoch == 4 })
	w.put("", "r2")
	one.until("it was deleted", func() bool { return one.gone["r2"] == 2 })
	late := watch(t, r.source("h2"))
	late.until("who comes later is told who left, and is complete", func() bool { return late.synced == 1 && late.gone["r1"] == 3 })
	require.Empty(t, late.have)
}

// TestPublisherTellsHostsAtOnce: the hosts of one router do not wait for each other, but all of
// them wait until the host that it has left is told.
func TestPublisherTellsHostsAtOnce(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1", "h2", "h3")
	w.put("h1", "r1")
	r.publish(w)
	require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)
	js, err := jetstream.New(r.nc)
	require.NoError(t, err)
	stream, err := js.Stream(t.Context(), "KV_routers")
	require.NoError(t, err)
	var mu sync.Mutex
	asked, together := map[string]bool{}, make(chan struct{})
	w.mu.Lock()
	w.asked = func(host string) {
		if host == "h1" {
			return
		}
		m, err := stream.GetLastMsgForSubject(t.Context(), "$KV.routers.h1.r1")
		if assert.NoError(t, err) {
			assert.Contains(t, string(m.Data), `"router":null`, "h1 was not told before %s", host)
		}
		mu.Lock()
		asked[host] = true
		if len(asked) == 2 {
			close(together)
		}
		mu.Unlock()
		select {
		case <-together:
		case <-time.After(patience):
			assert.Fail(t, "one host waits for another", host)
		}
	}
	w.notice("h3", "r1", 1, false)
	w.change("h2", "r1")
	w.mu.Unlock()
	require.Eventually(t, func() bool { return w.pending() == 0 }, 2*patience, time.Millisecond)
	require.Len(t, asked, 2)
}

// TestPublisherHeldUp: one that was held up for long between compiling and writing does not bring
// back what has moved.
func TestPublisherHeldUp(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1", "h2")
	r.publish(w)
	seen := watch(t, r.source("h1"))
	seen.until("synced", func() bool { return seen.synced == 1 })
	held, waiting := make(chan struct{}), make(chan struct{})
	w.mu.Lock()
	w.held, w.waiting = held, waiting
	w.mu.Unlock()
	w.put("h1", "r1")
	<-waiting
	w.put("h2", "r1")
	r.publish(w)
	seen.until("the other publisher says that it left", func() bool { return seen.gone["r1"] == 1 })
	require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)
	w.mu.Lock()
	before := w.dones
	w.mu.Unlock()
	close(held)
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.dones > before
	}, patience, time.Millisecond)
	again := watch(t, r.source("h1"))
	again.until("synced", func() bool { return again.synced == 1 })
	require.Empty(t, again.have)
	require.Zero(t, seen.number())
}

// TestPublisherKilled: what was published without being marked as done is published again, which
// writes nothing.
func TestPublisherKilled(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1")
	r.publish(w)
	w.put("h1", "r1")
	seen := watch(t, r.source("h1"))
	seen.until("it is there", func() bool { return seen.synced == 1 && len(seen.have) == 1 })
	require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)
	w.mu.Lock()
	w.notice("h1", "r1", 1, false)
	w.notice("h1", "r1", 1, true) // late: it is there again
	w.mu.Unlock()
	require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)
	w.put("h1", "r2")
	seen.until("a sign", func() bool { return len(seen.have) == 2 })
	require.Equal(t, 2, seen.number())
	require.Empty(t, seen.gone)
}

// TestPublisherWaitsForTheDatabase: what cannot be compiled yet is neither lost nor taken for gone,
// and is published as it is by then.
func TestPublisherWaitsForTheDatabase(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1")
	w.put("h1", "r0")
	r.publish(w)
	seen := watch(t, r.source("h1"))
	seen.until("it is there", func() bool { return seen.synced == 1 && len(seen.have) == 1 })
	require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)
	w.setBroken(true)
	w.put("h1", "r0", "r1")
	w.put("h1", "r1")
	require.Eventually(t, func() bool { return w.failures() >= 3 }, patience, time.Millisecond, "it is tried again and again")
	require.Equal(t, 3, w.pending())
	require.Equal(t, 1, seen.number(), "nothing is published meanwhile")
	w.setBroken(false)
	seen.until("they come", func() bool { return seen.have["r0"].Revision == 2 && seen.have["r1"].Revision == 2 })
	require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)
	require.Equal(t, 3, seen.number(), "each once, and only the last version")
	require.Empty(t, seen.gone)
}

func (w *world) setBroken(is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = is
}

func (w *world) failures() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// TestBusLost: nobody takes an empty bus for an order to remove everything, and it is filled again.
func TestBusLost(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1")
	w.put("h1", "r1", "r2")
	r.publish(w)
	seen := watch(t, r.source("h1"))
	seen.until("both are there", func() bool { return seen.synced == 1 && len(seen.have) == 2 })
	js, err := jetstream.New(r.nc)
	require.NoError(t, err)
	require.NoError(t, js.DeleteStream(t.Context(), "KV_routers"))
	seen.until("the watch ends, because its history is gone", func() bool { return seen.closed })
	require.Empty(t, seen.gone)
	again := watch(t, r.source("h1"))
	again.until("all is there again", func() bool { return again.synced == 1 && len(again.have) == 2 })
}

// TestReconcileRepairs: a key that was lost, one that is too many, and one that is spoilt.
func TestReconcileRepairs(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1")
	w.put("h1", "r1", "r2", "r3")
	p := r.publish(w)
	seen := watch(t, r.source("h1"))
	seen.until("all are there", func() bool { return seen.synced == 1 && len(seen.have) == 3 })
	require.Eventually(t, func() bool { return w.pending() == 0 }, patience, time.Millisecond)
	js, err := jetstream.New(r.nc)
	require.NoError(t, err)
	stream, err := js.Stream(t.Context(), "KV_routers")
	require.NoError(t, err)
	require.NoError(t, stream.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.routers.h1.r1")))
	for id, value := range map[string]string{"r2": `{"stream":"reports","seq":1}`, "r9": `{"host":"h1","deployment":"` + deployment + `","epoch":1,"revision":1,"router":{"id":"r9"}}`} {
		_, err := js.Publish(t.Context(), "$KV.routers.h1."+id, []byte(value))
		require.NoError(t, err)
	}
	seen.until("the stray", func() bool { return len(seen.have) == 4 })
	require.NoError(t, p.ReconcileNow(t.Context()))
	seen.until("the watch ends, because the bus had lost something", func() bool { return seen.closed })
	require.Empty(t, seen.gone, "nobody recorded that the stray has left")
	again := watch(t, r.source("h1"))
	again.until("all are there", func() bool { return again.synced == 1 })
	require.Len(t, again.have, 3)
	require.NotContains(t, again.have, "r9")
}

func TestOpenTwiceAndChange(t *testing.T) {
	r := newRig(t)
	for _, life := range []time.Duration{0, time.Hour} {
		_, err := natsbus.Open(t.Context(), r.nc, newWorld(), natsbus.Options{Lifetime: life})
		require.NoError(t, err)
	}
}

func TestThousandRoutersAndSlowAgent(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1")
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprintf("r%d", i)
	}
	w.put("h1", ids...)
	r.publish(w)
	seen := watch(t, r.source("h1"))
	seen.until("it has begun", func() bool { return len(seen.have) > 0 })
	seen.mu.Lock() // and now it is busy, while everything changes
	w.put("h1", ids...)
	require.Eventually(t, func() bool { return w.pending() == 0 }, patience, 5*time.Millisecond)
	other := watch(t, r.source("h2"))
	other.until("another host is served meanwhile", func() bool { return other.synced == 1 })
	seen.mu.Unlock()
	seen.until("it has the last of each", func() bool {
		for _, a := range seen.have {
			if a.Revision != 2 {
				return false
			}
		}
		return len(seen.have) == len(ids) && seen.synced == 1
	})
	require.LessOrEqual(t, seen.number(), 2*len(ids))
}
