// Package filelock locks files among processes, with flock(2).
package filelock

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// interval is how often Take tries.
const interval = 2 * time.Millisecond

// Take opens a file or directory and locks it, shared or alone: how is [unix.LOCK_SH] or
// [unix.LOCK_EX]. It waits until ctx ends. The lock lasts until the file is closed, here and in
// every process that has inherited it; a process that is killed closes its files.
func Take(ctx context.Context, path string, flags, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|flags, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		switch err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); {
		case err == nil:
			return f, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(os.NewSyscallError("flock", err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), context.Cause(ctx), f.Close())
		case <-time.After(interval):
		}
	}
}
