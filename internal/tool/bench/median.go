package main

import (
	"slices"
	"time"
)

func median[T time.Duration | float64](samples []T) T {
	s := slices.Clone(samples)
	slices.Sort(s)
	return s[len(s)/2]
}

func timed(fn func() error) (time.Duration, error) {
	start := time.Now()
	err := fn()
	return time.Since(start), err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
