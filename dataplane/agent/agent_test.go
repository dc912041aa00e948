package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// Tests run in a bubble in which time passes only when everything waits, so a minute's pause costs
// nothing and decides nothing.

// site is a host with an agent.
type site struct {
	t         *testing.T
	plane     *controlPlane
	host      *dataplane.FakeHost
	dataplane *watched
	config    agent.Config
	agent     *agent.Agent
	stop      context.CancelFunc
	ended     chan error
}

func newSite(t *testing.T) *site {
	s := &site{t: t, plane: newControlPlane()}
	fake := dataplane.NewFake(nil)
	s.host = fake.Host()
	s.dataplane = &watched{Dataplane: fake, failing: map[string]error{}}
	s.config = agent.Config{Host: "host1", Source: s.plane, Dataplane: s.dataplane, Cache: filepath.Join(t.TempDir(), "cache")}
	return s
}

func (s *site) start() {
	var err error
	s.agent, err = agent.New(s.config)
	require.NoError(s.t, err)
	ctx, stop := context.WithCancel(s.t.Context())
	s.stop, s.ended = stop, make(chan error, 1)
	go func() { s.ended <- s.agent.Run(ctx) }()
	synctest.Wait()
}

func (s *site) end() {
	s.stop()
	require.NoError(s.t, <-s.ended)
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *site) routers() []string {
	ids, err := s.dataplane.List(s.t.Context())
	require.NoError(s.t, err)
	return ids
}

// has says that the host has exactly these routers, as they are wanted.
func (s *site) has(want ...agent.Assignment) {
	s.t.Helper()
	ids := []string{}
	for _, a := range want {
		ids = append(ids, a.Router.ID)
		plan, err := s.dataplane.Dataplane.Plan(s.t.Context(), a.Router)
		require.NoError(s.t, err)
		require.True(s.t, plan.Empty(), "%v", plan)
	}
	require.ElementsMatch(s.t, ids, s.routers())
}

// watched is a dataplane that notes what is done, and fails or waits when told to.
type watched struct {
	dataplane.Dataplane
	mu      sync.Mutex
	applied []string // "id@mtu"
	failing map[string]error
	slow    time.Duration
}

func (w *watched) Apply(ctx context.Context, r dataplane.Router) (dataplane.Plan, error) {
	w.mu.Lock()
	note := r.ID
	if len(r.Ports) > 0 {
		note += fmt.Sprint("@", r.Ports[0].MTU)
	}
	w.applied = append(w.applied, note)
	err, slow := w.failing[r.ID], w.slow
	w.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return dataplane.Plan{}, ctx.Err()
	}
	if err != nil {
		return dataplane.Plan{}, err
	}
	return w.Dataplane.Apply(ctx, r)
}

func (w *watched) fail(id string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing[id] = err
}

func (w *watched) log() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.applied...)
}

// router is one with a port, whose MTU tells the versions apart.
func router(id string, epoch, revision uint64) agent.Assignment {
	return agent.Assignment{Epoch: epoch, Revision: revision, Router: dataplane.Router{
		ID: id,
		Ports: []dataplane.Port{{
			ID: "port-of-" + id, Network: dataplane.Network{ID: "network-of-" + id}, MAC: dataplane.MAC{2, 0, 0, 0, 0, 1},
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}, MTU: 1400 + int(revision),
		}},
	}}
}

func TestAppliesWhatItIsGivenAndReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.put(router("r1", 1, 1))
		s.start()
		defer s.end()
		s.has(router("r1", 1, 1))

		s.plane.put(router("r1", 1, 2), router("r2", 1, 1))
		synctest.Wait()
		s.has(router("r1", 1, 2), router("r2", 1, 1))
		report, _ := s.plane.lastReport("r1")
		require.Equal(t, agent.Report{Host: "host1", RouterID: "r1", Epoch: 1, Revision: 2, Instance: report.Instance, Seq: report.Seq}, report)
		require.NotEmpty(t, report.Instance)
		require.NotZero(t, report.Seq)

		s.plane.take("r1")
		synctest.Wait()
		s.has(router("r2", 1, 1))
	})
}

func TestChangesOvertakeTheInitialSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.Parallel = 1
		s.dataplane.slow = time.Second
		for i := range 10 {
			s.plane.put(router(fmt.Sprint("r", i), 1, 1))
		}
		s.start()
		defer s.end()
		s.plane.put(router("r9", 1, 2))
		after(1500 * time.Millisecond)
		require.Equal(t, []string{"r0@1401", "r9@1402"}, s.dataplane.log(), "the change waits for nothing but the one at work")
	})
}

func TestOneRouterThatFailsDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.Parallel = 1
		s.dataplane.fail("r1", errors.New("physical network physnet7 is not on this host"))
		s.plane.put(router("r1", 1, 1), router("r2", 1, 1))
		s.start()
		defer s.end()
		s.has(router("r2", 1, 1))
		report, _ := s.plane.lastReport("r1")
		require.Contains(t, report.Error, "physnet7")
		require.Equal(t, 1, s.agent.Status().Failing)

		after(10 * time.Minute)
		attempts := 0
		for _, note := range s.dataplane.log() {
			if note == "r1@1401" {
				attempts++
			}
		}
		require.Greater(t, attempts, 10, "it is tried again and again")
		require.Less(t, attempts, 30, "but less and less often")

		s.dataplane.fail("r1", nil)
		s.plane.put(router("r1", 1, 2))
		synctest.Wait()
		s.has(router("r1", 1, 2), router("r2", 1, 1))
		report, _ = s.plane.lastReport("r1")
		require.Empty(t, report.Error, "a new version is tried at once")
	})
}

func TestLateMessagesChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.start()
		defer s.end()
		s.plane.put(router("r1", 2, 5))
		synctest.Wait()
		for _, late := range []agent.Event{
			agent.Put{Assignment: router("r1", 2, 4)}, agent.Put{Assignment: router("r1", 1, 9)}, agent.Gone{RouterID: "r1", Epoch: 1, Revision: 9},
			agent.Gone{RouterID: "r1", Epoch: 2, Revision: 4},
		} {
			s.plane.send(late)
			synctest.Wait()
			s.has(router("r1", 2, 5))
		}

		s.plane.take("r1")
		synctest.Wait()
		s.plane.send(agent.Put{Assignment: router("r1", 2, 5)})
		synctest.Wait()
		require.Empty(t, s.routers(), "a router that was deleted does not come back through a late message")

		s.plane.put(router("r1", 2, 6))
		synctest.Wait()
		s.has(router("r1", 2, 6))
	})
}

func TestSilenceTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		stray := router("stray", 1, 1).Router
		_, err := s.dataplane.Dataplane.Apply(t.Context(), stray)
		require.NoError(t, err)
		s.plane.cut()
		s.plane.routers["r1"] = router("r1", 1, 1)
		s.start()
		defer s.end()
		after(time.Hour)
		require.Equal(t, []string{"stray"}, s.routers(), "nobody said what should be here")
		require.False(t, s.agent.Status().Synced)

		s.plane.mend()
		after(time.Minute)
		s.has(router("r1", 1, 1), agent.Assignment{Router: stray})
		require.Equal(t, []string{"stray"}, s.agent.Status().Orphans)

		s.plane.cut()
		after(time.Hour)
		s.has(router("r1", 1, 1), agent.Assignment{Router: stray})
		delete(s.plane.routers, "r1") // without a record
		s.plane.routers["r2"] = router("r2", 1, 1)
		s.plane.mend()
		after(time.Minute)
		s.has(router("r1", 1, 1), router("r2", 1, 1), agent.Assignment{Router: stray})
		require.Equal(t, []string{"r1", "stray"}, s.agent.Status().Orphans)

		s.plane.take("r1") // which records that it has left
		after(time.Minute)
		s.has(router("r2", 1, 1), agent.Assignment{Router: stray})
	})
}

func TestDriftIsPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.put(router("r1", 1, 1))
		s.start()
		defer s.end()
		require.NoError(t, s.dataplane.Dataplane.Delete(t.Context(), "r1"))
		after(6 * time.Minute)
		s.has(router("r1", 1, 1))
		require.Equal(t, 1, s.agent.Status().Corrected)
	})
}

func TestHeartbeatCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.Capabilities.Dataplane = "fake"
		s.plane.put(router("r1", 1, 1), router("r2", 1, 1))
		s.start()
		defer s.end()
		after(time.Minute)
		h := s.plane.lastHeartbeat()
		require.Equal(t, "host1", h.Host)
		require.Equal(t, agent.Capabilities{Dataplane: "fake", PortForwarding: true, AddressScopes: true, Limits: true, Routers: new(2), Interfaces: new(2), Gateways: new(0), FloatingIPs: new(0)}, h.Capabilities)
	})
}

