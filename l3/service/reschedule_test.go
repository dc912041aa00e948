package service_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/service"
)

func TestFailoverMovesABoundedNumber(t *testing.T) {
	onRigs(t, func(r *rig) {
		r.agent("h1")
		names := map[string]string{}
		var routers []l3.Router
		for i := range 5 {
			router := r.router()
			r.attach(router, r.inside(fmt.Sprintf("10.0.%d.0/24", i)))
			r.report(router.ID)
			names[router.ID] = "r"
			routers = append(routers, router)
		}
		r.notices(names)
		require.Zero(r, ok(r.Reschedule(r.Context(), 100))(r), "nothing to do")
		r.clock.sleep(76 * time.Second)
		_, err := r.Reschedule(r.Context(), 100)
		require.ErrorIs(r, err, service.ErrSilence, "absence of information changes nothing: there is no other host")
		require.Empty(r, r.notices(names))

		r.agent("h2")
		require.Empty(r, ok(r.DesiredOn(r.Context(), "h2"))(r), "what a silent agent has moves at a bounded rate only")
		require.Equal(r, 2, ok(r.Reschedule(r.Context(), 2))(r))
		require.Len(r, ok(r.DesiredOn(r.Context(), "h1"))(r), 3)
		require.Equal(r, 3, ok(r.Reschedule(r.Context(), 100))(r))
		require.Empty(r, ok(r.DesiredOn(r.Context(), "h1"))(r))
		require.Len(r, ok(r.DesiredOn(r.Context(), "h2"))(r), 5)
		got := r.notices(names)
		require.Len(r, got, 10)
		require.Equal(r, []string{"h1 r 1 gone", "h2 r 2"}, got[:2], "the former host is told first, of its epoch")

		r.agent("h1")
		require.Empty(r, ok(r.DesiredOn(r.Context(), "h1"))(r), "it comes back with nothing")
		require.Equal(r, l3.StatusBuild, r.see(routers[0].ID).Status)
		require.Greater(r, r.report(routers[0].ID).Epoch, uint64(len(routers)))
		require.Equal(r, l3.StatusActive, r.see(routers[0].ID).Status)
	})
}

func TestFailoverDrainsADisabledAgent(t *testing.T) {
	onRigs(t, func(r *rig) {
		a := r.agent("h1", "public")
		ext := r.external("public", "203.0.113.0/24")
		gated, plain := r.routerTo(ext), r.router()
		r.attach(plain, r.inside("10.0.1.0/24"))
		r.agent("h2", "private")
		names := map[string]string{gated.ID: "gated", plain.ID: "plain"}
		r.notices(names)
		require.NoError(r, r.store.Update(r.Context(), func(tx l3.Tx) error { // as if the service had ended before it moved them
			a.AdminStateUp = false
			return tx.Agents().Update(r.Context(), &a)
		}))
		require.Equal(r, 2, ok(r.Reschedule(r.Context(), 100))(r))
		require.ElementsMatch(r, []string{"h1 gated 1 gone", "h1 plain 1 gone", "h2 plain 2"}, r.notices(names))
		require.Equal(r, "h2", r.hostOf(plain.ID))
		require.Empty(r, r.hostOf(gated.ID), "a disabled agent hosts nothing, and no other fits")
		require.Equal(r, l3.StatusDown, r.see(gated.ID).Status)
		require.Zero(r, ok(r.Reschedule(r.Context(), 100))(r))

		r.agent("h2", "private", "public")
		require.Equal(r, "h2", r.hostOf(gated.ID), "it says that it reaches the network now")
	})
}

func TestFailoverOfADeletedAgent(t *testing.T) {
	onRigs(t, func(r *rig) {
		a := r.agent("h1")
		router := r.router()
		r.attach(router, r.inside("10.0.1.0/24"))
		r.agent("h2")
		names := map[string]string{router.ID: "r"}
		r.notices(names)
		require.NoError(r, r.DeleteAgent(r.Context(), r.admin, a.ID))
		require.Equal(r, []string{"h1 r 1 gone", "h2 r 2"}, r.notices(names))
		_, err := r.GetAgent(r.Context(), r.admin, a.ID)
		r.refused(err, l3.ErrNotFound, "AgentNotFound")
	})
}
