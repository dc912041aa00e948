// Package backoff waits between attempts, longer each time.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is the pause before the next attempt. It doubles from the first one up to the longest.
type Backoff struct {
	Pause, Longest time.Duration
	// Spread is the part of a pause that is left to chance, from 0 to 1, so that several that were
	// in each other's way do not meet again.
	Spread float64
}

// Wait waits for a pause, or until ctx ends: then it returns the cause.
func (b *Backoff) Wait(ctx context.Context) error {
	err := Sleep(ctx, Jitter(b.Pause, b.Spread))
	if err == nil {
		b.Pause = min(2*b.Pause, b.Longest)
	}
	return err
}

// Sleep waits, or until ctx ends: then it returns the cause.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// After returns the pause after so many pauses.
func (b Backoff) After(pauses int) time.Duration {
	for ; pauses > 0 && b.Pause < b.Longest; pauses-- {
		b.Pause = min(2*b.Pause, b.Longest)
	}
	return Jitter(b.Pause, b.Spread)
}

// Jitter returns a duration of at most d, of which a part is left to chance.
func Jitter(d time.Duration, part float64) time.Duration {
	return d - rand.N(time.Duration(part*float64(d))+1)
}
