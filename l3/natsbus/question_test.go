package natsbus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3/natsbus"
)

// answer has a host answer questions until the test ends.
func answer(t *testing.T, s *natsbus.Source, how func(question []byte) []byte) (stop func()) {
	t.Helper()
	return background(t, func(ctx context.Context) error {
		return s.Answer(ctx, func(_ context.Context, q []byte) []byte { return how(q) })
	})
}

// ask asks until the host listens.
func ask(t *testing.T, nc *nats.Conn, host, question string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		a, err := natsbus.Ask(ctx, nc, host, []byte(question))
		if err == nil {
			return string(a)
		}
		require.ErrorIs(t, err, natsbus.ErrNoAgent)
	}
}

// TestQuestions: each question gets its own answer, from the host that was asked. Without an agent
// there is an error at once.
func TestQuestions(t *testing.T) {
	r := newRig(t)
	_, err := natsbus.Ask(t.Context(), r.nc, "h1", []byte(`1`))
	require.ErrorIs(t, err, natsbus.ErrNoAgent)
	require.ErrorContains(t, err, "ask host h1: ")

	var stops []func()
	for _, host := range []string{"h1", "h2"} {
		stops = append(stops, answer(t, r.source(host), func(q []byte) []byte { return fmt.Appendf(nil, `"%s heard %s"`, host, q) }))
		ask(t, r.nc, host, `0`)
	}
	var all sync.WaitGroup
	for i := range 20 {
		host := fmt.Sprint("h", 1+i%2)
		all.Go(func() {
			a, err := natsbus.Ask(t.Context(), r.nc, host, fmt.Append(nil, i))
			if err != nil || string(a) != fmt.Sprintf(`"%s heard %d"`, host, i) {
				t.Errorf("asked %s: %s, %v", host, a, err)
			}
		})
	}
	all.Wait()
	stops[0]()
	_, err = natsbus.Ask(t.Context(), r.nc, "h2", []byte(`3`))
	require.NoError(t, err)
}

// TestQuestionsAcrossServers: the agent is connected to another server of the cluster than the
// control plane.
func TestQuestionsAcrossServers(t *testing.T) {
	c := newCluster(t)
	nc := connect(t, natsbus.Login{URLs: c.urls[:1], Password: natsbus.ControlCredential(secret)})
	host := connect(t, natsbus.Login{URLs: c.urls[nodes-1:], Host: "h1", Password: natsbus.Credential(secret, "h1")})
	s, err := natsbus.NewSource(host, "h1", nil)
	require.NoError(t, err)
	answer(t, s, func(q []byte) []byte { return q })
	require.Equal(t, `"up?"`, ask(t, nc, "h1", `"up?"`))
}

// TestSilentAgent: nobody waits longer than the caller wants for an agent that does not answer.
func TestSilentAgent(t *testing.T) {
	r := newRig(t)
	held := make(chan struct{})
	answer(t, r.source("h1"), func([]byte) []byte { <-held; return []byte(`1`) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = natsbus.Ask(t.Context(), r.nc, "h1", []byte(`1`))
	}()
	asked := make(chan error, 1)
	go func() {
		_, err := natsbus.Ask(ctx, r.nc, "h1", []byte(`2`))
		asked <- err
	}()
	cancel()
	require.ErrorIs(t, <-asked, context.Canceled)
	close(held)
}
