package natsbus_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
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

	options natsbus.Options
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, server: start(t, natsbus.ServerConfig{Secret: secret, Dir: t.TempDir(), Listen: loopback})}
	r.nc = connect(t, natsbus.Login{Server: r.server})
	r.open(natsbus.Options{})
	return r
}

// open opens the bus of a deployment that has no routers yet.
func (r *rig) open(o natsbus.Options) {
	r.Helper()
	r.options = o
	var err error
	r.bus, err = natsbus.Open(r.Context(), r.nc, newWorld(), o)
	require.NoError(r, err)
}

func (r *rig) agent(host string) *nats.Conn {
	r.Helper()
	return connect(r.T, natsbus.Login{URLs: []string{r.server.URL()}, Host: host, Password: natsbus.Credential(secret, host)})
}

func (r *rig) source(host string) *natsbus.Source {
	r.Helper()
	s, err := natsbus.NewSource(r.agent(host), host, slog.New(slog.NewTextHandler(r.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	require.NoError(r, err)
	return s
}

// publish runs a publisher until the test ends.
func (r *rig) publish(w *world) *natsbus.Publisher {
	r.Helper()
	p := r.publisher(w)
	background(r.T, p.Run)
	return p
}

// publisher returns a publisher of a world, with a bus of its own.
func (r *rig) publisher(w *world) *natsbus.Publisher {
	r.Helper()
	o := r.options
	o.Poll = 10 * time.Millisecond
	o.Logger = slog.New(slog.NewTextHandler(r.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	b, err := natsbus.Open(r.Context(), r.nc, w, o)
	require.NoError(r, err)
	return natsbus.NewPublisher(w, b)
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

// world is a database: which router is where, what has left, and an outbox.
type world struct {
	hosting
	mu         sync.Mutex
	deployment l3.Deployment
	at         map[string]agent.Assignment
	left       map[string]l3.Placement // by host/router
	epoch      uint64
	hosts      []string
	outbox     []l3.Notice
	seq        uint64
	held       chan struct{}     // PlacementOf waits for it, when it is there
	waiting    chan struct{}     // closed when it waits
	asked      func(host string) // called by PlacementOf, when it is there
	broken     bool
	failed     int // how often it was broken when it was asked
	dones      int
	queued     [][]l3.Placement // given to Reconcile
	taken      map[string]error // by host: why its session is refused
	attached   []agent.Session
}

// deployment is that of a world that does not say otherwise.
const deployment = "00000000-0000-4000-8000-000000000001"

func newWorld(hosts ...string) *world {
	return &world{
		deployment: l3.Deployment{ID: deployment}, at: map[string]agent.Assignment{}, left: map[string]l3.Placement{},
		hosts: hosts, taken: map[string]error{},
	}
}

func (w *world) notice(host, id string, epoch uint64, gone bool) {
	w.seq++
	w.outbox = append(w.outbox, l3.Notice{Seq: w.seq, Host: host, RouterID: id, Epoch: epoch, Gone: gone})
}

// put changes a router, and moves it if it was elsewhere. Host "" takes it away.
func (w *world) put(host string, ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change(host, ids...)
}

func (w *world) change(host string, ids ...string) {
	for _, id := range ids {
		was, had := w.at[id]
		if had && was.Host != host {
			w.notice(was.Host, id, was.Epoch, true)
			w.left[was.Host+"/"+id] = l3.Placement{
				Host: was.Host, RouterID: id, Deployment: w.deployment.ID, Epoch: was.Epoch, Revision: was.Revision,
			}
			delete(w.at, id)
			had = false
		}
		if host == "" {
			continue
		}
		epoch := was.Epoch
		if !had {
			w.epoch++
			epoch = w.epoch
			delete(w.left, host+"/"+id)
		}
		w.at[id] = agent.Assignment{
			Host: host, Deployment: w.deployment.ID, Epoch: epoch, Revision: was.Revision + 1, Router: dataplane.Router{ID: id},
		}
		w.notice(host, id, epoch, false)
	}
}

func (w *world) Deployment(context.Context) (l3.Deployment, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.deployment, nil
}

func (w *world) ClaimBus(_ context.Context, bus, server string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := w.deployment; d.Bus.ID != "" && d.Bus.ID != bus && time.Since(d.Bus.SeenAt) < claimTime {
		return &l3.OtherBusError{Deployment: d, Bus: bus}
	}
	w.deployment.Bus = l3.BusClaim{ID: bus, Server: server, SeenAt: time.Now()}
	return nil
}

func (w *world) ReleaseBus(_ context.Context, bus, server string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deployment.Bus.ID == bus && w.deployment.Bus.Server == server {
		w.deployment.Bus = l3.BusClaim{}
	}
	return nil
}

// claimTime is l3.BusClaimTime, for the impatient.
const claimTime = 2 * time.Second

func (w *world) Hosts(context.Context) ([]string, error) { return w.hosts, nil }

func (w *world) Attach(_ context.Context, s agent.Session) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attached = append(w.attached, s)
	return w.taken[s.Host]
}

// Reconcile raises the epochs of routers of which the bus has a later version.
func (w *world) Reconcile(_ context.Context, queued []l3.Placement) (restored bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queued = append(w.queued, queued)
	highest := w.epoch
	for _, q := range queued {
		if q.Deployment != w.deployment.ID {
			continue
		}
		highest = max(highest, q.Epoch)
		a, ok := w.at[q.RouterID]
		restored = restored || !ok && w.left[q.Host+"/"+q.RouterID].RouterID == "" || ok && a.Host == q.Host &&
			(q.Epoch > a.Epoch || q.Epoch == a.Epoch && q.Revision > a.Revision)
	}
	if restored {
		w.epoch = highest
		for id, a := range w.at {
			w.epoch++
			a.Epoch = w.epoch
			w.at[id] = a
		}
	}
	return restored, nil
}

func (w *world) PlacementOf(_ context.Context, host, id string) (l3.Placement, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if asked := w.asked; asked != nil {
		w.mu.Unlock()
		asked(host)
		w.mu.Lock()
	}
	p, err := w.placement(host, id)
	if held := w.held; held != nil {
		w.held = nil
		w.mu.Unlock()
		close(w.waiting)
		<-held
		w.mu.Lock()
	}
	if w.broken {
		w.failed++
		return p, errBroken
	}
	return p, err
}

func (w *world) placement(host, id string) (l3.Placement, error) {
	if a, ok := w.at[id]; ok && a.Host == host {
		return l3.Placement{
			Host: host, RouterID: id, Deployment: a.Deployment, Epoch: a.Epoch, Revision: a.Revision, Assignment: &a,
		}, nil
	}
	if p, ok := w.left[host+"/"+id]; ok {
		return p, nil
	}
	return l3.Placement{}, &l3.Error{Kind: l3.ErrNotFound, Name: "RouterNotHosted"}
}

func (w *world) PlacementsOn(_ context.Context, host string) (all []l3.Placement, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, a := range w.at {
		if a.Host == host {
			p, err := w.placement(host, id)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
	}
	for _, p := range w.left {
		if p.Host == host {
			all = append(all, p)
		}
	}
	return all, nil
}

// Committed never receives: publishers look for themselves.
func (w *world) Committed() <-chan struct{} { return nil }

func (w *world) Unpublished(_ context.Context, limit int) ([]l3.Notice, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.outbox[:min(limit, len(w.outbox))]), nil
}

func (w *world) Published(_ context.Context, notices []l3.Notice) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dones++
	last := notices[len(notices)-1].Seq
	w.outbox = slices.DeleteFunc(w.outbox, func(n l3.Notice) bool { return n.Seq <= last })
	return nil
}

func (w *world) pending() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.outbox)
}

// watcher keeps what a Watch said.
type watcher struct {
	t      *testing.T
	mu     sync.Mutex
	have   map[string]agent.Assignment
	puts   int
	gone   map[string]uint64
	synced int
	peers  []netip.Addr

	deployment string // that the listing was of
	closed     bool
	stop       func()
}

func watch(t *testing.T, s agent.Source) *watcher {
	t.Helper()
	w := &watcher{t: t, have: map[string]agent.Assignment{}, gone: map[string]uint64{}}
	ctx, cancel := context.WithCancel(context.Background())
	var events <-chan agent.Event
	require.Eventually(t, func() bool {
		var err error
		events, err = s.Watch(ctx, agent.Session{})
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
		assert.Equal(w.t, deployment, e.Deployment)
		delete(w.have, e.RouterID)
		w.gone[e.RouterID] = e.Epoch
	case agent.Synced:
		w.synced++
		w.deployment = e.Deployment
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
