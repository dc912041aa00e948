package agent_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

func TestPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		var got []netip.Addr
		s.config.SetPeers = func(_ context.Context, peers []netip.Addr) error { got = peers; return nil }
		s.start()
		defer s.end()
		s.plane.send(agent.Peers{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
		synctest.Wait()
		require.Len(t, got, 1)
	})
}

// TestPeersAreTriedAgainAndKept: a switch that refuses holds up no router; and who starts anew
// tells the wiring before it touches a router, as otherwise networks would be cut off until the
// control plane is heard.
func TestPeersAreTriedAgainAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu     sync.Mutex
			told   [][]netip.Addr
			refuse = true
		)
		s := newSite(t)
		s.config.SetPeers = func(_ context.Context, peers []netip.Addr) error {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, peers)
			if refuse {
				return errors.New("the switch is away")
			}
			return nil
		}
		s.start()
		one, two := []netip.Addr{netip.MustParseAddr("192.0.2.1")}, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
		s.plane.send(agent.Peers{Addrs: one})
		s.plane.put(router("r1", 1, 1))
		synctest.Wait()
		s.has(router("r1", 1, 1))
		s.plane.send(agent.Peers{Addrs: two})
		after(time.Minute)
		require.Greater(t, len(told), 2)
		mu.Lock()
		refuse = false
		mu.Unlock()
		after(time.Minute)
		require.Equal(t, two, told[len(told)-1], "the newest list only")
		tries := len(told)
		after(time.Hour)
		require.Len(t, told, tries, "once it is taken, it is not said again")
		s.end()

		told = nil
		s.plane.cut()
		s.start()
		defer s.end()
		require.Equal(t, [][]netip.Addr{two}, told)
		kept, err := agent.ReadCache(s.config.Cache)
		require.NoError(t, err)
		require.Equal(t, two, kept.Peers)
		require.Equal(t, "r1", kept.Routers[0].Router.ID)
	})
}

// TestPeersThatAreNotNamedStayForAWhile: a control plane that has lost its memory, or whose clock
// has jumped past the time at which they expire, does not cut a host off the others.
func TestPeersThatAreNotNamedStayForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told [][]netip.Addr
		s := newSite(t)
		s.config.SetPeers = func(_ context.Context, peers []netip.Addr) error {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, peers)
			return nil
		}
		list := func(last ...string) (all []netip.Addr) {
			all = []netip.Addr{}
			for _, l := range last {
				all = append(all, netip.MustParseAddr("192.0.2."+l))
			}
			return all
		}
		names := func(last ...string) {
			s.plane.send(agent.Peers{Addrs: list(last...)})
			synctest.Wait()
		}
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(told)
		}
		now := func() []netip.Addr {
			mu.Lock()
			defer mu.Unlock()
			return told[len(told)-1]
		}
		s.start()
		names("1", "2", "3")
		names()
		require.Equal(t, list("1", "2", "3"), now(), "all have expired at once")
		after(4 * time.Minute)
		names("2")
		names("1", "2", "4")
		require.Equal(t, list("1", "2", "3", "4"), now())
		after(50 * time.Second)
		require.Equal(t, list("1", "2", "3", "4"), now())
		after(20 * time.Second)
		require.Equal(t, list("1", "2", "4"), now(), "one was not named for five minutes")
		before := count()
		after(time.Hour)
		require.Equal(t, before, count())

		// The next process knows them from the cache.
		s.end()
		s.start()
		names("1")
		require.Equal(t, list("1", "2", "4"), now())
		after(5 * time.Minute)
		require.Equal(t, list("1"), now())
		s.end()
	})
}

// TestRoutersWaitForPeers: an agent without a record of the tunnel peers applies nothing before
// they are set, because the wiring would take away the tunnels that are there. It does not wait for
// ever.
func TestRoutersWaitForPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		set := 0
		s.config.SetPeers = func(context.Context, []netip.Addr) error {
			require.Empty(t, s.dataplane.log())
			time.Sleep(time.Second)
			require.Empty(t, s.dataplane.log())
			set++
			return nil
		}
		s.plane.put(router("r1", 1, 1))
		s.start()
		s.plane.send(agent.Peers{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.2")}})
		after(2 * time.Second)
		require.Equal(t, 1, set)
		s.has(router("r1", 1, 1))
		s.end()

		s.config.Cache = "" // and the source names none
		s.dataplane.Dataplane = dataplane.NewFake(nil)
		s.start()
		defer s.end()
		after(4 * time.Second)
		s.has()
		after(2 * time.Second)
		s.has(router("r1", 1, 1))
	})
}
