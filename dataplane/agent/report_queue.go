package agent

import (
	"context"
	"maps"
	"sync"
)

// reportQueue holds the reports that the control plane does not have yet: the newest of each
// router.
type reportQueue struct {
	mu    sync.Mutex
	queue map[string]Report
	wake  chan struct{}
}

func newReportQueue() *reportQueue {
	return &reportQueue{queue: map[string]Report{}, wake: make(chan struct{}, 1)}
}

func (q *reportQueue) put(r Report) {
	q.mu.Lock()
	q.queue[r.RouterID] = r
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *reportQueue) take() map[string]Report {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.queue
	q.queue = map[string]Report{}
	return taken
}

// putBack queues unsent reports again, except those of routers that have a newer one.
func (q *reportQueue) putBack(unsent map[string]Report) {
	q.mu.Lock()
	defer q.mu.Unlock()
	newer := q.queue
	q.queue = unsent
	maps.Copy(q.queue, newer)
}

// deliver sends reports until ctx ends, and tries again after failures.
func (q *reportQueue) deliver(ctx context.Context, a *Agent) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		for pause := pauses(); ; {
			unsent := q.take()
			err := sendAll(ctx, a.config.Source, unsent)
			if err == nil {
				break
			}
			q.putBack(unsent)
			if ctx.Err() != nil {
				return
			}
			a.log.Warn("reports wait for the control plane", "err", err)
			if pause.Wait(ctx) != nil {
				return
			}
		}
	}
}

// sendAll sends reports, and removes those that were sent from the map.
func sendAll(ctx context.Context, s Source, unsent map[string]Report) error {
	for id, r := range unsent {
		if err := s.Report(ctx, r); err != nil {
			return err
		}
		delete(unsent, id)
	}
	return nil
}
