package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// folder is an [agent.Source]: FILE.json is a router, FILE.gone the record that one has left. A
// router is removed only because of a record, which outlives a crash and ends when the agent
// reports that the router is gone. A user makes it by renaming FILE.json. The folder makes it if a
// file that it has seen is missing twice in a row, because editors replace a file in two steps, and
// if every other file can be read, because one with a fault may be the missing router.
type folder struct {
	dir      string
	every    time.Duration // between readings
	log      *slog.Logger
	revision atomic.Uint64 // of the last event
}

// listing is what the folder has at one moment, by router ID.
type listing struct {
	dir     os.FileInfo // tells the directory from another one in its place
	routers map[string]dataplane.Router
	files   map[string]string // that have routers
	gone    map[string]string // files that are records
	faults  error             // of files that cannot be read, or have a router that another file has
}

func (f *folder) read() (l listing, err error) {
	if l.dir, err = os.Stat(f.dir); err != nil {
		return l, err
	}
	entries, err := os.ReadDir(f.dir)
	l.routers, l.files, l.gone = map[string]dataplane.Router{}, map[string]string{}, map[string]string{}
	for _, e := range entries {
		file := filepath.Join(f.dir, e.Name())
		ext := filepath.Ext(file)
		if ext != ".json" && ext != ".gone" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		r, fault := readRouter(file)
		switch {
		case fault != nil:
			l.faults = errors.Join(l.faults, fmt.Errorf("%s: %w", file, fault))
		case ext == ".gone":
			l.gone[r.ID] = file
		case l.files[r.ID] != "":
			l.faults = errors.Join(l.faults, fmt.Errorf("%s: router %s is in %s too", file, r.ID, l.files[r.ID]))
			delete(l.routers, r.ID) // nobody can know which is meant
		default:
			l.files[r.ID], l.routers[r.ID] = file, r
		}
	}
	return l, err
}

// readRouter refuses unknown fields: one may be a field that somebody relies on, misspelt.
func readRouter(file string) (r dataplane.Router, err error) {
	const most = 1 << 20
	if info, err := os.Stat(file); err != nil {
		return r, err
	} else if !info.Mode().IsRegular() || info.Size() > most { // a pipe would block for ever
		return r, fmt.Errorf("not a regular file of at most %d bytes", most)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return r, errors.New("there is text after the router")
	}
	return r, r.Validate()
}

// check returns the faults of files, for runs that end.
func (f *folder) check() error {
	l, err := f.read()
	return errors.Join(err, l.faults)
}

// Watch ends when the folder cannot be read, or is another one than before, such as a mount point
// whose file system has gone. The agent then watches again, and keeps what runs.
func (f *folder) Watch(ctx context.Context, _ agent.Session) (<-chan agent.Event, error) {
	l, err := f.read()
	if err != nil {
		return nil, err
	}
	events := make(chan agent.Event)
	go func() {
		defer close(events)
		told, before, said := map[string]*dataplane.Router{}, listing{dir: l.dir}, ""
		for first := true; err == nil && os.SameFile(before.dir, l.dir) && ctx.Err() == nil; first = false {
			f.tell(ctx, events, l, told)
			if first {
				send(ctx, events, agent.Synced{Deployment: "folder"})
			}
			if faults := errors.Join(l.faults, f.record(before, l, told)); faults != nil && faults.Error() != said {
				said = faults.Error()
				f.log.Warn("files have faults: their routers stay as they are, and no router is removed because its file is", "faults", said)
			}
			select {
			case <-time.After(f.every):
			case <-ctx.Done():
			}
			before = l
			l, err = f.read()
		}
	}()
	return events, nil
}

// tell sends what has changed. told has each router as it was last sent; nil: that it is gone.
func (f *folder) tell(ctx context.Context, events chan<- agent.Event, l listing, told map[string]*dataplane.Router) {
	for id, r := range l.routers {
		if last := told[id]; last == nil || !last.Equal(r) {
			told[id] = &r
			send(ctx, events, agent.Put{Assignment: agent.Assignment{Deployment: "folder", Epoch: 1, Revision: f.revision.Add(1), Router: r}})
		}
	}
	for id := range l.gone {
		if l.faults != nil { // in a file that may be this router's, on its way back
			break
		}
		if last, ok := told[id]; l.files[id] == "" && (last != nil || !ok) {
			told[id] = nil
			send(ctx, events, agent.Gone{RouterID: id, Deployment: "folder", Epoch: 1, Revision: f.revision.Add(1)})
		}
	}
	maps.DeleteFunc(told, func(id string, last *dataplane.Router) bool { return last == nil && l.gone[id] == "" }) // it is confirmed
}

func send(ctx context.Context, events chan<- agent.Event, e agent.Event) {
	select {
	case events <- e:
	case <-ctx.Done():
	}
}

// record writes records of routers whose files are missing, and removes those of routers that have
// a file again.
func (f *folder) record(before, l listing, told map[string]*dataplane.Router) (err error) {
	for id, last := range told {
		missing := before.files[id] == "" && l.files[id] == "" && before.faults == nil && l.faults == nil
		switch record := l.gone[id]; {
		case record == "" && missing && last != nil:
			err = errors.Join(err, os.WriteFile(filepath.Join(f.dir, id+".gone"), fmt.Appendf(nil, "{\"id\": %q}\n", id), 0o644))
		case record != "" && l.files[id] != "":
			err = errors.Join(err, os.Remove(record))
		}
	}
	return err
}

// Report ends the record of a router that is gone. What fails is in the agent's log.
func (f *folder) Report(_ context.Context, r agent.Report) error {
	if !r.Gone {
		return nil
	}
	l, err := f.read()
	if record := l.gone[r.RouterID]; record != "" {
		err = errors.Join(err, os.Remove(record))
	}
	return err
}

// Heartbeat is for control planes that watch their agents.
func (*folder) Heartbeat(context.Context, agent.Heartbeat) error { return nil }
