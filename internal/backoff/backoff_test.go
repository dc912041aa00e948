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
		cancel(stop)
		require.Equal(t, stop, b.Wait(ctx))
	})
}
