package powerloss

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Disk outlives losses of power.
type Disk struct {
	dir    string
	tree   *tree
	device *os.File
	served sync.WaitGroup
}

// Mount mounts a new, empty disk on a directory.
func Mount(dir string) (*Disk, error) {
	d := &Disk{dir: dir, tree: newTree()}
	return d, d.Restore()
}

// Restore mounts the disk, with what is on it.
func (d *Disk) Restore() error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/fuse: %w", err)
	}
	d.device = os.NewFile(uintptr(fd), "/dev/fuse")
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("powerloss", d.dir, "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		return errors.Join(fmt.Errorf("mount on %s: %w", d.dir, err), d.device.Close())
	}
	s := &server{tree: d.tree, fd: fd}
	d.served.Go(s.serve)
	return d.refusePoll()
}

// refusePoll has the kernel ask once whether files can be polled, so that it knows that they
// cannot. Otherwise it asks when this process opens a file of the disk, in the midst of
// epoll_ctl(2), of which the Go runtime believes that it does not wait; and then the answer may
// never be given.
func (d *Disk) refusePoll() error {
	path := filepath.Join(d.dir, ".poll")
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return errors.Join(err, unix.Close(fd), unix.Unlink(path))
}

// Cut cuts the power: every access fails from now on. It returns how many syncs there were.
func (d *Disk) Cut() (syncs int) {
	d.tree.mu.Lock()
	defer d.tree.mu.Unlock()
	d.tree.off = true
	return d.tree.syncs
}

// Unmount unmounts the disk after its power was cut. What was not synced is lost.
func (d *Disk) Unmount() error {
	err := unix.Unmount(d.dir, unix.MNT_FORCE|unix.MNT_DETACH)
	if err != nil {
		return fmt.Errorf("unmount %s: %w", d.dir, err)
	}
	d.served.Wait()
	d.tree = d.tree.restored()
	return d.device.Close()
}
