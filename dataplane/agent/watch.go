package agent

import (
	"context"
	"errors"
	"time"
)

// watch hands the source's events to the loop, and begins again when the source ends or the loop
// wants it.
func (r *run) watch(ctx context.Context) {
	for pause := pauses(); ; {
		some, anew, err := r.watchOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if r.once != nil {
			r.send(ctx, ended{err})
			return
		}
		if some {
			pause = pauses()
		}
		if anew {
			continue
		}
		switch {
		case errors.Is(err, ErrRefused):
			r.log.Error("the control plane refuses this agent: nothing is applied", "err", err)
			r.send(ctx, refused{})
		case err != nil:
			r.log.Warn("cannot read the routers of this host; those that run stay as they are", "err", err)
		default:
			r.log.Warn("lost the source of routers; those that run stay as they are")
		}
		if pause.Wait(ctx) != nil {
			return
		}
	}
}

// sourceTime is how long a source may take to close its channel after its context has ended.
const sourceTime = time.Second

// watchOnce says whether the source said anything, and whether it is to be watched anew at once.
func (r *run) watchOnce(ctx context.Context) (some, anew bool, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events, err := r.open(ctx, r.served(ctx))
	if err != nil {
		return false, false, err
	}
	r.send(ctx, began{})
	ended, overdue := ctx.Done(), (<-chan time.Time)(nil)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return some, anew, nil
			}
			some = true
			r.send(ctx, e)
		case <-ended:
			ended, overdue = nil, time.After(sourceTime)
		case <-overdue:
			r.log.Error("the source has a fault: it has not closed its channel though its context has ended; it is left behind")
			return some, anew, nil
		case <-r.anew:
			anew = true
			stop()
		}
	}
}

// open opens the host's session with the source.
func (r *run) open(ctx context.Context, deployment string) (<-chan Event, error) {
	events, err := r.config.Source.Watch(ctx, Session{
		Host: r.config.Host, Instance: r.instance, Machine: r.config.Machine, Deployment: deployment,
	})
	if err == nil && events == nil {
		err = errors.New("the source has a fault: Watch returned no channel")
	}
	return events, err
}

func (r *run) send(ctx context.Context, message any) {
	select {
	case r.messages <- message:
	case <-ctx.Done():
	}
}
