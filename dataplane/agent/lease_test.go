package agent_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

func TestFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.OnDisconnect, s.config.Lease, s.config.HeartbeatEvery = agent.Fence, 10*time.Second, time.Second
		s.plane.put(router("r1", 1, 1))
		s.start()
		defer s.end()
		after(time.Minute)
		s.has(router("r1", 1, 1))

		s.plane.cut()
		after(9 * time.Second)
		s.has(router("r1", 1, 1))
		after(2 * time.Second)
		s.has(agent.Assignment{Router: dataplane.Router{ID: "r1"}})
		require.True(t, s.agent.Status().Fenced)

		s.plane.mend()
		after(time.Minute)
		s.has(router("r1", 1, 1))
		require.False(t, s.agent.Status().Fenced)
	})
}

// TestWhatMovedMeanwhileStaysFenced: the control plane is heard before it has said what is
// elsewhere by now.
func TestWhatMovedMeanwhileStaysFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.OnDisconnect, s.config.Lease, s.config.HeartbeatEvery = agent.Fence, 10*time.Second, time.Second
		s.plane.put(router("r1", 1, 1), router("r2", 1, 1))
		s.start()
		defer s.end()
		s.plane.hold(true, rand.Shuffle)
		s.plane.deafen(true)
		after(time.Minute)
		require.True(t, s.agent.Status().Fenced)
		applied := len(s.dataplane.log())

		s.plane.take("r2") // which the agent does not hear, because the message is held
		s.plane.deafen(false)
		after(time.Minute)
		s.has(router("r1", 1, 1))
		require.NotContains(t, s.dataplane.log()[applied:], "r2@1401")
	})
}

// TestANewStartGivesNoTime: an agent whose host is cut off has its lease from when it was heard,
// and not from when it was started anew.
func TestANewStartGivesNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.OnDisconnect, s.config.Lease, s.config.HeartbeatEvery = agent.Fence, 10*time.Second, time.Second
		s.plane.put(router("r1", 1, 1))
		s.start()
		after(time.Minute)
		s.plane.cut()
		after(6 * time.Second)
		s.end()
		s.start()
		s.has(router("r1", 1, 1))
		after(5 * time.Second)
		s.has(agent.Assignment{Router: dataplane.Router{ID: "r1"}})
		s.end()

		applied := len(s.dataplane.log())
		s.start()
		defer s.end()
		require.Equal(t, []string{"r1"}, s.dataplane.log()[applied:], "not for a moment is the router there")
		s.plane.mend()
		after(time.Minute)
		s.has(router("r1", 1, 1))
	})
}

// TestTheLeaseCountsFromTheSending: what the control plane has heard is no younger than that.
func TestTheLeaseCountsFromTheSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.config.OnDisconnect, s.config.Lease, s.config.HeartbeatEvery = agent.Fence, 20*time.Second, 10*time.Second
		s.config.Source = &slow{s.plane, 9 * time.Second}
		s.plane.put(router("r1", 1, 1))
		s.start()
		defer s.end()
		after(15 * time.Second) // the first was sent at 0, and is acknowledged; the second is on its way
		s.plane.cut()
		after(4 * time.Second)
		s.has(router("r1", 1, 1))
		after(2 * time.Second)
		s.has(agent.Assignment{Router: dataplane.Router{ID: "r1"}})
	})
}

// slow is a source whose heartbeats take their time.
type slow struct {
	agent.Source
	time.Duration
}

func (s *slow) Heartbeat(ctx context.Context, h agent.Heartbeat) error {
	select {
	case <-time.After(s.Duration):
		return s.Source.Heartbeat(ctx, h)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestTimesThatMakeNoSense(t *testing.T) {
	for says, change := range map[string]func(*agent.Config){
		"too short for a heartbeat":     func(c *agent.Config) { c.Lease, c.HeartbeatEvery = 19*time.Second, 10*time.Second },
		"before the control plane give": func(c *agent.Config) { c.AgentDownTime = 60 * time.Second },
		"is negative":                   func(c *agent.Config) { c.Parallel = -1 },
		"is less than RetryMin":         func(c *agent.Config) { c.RetryMin = time.Hour },
	} {
		c := agent.Config{Host: "h", Source: newControlPlane(), Dataplane: dataplane.NewFake(nil), OnDisconnect: agent.Fence}
		_, err := agent.New(c)
		require.NoError(t, err)
		change(&c)
		_, err = agent.New(c)
		require.ErrorContains(t, err, says)
		if says != "is negative" && says != "is less than RetryMin" {
			c.OnDisconnect = agent.Keep
			_, err = agent.New(c)
			require.NoError(t, err, "who keeps has no lease")
		}
	}
}
