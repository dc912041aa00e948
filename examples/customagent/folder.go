package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/l3kit/l3kit/dataplane"
)

// listing is what a folder says at one moment.
type listing struct {
	folder  os.FileInfo                 // tells it from another one in its place
	routers map[string]dataplane.Router // by ID; each is valid
	faults  map[string]error            // by file name: files that name no router, or not one that is to be believed
}

// complete says that every file could be read and believed. Only then does a router that is not in
// the listing have no file; otherwise one of the files with a fault may be its own.
func (l listing) complete() bool { return len(l.faults) == 0 }

// readFolder reads every .yaml and .yml file of dir, one router each. Files whose names begin with
// a dot are left to editors. The error says that the folder could not be listed at all.
func readFolder(dir string) (listing, error) {
	folder, err := os.Stat(dir)
	if err != nil {
		return listing{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return listing{}, err
	}
	l := listing{folder: folder, routers: map[string]dataplane.Router{}, faults: map[string]error{}}
	files := map[string]string{} // by router ID
	for _, e := range entries {
		name := e.Name()
		if ext := filepath.Ext(name); e.IsDir() || strings.HasPrefix(name, ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		r, err := readRouter(filepath.Join(dir, name))
		if err != nil {
			l.faults[name] = err
			continue
		}
		if other, ok := files[r.ID]; ok {
			// Which of them is meant nobody can know; so neither is.
			l.faults[name] = fmt.Errorf("router %s is in %s too", r.ID, other)
			l.faults[other] = fmt.Errorf("router %s is in %s too", r.ID, name)
			delete(l.routers, r.ID)
			continue
		}
		files[r.ID] = name
		l.routers[r.ID] = r
	}
	return l, nil
}

// readRouter reads a file that holds exactly one router. A field that does not exist is a fault,
// not a field to skip: it may be the misspelt one that somebody counts on.
func readRouter(file string) (dataplane.Router, error) {
	var r dataplane.Router
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if n := documents(text); n != 1 {
		return r, fmt.Errorf("holds %d YAML documents, want one: one file, one router", n)
	}
	if err := yaml.UnmarshalStrict(text, &r); err != nil {
		return r, err
	}
	return r, r.Validate()
}

// documents counts the YAML documents of a text that hold anything. A line that begins with three
// dashes begins a document, wherever it stands (YAML 1.2.2, section 9.1.2); comments and directives
// are nothing.
func documents(text []byte) int {
	n, empty := 0, true
	for line := range bytes.Lines(text) {
		rest, begins := bytes.CutPrefix(line, []byte("---"))
		if begins && (len(rest) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0]))) {
			line, empty = rest, true
		}
		if line = bytes.TrimSpace(line); empty && len(line) > 0 && line[0] != '#' && line[0] != '%' {
			n++
			empty = false
		}
	}
	return n
}
