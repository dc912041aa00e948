package service_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// TestReportsOfOneGenerationInAnyOrder: a router that failed and was applied when it was tried
// again does not stay an error because the first word of it comes last, and the other way round.
func TestReportsOfOneGenerationInAnyOrder(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		made := r.routerTo(r.external("", "203.0.113.0/24"), r.inside("10.0.1.0/24"))
		a := ok(r.DesiredOf(r.Context(), made.ID))(r)
		first := r.clock.Now()
		say := func(after time.Duration, why string) l3.Status {
			require.NoError(r, r.Report(r.Context(), agent.Report{
				Host: a.Host, RouterID: made.ID, Epoch: a.Epoch, Revision: a.Revision, Error: why, At: first.Add(after),
			}))
			return r.see(made.ID).Status
		}
		require.Equal(r, l3.StatusActive, say(2*time.Second, ""))
		require.Equal(r, l3.StatusActive, say(time.Second, "not now"), "it is late")
		require.Equal(r, l3.StatusActive, say(4*time.Second, ""))
		require.Equal(r, l3.StatusActive, say(3*time.Second, "not now"), "the same word, later, counts as the last")
		require.Equal(r, l3.StatusError, say(5*time.Second, "not any more"))
		require.Equal(r, l3.StatusError, say(5*time.Second, "not any more"), "again")
		require.Equal(r, l3.StatusError, say(time.Second, ""))
	})
}
