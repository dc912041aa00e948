package natsbus_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestOneLoginIsBounded: what one host's login can make the server keep has limits, and other hosts
// go on.
func TestOneLoginIsBounded(t *testing.T) {
	r := newRig(t)
	w := newWorld("h1", "h2")
	w.put("h2", "r1")
	r.publish(w)
	seen := watch(t, r.source("h2"))
	seen.until("the other host's router", func() bool { return seen.synced == 1 && len(seen.have) == 1 })

	login := natsbus.Login{URLs: []string{r.server.URL()}, Host: "h1", Password: natsbus.Credential(secret, "h1")}
	var conns []*nats.Conn
	for len(conns) <= 100 {
		nc, err := natsbus.Connect(login)
		if err != nil {
			require.ErrorIs(t, err, nats.ErrAuthorization)
			break
		}
		t.Cleanup(nc.Close)
		conns = append(conns, nc)
	}
	require.Len(t, conns, 8, "connections")

	nc := conns[0]
	closed := nc.StatusChanged(nats.CLOSED, nats.RECONNECTING)
	refused := make(chan error, 2000)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	for range 1100 {
		_, err := nc.SubscribeSync(nats.NewInbox())
		require.NoError(t, err)
	}
	require.NoError(t, nc.Flush())
	require.ErrorIs(t, <-refused, nats.ErrMaxSubscriptionsExceeded)
	require.Empty(t, closed)

	// Nobody reads the reports.
	source, err := natsbus.NewSource(conns[1], "h1", nil)
	require.NoError(t, err)
	stored := 0
	for ; err == nil && stored < 1000; stored++ {
		err = source.Report(t.Context(), agent.Report{RouterID: "r", Epoch: 1})
	}
	require.ErrorContains(t, err, "maximum messages per subject exceeded")
	require.Equal(t, 257, stored, "reports")
	require.ErrorContains(t, source.Heartbeat(t.Context(), agent.Heartbeat{Binary: strings.Repeat("x", 2<<20)}), "message size exceeds maximum")

	// Sessions that nobody waits for.
	for range 20_000 {
		require.NoError(t, conns[2].PublishRequest("session", "_INBOX.x", []byte(`{"host":"h1"}`)))
	}
	w.put("h2", "r1")
	seen.until("the other host's change", func() bool { return seen.have["r1"].Revision == 2 })
	require.NoError(t, r.source("h2").Report(t.Context(), agent.Report{RouterID: "r1", Epoch: 1}))
	again := watch(t, r.source("h2"))
	again.until("the other host has a session", func() bool { return again.synced == 1 })
}
