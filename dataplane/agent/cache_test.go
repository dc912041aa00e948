package agent_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

func TestAHostThatBootsAloneHasItsRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.put(router("r1", 1, 3), router("r2", 1, 1))
		s.start()
		s.plane.take("r2")
		synctest.Wait()
		s.end()

		require.NoError(t, os.WriteFile(filepath.Join(s.config.Cache, "r9.json"), []byte("{"), 0o600))
		s.dataplane.Dataplane = dataplane.NewFake(nil) // the machine has forgotten everything
		s.plane.cut()
		s.start()
		after(4 * time.Second)
		s.has() // it waits for word of the source
		after(2 * time.Second)
		s.has(router("r1", 1, 3))

		s.plane.routers["r1"] = router("r1", 1, 4)
		s.plane.mend()
		after(time.Minute)
		s.has(router("r1", 1, 4))
		s.end()
	})
}

// TestAHostThatBootsLateMakesNothingThatMoved: what is in the cache, and elsewhere by now, is not
// there for a moment.
func TestAHostThatBootsLateMakesNothingThatMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.plane.put(router("r1", 1, 1), router("r2", 1, 1))
		s.start()
		s.end()
		s.dataplane.Dataplane = dataplane.NewFake(nil)
		s.plane.take("r2")
		applied := len(s.dataplane.log())
		s.start()
		defer s.end()
		s.has(router("r1", 1, 1))
		require.Equal(t, []string{"r1@1401"}, s.dataplane.log()[applied:])
	})
}

// TestStartOfManyRoutersInPlace: an agent that finds what it left writes nothing, neither to the
// host nor to its cache, and reports all.
func TestStartOfManyRoutersInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 500
		s := newSite(t)
		for i := range many {
			s.plane.put(router(fmt.Sprint("r", i), 1, 1))
		}
		s.start()
		s.end()
		writes, written := s.host.Writes(), s.files()
		s.plane.reports = nil
		after(time.Minute)

		s.start()
		defer s.end()
		require.Equal(t, writes, s.host.Writes())
		require.Equal(t, written, s.files())
		require.Len(t, s.plane.reports, many)
		require.Zero(t, s.agent.Status().Waiting)
	})
}

// files says when each file of the cache was written.
func (s *site) files() map[string]time.Time {
	entries, err := os.ReadDir(s.config.Cache)
	require.NoError(s.t, err)
	all := map[string]time.Time{}
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(s.t, err)
		all[e.Name()] = info.ModTime()
	}
	return all
}

// TestLinksInTheCacheAreNotFollowed: the agent is root, and what somebody puts into its cache
// neither has it read or write another file, nor stop.
func TestLinksInTheCacheAreNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.OnDisconnect, s.config.Lease = agent.Fence, 2*time.Minute
		outside := t.TempDir()
		target := func(name, text string) string {
			path := filepath.Join(outside, name)
			require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			require.NoError(t, os.Chtimes(path, time.Unix(1, 0), time.Unix(1, 0)))
			return path
		}
		require.NoError(t, os.MkdirAll(s.config.Cache, 0o700))
		planted := map[string]string{ // by the name in the cache
			"r1.json": target("r1", `{"revision": 9, "epoch": 9, "router": {"id": "r1"}}`),
			"r2.json": target("r2", `{"revision": 9, "epoch": 9, "router": {"id": "r2"}}`),
			"peers":   target("peers", `["192.0.2.66"]`),
			"listing": target("listing", `{"deployment": "another"}`),
			"heard":   target("heard", ""),
		}
		texts := map[string]string{}
		for name, path := range planted {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			texts[path] = string(text)
			require.NoError(t, os.Symlink(path, filepath.Join(s.config.Cache, name)))
		}
		require.NoError(t, syscall.Mkfifo(filepath.Join(s.config.Cache, "r3.json"), 0o600))
		kept, err := agent.ReadCache(s.config.Cache)
		require.Empty(t, kept, "nothing of it is believed")
		for _, name := range []string{"r1.json", "r2.json", "peers", "listing", "r3.json"} {
			require.ErrorContains(t, err, name)
		}
		var told atomic.Int32
		s.config.SetPeers = func(context.Context, []netip.Addr) error { told.Add(1); return nil }
		s.plane.cut()
		s.start()
		after(time.Minute)
		s.has()
		require.Zero(t, told.Load())

		want := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		s.plane.put(router("r1", 1, 1))
		s.plane.mend()
		after(time.Minute)
		s.plane.send(agent.Peers{Addrs: want})
		after(time.Minute)
		s.has(router("r1", 1, 1))
		s.end()
		for path, text := range texts {
			now, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, text, string(now), path)
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, time.Unix(1, 0), info.ModTime(), path)
		}
		kept, err = agent.ReadCache(s.config.Cache)
		require.ErrorContains(t, err, "r2.json is a symbolic link")
		require.Len(t, kept.Routers, 1, "the agent's own file has taken the place of the link")
		require.Equal(t, want, kept.Peers)
	})
}

// TestCacheOfEverybody: files that any user can plant are not obeyed.
func TestCacheOfEverybody(t *testing.T) {
	s := newSite(t)
	s.config.Cache = t.TempDir()
	require.NoError(t, os.Chmod(s.config.Cache, 0o777))
	_, err := agent.New(s.config)
	require.ErrorContains(t, err, "every user can write to "+s.config.Cache)
}

func TestReadCache(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r1.json"), []byte(`{"revision": 2, "epoch": 1, "router": {"id": "r1"}}`), 0o600))
	kept, err := agent.ReadCache(dir)
	require.NoError(t, err)
	require.Equal(t, []agent.Assignment{{Revision: 2, Epoch: 1, Router: dataplane.Router{ID: "r1"}}}, kept.Routers)
	require.Nil(t, kept.Peers)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r2.json"), []byte(`{"router": {"id": "r1"}}`), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r3.json"), []byte(`{`), 0o600))
	kept, err = agent.ReadCache(dir)
	require.ErrorContains(t, err, "r2.json")
	require.ErrorContains(t, err, "r3.json")
	require.Len(t, kept.Routers, 1)
	_, err = agent.ReadCache(filepath.Join(dir, "nothing"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
