package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/service"
)

// site is a service with agents that live, in a time that passes when everybody waits. What joins
// them can be broken.
type site struct {
	*testing.T
	*service.Service
	store    *weakStore
	ctx      context.Context
	wg       sync.WaitGroup
	agents   map[string]context.CancelFunc // that end them
	busDown  atomic.Bool
	deafNow  atomic.Bool // nobody is heard, and nothing says why
	moved    atomic.Int64
	lastBeat sync.Map // by host
}

const downTime = 3 * time.Second

var errAway = errors.New("it is away")

// weakStore is a store that can be away.
type weakStore struct {
	l3.Store
	down atomic.Bool
	hung atomic.Pointer[chan struct{}] // until it is closed
}

func (s *weakStore) weather(ctx context.Context) error {
	if hung := s.hung.Load(); hung != nil {
		select {
		case <-*hung:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if s.down.Load() {
		return errAway
	}
	return nil
}

func (s *weakStore) View(ctx context.Context, fn func(l3.Tx) error) error {
	if err := s.weather(ctx); err != nil {
		return err
	}
	return s.Store.View(ctx, fn)
}

func (s *weakStore) Update(ctx context.Context, fn func(l3.Tx) error) error {
	if err := s.weather(ctx); err != nil {
		return err
	}
	return s.Store.Update(ctx, fn)
}

// onSite runs a test with agents h0, h1 and h2, which have beaten before, and routers on h0 alone.
func onSite(t *testing.T, routers int, test func(s *site)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := &site{T: t, ctx: ctx, store: &weakStore{Store: l3test.Open(t, "sqlite::memory:")}, agents: map[string]context.CancelFunc{}}
		var err error
		s.Service, err = service.New(service.Config{Store: s.store, AgentDownTime: downTime, Quotas: map[string]int{"router": -1, "network": -1, "subnet": -1}})
		require.NoError(t, err)
		s.beat("h0")
		who := member("p")
		for i := range routers {
			n, err := s.CreateNetworks(ctx, who, l3.NetworkSpec{})
			require.NoError(t, err)
			cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)
			sub, err := s.CreateSubnets(ctx, who, l3.SubnetSpec{NetworkID: &n[0].ID, CIDR: &cidr})
			require.NoError(t, err)
			r, err := s.CreateRouters(ctx, who, l3.RouterSpec{})
			require.NoError(t, err)
			_, err = s.AddRouterInterface(ctx, who, r[0].ID, l3.InterfaceSpec{SubnetID: sub[0].ID})
			require.NoError(t, err)
		}
		require.Equal(t, routers, s.on("h0"))
		s.beat("h1")
		s.beat("h2")
		test(s)
		stop()
		s.wg.Wait()
	})
}

func (s *site) beat(host string) {
	if s.busDown.Load() || s.deafNow.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, downTime/3)
	defer cancel()
	if _, err := s.Heartbeat(ctx, agent.Heartbeat{Host: host}); err == nil {
		s.lastBeat.Store(host, time.Now())
	}
}

// run starts the agents, out of step with each other.
func (s *site) run(hosts ...string) {
	for i, host := range hosts {
		ctx, stop := context.WithCancel(s.ctx)
		s.agents[host] = stop
		s.wg.Go(func() {
			for wait := time.Duration(i) * 300 * time.Millisecond; ; wait = downTime / 3 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(wait):
					s.beat(host)
				}
			}
		})
	}
}

func (s *site) failover(f service.Failover) {
	f.Service, f.DownTime, f.Logger = s.Service, downTime, slog.New(slog.NewTextHandler(s.Output(), nil))
	f.Moved = func(n int) { s.moved.Add(int64(n)) }
	if f.Hearing == nil {
		f.Hearing = func(context.Context) error {
			if s.busDown.Load() {
				return errAway
			}
			return nil
		}
	}
	s.wg.Go(func() { _ = f.Run(s.ctx) })
}

// on is how many routers a host has.
func (s *site) on(host string) int {
	s.Helper()
	all, err := s.DesiredOn(s.ctx, host)
	require.NoError(s, err)
	return len(all)
}

// dies ends an agent, and requires that its routers are elsewhere in time.
func (s *site) dies(host string) {
	s.Helper()
	had := s.on(host)
	require.NotZero(s, had)
	time.Sleep(50 * time.Millisecond) // no heartbeat is under way
	s.agents[host]()
	last, _ := s.lastBeat.Load(host)
	before := s.moved.Load()
	time.Sleep(time.Until(last.(time.Time).Add(downTime)))
	require.Equal(s, had, s.on(host), "it has its time")
	time.Sleep(500 * time.Millisecond)
	require.Zero(s, s.on(host), "then its routers move")
	require.EqualValues(s, before+int64(had), s.moved.Load())
}

func TestFailoverInTime(t *testing.T) {
	onSite(t, 100, func(s *site) {
		s.run("h0", "h1", "h2")
		s.failover(service.Failover{})
		time.Sleep(10 * downTime)
		require.Zero(s, s.moved.Load(), "everybody lives")
		s.dies("h0")
		require.Equal(s, 50, s.on("h1"))
		time.Sleep(downTime)
		s.dies("h1")
	})
}

