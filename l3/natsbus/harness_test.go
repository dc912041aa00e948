package natsbus_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/agent"
	"github.com/l3kit/l3kit/l3/natsbus"
)

func TestMain(m *testing.M) {
	// nats-server has a goroutine of the process that keeps rough time; it has no end.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.init.0.func1"))
}

var (
	secret    = []byte("0123456789abcdef0123456789abcdef")
	loopback  = netip.MustParseAddrPort("127.0.0.1:0")
	errBroken = fmt.Errorf("the database is away")
)

const patience = 30 * time.Second

func start(t *testing.T, c natsbus.ServerConfig) *natsbus.Server {
	t.Helper()
	s, err := natsbus.StartServer(c)
	require.NoError(t, err)
	t.Cleanup(s.Shutdown)
	return s
}

func connect(t *testing.T, l natsbus.Login) *nats.Conn {
	t.Helper()
	nc, err := natsbus.Connect(l)
	require.NoError(t, err)
	t.Cleanup(func() {
		closed := nc.StatusChanged(nats.CLOSED)
		if !nc.IsClosed() {
			nc.Close()
			<-closed
		}
	})
	return nc
}

// rig is one server with an open bus.
type rig struct {
	*testing.T
	server *natsbus.Server
	nc     *nats.Conn
	bus    *natsbus.Bus
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, server: start(t, natsbus.ServerConfig{Secret: secret, Dir: t.TempDir(), Listen: loopback})}
	r.nc = connect(t, natsbus.Login{Server: r.server})
	var err error
	r.bus, err = natsbus.Open(t.Context(), r.nc, natsbus.Options{})
	require.NoError(t, err)
	return r
}

func (r *rig) agent(host string) *nats.Conn {
	r.Helper()
	return connect(r.T, natsbus.Login{URLs: []string{r.server.URL()}, Host: host, Password: natsbus.Credential(secret, host)})
}

func (r *rig) source(host string) *natsbus.Source {
	r.Helper()
	s, err := natsbus.NewSource(r.agent(host), host, nil)
	require.NoError(r, err)
	return s
}

// publish runs a publisher until the test ends.
func (r *rig) publish(w *world) *natsbus.Publisher {
	p := natsbus.NewPublisher(w, w, r.bus)
	p.Poll = 10 * time.Millisecond
	background(r.T, p.Run)
	return p
}

func background(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

// world is a database: which router is where, and an outbox.
type world struct {
	l3.Store
	mu      sync.Mutex
	at      map[string]l3.Assignment
	epochs  map[string]uint64
	agents  []l3.Agent
	outbox  []l3.Notice
	seq     uint64
	held    chan struct{} // DesiredOf waits for it, when it is there
	waiting chan struct{} // told that it waits
	broken  bool
	failed  int // times that it was, when it was asked
	dones   int
}

func newWorld(hosts ...string) *world {
	w := &world{at: map[string]l3.Assignment{}, epochs: map[string]uint64{}}
	for _, h := range hosts {
		w.agents = append(w.agents, l3.Agent{ID: h, Host: h})
	}
	return w
}

func (w *world) notice(host, id string, epoch uint64, gone bool) {
	w.seq++
	w.outbox = append(w.outbox, l3.Notice{Seq: w.seq, Host: host, RouterID: id, Epoch: epoch, Gone: gone})
}

// put changes a router, and moves it if it was elsewhere. Host "" takes it away.
func (w *world) put(host string, ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		was, had := w.at[id]
		if had && was.Host != host {
			w.notice(was.Host, id, was.Epoch, true)
			delete(w.at, id)
			had = false
		}
		if host == "" {
			continue
		}
		if !had {
			w.epochs[id]++
		}
		w.at[id] = l3.Assignment{Host: host, Epoch: w.epochs[id], Revision: was.Revision + 1, Router: dataplane.Router{ID: id}}
		w.notice(host, id, w.epochs[id], false)
	}
}

func (w *world) DesiredOf(ctx context.Context, id string) (l3.Assignment, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, ok := w.at[id]
	if held := w.held; held != nil {
		w.held = nil
		w.mu.Unlock()
		close(w.waiting)
		<-held
		w.mu.Lock()
	}
	if w.broken {
		w.failed++
		return a, errBroken
	}
	if !ok {
		return a, &l3.Error{Name: "RouterNotHosted", Status: 404}
	}
	return a, nil
}

func (w *world) DesiredOn(_ context.Context, host string) (all []l3.Assignment, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.at {
		if a.Host == host {
			all = append(all, a)
		}
	}
	return all, nil
}

func (w *world) View(_ context.Context, fn func(l3.Tx) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fn(worldTx{w: w})
}

func (w *world) Update(ctx context.Context, fn func(l3.Tx) error) error { return w.View(ctx, fn) }

func (w *world) pending() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.outbox)
}

type worldTx struct {
	l3.Tx
	w *world
}

func (tx worldTx) Outbox() l3.Outbox          { return worldOutbox(tx) }
func (tx worldTx) Agents() l3.Table[l3.Agent] { return worldAgents{w: tx.w} }

type worldAgents struct {
	l3.Table[l3.Agent]
	w *world
}

func (t worldAgents) List(context.Context, l3.Query) ([]l3.Agent, error) { return t.w.agents, nil }

type worldOutbox worldTx

func (o worldOutbox) Add(context.Context, ...l3.Notice) error { panic("not called") }

func (o worldOutbox) Next(_ context.Context, limit int) ([]l3.Notice, error) {
	return slices.Clone(o.w.outbox[:min(limit, len(o.w.outbox))]), nil
}

func (o worldOutbox) Done(_ context.Context, upTo uint64) error {
	o.w.dones++
	o.w.outbox = slices.DeleteFunc(o.w.outbox, func(n l3.Notice) bool { return n.Seq <= upTo })
	return nil
}

// watcher keeps what a Watch said.
type watcher struct {
	t      *testing.T
	mu     sync.Mutex
	have   map[string]l3.Assignment
	puts   int
	gone   map[string]uint64
	synced int
	peers  []netip.Addr
	closed bool
	stop   func()
}

func watch(t *testing.T, s agent.Source) *watcher {
	t.Helper()
	w := &watcher{t: t, have: map[string]l3.Assignment{}, gone: map[string]uint64{}}
	ctx, cancel := context.WithCancel(context.Background())
	var events <-chan agent.Event
	require.Eventually(t, func() bool {
		var err error
		events, err = s.Watch(ctx, l3.Session{})
		return err == nil
	}, patience, 20*time.Millisecond)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range events {
			w.take(e)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.closed = true
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(w.stop)
	return w
}

func (w *watcher) take(e agent.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := e.(type) {
	case agent.Put:
		w.have[e.Router.ID] = e.Assignment
		w.puts++
	case agent.Gone:
		delete(w.have, e.RouterID)
		w.gone[e.RouterID] = e.Epoch
	case agent.Synced:
		w.synced++
	case agent.Peers:
		w.peers = e.Addrs
	}
}

func (w *watcher) until(what string, holds func() bool) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return holds()
	}, patience, 10*time.Millisecond, what)
}

func (w *watcher) number() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.puts
}
