package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/agent"
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

// TestAHostThatBootsLateMakesNothingThatMoved: what is in the cache, and elsewhere by now, is not there for a moment.
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

// TestStartOfManyRoutersInPlace: an agent that finds what it left writes nothing, neither to the host nor to its cache, and reports all.
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

func TestReadCache(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r1.json"), []byte(`{"revision": 2, "epoch": 1, "router": {"id": "r1"}}`), 0o600))
	kept, err := agent.ReadCache(dir)
	require.NoError(t, err)
	require.Equal(t, []l3.Assignment{{Revision: 2, Epoch: 1, Router: dataplane.Router{ID: "r1"}}}, kept.Routers)
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
