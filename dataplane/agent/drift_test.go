package agent_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// watching is the site's dataplane with the ability to watch.
type watching struct {
	*watched
	refuse error                // of the next Watch
	inject chan dataplane.Drift // announcements instead of the dataplane's
	linger time.Duration        // of an Apply that is over
}

func (w *watching) Apply(ctx context.Context, r dataplane.Router) (dataplane.Plan, error) {
	plan, err := w.watched.Apply(ctx, r)
	time.Sleep(w.linger)
	return plan, err
}

func (w *watching) Watch(ctx context.Context) (<-chan dataplane.Drift, error) {
	if w.refuse != nil {
		err := w.refuse
		w.refuse = nil
		return nil, err
	}
	if w.inject != nil {
		return w.inject, nil
	}
	return w.Dataplane.(dataplane.Watcher).Watch(ctx)
}

// newDriftSite has an agent that never checks of its own accord.
func newDriftSite(t *testing.T) (*site, *watching) {
	s := newSite(t)
	w := &watching{watched: s.dataplane}
	s.config.Dataplane, s.config.CheckEvery = w, -1
	return s, w
}

func (s *site) damage(id string) {
	require.True(s.t, s.host.Tamper(id, func(r *dataplane.Router) { r.Ports = nil }))
}

func TestWhatOthersChangeIsPutRightWithoutACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newDriftSite(t)
		s.plane.put(router("r1", 1, 1), router("r2", 1, 1))
		s.start()
		defer s.end()
		s.damage("r1")
		synctest.Wait()
		s.has(router("r1", 1, 1), router("r2", 1, 1))
		require.Equal(t, 1, s.agent.Status().Corrected)
		after(time.Hour)
		s.damage("r1")
		s.damage("r2")
		synctest.Wait()
		s.has(router("r1", 1, 1), router("r2", 1, 1))
		require.Equal(t, 3, s.agent.Status().Corrected)
		report, _ := s.plane.lastReport("r1")
		require.Empty(t, report.Error)
	})
}

// A neighbour who writes as often as we do must not keep us busy; and when he has enough, the
// router is right.
func TestANeighbourWhoFightsBackIsMetLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newDriftSite(t)
		s.plane.put(router("r1", 1, 1), router("r2", 1, 1))
		s.start()
		defer s.end()
		for range 10 * 60 * 10 { // ten minutes
			s.damage("r1")
			after(100 * time.Millisecond)
		}
		fought := s.agent.Status().Corrected
		require.Greater(t, fought, 10)
		require.Less(t, fought, 25)
		s.damage("r2")
		synctest.Wait()
		require.Equal(t, fought+1, s.agent.Status().Corrected, "others are not put off")
		after(2 * time.Minute)
		s.has(router("r1", 1, 1), router("r2", 1, 1))
		after(time.Hour)
		for range 3 {
			s.damage("r1")
			synctest.Wait()
			s.has(router("r1", 1, 1), router("r2", 1, 1))
			after(3 * time.Second) // of peace
		}
	})
}

// A router that fails waits for its next turn, whatever is announced.
func TestAnnouncementsDoNotHastenWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newDriftSite(t)
		w.inject = make(chan dataplane.Drift)
		s.plane.put(router("r1", 1, 1))
		s.dataplane.fail("r1", errors.New("no"))
		s.start()
		defer s.end()
		before := len(s.dataplane.log())
		w.inject <- dataplane.Drift{Router: "r1"}
		w.inject <- dataplane.Drift{Router: "never heard of"}
		synctest.Wait()
		require.Equal(t, before, len(s.dataplane.log()))
		require.Equal(t, 1, s.agent.Status().Failing)
		s.dataplane.fail("r1", nil)
		after(5 * time.Second)
		s.has(router("r1", 1, 1))
		s.damage("r1")
		after(5 * time.Second) // the next announcement may be paced
		w.inject <- dataplane.Drift{Router: "r1"}
		after(5 * time.Second)
		s.has(router("r1", 1, 1))
	})
}

// What happens while a router is applied, and is announced before that is settled, is not
// forgotten.
func TestAnnouncedWhileItIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newDriftSite(t)
		s.plane.put(router("r1", 1, 1))
		s.start()
		defer s.end()
		w.linger = time.Second
		s.plane.put(router("r1", 1, 2))
		after(500 * time.Millisecond)
		s.damage("r1")
		after(3 * time.Second)
		s.has(router("r1", 1, 2))
	})
}

func TestWatchingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newDriftSite(t)
		w.refuse = errors.New("no more files")
		s.plane.put(router("r1", 1, 1))
		s.start()
		defer s.end()
		s.damage("r1")
		after(10 * time.Second)
		s.has(router("r1", 1, 1))
	})
}

// A fenced router stays without its ports, whoever gives it some.
func TestAFencedRouterThatSomebodyChangesStaysFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newDriftSite(t)
		s.config.OnDisconnect, s.config.Lease, s.config.HeartbeatEvery = agent.Fence, 20*time.Second, 5*time.Second
		s.plane.put(router("r1", 1, 1))
		s.start()
		defer s.end()
		s.plane.cut()
		after(time.Minute)
		require.True(t, s.agent.Status().Fenced)
		require.True(t, s.host.Tamper("r1", func(r *dataplane.Router) { *r = router("r1", 1, 1).Router }))
		synctest.Wait()
		have, ok := s.host.Router("r1")
		require.True(t, ok)
		require.Empty(t, have.Ports)
	})
}