func TestFailoverRate(t *testing.T) {
	onSite(t, 40, func(s *site) {
		s.run("h1", "h2")
		s.failover(service.Failover{Rate: 10})
		time.Sleep(downTime + 500*time.Millisecond)
		require.InDelta(s, 15, s.moved.Load(), 5, "a second's worth at once")
		time.Sleep(time.Second)
		require.InDelta(s, 25, s.moved.Load(), 5)
		time.Sleep(3 * time.Second)
		require.Zero(s, s.on("h0"))
	})
}

// TestFailoverBySeveral: each router moves once, whoever moves it.
func TestFailoverBySeveral(t *testing.T) {
	onSite(t, 30, func(s *site) {
		s.run("h0", "h1", "h2")
		for range 3 {
			s.failover(service.Failover{})
		}
		time.Sleep(2 * downTime)
		s.dies("h0")
		d, err := s.Deployment(s.ctx)
		require.NoError(s, err)
		require.EqualValues(s, 60, d.Epoch, "30 routers were placed, and moved once")
	})
}

// TestFailoverNotForWhatWasNotHeard: agents live all the time, and what they say is lost or late.
// Nothing may move. Afterwards one dies.
func TestFailoverNotForWhatWasNotHeard(t *testing.T) {
	const away = 20 * time.Second
	for what, happens := range map[string]func(s *site){
		"the servers were away": func(*site) {},
		"the bus is away": func(s *site) {
			s.busDown.Store(true)
			time.Sleep(away)
			s.busDown.Store(false)
		},
		"the database refuses": func(s *site) {
			s.store.down.Store(true)
			time.Sleep(away)
			s.store.down.Store(false)
		},
		"the database hangs": func(s *site) {
			back := make(chan struct{})
			s.store.hung.Store(&back)
			time.Sleep(away)
			s.store.hung.Store(nil)
			close(back)
		},
		"nobody is heard, for no known reason": func(s *site) {
			s.deafNow.Store(true)
			time.Sleep(away)
			s.deafNow.Store(false)
		},
		"one thing after another": func(s *site) {
			for range 5 {
				s.busDown.Store(true)
				time.Sleep(downTime + 100*time.Millisecond)
				s.store.down.Store(true)
				s.busDown.Store(false)
				time.Sleep(downTime + 100*time.Millisecond)
				s.store.down.Store(false)
				time.Sleep(downTime)
			}
		},
	} {
		t.Run(fmt.Sprint(what), func(t *testing.T) {
			onSite(t, 5, func(s *site) {
				time.Sleep(away)
				s.run("h0", "h1", "h2")
				s.failover(service.Failover{})
				s.failover(service.Failover{})
				time.Sleep(2*downTime + 50*time.Millisecond)
				happens(s)
				time.Sleep(3 * downTime)
				require.Zero(s, s.moved.Load())
				s.dies("h0")
			})
		})
	}
}

// TestFailoverOfAStoppedProcess: while it stood still nobody could be heard by it, whatever was
// ready when it went on.
func TestFailoverOfAStoppedProcess(t *testing.T) {
	onSite(t, 5, func(s *site) {
		var stands atomic.Bool
		s.run("h0", "h1", "h2")
		s.failover(service.Failover{Hearing: func(context.Context) error {
			if stands.Swap(false) {
				time.Sleep(20 * time.Second) // and it does not look at its context
			}
			return nil
		}})
		time.Sleep(2 * downTime)
		s.deafNow.Store(true)
		stands.Store(true)
		time.Sleep(20 * time.Second)
		s.deafNow.Store(false)
		s.beat("h1") // whose words come first; but h0 is not dead
		time.Sleep(2 * downTime)
		require.Zero(s, s.moved.Load())
		s.dies("h0")
	})
}

// TestRescheduleJudgesAsOfItsBeginning: what a call took to get through makes nobody dead.
func TestRescheduleJudgesAsOfItsBeginning(t *testing.T) {
	onSite(t, 5, func(s *site) {
		other, err := service.New(service.Config{Store: s.store.Store, AgentDownTime: downTime})
		require.NoError(t, err)
		back := make(chan struct{})
		s.store.hung.Store(&back)
		s.wg.Go(func() {
			time.Sleep(2 * downTime)
			_, err := other.Heartbeat(s.ctx, agent.Heartbeat{Host: "h1"})
			require.NoError(t, err)
			close(back)
		})
		moved, err := s.Reschedule(s.ctx, 100)
		require.NoError(t, err)
		require.Zero(t, moved)
		moved, err = s.Reschedule(s.ctx, 100)
		require.NoError(t, err)
		require.Equal(t, 5, moved)
	})
}

// TestFailoverGoesOnAfterErrors: they end nothing, and nothing is moved after one.
func TestFailoverGoesOnAfterErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		calls := failing(0)
		require.NoError(t, service.Failover{Service: &calls, DownTime: downTime}.Run(ctx))
		require.Greater(t, calls, failing(100))
	})
}

type failing int

func (f *failing) Reschedule(_ context.Context, limit int) (int, error) {
	*f++
	if limit > 0 {
		panic("after an error it moves nothing")
	}
	return 0, errAway
}
