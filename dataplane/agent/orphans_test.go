package agent_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// of is a router that a deployment asks for.
func of(deployment string, a agent.Assignment) agent.Assignment {
	a.Deployment = deployment
	return a
}

// become makes the control plane one of another deployment, with no routers and no records.
func (c *controlPlane) become(deployment string) {
	c.cut()
	c.deployment = deployment
	clear(c.routers)
	clear(c.left)
	c.mend()
}

// TestAnotherDeploymentRemovesNothing: a control plane that is empty, or somebody else's, leaves
// what runs alone, over restarts of the agent too, and the first one has its routers back when it
// returns.
func TestAnotherDeploymentRemovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.deployment = "one"
		r1, r2 := of("one", router("r1", 7, 3)), of("one", router("r2", 8, 1))
		s.plane.put(r1, r2)
		s.start()
		after(time.Minute)
		require.Empty(t, s.agent.Status().Orphans)
		require.Equal(t, "one", s.plane.lastHeartbeat().Deployment)

		for _, restart := range []bool{false, true} {
			s.plane.become("two")
			if restart {
				s.end()
				s.start()
			}
			after(time.Minute)
			s.has(r1, r2)
			require.Equal(t, []string{"r1", "r2"}, s.agent.Status().Orphans)
			h := s.plane.lastHeartbeat()
			require.Equal(t, "two", h.Deployment)
			require.Len(t, h.Inventory.Routers, 2)
			require.Equal(t, agent.RunningRouter{
				ID: "r1", Epoch: 7, Revision: 3, Orphan: true, Deployment: "one", Addrs: agent.HeldAddrs(r1.Router),
			}, h.Inventory.Routers[0])
			require.Zero(t, h.Inventory.MaxEpoch, "epochs of another deployment say nothing about this one")
			kept, err := agent.ReadCache(s.config.Cache)
			require.NoError(t, err)
			require.Equal(t, []string{"r1", "r2"}, kept.Orphans)

			// The new deployment's routers work, with lower versions than the other has reached.
			r3 := of("two", router("r3", 1, 1))
			s.plane.put(r3)
			after(time.Minute)
			s.has(r1, r2, r3)
			s.plane.take("r3")
			after(time.Minute)
			s.has(r1, r2)

			s.plane.become("one")
			s.plane.put(r1, r2)
			after(time.Minute)
			s.has(r1, r2)
			require.Empty(t, s.agent.Status().Orphans)
		}
		require.Equal(t, "two", s.plane.sessions[len(s.plane.sessions)-1].Deployment, "a session names whom the agent served before")
		s.plane.take("r1")
		after(time.Minute)
		s.has(r2)
		s.end()
	})
}

// TestOrphansAreRepaired: they are kept as well as any router.
func TestOrphansAreRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		r1 := of("one", router("r1", 1, 1))
		s.plane.deployment = "one"
		s.plane.put(r1)
		s.start()
		s.plane.become("two")
		after(time.Minute)
		require.Equal(t, []string{"r1"}, s.agent.Status().Orphans)
		require.NoError(t, s.dataplane.Dataplane.Delete(t.Context(), "r1"))
		after(6 * time.Minute)
		s.has(r1)
		s.end()

		// After a boot it does not run, and is not made: it may be elsewhere by now.
		s.dataplane.Dataplane = dataplane.NewFake(nil)
		s.start()
		after(time.Hour)
		s.has()
		require.Empty(t, s.agent.Status().Orphans)
		s.end()
	})
}

func TestRemoveOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		require.Error(t, must(agent.New(s.config)).RemoveOrphan(t.Context(), "r1"), "it does not run")
		s.plane.deployment = "one"
		r1, r2 := of("one", router("r1", 1, 1)), of("two", router("r2", 1, 1))
		s.plane.put(r1)
		_, err := s.dataplane.Dataplane.Apply(t.Context(), router("stray", 1, 1).Router)
		require.NoError(t, err)
		s.start()
		defer s.end()
		s.plane.become("two")
		s.plane.put(r2)
		after(time.Minute)
		require.Equal(t, []string{"r1", "stray"}, s.agent.Status().Orphans)
		require.ErrorIs(t, s.agent.RemoveOrphan(t.Context(), "r2"), agent.ErrNotOrphan)
		require.ErrorIs(t, s.agent.RemoveOrphan(t.Context(), "nothing"), agent.ErrNotOrphan)
		for _, id := range []string{"r1", "stray"} {
			require.NoError(t, s.agent.RemoveOrphan(t.Context(), id))
		}
		after(time.Hour)
		s.has(r2)
		require.Empty(t, s.agent.Status().Orphans)
		kept, err := agent.ReadCache(s.config.Cache)
		require.NoError(t, err)
		require.Empty(t, kept.Orphans)
		require.Len(t, kept.Routers, 1)
	})
}

