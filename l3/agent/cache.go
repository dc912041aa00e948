package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// Cached is what an agent keeps on disk.
type Cached struct {
	Routers []l3.Assignment // applied last, by ID; Host is not kept
	Peers   []netip.Addr    // tunnel peers; nil: never heard of

	Deployment string   // that the host serves; empty: not known
	Orphans    []string // routers that run here, and that its last complete listing did not name
}

// ReadCache reads an agent's cache, [Config.Cache], beside a running agent too. Files that are damaged are left out, and named by the error; what could
// be read is returned with it.
func ReadCache(dir string) (Cached, error) {
	kept, damaged, err := (&cache{dir}).read()
	if err != nil {
		return kept, err
	}
	return kept, errors.Join(damaged...)
}

// cache keeps one file for each router that was applied, named after its ID.
type cache struct{ dir string }

const (
	suffix    = ".json" // of the files of routers
	peersFile = "peers"
	listFile  = "listing"
	heardFile = "heard" // its time of change is when the control plane was heard last
)

// openCache opens a cache, and creates its directory. The agent is root and obeys what it finds there, so
// a directory that everybody can write to is refused.
func openCache(dir string) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the agent's cache: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open the agent's cache: %w", err)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("open the agent's cache: every user can write to %s (%s)", dir, info.Mode())
	}
	return &cache{dir}, nil
}

// read reads everything but what is damaged: the control plane has the truth.
func (c *cache) read() (kept Cached, damaged []error, err error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return kept, nil, fmt.Errorf("read the agent's cache: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue // a file that was never completed, or another's
		}
		a, err := c.readRouter(id)
		switch {
		case errors.Is(err, os.ErrNotExist): // removed since
		case err != nil:
			damaged = append(damaged, err)
		default:
			kept.Routers = append(kept.Routers, a)
		}
	}
	if kept.Peers, err = c.readPeers(); err != nil {
		damaged = append(damaged, err)
	}
	var l listed
	if err := readJSON(filepath.Join(c.dir, listFile), &l); err != nil && !errors.Is(err, os.ErrNotExist) {
		damaged = append(damaged, err)
	}
	kept.Deployment, kept.Orphans = l.Deployment, l.Orphans
	return kept, damaged, nil
}

// listed is what the last complete listing said: who it came from, and what it did not name.
type listed struct {
	Deployment string   `json:"deployment"`
	Orphans    []string `json:"orphans,omitempty"`
}

func (c *cache) keepListing(l listed) error { return writeJSON(filepath.Join(c.dir, listFile), l) }

func (c *cache) readRouter(id string) (a l3.Assignment, err error) {
	if err := readJSON(c.path(id), &a); err != nil {
		return a, err
	}
	if a.Router.ID != id {
		return a, fmt.Errorf("%s: it has router %q", c.path(id), a.Router.ID)
	}
	return a, nil
}

func (c *cache) readPeers() (peers []netip.Addr, err error) {
	err = readJSON(filepath.Join(c.dir, peersFile), &peers)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return peers, err
}

// errNotRegular is returned for what is not a regular file. The agent does not follow a symbolic link out
// of its cache.
var errNotRegular = errors.New("not a regular file")

// openFile opens a file of the cache. It follows no symbolic link, and waits for no other end of a pipe.
func openFile(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: %w", path, errNotRegular)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, errNotRegular)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func readFile(path string) ([]byte, error) {
	f, err := openFile(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(f)
	return text, errors.Join(err, f.Close())
}

func readJSON(path string, v any) error {
	text, err := readFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// keep writes a router's file as a whole or not at all, whatever ends the machine.
func (c *cache) keep(a l3.Assignment) error {
	if err := writeJSON(c.path(a.Router.ID), a); err != nil {
		return fmt.Errorf("keep router %s in the agent's cache: %w", a.Router.ID, err)
	}
	return nil
}

func (c *cache) keepPeers(peers []netip.Addr) error {
	if peers == nil {
		peers = []netip.Addr{} // known to be none
	}
	return writeJSON(filepath.Join(c.dir, peersFile), peers)
}

// writeJSON writes nothing if the file is as it should be.
func writeJSON(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if old, err := readFile(path); err == nil && string(old) == string(text) {
		return nil
	}
	return write(path, text)
}

// write replaces a file, or a symbolic link in its place.
func write(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func (c *cache) remove(id string) error {
	err := os.Remove(c.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (c *cache) path(id string) string { return filepath.Join(c.dir, filepath.Base(id)+suffix) }

// noteHeard notes when the control plane was heard: a host that fences itself has no more time because its agent starts anew.
func (c *cache) noteHeard(at time.Time) error {
	f, err := openFile(filepath.Join(c.dir, heardFile), os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return err
	}
	when := syscall.NsecToTimeval(at.UnixNano())
	return errors.Join(syscall.Futimes(int(f.Fd()), []syscall.Timeval{when, when}), f.Close())
}

// lastHeard is what was noted. An agent that was never heard has its time from now on; so has one whose clock was set back.
func (c *cache) lastHeard(now time.Time) time.Time {
	info, err := os.Lstat(filepath.Join(c.dir, heardFile))
	if err != nil || !info.Mode().IsRegular() || info.ModTime().After(now) {
		return now
	}
	return info.ModTime()
}
