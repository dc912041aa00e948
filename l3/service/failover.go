package service

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"
)

// Rescheduler moves routers away from agents that are not heard of; see [Service.Reschedule].
type Rescheduler interface {
	Reschedule(ctx context.Context, limit int) (moved int, err error)
}

// Failover calls Reschedule again and again, at a bounded rate. Several processes may do so at
// once; the rate is that of each.
//
// That an agent is not heard means that it is dead only while it could have been heard. So nothing
// is moved for one DownTime after the start, after Hearing or Reschedule failed, and after this
// process, or its clock, did not go on as it should: whoever is alive is heard within that time.
type Failover struct {
	Service  Rescheduler
	DownTime time.Duration // the service's AgentDownTime; 0: 75 s
	Rate     int           // routers moved in a second, and at once after a quiet time; 0: 100
	// Hearing says, in a quarter of DownTime, why agents cannot be heard now, or could not a moment
	// ago; nil: they always can.
	Hearing func(context.Context) error
	Moved   func(routers int) // told what was moved; nil: nobody
	Logger  *slog.Logger      // nil: nothing is logged
}

// Looks are so frequent that moves begin when a small part of DownTime has passed beyond it, and a
// look that takes long cannot hide that others were not taken: agents send at least three
// heartbeats in a DownTime.
const (
	looks     = 15 // in a DownTime
	mostPause = time.Second
	mostMoves = 16 // in one look
)

// Run works until ctx ends, and then returns nil. Errors are logged, and it goes on.
func (f Failover) Run(ctx context.Context) error {
	f.DownTime = cmp.Or(f.DownTime, 75*time.Second)
	f.Rate = cmp.Or(f.Rate, 100)
	if f.Hearing == nil {
		f.Hearing = func(context.Context) error { return nil }
	}
	if f.Moved == nil {
		f.Moved = func(int) {}
	}
	if f.Logger == nil {
		f.Logger = slog.New(slog.DiscardHandler)
	}
	now := time.Now()
	w := watchman{Failover: f, last: now, deaf: now, waiting: true, allowed: float64(f.Rate)} // that it waits at first goes without saying
	pause := min(f.DownTime/looks, mostPause)
	for ctx.Err() == nil {
		if w.look(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// watchman is one Run of a [Failover].
type watchman struct {
	Failover
	last    time.Time // that pass noted
	deaf    time.Time // when agents could not be heard, the last time
	waiting bool      // it waits, and that was logged
	allowed float64   // moves
}

// look moves what is to be moved, and says whether there may be more at once.
func (w *watchman) look(ctx context.Context) (more bool) {
	err := w.hear(ctx)
	if ctx.Err() != nil {
		return false
	}
	w.pass(time.Now())
	if err != nil {
		w.deafened(err)
		return false
	}
	limit := min(int(w.allowed), mostMoves)
	if time.Since(w.deaf) <= w.DownTime {
		limit = 0 // which finds out whether the database answers
	} else if w.waiting {
		w.waiting = false
		w.Logger.Info("failover goes on: agents have had time to be heard")
	}
	moved, err := w.Service.Reschedule(ctx, limit)
	if moved > 0 {
		w.allowed -= float64(moved)
		w.Moved(moved)
		w.Logger.Warn("routers were moved", "routers", moved)
	}
	if err != nil && ctx.Err() == nil {
		w.deafened(err)
	}
	return err == nil && moved > 0 && w.allowed >= 1
}

// pass notes what time it is.
func (w *watchman) pass(now time.Time) {
	passed := between(w.last, now)
	w.last = now
	w.allowed = min(w.allowed+passed.Seconds()*float64(w.Rate), float64(w.Rate))
	if passed > w.DownTime/3 {
		w.deafened(errors.New("this process was held up, or its clock was set"))
	}
}

func (w *watchman) hear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.DownTime/4)
	defer cancel()
	return w.Hearing(ctx)
}

// deafened notes that agents cannot be heard.
func (w *watchman) deafened(why error) {
	w.deaf = time.Now()
	if !w.waiting {
		w.waiting = true
		w.Logger.Warn("failover waits: agents that live may not have been heard", "err", why)
	}
}

// between is how much time has passed, by the clock that only runs while this machine does, or by
// the one on the wall, whatever is more: heartbeats are noted by the latter.
func between(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}
