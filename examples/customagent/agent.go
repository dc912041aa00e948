package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
)

// agent keeps a host equal to a folder of router files.
//
// What is missing changes nothing. A router is deleted when the folder was read in full and no file
// names it; while any file has a fault, or the folder cannot be read, every router stays as it is.
// An empty folder says something only if that very folder has held a router before: otherwise it
// may be the wrong one, or a mount point without its file system.
//
// It takes every router of ours on the host for its own, whoever made it; so one agent serves a
// host.
type agent struct {
	folder     string
	allowEmpty bool // an empty folder means that no router is wanted
	dataplane  dataplane.Dataplane
	log        *slog.Logger
	pace       pace

	known  os.FileInfo      // the folder that has held a router
	faults map[string]error // what was said about files last, so that it is said once
}

// wishes is what is to become of routers.
type wishes struct {
	routers  map[string]*dataplane.Router // by ID; nil: it is to go
	complete bool                         // a router that is not among them is to be neither here nor made; else it stays as it is
}

// read says what the folder wants of this host.
func (a *agent) read(ctx context.Context) (wishes, error) {
	l, err := readFolder(a.folder)
	if err != nil {
		return wishes{}, err
	}
	a.report(l.faults)

	w := wishes{routers: make(map[string]*dataplane.Router, len(l.routers))}
	for id, r := range l.routers {
		w.routers[id] = &r
	}
	if a.allowEmpty || len(w.routers) > 0 {
		a.known = l.folder
	}
	if !l.complete() {
		return w, nil
	}
	present, err := a.dataplane.List(ctx)
	if err != nil {
		return wishes{}, err
	}
	if a.known == nil || !os.SameFile(a.known, l.folder) {
		if len(present) > 0 {
			a.log.Warn("no router files: the routers of this host stay", "folder", a.folder, "routers", len(present))
		}
		return w, nil
	}
	w.complete = true
	for _, id := range present {
		if _, ok := w.routers[id]; !ok {
			w.routers[id] = nil
		}
	}
	return w, nil
}

// report says what is wrong with files, once for each fault.
func (a *agent) report(faults map[string]error) {
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		if said, ok := a.faults[name]; !ok || said.Error() != faults[name].Error() {
			a.log.Error("file has a fault: its router stays as it is, and none is deleted", "file", name, "fault", faults[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.faults)) {
		if _, ok := faults[name]; !ok {
			a.log.Info("file has no fault any more", "file", name)
		}
	}
	a.faults = faults
}

// errFaults is for the runs that end, and so must say that not all was done.
func (a *agent) errFaults() error {
	if len(a.faults) == 0 {
		return nil
	}
	return fmt.Errorf("%d of the files in %s have faults", len(a.faults), a.folder)
}

// plan says what once would do. It touches nothing.
func (a *agent) plan(ctx context.Context) ([]dataplane.Plan, error) {
	w, err := a.read(ctx)
	if err != nil {
		return nil, err
	}
	plans := make([]dataplane.Plan, 0, len(w.routers))
	for _, id := range slices.Sorted(maps.Keys(w.routers)) {
		p := dataplane.Plan{Router: id, Steps: []dataplane.Step{
			{Op: dataplane.Remove, Kind: "router", Object: id, Detail: "no file names it", Disturbs: true},
		}}
		if r := w.routers[id]; r != nil {
			if p, err = a.dataplane.Plan(ctx, *r); err != nil {
				return plans, fmt.Errorf("router %s: %w", id, err)
			}
		}
		plans = append(plans, p)
	}
	return plans, a.errFaults()
}

// once makes the host match, with one attempt for each router.
func (a *agent) once(ctx context.Context) error {
	w, err := a.read(ctx)
	if err != nil {
		return err
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed []error
		slots  = newSlots()
	)
	for id, r := range w.routers {
		wg.Go(func() {
			if err := a.realise(ctx, slots, id, r); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Errorf("router %s: %w", id, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(append(failed, a.errFaults())...)
}

// realise makes one attempt to bring the host to what is wanted of one router.
func (a *agent) realise(ctx context.Context, s slots, id string, want *dataplane.Router) error {
	release, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if want == nil {
		if err := a.dataplane.Delete(ctx, id); err != nil {
			return err
		}
		a.log.Info("deleted", "router", id)
		return nil
	}
	start := time.Now()
	plan, err := a.dataplane.Apply(ctx, *want)
	if err != nil {
		return err
	}
	if !plan.Empty() {
		a.log.Info("applied", "router", id, "steps", len(plan.Steps), "took", time.Since(start).Round(time.Microsecond))
		for _, s := range plan.Steps {
			a.log.Debug("did", "router", id, "step", s)
		}
	}
	return nil
}
