package natsbus_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// TestClientWaitsForItsServer: it is made before there is a server, and outlives one that comes
// back with other secrets for a while.
func TestClientWaitsForItsServer(t *testing.T) {
	config := natsbus.ServerConfig{Secret: secret, Dir: t.TempDir(), Listen: freePort(t)}
	client := natsbus.NewClient(natsbus.Login{
		URLs: []string{"nats://" + config.Listen.String()}, Host: "h1", Password: natsbus.Credential(secret, "h1"),
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	background(t, client.Run)
	soon, end := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer end()
	_, err := client.Watch(soon, agent.Session{})
	require.ErrorContains(t, err, "no connection to the message queue")
	require.ErrorIs(t, err, context.DeadlineExceeded)

	w := newWorld("h1")
	w.put("h1", "r1")
	serve := func() *natsbus.Server {
		r := &rig{T: t, server: start(t, config)}
		r.nc = connect(t, natsbus.Login{Server: r.server})
		r.open(natsbus.Options{})
		r.publish(w)
		return r.server
	}
	waiting := make(chan *watcher, 1)
	go func() { waiting <- watch(t, client) }()
	server := serve()
	seen := <-waiting
	seen.until("the router is there", func() bool { return seen.synced == 1 && len(seen.have) == 1 })
	require.NoError(t, client.Heartbeat(t.Context(), agent.Heartbeat{}))

	server.Shutdown()
	other := natsbus.ServerConfig{Secret: []byte("fedcba9876543210"), Dir: t.TempDir(), Listen: config.Listen}
	stranger, err := natsbus.StartServer(other)
	require.NoError(t, err)
	seen.until("the watch ends, because its login is refused for good", func() bool { return seen.closed })
	stranger.Shutdown()
	w.put("h1", "r1")
	serve()
	again := watch(t, client)
	again.until("the router is there again", func() bool { return again.synced == 1 && again.have["r1"].Revision == 2 })
}

// TestClientWithAWrongPassword fails: it will not become right by waiting.
func TestClientWithAWrongPassword(t *testing.T) {
	s := start(t, natsbus.ServerConfig{Secret: secret, Dir: t.TempDir(), Listen: loopback})
	client := natsbus.NewClient(natsbus.Login{URLs: []string{s.URL()}, Host: "h1", Password: "guessed"})
	require.ErrorIs(t, client.Run(t.Context()), nats.ErrAuthorization)
	require.ErrorContains(t, natsbus.NewClient(natsbus.Login{URLs: []string{s.URL()}}).Run(t.Context()), "Login.Host is missing")
}
