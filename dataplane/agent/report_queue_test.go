package agent_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
)

func TestReportsWaitForTheControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.start()
		defer s.end()
		s.plane.mu.Lock()
		s.plane.away = true // the watch goes on, so that only reports are lost
		s.plane.watch <- agent.Put{Assignment: router("r1", 1, 1)}
		s.plane.watch <- agent.Put{Assignment: router("r1", 1, 2)}
		s.plane.mu.Unlock()
		after(5 * time.Second)
		s.has(router("r1", 1, 2))
		s.plane.mend()
		after(time.Minute)
		report, ok := s.plane.lastReport("r1")
		require.True(t, ok)
		require.EqualValues(t, 2, report.Revision)
	})
}

// TestReportsOfASilentBus: a bus that answers nothing holds up no router, and what waits for it
// does not grow.
func TestReportsOfASilentBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.Source = &silent{Source: s.plane}
		s.start()
		defer s.end()
		const versions = 1000
		for v := range uint64(versions) {
			s.plane.put(router("r1", 1, v+1))
			synctest.Wait()
		}
		s.has(router("r1", 1, versions))
		s.plane.put(router("r2", 1, 1))
		synctest.Wait()
		s.has(router("r1", 1, versions), router("r2", 1, 1))

		s.config.Source.(*silent).speak()
		synctest.Wait()
		require.LessOrEqual(t, len(s.plane.reports), 3, "of each router the newest, and the one that was on its way")
		report, _ := s.plane.lastReport("r1")
		require.EqualValues(t, versions, report.Revision)
		_, ok := s.plane.lastReport("r2")
		require.True(t, ok)
	})
}

// silent is a source that takes reports, and does not return before it is told to speak.
type silent struct {
	agent.Source
	mu     sync.Mutex
	speaks chan struct{}
}

func (s *silent) spoken() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.speaks == nil {
		s.speaks = make(chan struct{})
	}
	return s.speaks
}

func (s *silent) speak() { close(s.spoken()) }

func (s *silent) Report(ctx context.Context, r agent.Report) error {
	select {
	case <-s.spoken():
		return s.Source.Report(ctx, r)
	case <-ctx.Done():
		return ctx.Err()
	}
}
