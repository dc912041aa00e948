package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/l3"
)

// Store is a database. Its methods may be called concurrently, and several processes may use one
// database.
type Store struct {
	db     database
	kinds  *kinds
	writer *writer
	// patience is for how long a database that cannot be reached is tried.
	patience time.Duration
}

var _ l3.Store = (*Store)(nil)

func newStore(db database) *Store {
	return &Store{db: db, kinds: newKinds(db), writer: newWriter(db), patience: 10 * time.Second}
}

// Close waits for the change that is under way and closes the connections. A second Close is fine.
func (s *Store) Close() error { return errors.Join(s.writer.close(), s.db.close()) }

// View runs fn on the state that the last commit left. It waits for nobody who writes. When the
// connection is lost, fn is run again on another.
func (s *Store) View(ctx context.Context, fn func(l3.Tx) error) error {
	return s.retry(ctx, func() error {
		var own error // fn's
		err := s.db.view(ctx, func(on session) error {
			t := &tx{on: on, kinds: s.kinds}
			defer t.end()
			own = fn(t)
			return t.broken
		})
		if err != nil && (own == nil || s.db.judge(err) != hopeless) {
			return judged(s.db, err)
		}
		return own
	})
}

// Update runs fn in a transaction; see [l3.Store]. It is run again when the database asks for it,
// and when the connection is lost before the commit is sent. When it is lost at the commit,
// PostgreSQL is asked how the transaction ended; the error is [ErrUnknown] if it cannot be reached.
// fn must not call Update, which would wait for itself.
func (s *Store) Update(ctx context.Context, fn func(l3.Tx) error) error {
	return s.retry(ctx, func() error {
		return s.writer.update(ctx, func(on session) (broken, err error) {
			t := &tx{on: on, kinds: s.kinds}
			defer t.end()
			err = fn(t)
			if t.stale != nil {
				err = t.stale
			}
			return t.broken, err
		})
	})
}

// stubborn is how often fn may update what has changed since it was read. Nothing but fn changes
// anything in a transaction, so if it happens again then fn brings from outside what it has read.
const stubborn = 3

// retry runs fn until it succeeds, or fails for good, or ctx ends.
func (s *Store) retry(ctx context.Context, fn func() error) error {
	var stale int
	var away time.Time // since when the database is
	for pause := pauses(); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := fn()
		var retry *retryError
		var old *staleError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &old):
			if stale++; stale == stubborn {
				return err
			}
			continue
		case !errors.As(err, &retry):
			return err
		case retry.verdict != lost:
			away = time.Time{}
		case away.IsZero():
			away = time.Now()
		case time.Since(away) > s.patience:
			return fmt.Errorf("%w: %w", l3.ErrUnavailable, retry.err)
		}
		if pause.Wait(ctx) != nil {
			return fmt.Errorf("%w: %w", ctx.Err(), retry.err)
		}
	}
}

// pauses are those before the database is tried again.
func pauses() backoff.Backoff {
	return backoff.Backoff{Pause: time.Millisecond, Longest: 500 * time.Millisecond, Spread: 1}
}