// TestRecordedDepartureOfAnOrphan: an administrator removes an orphan through the control plane,
// whose versions have nothing to do with the orphan's.
func TestRecordedDepartureOfAnOrphan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.deployment = "one"
		s.plane.put(of("one", router("r1", 100, 100)))
		s.start()
		s.plane.become("two")
		after(time.Minute)
		s.plane.left["r1"] = agent.Gone{RouterID: "r1", Deployment: "two", Epoch: 1, Orphan: true}
		s.end()
		s.start() // it hears of the departure before it knows that the router is an orphan
		defer s.end()
		after(time.Minute)
		s.has()
		require.Empty(t, s.plane.left, "the agent has confirmed it")
	})
}

// TestSameVersionAnotherContent: a database that was restored may count to a version again.
func TestSameVersionAnotherContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.put(router("r1", 1, 2))
		s.start()
		defer s.end()
		again := router("r1", 1, 2)
		again.Router.Ports[0].MTU = 1300
		s.plane.put(again)
		after(time.Minute)
		s.has(again)
	})
}

// TestRefused: an agent whose host name another machine uses applies nothing, not even what it has
// in its cache, and does not send heartbeats; when the other is gone it works.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.put(router("r1", 1, 1))
		s.start()
		s.end()
		s.dataplane.Dataplane = dataplane.NewFake(nil) // a copy of the machine
		s.plane.refusing = fmt.Errorf("%w: %w", agent.ErrRefused, errors.New("h1 is in use"))
		s.plane.heartbeats = nil
		s.start()
		defer s.end()
		after(time.Hour)
		s.has()
		require.True(t, s.agent.Status().Refused)
		require.LessOrEqual(t, len(s.plane.heartbeats), 1, "no more than one that was sent before the refusal")
		s.plane.mu.Lock()
		s.plane.refusing = nil
		s.plane.mu.Unlock()
		after(time.Minute)
		s.has(router("r1", 1, 1))
		require.False(t, s.agent.Status().Refused)
	})
}

