package natsbus

import (
	"sync"
	"time"
)

// limit allows something once in a while for each key.
type limit struct {
	every time.Duration
	mu    sync.Mutex
	last  map[string]time.Time
}

func newLimit(every time.Duration) *limit { return &limit{every: every, last: map[string]time.Time{}} }

func (l *limit) allow(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.last[key]) < l.every {
		return false
	}
	for k, at := range l.last { // there are few of them
		if now.Sub(at) >= l.every {
			delete(l.last, k)
		}
	}
	l.last[key] = now
	return true
}
