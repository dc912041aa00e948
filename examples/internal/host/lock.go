package host

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/examples/internal/setting"
)

// lock makes sure that one agent writes the cache. It ends with the process. A disk that is full or
// read-only keeps nobody from starting: the agent tries to write again, and says so.
func lock(cache string, log *slog.Logger) (unlock func() error, err error) {
	path := filepath.Join(cache, "lock")
	err = os.MkdirAll(cache, 0o700)
	if errors.Is(err, unix.ENOTDIR) {
		return nil, setting.For("--cache", err)
	}
	if info, err := os.Stat(cache); err == nil && info.Mode().Perm()&0o002 != 0 {
		return nil, setting.Errorf("--cache: everybody can write to %s (%s), and so decide what routers do: chmod o-w it", cache, info.Mode().Perm())
	}
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(path, os.O_CREATE|os.O_RDONLY|unix.O_NOFOLLOW, 0o600)
	}
	if diskFault(err) {
		log.Error("cannot lock the cache", "cache", cache, "err", err)
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--cache: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%s is locked: another agent runs on this host", path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--cache: %w", err), f.Close())
	}
	return f.Close, nil
}

// diskFault reports whether an error is one that passes, or that somebody has to see to while the
// agent works, rather than a mistake in its flags.
func diskFault(err error) bool {
	for _, fault := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}
