package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
)

// Lab is one pretended machine. Its methods may be called concurrently.
type Lab struct {
	HostNS string // path of the namespace that plays the machine's own
	Dir    string // directory for the names of routers' namespaces

	temp   string // everything of a lab made by New; empty for one of NewIn
	dir    string // where the names of the machine and of its workloads are
	prefix string

	mu       sync.Mutex
	open     []*Host
	switches []*Switch
}

// New makes a machine in a temporary directory of its own. Any number can exist at once.
func New() (*Lab, error) {
	temp, err := os.MkdirTemp("", "l3kit-lab-")
	if err != nil {
		return nil, err
	}
	l := &Lab{Dir: filepath.Join(temp, "routers"), temp: temp, dir: filepath.Join(temp, "hosts")}
	return l, l.start()
}

// NewIn makes a machine whose namespaces have names in dir, such as /run/netns, where people's
// tools find them: prefix + "host", and prefix + a workload's name. The names of routers go there
// too. A name that is taken is [os.ErrExist]; see [Sweep].
func NewIn(dir, prefix string) (*Lab, error) {
	l := &Lab{Dir: dir, dir: dir, prefix: prefix}
	return l, l.start()
}

func (l *Lab) start() error {
	err := os.MkdirAll(l.Dir, 0o755)
	if err == nil {
		var host *Host
		host, err = l.create("host", nil)
		if err == nil {
			l.HostNS = filepath.Join(l.dir, l.prefix+"host")
			err = host.configure(Spec{})
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make a lab: %w", err), l.Close())
	}
	return nil
}

// create makes a namespace and keeps it open until Close.
func (l *Lab) create(name string, prepare func() error) (*Host, error) {
	ns, err := netns.Create(l.dir, l.prefix+name, "", prepare)
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return l.keep(&Host{Name: name, ns: ns, owned: true}), nil
}

func (l *Lab) keep(h *Host) *Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, h)
	return h
}

// Enter makes a host of a namespace that exists, such as a router's, so that it can be probed from
// inside. It is left as it is.
func (l *Lab) Enter(path string) (*Host, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	return l.keep(&Host{Name: filepath.Base(path), ns: ns}), nil
}

// Close takes the machine and its workloads away. A lab of [New] takes its routers with it; in a
// directory that is shared with others, they are the business of whoever made them.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, s := range l.switches {
		errs = append(errs, s.close())
	}
	l.switches = nil
	for _, h := range l.open {
		errs = append(errs, h.ns.Close())
		if h.owned {
			errs = append(errs, netns.Remove(l.dir, l.prefix+h.Name))
		}
	}
	l.open = nil
	if l.temp != "" {
		errs = append(errs, clear(l.Dir), clear(l.dir), os.RemoveAll(l.temp))
	}
	return errors.Join(errs...)
}

// clear removes a directory of namespaces that is a mount of its own (see [netns.Create]).
func clear(dir string) error {
	errs := []error{Sweep(dir, "")}
	for {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			break // not mounted, or not any more
		}
	}
	return errors.Join(errs...)
}

// Sweep removes every name in dir that begins with prefix: what a lab left behind whose process was
// killed.
func Sweep(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			errs = append(errs, netns.Remove(dir, e.Name()))
		}
	}
	return errors.Join(errs...)
}
