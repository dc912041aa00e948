package bridge

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/failure"
)

// kinds remembers which kinds of devices the kernel has.
type kinds struct {
	mu    sync.Mutex
	known map[string]bool
}

// kindSupported asks the kernel, without making anything, whether it has a kind of devices that
// need settings: a request without them is invalid, unless already the kind is unknown. A module
// that has the kind is loaded by that, as it would be by a real request.
func (d *Driver) kindSupported(kind string) error {
	d.kinds.mu.Lock()
	defer d.kinds.mu.Unlock()
	if d.kinds.known[kind] {
		return nil
	}
	err := d.host.write(newLink(d.newIndex(), kind, "l3kit-probe", nil, nil))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return kindMissing(kind, err)
	}
	if d.kinds.known == nil {
		d.kinds.known = map[string]bool{}
	}
	d.kinds.known[kind] = errors.Is(err, unix.EINVAL)
	return nil // what else is wrong, making the device will tell
}

func kindMissing(kind string, err error) error {
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	return failure.Lack("devices of the kind "+kind, err)
}
