package agent

import (
	"context"
	"maps"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// watchDrift has routers checked that the dataplane announces, if it can watch.
func (r *run) watchDrift(ctx context.Context) {
	w, ok := r.config.Dataplane.(dataplane.Watcher)
	if !ok {
		return
	}
	for pause := pauses(); ; {
		announced, err := w.Watch(ctx)
		if err == nil {
			r.followDrift(ctx, announced)
		}
		if ctx.Err() != nil {
			return
		}
		r.log.Warn("cannot watch the dataplane, what others change is found by checks only", "err", err)
		if pause.Wait(ctx) != nil {
			return
		}
	}
}

// followDrift hands announcements to the loop until there are no more: at once, but one router's
// less and less often while they keep coming.
func (r *run) followDrift(ctx context.Context, announced <-chan string) {
	p := pacer{first: r.config.RetryMin, most: r.config.RetryMax, routers: map[string]pace{}}
	due := map[string]time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case id, ok := <-announced:
			if !ok {
				return
			}
			now := time.Now()
			due[id] = p.next(id, now)
			if wait := due[id].Sub(now); wait > 0 {
				r.log.Warn("somebody keeps changing a router; it is put right later", "router", id, "in", wait)
			}
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		now, wake := time.Now(), time.Time{}
		for id, at := range due {
			if at.After(now) {
				if wake.IsZero() || at.Before(wake) {
					wake = at
				}
				continue
			}
			delete(due, id)
			select {
			case r.drifted <- id:
			case <-ctx.Done():
				return
			}
		}
		timer.Stop()
		if !wake.IsZero() {
			timer.Reset(time.Until(wake))
		}
	}
}

// pacer says when a router may be checked again.
type pacer struct {
	first, most time.Duration
	routers     map[string]pace
}

// pace is that of one router: when its last check was due, how many there were in a row, and how
// long after the last the next may be.
type pace struct {
	last  time.Time
	count int
	delay time.Duration
}

// free is how many checks in a row are made at once: people do several things to a router, too.
const free = 5

// next is when a router that is announced now is to be checked. After some checks in a row the
// delay doubles with each, and all is forgotten when there was none for twice as long.
func (p pacer) next(id string, now time.Time) time.Time {
	maps.DeleteFunc(p.routers, func(_ string, x pace) bool { return now.Sub(x.last) > 2*max(x.delay, p.first) })
	x := p.routers[id]
	due := x.last.Add(x.delay)
	if due.Before(now) {
		due = now
	}
	x.last, x.count = due, x.count+1
	if x.count >= free {
		x.delay = min(max(2*x.delay, p.first), p.most)
	}
	p.routers[id] = x
	return due
}

// look has a router checked now, unless it waits to be applied anyway.
func (b *book) look(id string, now time.Time) {
	e := b.entries[id]
	if e == nil || e.want == nil {
		return
	}
	// What was announced may have happened after the dataplane was done with what is still running
	// here.
	if e.running || b.fenced || e.applied == e.want.Version() {
		b.enqueue(e, now, true)
	}
}
