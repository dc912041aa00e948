package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lock makes sure that the cache can be written, and that one agent does so. It ends with the process.
func lock(cache string) (unlock func() error, err error) {
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return nil, fmt.Errorf("--cache: %w", err)
	}
	path := filepath.Join(cache, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--cache: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%s is locked: another agent runs on this host", path)
	}
	if err == nil {
		err = writable(cache)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--cache: %w", err), f.Close())
	}
	return f.Close, nil
}

// writable finds out at once what else the first router would: that the disk is full, or a write refused.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}
