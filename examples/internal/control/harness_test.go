package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/examples/internal/control"
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/l3/natsbus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, forLife) }

// forLife is a goroutine of nats-server that keeps rough time for the process; it has no end.
var forLife = goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.init.0.func1")

const (
	patience = 60 * time.Second
	secret   = "0123456789abcdef0123456789abcdef"
)

// server is one that runs in this process.
type server struct {
	*testing.T
	process *daemon.Process
	control *control.Control
	url     string // of the API
	stop    func()
}

// flags parses what a user would write; what the test does not say is in a directory of its own,
// and listens anywhere.
func flags(t *testing.T, args ...string) *control.Server {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(file, []byte(secret), 0o600))
	s := new(control.Server)
	k, err := kong.New(s)
	require.NoError(t, err)
	_, err = k.Parse(append([]string{
		"--listen=127.0.0.1:0", "--database=sqlite:" + filepath.Join(dir, "l3.db") + "?synchronous=normal", "--admin-project=demo",
		"--bus-listen=127.0.0.1:0", "--bus-dir=" + filepath.Join(dir, "bus"), "--bus-secret-file=" + file,
	}, args...))
	require.NoError(t, err)
	return s
}

func start(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{T: t, process: newProcess(t)}
	var err error
	s.control, err = flags(t, args...).Open(t.Context(), s.process)
	require.NoError(t, err)
	s.url = "http://" + s.control.Address() + "/v2.0/"
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(s.control.Serve(ctx), s.control.Close()) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(s.stop)
	return s
}

// call calls the API, and reads its answer.
func (s *server) call(method, path string, body any, want int) (answer map[string]map[string]any) {
	s.Helper()
	text, err := json.Marshal(body)
	require.NoError(s, err)
	r, err := http.NewRequestWithContext(s.Context(), method, s.url+path, bytes.NewReader(text))
	require.NoError(s, err)
	r.Header.Set("Content-Type", "application/json")
	got, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(s, err)
	defer got.Body.Close()
	text, err = io.ReadAll(got.Body)
	require.NoError(s, err)
	require.Equal(s, want, got.StatusCode, "%s", text)
	_ = json.Unmarshal(text, &answer) // of those that have this form
	return answer
}

// router asks for a network with a router on it, and returns the router's ID.
func (s *server) router(n int) string {
	s.Helper()
	type object = map[string]any
	network := s.call("POST", "networks", object{"network": object{}}, http.StatusCreated)["network"]["id"]
	subnet := s.call("POST", "subnets", object{"subnet": object{
		"network_id": network, "ip_version": 4, "cidr": fmt.Sprintf("10.0.%d.0/24", n),
	}}, http.StatusCreated)["subnet"]["id"]
	router := s.call("POST", "routers", object{"router": object{}}, http.StatusCreated)["router"]["id"].(string)
	s.call("PUT", "routers/"+router+"/add_router_interface", object{"subnet_id": subnet}, http.StatusOK)
	return router
}

func (s *server) active(router string) bool {
	s.Helper()
	return s.call("GET", "routers/"+router, nil, http.StatusOK)["router"]["status"] == "ACTIVE"
}

// says is what the process answers for itself.
func (s *server) says(path string) string {
	w := httptest.NewRecorder()
	s.process.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Body.String()
}

func (s *server) metrics() string { return s.says("/metrics") }
func (s *server) ready() bool     { return s.says("/readyz") == "ok\n" }

func newProcess(t *testing.T) *daemon.Process {
	return &daemon.Process{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: prometheus.NewRegistry()}
}

// eventually waits for what takes a while.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, patience, 10*time.Millisecond, what)
}

// join runs an agent whose kernel is a stand-in, and returns that and what ends the agent.
func join(t *testing.T, login natsbus.Login, host string, beat time.Duration) (*dataplane.FakeHost, func()) {
	t.Helper()
	login.Host, login.Password = host, natsbus.Credential([]byte(secret), host)
	source, err := natsbus.NewSource(connect(t, login), host, nil)
	require.NoError(t, err)
	kernel := &dataplane.FakeHost{}
	a, err := agent.New(agent.Config{
		Host: host, Machine: host, Source: source, Dataplane: dataplane.NewFake(kernel), HeartbeatEvery: beat, CheckEvery: -1,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return kernel, stop
}

// freeAddress returns an address that nobody listens at. Its port is below those that the kernel
// gives to outgoing connections, such as the attempts of servers to reach each other.
func freeAddress(t *testing.T) string {
	t.Helper()
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		l, err := net.Listen("tcp", address)
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, l.Close())
		return address
	}
}
