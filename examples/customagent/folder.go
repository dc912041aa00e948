package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// folder is an [agent.Lister]: FILE.json is a router, FILE.gone the record that one has left. A
// user can make a record by renaming FILE.json.
type folder struct {
	dir     string
	last    os.FileInfo       // of the directory, when it was last listed
	records map[string]string // files by router ID, when it was last listed
}

// List fails if the directory is another one than before, such as a mount point whose file system
// has gone.
func (f *folder) List(context.Context) (l agent.Listing, err error) {
	before := f.last
	if f.last, err = os.Stat(f.dir); err != nil {
		return l, err
	}
	if before != nil && !os.SameFile(before, f.last) {
		return l, fmt.Errorf("%s is another directory than before", f.dir)
	}
	entries, err := os.ReadDir(f.dir)
	files := map[string]string{}
	l.Routers, f.records = map[string]dataplane.Router{}, map[string]string{}
	for _, e := range entries {
		file := filepath.Join(f.dir, e.Name())
		ext := filepath.Ext(file)
		if ext != ".json" && ext != ".gone" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		r, fault := readRouter(file)
		switch {
		case fault != nil: // it may be the file of any router
			l.Incomplete = errors.Join(l.Incomplete, fmt.Errorf("%s: %w", file, fault))
		case ext == ".gone":
			f.records[r.ID] = file
		case files[r.ID] != "":
			l.Incomplete = errors.Join(l.Incomplete, fmt.Errorf("%s: router %s is in %s too", file, r.ID, files[r.ID]))
			delete(l.Routers, r.ID) // nobody can know which is meant
		default:
			files[r.ID], l.Routers[r.ID] = file, r
		}
	}
	l.Gone = slices.Collect(maps.Keys(f.records))
	return l, err
}

// Record writes the record of a router whose file was removed.
func (f *folder) Record(_ context.Context, router string) error {
	return os.WriteFile(filepath.Join(f.dir, router+".gone"), fmt.Appendf(nil, "{\"id\": %q}\n", router), 0o644)
}

// Forget removes the record that was listed last.
func (f *folder) Forget(_ context.Context, router string) error {
	if err := os.Remove(f.records[router]); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
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