// TestWorkloadsAreAnnounced: a heartbeat has the ports by which workloads are attached, if that is
// known, and Announce does not wait for the next.
func TestWorkloadsAreAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		ports := func() []string { return s.plane.lastHeartbeat().Inventory.Ports }
		s.start()
		after(time.Minute)
		require.Nil(t, ports(), "it does not know")
		s.end()

		var attached []string
		var fault error
		s.config.Workloads = func(context.Context) ([]string, error) { return attached, fault }
		s.start()
		defer s.end()
		after(time.Minute)
		require.Equal(t, []string{}, ports(), "it knows of none")
		text, err := json.Marshal(s.plane.lastHeartbeat().Inventory)
		require.NoError(t, err)
		require.Contains(t, string(text), `"ports":[]`, "which is another thing on the wire")

		attached = []string{"p1", "p2"}
		s.agent.Announce()
		synctest.Wait()
		require.Equal(t, attached, ports())
		fault = errors.New("away")
		s.agent.Announce()
		synctest.Wait()
		require.Nil(t, ports(), "it does not know for now")
		require.NotNil(t, s.plane.lastHeartbeat().Inventory.Routers, "the routers are known all the same")
	})
}

func TestStopsWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.dataplane.slow = time.Hour
		s.plane.put(router("r1", 1, 1))
		s.start()
		begin := time.Now()
		s.end()
		require.Less(t, time.Since(begin), time.Second)
		_, reported := s.plane.lastReport("r1")
		require.False(t, reported, "being stopped says nothing about the router")
	})
}

// TestEndsBeforeItBegins: nothing that waits for the loop keeps it from ending.
func TestEndsBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			s := newSite(t)
			a, err := agent.New(s.config)
			require.NoError(t, err)
			ctx, stop := context.WithCancel(t.Context())
			stop()
			require.NoError(t, a.Run(ctx))
			require.Zero(t, a.Status())
		}
	})
}

func TestIncompleteConfigurations(t *testing.T) {
	for missing, c := range map[string]agent.Config{
		"Host":      {Source: newControlPlane(), Dataplane: dataplane.NewFake(nil)},
		"Source":    {Host: "h", Dataplane: dataplane.NewFake(nil)},
		"Dataplane": {Host: "h", Source: newControlPlane()},
	} {
		_, err := agent.New(c)
		require.ErrorContains(t, err, "Config."+missing)
	}
	for field, c := range map[string]agent.Config{
		"Parallel":       {Parallel: -1},
		"HeartbeatEvery": {HeartbeatEvery: -1},
		"RetryMin":       {RetryMin: -1},
		"RetryMax":       {RetryMin: 2, RetryMax: 1},
		"Lease":          {Lease: -1},
		"AgentDownTime":  {AgentDownTime: -1},
		"OnDisconnect":   {OnDisconnect: agent.Fence + 1},
	} {
		c.Host, c.Source, c.Dataplane = "h", newControlPlane(), dataplane.NewFake(nil)
		_, err := agent.New(c)
		require.ErrorContains(t, err, "Config."+field+": ")
	}
}

// TestAnnouncesWhatAnotherHostHadToo: the router's neighbours may have heard of it from there last.
func TestAnnouncesWhatAnotherHostHadToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.start()
		put := func(epoch, revision, announce uint64) int {
			a := router("r1", epoch, revision)
			a.Router.Ports[0].MTU, a.Announce = 1400, announce
			s.plane.put(a)
			s.plane.send(agent.Put{Assignment: a})
			after(time.Second)
			return s.host.Announced("r1")
		}
		require.Zero(t, put(1, 1, 0), "Apply announces what is new")
		require.Zero(t, put(1, 2, 0))
		require.Equal(t, 1, put(1, 3, 3), "another host has let go")
		require.Equal(t, 1, put(1, 4, 3), "that was announced")
		require.Equal(t, 2, put(2, 5, 0), "it was elsewhere, and this host never let go")
		s.end()
		s.start()
		defer s.end()
		after(time.Minute)
		require.Equal(t, 2, s.host.Announced("r1"), "the cache says what was applied")
		require.Equal(t, 3, put(2, 8, 7), "in a revision that this host has skipped")
	})
}
