package natsbus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// heal restarts nats-server, in this process, after it could not write to disk, as soon as it can
// again: nats-server gives a stream up that it could not write to, or all of JetStream, until it is
// started again.
func (s *Server) heal(ctx context.Context) {
	for sleep(ctx, 500*time.Millisecond) {
		n := s.current()
		if n != nil && n.JetStreamEnabled() && !s.log.broken.Load() {
			continue
		}
		if err := hasRoom(s.config.Dir); err != nil {
			s.config.Logger.Debug("the bus waits for its disk", "err", err)
			continue
		}
		s.config.Logger.Warn("restarting the bus, which could not write to its disk", "dir", s.config.Dir)
		s.halt()
		s.log.broken.Store(false)
		if err := s.start(); err != nil {
			s.config.Logger.Error("cannot restart the bus, will be tried again", "err", err)
		}
	}
}

// hasRoom returns why a directory cannot be written to, with room for a message.
func hasRoom(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("stat file system of %s: %w", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < maxMessage {
		return fmt.Errorf("write to %s: %d bytes are free: %w", dir, free, unix.ENOSPC)
	}
	return writable(dir)
}

// writable writes a file to a directory, and removes it.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}
