package deployment

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// Machine is a pretended machine that programs run on.
type Machine struct {
	*lab.Lab
	Name string

	mounts *os.File // the machine's mount namespace, which this file keeps; nil: the caller's
}

// own are the directories that a machine with a mount namespace has for itself. /var/lib is one of
// them as a whole, because one below it might have to be made on this machine first.
var own = []string{"/run", "/tmp", "/var/lib"}

// NewMachine makes a machine, with directories of its own if it is a host.
func NewMachine(name string, host bool) (*Machine, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	return newMachine(l, name, host)
}

func newMachine(l *lab.Lab, name string, host bool) (_ *Machine, err error) {
	m := &Machine{Lab: l, Name: name}
	if host {
		if m.mounts, err = newMounts(); err != nil {
			return nil, errors.Join(fmt.Errorf("machine %s: %w", name, err), l.Close())
		}
	}
	return m, nil
}

// newMounts makes a mount namespace. What is unmounted elsewhere is unmounted in it as well, so
// that it keeps nobody else's namespaces; what is mounted in it is seen nowhere else.
func newMounts() (mounts *os.File, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
			return &os.PathError{Op: "make slave mount", Path: "/", Err: err}
		}
		for _, dir := range own {
			if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
				return &os.PathError{Op: "mount", Path: dir, Err: err}
			}
		}
		mounts, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	})
	return mounts, err
}

// onThread runs fn on a thread that ends with it, because what fn does to it cannot be undone.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- fn()
	}()
	return <-done
}

// Do runs fn on a thread that sees the machine's network and files, and ends with fn.
func (m *Machine) Do(fn func() error) error {
	return onThread(func() error {
		ns, err := netns.Open(m.HostNS)
		if err != nil {
			return err
		}
		defer ns.Close()
		return netns.Do(int(ns.Fd()), func() error {
			if m.mounts == nil {
				return fn()
			}
			// A thread that shares its working directory with others cannot change its mounts
			// (setns(2)).
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			if err := unix.Setns(int(m.mounts.Fd()), unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("enter the mounts of machine %s: %w", m.Name, err)
			}
			return fn()
		})
	})
}

// WriteFile writes a file of the machine.
func (m *Machine) WriteFile(path string, text []byte, mode os.FileMode) error {
	return m.Do(func() error { return os.WriteFile(path, text, mode) })
}

// share shows a directory of the caller's to the machine's programs.
func (m *Machine) share(dir, path string) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return &os.PathError{Op: "open_tree", Path: dir, Err: err}
	}
	defer unix.Close(tree)
	return m.Do(func() error {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return &os.PathError{Op: "move_mount", Path: path, Err: err}
		}
		return nil
	})
}

// HTTP is a client on the machine. It keeps no connections: a machine's cables are cut, and its
// programs killed.
func (m *Machine) HTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: m.dial}}
}

// dial takes an IP address: a name would be resolved by goroutines that are elsewhere.
func (m *Machine) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	ns, err := netns.Open(m.HostNS)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	err = netns.Do(int(ns.Fd()), func() error {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Close takes the machine away. Programs on it are to be ended first.
func (m *Machine) Close() error {
	err := m.Lab.Close()
	if m.mounts != nil {
		err = errors.Join(err, m.mounts.Close())
	}
	return err
}
