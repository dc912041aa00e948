package main

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pace is how fast an agent does what it does by itself.
type pace struct {
	settle    time.Duration // a folder that has not changed for so long is read; an editor may write a file in several goes
	settleMax time.Duration // but one that never rests is read all the same
	resync    time.Duration // everything is read and applied again, in case somebody else touched the host: free if nobody did
	retry     time.Duration // the first wait after a failure; each later one is twice as long
	retryMax  time.Duration
}

// run keeps the host equal to the folder until ctx ends. Routers stay when it ends.
//
// Goroutines: this one alone reads the folder and knows the workers; each router has a worker, so
// that one that is slow or fails delays no other.
func (a *agent) run(ctx context.Context) error {
	// What fails here would fail for ever: no right to do this, or no such folder.
	if _, err := a.dataplane.List(ctx); err != nil {
		return err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	if err := watcher.Add(a.folder); err != nil {
		return err
	}

	crew := newCrew(a)
	defer crew.wg.Wait() // ctx has ended then, and so do the workers

	next := time.NewTimer(0)
	var changed time.Time // of the first change that was not read yet
	for {
		select {
		case <-ctx.Done():
			return nil

		case <-watcher.Events:
		case err := <-watcher.Errors: // it lost events
			a.log.Warn("folder is read again", "err", err)

		case <-next.C:
			changed = time.Time{}
			next.Reset(a.pace.resync)
			_ = watcher.Add(a.folder) // the folder may have been replaced; if it is gone, reading it says so
			if w, err := a.read(ctx); err != nil {
				a.log.Error("nothing is changed", "err", err)
			} else {
				crew.send(ctx, w)
			}
			continue
		}
		if changed.IsZero() {
			changed = time.Now()
		}
		next.Reset(min(a.pace.settle, max(0, a.pace.settleMax-time.Since(changed))))
	}
}
