package agent_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/test/disk"
)

// TestCacheThatCannotBeWritten: the agent starts and works, routers come, change and go and are
// reported, and the cache has everything once it can be written again.
func TestCacheThatCannotBeWritten(t *testing.T) {
	for name, fault := range map[string]func(t *testing.T, cache string) (heal func()){
		"a disk without room": func(t *testing.T, cache string) func() {
			disk.Small(t, cache, "64k")
			ballast := filepath.Join(cache, "ballast")
			require.NoError(t, disk.Fill(ballast))
			return func() { require.NoError(t, os.Remove(ballast)) }
		},
		"a disk that is read-only": func(t *testing.T, cache string) func() {
			disk.Small(t, cache, "64k")
			require.NoError(t, unix.Mount("", cache, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
			return func() { require.NoError(t, unix.Mount("", cache, "", unix.MS_REMOUNT, "")) }
		},
		"a file in its place": func(t *testing.T, cache string) func() {
			require.NoError(t, os.WriteFile(cache, nil, 0o600))
			return func() { require.NoError(t, os.Remove(cache)) }
		},
		"a directory in the place of a router's file": func(t *testing.T, cache string) func() {
			in := filepath.Join(cache, "r1.json", "inside")
			require.NoError(t, os.MkdirAll(in, 0o700))
			return func() { require.NoError(t, os.RemoveAll(filepath.Dir(in))) }
		},
		"a directory in the place of the listing": func(t *testing.T, cache string) func() {
			in := filepath.Join(cache, "listing", "inside")
			require.NoError(t, os.MkdirAll(in, 0o700))
			return func() { require.NoError(t, os.RemoveAll(filepath.Dir(in))) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			cache := filepath.Join(t.TempDir(), "cache")
			heal := fault(t, cache)
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				s.config.Cache = cache
				s.plane.deployment = "one"
				s.plane.put(of("one", router("r1", 1, 1)), of("one", router("r2", 1, 1)))
				s.start()
				defer s.end()
				s.plane.put(of("one", router("r1", 1, 2)))
				s.plane.take("r2")
				after(time.Minute)
				s.has(router("r1", 1, 2))
				status := s.agent.Status()
				require.Error(t, status.Cache)
				require.Zero(t, status.Failing+status.Waiting, "routers do not wait for the disk")
				require.Empty(t, s.plane.left, "what is gone is reported")
				report, _ := s.plane.lastReport("r1")
				require.Empty(t, report.Error)

				heal()
				after(2 * time.Minute)
				require.NoError(t, s.agent.Status().Cache)
				kept, err := agent.ReadCache(cache)
				require.NoError(t, err)
				require.Equal(t, "one", kept.Deployment)
				require.Len(t, kept.Routers, 1)
				require.EqualValues(t, 2, kept.Routers[0].Revision)
			})
		})
	}
}

// TestCacheThatBreaksLater: what goes wrong while the agent runs is healed in the same way, also by
// the agent's end.
func TestCacheThatBreaksLater(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	disk.Small(t, cache, "64k")
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.Cache = cache
		s.plane.put(router("r1", 1, 1), router("r2", 1, 1))
		s.start()
		after(time.Minute)
		require.NoError(t, s.agent.Status().Cache)
		require.NoError(t, unix.Mount("", cache, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		s.plane.take("r2")
		s.plane.put(router("r1", 1, 2), router("r3", 1, 1))
		after(time.Minute)
		require.ErrorIs(t, s.agent.Status().Cache, unix.EROFS)
		require.NoError(t, unix.Mount("", cache, "", unix.MS_REMOUNT, ""))
		s.end()
		kept, err := agent.ReadCache(cache)
		require.NoError(t, err)
		require.Len(t, kept.Routers, 2)
		require.EqualValues(t, 2, kept.Routers[0].Revision)

		// A cache that was damaged altogether is as if there were none: the host is the record.
		for _, file := range []string{"r1.json", "r3.json", "listing"} {
			require.NoError(t, os.WriteFile(filepath.Join(cache, file), []byte("{"), 0o600))
		}
		s.dataplane.Dataplane = dataplane.NewFake(s.host)
		s.start()
		defer s.end()
		after(time.Minute)
		s.has(router("r1", 1, 2), router("r3", 1, 1))
		require.NoError(t, s.agent.Status().Cache)
		_, err = agent.ReadCache(cache)
		require.NoError(t, err, "it is whole again")
	})
}
