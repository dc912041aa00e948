package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

var admin = l3.Caller{Project: "p", Admin: true, Roles: []string{"admin"}}

// open opens a server and closes it at the end of the test.
func open(t *testing.T, c server.Config) *server.Server {
	t.Helper()
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := server.Open(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// background runs something until the test ends, or stop is called.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(stop)
	return stop
}

// join runs the agent of a host in this process, and returns its kernel's stand-in.
func join(t *testing.T, s *server.Server, host string) (kernel *dataplane.FakeHost, stop func()) {
	t.Helper()
	source, err := s.Login(host)
	require.NoError(t, err)
	kernel = &dataplane.FakeHost{}
	a, err := agent.New(agent.Config{
		Host: host, Machine: host, Source: source, Dataplane: dataplane.NewFake(kernel), HeartbeatEvery: 200 * time.Millisecond, CheckEvery: -1,
	})
	require.NoError(t, err)
	return kernel, background(t, a.Run)
}

// router makes a router with an interface.
func router(t *testing.T, s *server.Server, cidr string) (id string) {
	t.Helper()
	svc, ctx := s.Service(), t.Context()
	networks, err := svc.CreateNetworks(ctx, admin, l3.NetworkSpec{})
	require.NoError(t, err)
	subnets, err := svc.CreateSubnets(ctx, admin, l3.SubnetSpec{NetworkID: &networks[0].ID, CIDR: new(netip.MustParsePrefix(cidr))})
	require.NoError(t, err)
	routers, err := svc.CreateRouters(ctx, admin, l3.RouterSpec{})
	require.NoError(t, err)
	_, err = svc.AddRouterInterface(ctx, admin, routers[0].ID, l3.InterfaceSpec{SubnetID: subnets[0].ID})
	require.NoError(t, err)
	return routers[0].ID
}

func active(t *testing.T, s *server.Server, id string) func() bool {
	return func() bool {
		r, err := s.Service().GetRouter(t.Context(), admin, id)
		require.NoError(t, err)
		return r.Status == l3.StatusActive
	}
}

func TestZeroConfigRealisesRouters(t *testing.T) {
	s := open(t, server.Config{})
	require.ErrorContains(t, s.Ready(t.Context()), "bus: the bus does not run")
	background(t, s.Run)
	require.Eventually(t, func() bool { return s.Ready(t.Context()) == nil }, patience, time.Millisecond)
	kernel, _ := join(t, s, "h1")
	id := router(t, s, "10.0.1.0/24")
	require.Eventually(t, active(t, s, id), patience, 5*time.Millisecond)
	realised, there := kernel.Router(id)
	require.True(t, there)
	require.Len(t, realised.Ports, 1)
	_, err := s.Login("not a host name")
	require.Error(t, err)
}

// TestAgentDownTime: one setting says when an agent is not alive, and when its routers move.
func TestAgentDownTime(t *testing.T) {
	s := open(t, server.Config{AgentDownTime: server.MinAgentDownTime})
	background(t, s.Run)
	_, kill := join(t, s, "h1")
	id := router(t, s, "10.0.1.0/24")
	require.Eventually(t, active(t, s, id), patience, 5*time.Millisecond)
	kernel, _ := join(t, s, "h2")
	alive := func() (n int) {
		agents, err := s.Service().ListAgents(t.Context(), admin, l3.Query{})
		require.NoError(t, err)
		for _, a := range agents {
			if a.Alive {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return alive() == 2 }, patience, 5*time.Millisecond)
	kill()
	require.Eventually(t, func() bool { _, there := kernel.Router(id); return there }, patience, 5*time.Millisecond)
	require.Eventually(t, active(t, s, id), patience, 5*time.Millisecond)
	require.Equal(t, 1, alive())
}

// count returns how many metrics there are, of some names or of any.
func count(t *testing.T, registry *prometheus.Registry, names ...string) (n int) {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if len(names) == 0 || slices.Contains(names, f.GetName()) {
			n += len(f.GetMetric())
		}
	}
	return n
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// get returns the status and the body of an answer.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

// TestTwoServersInOneProcess share nothing.
func TestTwoServersInOneProcess(t *testing.T) {
	var urls []string
	var servers []*server.Server
	for range 2 {
		l := listen(t, "127.0.0.1:0")
		s := open(t, server.Config{Auth: rest.None{Default: admin}, Listener: l, Metrics: prometheus.NewRegistry()})
		background(t, s.Run)
		servers, urls = append(servers, s), append(urls, "http://"+l.Addr().String()+"/v2.0/routers/")
	}
	kernels := make([]*dataplane.FakeHost, 2)
	for i, s := range servers {
		kernels[i], _ = join(t, s, "h1")
	}
	id := router(t, servers[0], "10.0.1.0/24")
	require.Eventually(t, active(t, servers[0], id), patience, 5*time.Millisecond)
	status, body := get(t, urls[0]+id)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"status":"ACTIVE"`)
	status, _ = get(t, urls[1]+id)
	require.Equal(t, http.StatusNotFound, status)
	_, there := kernels[1].Router(id)
	require.False(t, there)
}

// TestListener is free when Run has returned, or after Close.
func TestListenerIsClosed(t *testing.T) {
	for name, run := range map[string]bool{"after Run": true, "after Close": false} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, "127.0.0.1:0")
			s := open(t, server.Config{Listener: l})
			if run {
				background(t, s.Run)()
			} else {
				require.NoError(t, s.Close())
			}
			listen(t, l.Addr().String())
		})
	}
}

// TestMiddleware wraps the API, inside of what measures it.
func TestMiddleware(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := open(t, server.Config{Metrics: registry, Middleware: func(api http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Blocked") != "" {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			api.ServeHTTP(w, r)
		})
	}})
	ask := func(header string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
		r.Header.Set("X-Blocked", header)
		s.Handler().ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, http.StatusTeapot, ask("yes"))
	require.Equal(t, http.StatusOK, ask(""))
	n := count(t, registry, "l3kit_http_request_duration_seconds")
	require.Equal(t, 2, n, "one for each status")
}

// TestRequestLimit: a request that waits for the database is answered in time.
func TestRequestLimit(t *testing.T) {
	store := &stuck{Store: l3test.Open(t, "sqlite::memory:"), stuck: make(chan struct{})}
	s := open(t, server.Config{Store: store, Auth: rest.None{Default: admin}, Limits: server.Limits{Request: 50 * time.Millisecond}})
	close(store.stuck)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/v2.0/routers", nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code, w.Body.String())
}

// stuck is a store that does not answer once stuck is closed.
type stuck struct {
	l3.Store
	stuck chan struct{}
}

func (s *stuck) View(ctx context.Context, fn func(l3.Tx) error) error {
	select {
	case <-s.stuck:
		<-ctx.Done()
		return ctx.Err()
	default:
		return s.Store.View(ctx, fn)
	}
}

// TestMetricsAreUnregistered by Close, so that another server can have the registerer.
func TestMetricsAreUnregistered(t *testing.T) {
	registry := prometheus.NewRegistry()
	for range 2 {
		s := open(t, server.Config{Metrics: registry})
		n := count(t, registry)
		require.Positive(t, n)
		_, err := server.Open(t.Context(), server.Config{Metrics: registry})
		require.ErrorContains(t, err, "open server: Config.Metrics")
		after := count(t, registry)
		require.Equal(t, n, after, "the one that failed left those of the other alone")
		require.NoError(t, s.Close())
	}
	n := count(t, registry)
	require.Zero(t, n)
}

var errBus = errors.New("no bus today")

// TestDistributedByDefault: also those of members, who may not say.
func TestDistributedByDefault(t *testing.T) {
	for _, byDefault := range []bool{false, true} {
		s := open(t, server.Config{Distributed: byDefault})
		made, err := s.Service().CreateRouters(t.Context(), l3.Caller{Project: "p1", Roles: []string{"member"}}, l3.RouterSpec{})
		require.NoError(t, err)
		require.Equal(t, byDefault, made[0].Distributed)
		made, err = s.Service().CreateRouters(t.Context(), admin, l3.RouterSpec{Distributed: new(!byDefault)})
		require.NoError(t, err)
		require.Equal(t, !byDefault, made[0].Distributed)
	}
}

// TestOpenFails: what is wrong is named, and nothing stays.
func TestOpenFails(t *testing.T) {
	anywhere := listen(t, "0.0.0.0:0")
	for want, c := range map[string]server.Config{
		"Config.Limits":     {Limits: server.Limits{Read: -1}},
		"Config.Limits: ":   {Limits: server.Limits{Limits: rest.Limits{Body: -1}}},
		"Config.Middleware": {Middleware: func(http.Handler) http.Handler { return nil }},
		"Config.Bus":        {Bus: func(context.Context, l3.ControlPlane) (l3.Bus, error) { return nil, nil }},
		"Config.AgentDownTime: -1ns is less than 3s":   {AgentDownTime: -1},
		"Config.AgentDownTime: 1ns is less than 3s":    {AgentDownTime: 1},
		"Config.AgentDownTime: 2.999s is less than 3s": {AgentDownTime: 2999 * time.Millisecond},
		"Config.FailoverRate":                          {FailoverRate: -1},
		"Config.Quotas":                                {Quotas: map[string]int{"nonsense": 1}},
		"Config.Quotas: ":                              {Quotas: map[string]int{"router": -2}},
		"Config.MaxRoutes":                             {MaxRoutes: -2},
		"Config.PhysicalMTU":                           {PhysicalMTU: 1},
		"Config.URL":                                   {URL: "::nonsense"},
		"Config.URL: ":                                 {URL: "https://api.example/?a=b"},
		"Config.Listener":                              {Listener: anywhere},
		"Config.Listener: ":                            {Listener: anywhere, Auth: &rest.None{}},
		errBus.Error(): {Bus: func(context.Context, l3.ControlPlane) (l3.Bus, error) {
			return nil, errBus
		}},
	} {
		t.Run(want, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			store := l3test.Open(t, "sqlite::memory:")
			c.Metrics, c.Store = registry, store
			before := goleak.IgnoreCurrent()
			_, err := server.Open(t.Context(), c)
			require.ErrorContains(t, err, "open server: ")
			require.ErrorContains(t, err, want)
			require.True(t, errors.Is(err, l3.ErrInvalid) || errors.Is(err, errBus), err)
			goleak.VerifyNone(t, before)
			n := count(t, registry)
			require.Zero(t, n)
			require.NoError(t, store.View(t.Context(), func(l3.Tx) error { return nil }), "the store is the caller's")
		})
	}
	require.NoError(t, anywhere.Close(), "so is the listener")
	exposed := listen(t, "0.0.0.0:0")
	open(t, server.Config{Listener: exposed, Exposed: true})
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte("- {token: a-long-enough-token, project: p, user: u, roles: [member]}\n"), 0o600))
	tokens, err := rest.ReadTokens(file)
	require.NoError(t, err)
	open(t, server.Config{Listener: listen(t, "0.0.0.0:0"), Auth: tokens})
}

// brokenBus fails after a while.
type brokenBus struct{ l3.Bus }

func (brokenBus) Run(context.Context) error      { return errBus }
func (brokenBus) CaughtUp(context.Context) error { return errBus }
func (brokenBus) Close() error                   { return nil }

// TestRunEndsWithItsParts: when one fails, the others end.
func TestRunEndsWithItsParts(t *testing.T) {
	s := open(t, server.Config{Listener: listen(t, "127.0.0.1:0"), Bus: func(context.Context, l3.ControlPlane) (l3.Bus, error) {
		return brokenBus{}, nil
	}})
	require.ErrorIs(t, s.Run(t.Context()), errBus)
}

// TestRunAgain: a second Run fails, and the first goes on.
func TestRunAgain(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	s := open(t, server.Config{Auth: rest.None{Default: admin}, Listener: l})
	background(t, s.Run)
	require.Eventually(t, func() bool { return s.Ready(t.Context()) == nil }, patience, time.Millisecond)
	require.ErrorIs(t, s.Run(t.Context()), server.ErrRan)
	status, _ := get(t, "http://"+l.Addr().String()+"/v2.0/routers")
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, s.Ready(t.Context()))
}