// TestInventory: it says what runs in which version, and what does not.
func TestInventory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.CheckEvery = -1
		s.plane.put(router("r1", 1, 2), router("r2", 5, 1), router("r3", 1, 1))
		s.dataplane.fail("r3", errors.New("not now"))
		s.start()
		after(time.Minute)
		running := func() []agent.RunningRouter { return s.plane.lastHeartbeat().Inventory.Routers }
		want := []agent.RunningRouter{{ID: "r1", Epoch: 1, Revision: 2}, {ID: "r2", Epoch: 5, Revision: 1}}
		require.Equal(t, want, running())
		require.EqualValues(t, 5, s.plane.lastHeartbeat().Inventory.MaxEpoch)
		seqs := []uint64{}
		for _, h := range s.plane.heartbeats {
			seqs = append(seqs, h.Inventory.Seq)
		}
		require.True(t, slices.IsSorted(seqs))

		require.NoError(t, s.dataplane.Dataplane.Delete(t.Context(), "r1"))
		after(time.Minute)
		require.Equal(t, want[1:], running(), "somebody took it away")
		s.end()

		s.dataplane.slow = time.Hour // the next process has looked at nothing yet
		s.start()
		defer s.end()
		require.Equal(t, want[1:], running(), "the versions are those of the cache")
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestHostThatLostItsCache: what runs is known from the host: another deployment's listing removes
// nothing, and is told whose the routers are and which addresses they have. The listing of their
// own deployment takes them on as they are.
func TestHostThatLostItsCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.deployment = "one"
		r1, r2 := of("one", router("r1", 7, 3)), of("one", router("r2", 8, 1))
		s.plane.put(r1, r2)
		s.start()
		after(time.Minute)
		s.end()
		lose := func() {
			require.NoError(t, os.RemoveAll(s.config.Cache))
			s.dataplane.Dataplane = dataplane.NewFake(s.host) // a new process
		}

		lose()
		s.plane.become("two")
		s.plane.heartbeats = nil
		s.start()
		after(time.Minute)
		s.has(r1, r2)
		require.Equal(t, []string{"r1", "r2"}, s.agent.Status().Orphans)
		require.Equal(t, "one", s.plane.sessions[len(s.plane.sessions)-1].Deployment)
		require.Equal(t, agent.RunningRouter{
			ID: "r1", Orphan: true, Deployment: "one",
			Addrs: []agent.HeldAddr{{
				Network: dataplane.Network{ID: "network-of-r1", Type: dataplane.NetworkLocal}, Addr: netip.MustParseAddr("10.0.0.1"),
			}},
		}, s.plane.lastHeartbeat().Inventory.Routers[0])
		r3 := of("two", router("r3", 1, 1))
		s.plane.put(r3)
		after(time.Minute)
		s.has(r1, r2, r3)
		s.end()

		lose()
		s.plane.become("one")
		s.plane.put(r1, r2)
		writes := s.host.Writes()
		s.start()
		after(time.Minute)
		require.Equal(t, writes, s.host.Writes(), "they are as they were")
		require.Equal(t, []string{"r3"}, s.agent.Status().Orphans)
		for i, h := range s.plane.lastHeartbeat().Inventory.Routers {
			require.Equal(t, []string{"", "", "two"}[i], h.Deployment)
			require.Equal(t, []uint64{3, 1, 0}[i], h.Revision)
		}
		s.end()
	})
}

// TestInventoryBeforeTheListing: an agent without a cache says at once what the host shows.
func TestInventoryBeforeTheListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.Cache = ""
		stray := router("stray", 1, 1).Router
		stray.Owner = "one"
		must(s.dataplane.Dataplane.Apply(t.Context(), stray))
		s.plane.silent = true
		s.start()
		defer s.end()
		h := s.plane.lastHeartbeat()
		require.Equal(t, "one", h.Deployment)
		require.Len(t, h.Inventory.Routers, 1)
		require.Equal(t, "one", h.Inventory.Routers[0].Deployment)
		require.Len(t, h.Inventory.Routers[0].Addrs, 1)
		require.False(t, h.Inventory.Routers[0].Orphan, "that is not known yet")
	})
}

// TestDeploymentThatCannotBeAnOwner: a control plane may call itself as it likes.
func TestDeploymentThatCannotBeAnOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.deployment = "the one in the cellar"
		r1 := of(s.plane.deployment, router("r1", 1, 1))
		s.plane.put(r1)
		s.start()
		defer s.end()
		s.has(r1)
	})
}

// lines counts the lines that were logged with a text.
func lines(log *bytes.Buffer, text string) int { return strings.Count(log.String(), text) }

// TestOrphansThatAreTakenOn: a control plane that gives the host the routers that run there, when
// it has seen them in an inventory, makes no noise. Orphans that stay are logged once.
func TestOrphansThatAreTakenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var log bytes.Buffer
		s.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s.plane.deployment = "one"
		r1, r2 := of("one", router("r1", 1, 1)), of("one", router("r2", 1, 1))
		s.plane.put(r1, r2)
		s.start()
		s.end()
		s.plane.become("one")
		s.config.Host = "renamed"
		s.start()
		defer s.end()
		require.Equal(t, []string{"r1", "r2"}, s.agent.Status().Orphans)
		require.True(t, s.plane.lastHeartbeat().Inventory.Routers[0].Orphan)
		s.plane.put(of("one", router("r1", 2, 1)))
		after(time.Hour)
		const orphaned = "no record of it"
		require.Equal(t, 1, lines(&log, orphaned), log.String())
		require.Contains(t, log.String(), "router=r2 deployment=one")
		require.NotContains(t, log.String(), "router=r1 deployment")
	})
}

