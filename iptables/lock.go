package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/filelock"
)

const (
	lockVariable = "XTABLES_LOCKFILE"
	lockFile     = "/run/xtables.lock"
	// noLock is what a tool that we run is given instead: a file that is another one for each
	// process.
	noLock = "/proc/self/comm"
)

// hold takes two locks. That of iptables-legacy (iptables(8), option --wait) is one file for all
// namespaces, and whoever writes rules has it alone. We share it among us, so that we write into
// our several namespaces at the same time, and others into none of them. The other lock is the
// namespace itself: no two of us write into the same one.
func (s *legacyStore) hold(ctx context.Context) (lock, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("another process has held it for %v", s.limit))
	defer cancel()
	path := os.Getenv(lockVariable)
	if path == "" {
		path = lockFile
	}
	own, err := filelock.Take(ctx, fmt.Sprintf("/proc/self/fd/%d", s.ns.FD), 0, unix.LOCK_EX)
	if err != nil {
		return nil, failure.Of("lock", "namespace of router "+s.ns.Router, err)
	}
	all, err := filelock.Take(ctx, path, os.O_CREATE, unix.LOCK_SH)
	if err != nil {
		return nil, errors.Join(failure.Of("lock", path, err), own.Close())
	}
	return lock{own, all}, nil
}
