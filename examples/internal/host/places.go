package host

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/dataplane/workload"
	"github.com/l3kit/l3kit/internal/netns"
)

// place is where a port is attached on this host.
type place struct {
	path   string // of the namespace
	id     netns.ID
	device string
	tap    bool
}

func (p place) String() string {
	if p.tap {
		return "tap device " + p.device
	}
	return p.device + " in the network namespace " + p.path
}

// eachPlace calls fn for each place that a port is attached at, in all namespaces that have a name
// or a process.
func (m *Machine) eachPlace(port string, fn func(place, namespace.NS) error) error {
	own := cmp.Or(m.ns, "/proc/self/ns/net")
	return eachNamespace(own, func(path string, id netns.ID, ns namespace.NS) error {
		device, err := workload.Device(ns, port)
		if err != nil || device == "" {
			return err
		}
		return fn(place{path, id, device, path == own && device == workload.TapName(port)}, ns)
	})
}

func (m *Machine) places(port string) (all []place, err error) {
	err = m.eachPlace(port, func(p place, _ namespace.NS) error {
		all = append(all, p)
		return nil
	})
	return all, err
}

// in reports whether the place is in a namespace.
func (p place) in(ns *os.File) (bool, error) {
	id, err := netns.IdentifyFD(int(ns.Fd()))
	return id == p.id, err
}

// eachNamespace calls fn once for each network namespace that has a name or a process, and first
// for the host's own.
func eachNamespace(own string, fn func(path string, id netns.ID, ns namespace.NS) error) error {
	seen := map[netns.ID]bool{}
	for _, pattern := range []string{own, filepath.Join(netns.Dir, "*"), "/proc/[0-9]*/ns/net"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range paths {
			id, err := netns.Identify(path)
			if err != nil || seen[id] {
				continue // a process may have ended
			}
			seen[id] = true
			f, err := netns.Open(path)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, netns.ErrNotNamespace) {
				continue
			}
			if err != nil {
				return err
			}
			err = fn(path, id, namespace.NS{FD: int(f.Fd())})
			if err = errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("namespace %s: %w", path, err)
			}
		}
	}
	return nil
}