// TestRemovedOrphanIsNotShown: an inventory without it follows at once, whoever had it removed.
func TestRemovedOrphanIsNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.HeartbeatEvery = time.Hour
		s.plane.deployment = "one"
		s.plane.put(of("one", router("r1", 1, 1)), of("one", router("r2", 1, 1)))
		for _, stray := range []string{"stray", "tramp"} { // which the agent has never heard of
			must(s.dataplane.Dataplane.Apply(t.Context(), router(stray, 1, 1).Router))
		}
		s.start()
		defer s.end()
		s.plane.become("two")
		synctest.Wait()
		after(time.Minute)
		shown := func() (ids []string) {
			for _, r := range s.plane.lastHeartbeat().Inventory.Routers {
				ids = append(ids, r.ID)
			}
			return ids
		}
		require.Equal(t, []string{"r1", "r2", "stray", "tramp"}, s.agent.Status().Orphans)
		require.Equal(t, s.agent.Status().Orphans, shown())
		require.NoError(t, s.agent.RemoveOrphan(t.Context(), "r1"))
		synctest.Wait()
		require.Equal(t, []string{"r2", "stray", "tramp"}, shown())
		require.NoError(t, s.agent.RemoveOrphan(t.Context(), "stray"))
		synctest.Wait()
		require.Equal(t, []string{"r2", "tramp"}, shown())
		for _, id := range []string{"r2", "tramp"} {
			s.plane.send(agent.Gone{RouterID: id, Deployment: "two", Epoch: 1, Orphan: true})
		}
		synctest.Wait()
		require.Empty(t, shown())
	})
}

// TestRoutersThatWereNotThere: taking one away that is not on the host is no news, and is reported.
func TestRoutersThatWereNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var log bytes.Buffer
		s.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s.plane.put(router("r1", 1, 1))
		s.plane.left["gone"] = agent.Gone{RouterID: "gone", Epoch: 1, Revision: 1}
		s.start()
		defer s.end()
		require.Empty(t, s.plane.left, "it is confirmed")
		require.Zero(t, lines(&log, "router removed"), log.String())
		s.plane.take("r1")
		synctest.Wait()
		require.Equal(t, 1, lines(&log, "router removed"), log.String())
	})
}

// TestDeploymentWithoutARecord: an agent whose note of the deployment is lost knows it from its
// routers, if they name one and not several.
func TestDeploymentWithoutARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.deployment = "one"
		s.plane.put(of("one", router("r1", 1, 1)))
		s.start()
		s.end()
		s.plane.silent = true
		served := func() string {
			require.NoError(t, os.Remove(filepath.Join(s.config.Cache, "listing")))
			s.start()
			defer s.end()
			return s.plane.lastHeartbeat().Deployment
		}
		require.Equal(t, "one", served())
		require.NoError(t, os.WriteFile(filepath.Join(s.config.Cache, "listing"), nil, 0o600))
		stray := router("stray", 1, 1).Router
		stray.Owner = "two"
		must(s.dataplane.Dataplane.Apply(t.Context(), stray))
		require.Empty(t, served())
	})
}

// TestDepartureOfARouterThatIsAnothersNow: what one deployment has deleted is not the router that
// runs for another under the same ID, whether the agent knows that by its cache or by the host
// alone.
func TestDepartureOfARouterThatIsAnothersNow(t *testing.T) {
	for _, cached := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t)
			r1 := of("one", router("r1", 100, 100))
			s.plane.deployment = "one"
			if cached {
				s.plane.put(r1)
				s.start()
				after(time.Minute)
				s.end()
			} else {
				must(s.dataplane.Dataplane.Apply(t.Context(), agent.Realised(r1)))
			}
			s.plane.deployment = "two"
			clear(s.plane.routers)
			s.plane.left["r1"] = agent.Gone{RouterID: "r1", Deployment: "two", Epoch: 200}
			s.start()
			defer s.end()
			after(time.Minute)
			require.Equal(t, []string{"r1"}, s.routers(), "cached: %v", cached)
			require.Equal(t, []string{"r1"}, s.agent.Status().Orphans)
			require.Equal(t, "one", s.plane.lastHeartbeat().Inventory.Routers[0].Deployment)
			require.Empty(t, s.plane.left, "that of the other deployment has left")
			s.plane.send(agent.Gone{RouterID: "r1", Deployment: "two", Epoch: 200, Orphan: true})
			after(time.Minute)
			require.Empty(t, s.routers())
		})
	}
}
