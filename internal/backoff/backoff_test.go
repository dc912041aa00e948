package backoff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/backoff"
)

func TestPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		b := backoff.Backoff{Pause: time.Second, Longest: 5 * time.Second}
		var pauses []time.Duration
		for range 5 {
			began := time.Now()
			require.NoError(t, b.Wait(ctx))
			pauses = append(pauses, time.Since(began)/time.Second)
		}
		require.Equal(t, []time.Duration{1, 2, 4, 5, 5}, pauses)
		stop := errors.New("stop")
		for i, want := range []time.Duration{1, 2, 4, 5, 5} {
			require.Equal(t, want*time.Second, backoff.Backoff{Pause: time.Second, Longest: 5 * time.Second}.After(i))
		}
		require.Equal(t, 5*time.Second, backoff.Backoff{Pause: time.Second, Longest: 5 * time.Second}.After(1<<60))
		cancel(stop)
		require.Equal(t, stop, b.Wait(ctx))
	})
}

func TestPausesSpread(t *testing.T) {
	b := backoff.Backoff{Pause: time.Second, Longest: time.Minute, Spread: 0.5}
	seen := map[time.Duration]bool{}
	for range 100 {
		pause := b.After(1)
		require.GreaterOrEqual(t, pause, time.Second)
		require.LessOrEqual(t, pause, 2*time.Second)
		seen[pause] = true
	}
	require.Greater(t, len(seen), 1)
	require.Equal(t, time.Second, backoff.Jitter(time.Second, 0))
}
