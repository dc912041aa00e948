package natsbus_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// flood sends a message as often as it can, without waiting for answers, until the function that it
// returns is called. That function returns how often it was sent.
func flood(t *testing.T, nc *nats.Conn, subject, text string) (stop func() int) {
	t.Helper()
	var over atomic.Bool
	sent, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for !over.Load() && nc.PublishRequest(subject, "_INBOX.nobody", []byte(text)) == nil {
			sent++
		}
	}()
	stop = sync.OnceValue(func() int {
		over.Store(true)
		<-done
		return sent
	})
	t.Cleanup(func() { stop() })
	return stop
}

// delays are times that something took.
type delays []time.Duration

// until waits for what began at a time.
func (d *delays) until(t *testing.T, what string, began time.Time, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, patience, time.Millisecond, what)
	*d = append(*d, time.Since(began))
}

func (d *delays) String() string {
	slices.Sort(*d)
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return fmt.Sprintf("median %s, maximum %s", round((*d)[len(*d)/2]), round((*d)[len(*d)-1]))
}

// TestFloodOfOneHost: while one host's login sends what is stored or answered as fast as it can,
// the heartbeats and reports of another host are stored and taken, and it is told of changes, long
// before it would count as dead.
func TestFloodOfOneHost(t *testing.T) {
	const rounds = 12
	r := newRig(t)
	w, h := newWorld("h1", "h2"), &hosting{}
	w.put("h2", "r1")
	r.publish(w)
	background(t, natsbus.NewConsumer(h, r.bus).Run)
	victim := r.source("h2")
	seen := watch(t, victim)
	seen.until("the router is there", func() bool { return seen.synced == 1 && len(seen.have) == 1 })

	var stops []func() int
	messages := map[string]string{
		"heartbeat": `{"host":"h1","instance":"flood"}`, "report": `{"host":"h1","router_id":"r9","epoch":1,"revision":1}`,
		"session": `{"host":"h1"}`,
	}
	attacker := r.agent("h1")
	for subject, text := range messages {
		stops = append(stops, flood(t, r.agent("h1"), subject, text))
	}
	require.Eventually(t, func() bool { return h.beat("h1").Instance == "flood" }, patience, time.Millisecond)
	var stored, taken, reported, changed delays
	for i := range rounds {
		instance, revision := fmt.Sprint(i), uint64(i)+1
		began := time.Now()
		stored.until(t, "the heartbeat is stored", began, func() bool {
			return victim.Heartbeat(t.Context(), agent.Heartbeat{Instance: instance}) == nil
		})
		taken.until(t, "the heartbeat is taken", began, func() bool { return h.beat("h2").Instance == instance })
		began = time.Now()
		stored.until(t, "the report is stored", began, func() bool {
			return victim.Report(t.Context(), agent.Report{RouterID: "r1", Epoch: 1, Revision: revision}) == nil
		})
		reported.until(t, "the report is taken", began, func() bool { return h.reported("h2", revision) })
		began = time.Now()
		w.put("h2", "r1")
		changed.until(t, "the change is at the agent", began, func() bool {
			seen.mu.Lock()
			defer seen.mu.Unlock()
			return seen.have["r1"].Revision == w.revision("r1")
		})
	}
	sent := 0
	for _, stop := range stops {
		sent += stop()
	}
	t.Logf("while %d messages were sent: stored: %s; heartbeat taken: %s; report taken: %s; change: %s",
		sent, &stored, &taken, &reported, &changed)
	require.False(t, seen.closed)

	// The host itself is served again.
	own, err := natsbus.NewSource(attacker, "h1", nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return own.Heartbeat(ctx, agent.Heartbeat{Instance: "calm"}) == nil && h.beat("h1").Instance == "calm"
	}, patience, 10*time.Millisecond)
}
