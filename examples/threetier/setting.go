package main

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// setting is where and by what the demonstration is made.
type setting struct {
	dir       string // of the names of all namespaces; with files, the only trace on this machine: a later run knows by them what an earlier one left
	dataplane string
	wiring    string

	distributed             bool
	allinone, server, agent deployment.Command // the first, or the others if it is distributed
}

const (
	home     = "/run/l3kit-demo"
	lockFile = "/run/l3kit-demo.lock"
)

// files is the directory of what programs keep.
func (s setting) files() string { return s.dir + ".files" }

// metadata is the unix socket that an agent passes machines' questions on to. Hosts have directories
// of their own.
func (s setting) metadata() string {
	if s.distributed {
		return "/run/metadata"
	}
	return filepath.Join(s.files(), "metadata")
}

// sweep takes away what an earlier run left: with the namespaces goes all that is in them.
func (s setting) sweep() error {
	err := lab.Sweep(s.dir, "")
	for unix.Unmount(s.dir, unix.MNT_DETACH) == nil { // names of namespaces are in a directory that is a mount
	}
	return errors.Join(err, os.RemoveAll(s.dir), os.RemoveAll(s.files()))
}

// lock makes sure that demonstrations, which share their names, run one at a time. It ends with the
// process.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if errors.Is(err, os.ErrPermission) {
		return nil, dataplane.ErrPermission
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, errors.New("another demonstration is running")
	}
	return func() { f.Close() }, nil
}
