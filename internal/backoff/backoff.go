// Package backoff waits between attempts, longer each time.
package backoff

import (
	"context"
	"time"
)

// Backoff is the pause before the next attempt. It doubles from the first one up to the longest.
type Backoff struct{ Pause, Longest time.Duration }

// Wait waits for a pause, or until ctx ends: then it returns the cause.
func (b *Backoff) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(b.Pause):
		b.Pause = min(2*b.Pause, b.Longest)
		return nil
	}
}
