package main

import (
	"context"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// crew is one worker for each router that anything was wished of. One goroutine sends.
type crew struct {
	agent *agent
	slots slots
	wg    sync.WaitGroup

	mu      sync.Mutex
	inboxes map[string]chan *dataplane.Router // by router; each holds the newest wish only
}

func newCrew(a *agent) *crew {
	return &crew{agent: a, slots: newSlots(), inboxes: map[string]chan *dataplane.Router{}}
}

// send hands each router's wish to its worker. It never waits for one.
func (c *crew) send(ctx context.Context, w wishes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.complete {
		for id, inbox := range c.inboxes {
			if _, ok := w.routers[id]; !ok {
				replace(inbox, nil) // it is not here, but its worker may be about to make it
			}
		}
	}
	for id, r := range w.routers {
		inbox, ok := c.inboxes[id]
		if !ok {
			inbox = make(chan *dataplane.Router, 1)
			c.inboxes[id] = inbox
			c.wg.Go(func() { c.work(ctx, id, inbox) })
		}
		replace(inbox, r)
	}
}

func replace(inbox chan *dataplane.Router, r *dataplane.Router) {
	select {
	case <-inbox:
	default:
	}
	inbox <- r
}

// leave says whether the worker of a router that is gone may end: not if there is a new wish
// already.
func (c *crew) leave(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.inboxes[id]) > 0 {
		return false
	}
	delete(c.inboxes, id)
	return true
}

// work brings one router to what is wished of it, one attempt after the other, until it is gone or
// ctx ends. After a failure it waits, longer each time; a new wish is tried at once.
func (c *crew) work(ctx context.Context, id string, inbox <-chan *dataplane.Router) {
	var (
		want  *dataplane.Router
		wait  time.Duration
		retry <-chan time.Time // nil: the last attempt went well
	)
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-inbox:
			if retry != nil && reflect.DeepEqual(next, want) {
				continue // nothing new: its turn comes
			}
			want, wait = next, 0
		case <-retry:
		}
		retry = nil
		err := c.agent.realise(ctx, c.slots, id, want)
		switch {
		case err != nil:
			wait = min(max(2*wait, c.agent.pace.retry), c.agent.pace.retryMax)
			retry = time.After(wait)
			if ctx.Err() == nil {
				c.agent.log.Error("failed, will be tried again", "router", id, "in", wait, "err", err)
			}
		case want == nil && c.leave(id):
			return
		}
	}
}

// slots bounds how many routers are worked on at once: an operation may hold an OS thread.
type slots chan struct{}

func newSlots() slots { return make(slots, 4*runtime.GOMAXPROCS(0)) }

// take waits for a slot, and returns what gives it back.
func (s slots) take(ctx context.Context) (release func(), err error) {
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
