package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/l3kit/l3kit/internal/backoff"
)

// Cached is what an agent keeps on disk.
type Cached struct {
	Routers []Assignment // applied last, by ID; Host is not kept
	Peers   []netip.Addr // tunnel peers; nil: never heard of

	Deployment string   // that the host serves; empty: not known
	Orphans    []string // routers that run here, and that its last complete listing did not name
}

// ReadCache reads an agent's cache, [Config.Cache], beside a running agent too. Files that are
// damaged are left out, and named by the error; what could be read is returned with it.
func ReadCache(dir string) (Cached, error) {
	kept, damaged, err := (&cache{dir: dir}).read()
	if err != nil {
		return kept, err
	}
	return kept, errors.Join(damaged...)
}

// cache keeps one file for each router that was applied, named after its ID. What cannot be written
// is kept in memory and tried again; see mendCache.
type cache struct {
	dir    string
	faulty chan struct{} // a wake-up: there is a fault

	mu      sync.Mutex
	pending map[string][]byte // what files are to hold and do not, by name; nil: the file is to go
	fault   error             // why; nil: everything is written
}

const (
	suffix    = ".json" // of the files of routers
	peersFile = "peers"
	listFile  = "listing"
	heardFile = "heard" // its time of change is when the control plane was heard last
)

// openCache opens a cache, and creates its directory. The agent is root and obeys what it finds
// there, so a directory that everybody can write to is refused. One that cannot be written is
// opened all the same: an agent whose disk is full serves its host nevertheless.
func openCache(dir string) (*cache, error) {
	c := &cache{dir: dir, faulty: make(chan struct{}, 1), pending: map[string][]byte{}}
	if err := c.probe(); err != nil {
		c.fail(err)
	}
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("open the agent's cache: every user can write to %s (%s)", dir, info.Mode())
	}
	return c, nil
}

// probe finds out whether the cache can be written.
func (c *cache) probe() error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.dir, ".writable-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

func (c *cache) fail(err error) {
	c.mu.Lock()
	c.fault = err
	c.mu.Unlock()
	select {
	case c.faulty <- struct{}{}:
	default:
	}
}

// broken is why the cache is not as it should be; nil: it is.
func (c *cache) broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault
}

// store writes a file as a whole or not at all, whatever ends the machine. A nil text removes it. A
// name has one writer at a time.
func (c *cache) store(name string, text []byte) {
	c.mu.Lock()
	_, waits := c.pending[name]
	if waits {
		c.pending[name] = text
	}
	c.mu.Unlock()
	if waits {
		return
	}
	if err := c.write(name, text); err != nil {
		c.mu.Lock()
		c.pending[name] = text
		c.mu.Unlock()
		c.fail(err)
	}
}

func (c *cache) storeJSON(name string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		c.fail(fmt.Errorf("write %s: %w", name, err))
		return
	}
	c.store(name, text)
}

// write writes nothing if the file is as it should be.
func (c *cache) write(name string, text []byte) error {
	path := filepath.Join(c.dir, name)
	if text == nil {
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	if old, err := readFile(path); err == nil && string(old) == string(text) {
		return nil
	}
	return write(path, text)
}

// flush writes what waits. It returns why something waits still.
func (c *cache) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault == nil {
		return nil
	}
	if c.fault = c.probe(); c.fault != nil {
		return c.fault
	}
	for _, name := range slices.Sorted(maps.Keys(c.pending)) {
		if err := c.write(name, c.pending[name]); err != nil {
			c.fault = err // one file may be at fault, and the others not
			continue
		}
		delete(c.pending, name)
	}
	return c.fault
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

func (c *cache) keepListing(l listed) { c.storeJSON(listFile, l) }

func (c *cache) readRouter(id string) (a Assignment, err error) {
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

// errNotRegular is returned for what is not a regular file. The agent does not follow a symbolic
// link out of its cache.
var errNotRegular = errors.New("not a regular file")

// openFile opens a file of the cache. It follows no symbolic link, and waits for no other end of a
// pipe.
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

// keep keeps a router that was applied.
func (c *cache) keep(a Assignment) { c.storeJSON(fileOf(a.Router.ID), a) }

// remove forgets a router.
func (c *cache) remove(id string) { c.store(fileOf(id), nil) }

func (c *cache) keepPeers(peers []netip.Addr) {
	if peers == nil {
		peers = []netip.Addr{} // known to be none
	}
	c.storeJSON(peersFile, peers)
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

func fileOf(router string) string { return filepath.Base(router) + suffix }

func (c *cache) path(id string) string { return filepath.Join(c.dir, fileOf(id)) }

// noteHeard notes when the control plane was heard: a host that fences itself has no more time
// because its agent starts anew.
func (c *cache) noteHeard(at time.Time) error {
	f, err := openFile(filepath.Join(c.dir, heardFile), os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return err
	}
	when := syscall.NsecToTimeval(at.UnixNano())
	return errors.Join(syscall.Futimes(int(f.Fd()), []syscall.Timeval{when, when}), f.Close())
}

// lastHeard is what was noted. An agent that was never heard has its time from now on; so has one
// whose clock was set back.
func (c *cache) lastHeard(now time.Time) time.Time {
	info, err := os.Lstat(filepath.Join(c.dir, heardFile))
	if err != nil || !info.Mode().IsRegular() || info.ModTime().After(now) {
		return now
	}
	return info.ModTime()
}

// mendCache tries to write what could not be written, later and later, until ctx ends, and then a
// last time.
func (r *run) mendCache(ctx context.Context) {
	defer func() { _ = r.cache.flush() }() // why it fails has been logged
	for {
		select {
		case <-r.cache.faulty:
		case <-ctx.Done():
			return
		}
		fault := r.cache.broken()
		if fault == nil {
			continue
		}
		r.log.Error("cannot write the cache: what it lacks is kept in memory, and lost when the agent ends", "cache", r.cache.dir, "err", fault)
		for fails := 1; fault != nil; fails++ {
			if backoff.Sleep(ctx, r.delay(fails)) != nil {
				return
			}
			fault = r.cache.flush()
		}
		r.log.Info("the cache can be written again, and lacks nothing", "cache", r.cache.dir)
	}
}
