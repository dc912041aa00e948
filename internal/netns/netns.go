// Package netns makes, finds, enters and removes network namespaces. It is the only package that
// touches setns(2) and OS threads.
//
// It exists beside vishvananda/netns for what that leaves to its caller: threads are locked, and
// given back or thrown away; a namespace has its name only once it is prepared, and a name that a
// killed process left says whose it is.
//
// Linux gives each thread a namespace, and Go moves goroutines between threads; so [Do] locks the
// goroutine to its thread, and a thread that could not be put back is thrown away rather than
// handed to other goroutines.
package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dir is where iproute2 keeps named namespaces (ip-netns(8)).
const Dir = "/run/netns"

// own is the namespace of the thread that looks.
const own = "/proc/thread-self/ns/net"

const nsfsMagic = 0x6e736673 // NSFS_MAGIC of linux/magic.h

// ErrNotNamespace says that a file is not a network namespace.
var ErrNotNamespace = errors.New("not a network namespace")

// ID tells namespaces apart for as long as somebody holds one open (namespaces(7)).
type ID struct{ Dev, Ino uint64 }

// Open opens the namespace mounted at path. An empty path is the calling thread's own namespace.
func Open(path string) (*os.File, error) {
	if path == "" {
		path = own
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) // os.Open would make it non-blocking, and ready for a poller
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || fs.Type != nsfsMagic {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, ErrNotNamespace), err, f.Close())
	}
	return f, nil
}

// Identify returns the identity of the namespace mounted at path, with one system call.
func Identify(path string) (ID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return ID{st.Dev, st.Ino}, nil
}

// IdentifyFD returns the identity of an open namespace.
func IdentifyFD(fd int) (ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return ID{}, os.NewSyscallError("fstat", err)
	}
	return ID{st.Dev, st.Ino}, nil
}

// Do runs fn on a thread that is in the namespace fd is open on, and returns fn's error. It may be
// nested.
func Do(fd int, fn func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open(own, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return &os.PathError{Op: "open", Path: own, Err: err}
	}
	defer unix.Close(home)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer func() {
		if err := unix.Setns(home, unix.CLONE_NEWNET); err == nil {
			runtime.UnlockOSThread()
		} // else the thread stays locked, and ends with its goroutine
	}()
	return fn()
}

// New makes a namespace without a name: it ends when the file is closed. Before New returns,
// prepare runs inside it.
func New(prepare func() error) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result, 1)
	go func() {
		// Never unlocked: the thread is in the new namespace, and ends with this goroutine.
		runtime.LockOSThread()
		f, err := unshare(prepare)
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}

func unshare(prepare func() error) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	if prepare != nil {
		if err := prepare(); err != nil {
			return nil, err
		}
	}
	return Open("")
}

// Create makes a namespace and gives it the name name in dir. Before it has that name, prepare runs
// inside it, so that nobody ever sees it unprepared. The file that the namespace is mounted on
// carries mark, so that a name left by a process that died half-way is known; see [Mark]. A name
// that is taken is [os.ErrExist].
func Create(dir, name, mark string, prepare func() error) (*os.File, error) {
	if err := share(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name)
	if err := writeMark(dir, path, mark); err != nil {
		return nil, err
	}
	f, err := New(prepare)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), path, "", unix.MS_BIND, ""); err != nil {
		return nil, errors.Join(&os.PathError{Op: "mount", Path: path, Err: err}, f.Close(), os.Remove(path))
	}
	return f, nil
}

// writeMark makes the file to mount on. It appears with its content or not at all, and a process
// that dies here leaves nothing.
func writeMark(dir, path, mark string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o444)
	if err != nil {
		return &os.PathError{Op: "open unnamed file in", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if _, err := f.WriteString(mark); err != nil {
		return err
	}
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.PathError{Op: "create", Path: path, Err: err}
	}
	return nil
}

// Mark returns what Create wrote into the file at path, if no namespace is mounted on it: the trace
// of a process that died half-way. A mounted namespace is "" with a nil error.
func Mark(path string) (string, error) {
	f, err := Open(path)
	if err == nil {
		return "", f.Close()
	}
	if !errors.Is(err, ErrNotNamespace) {
		return "", err
	}
	b, err := os.ReadFile(path)
	return string(b), err
}

// Remove takes the name away. The namespace itself ends when its last user does. A name that is not
// there is fine. A symbolic link is removed itself, and what it points to stays mounted.
func Remove(dir, name string) error {
	path := filepath.Join(dir, name)
	for { // a name may have been mounted over more than once
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return &os.PathError{Op: "umount", Path: path, Err: err}
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// share makes dir a shared mount, as ip-netns does: otherwise a process in a mount namespace of its
// own, such as a service with a private /tmp, would keep namespaces alive after their names are
// gone.
func share(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // and with it the lock: two processes must not both bind dir, one hiding the names of the other
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return &os.PathError{Op: "lock", Path: dir, Err: err}
	}
	err = unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err = unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return &os.PathError{Op: "make shared mount", Path: dir, Err: err}
	}
	return nil
}
