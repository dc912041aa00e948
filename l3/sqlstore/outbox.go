package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// outbox is [l3.Outbox] in a transaction. One transaction at a time changes something, so the order
// of the numbers is that of the commits, and nobody sees a notice while one with a lower number can
// still appear.
type outbox struct{ tx *tx }

// Add puts notices behind all others.
func (s outbox) Add(ctx context.Context, notices ...l3.Notice) error {
	args := make([][]any, len(notices))
	for i, n := range notices {
		args[i] = []any{n.Host, n.RouterID, int64(n.Epoch), n.Gone, n.At.UTC().Format(time.RFC3339Nano)}
	}
	if _, err := s.tx.try(ctx, "INSERT INTO outbox (host, router_id, epoch, gone, at) VALUES ($1, $2, $3, $4, $5)", args...); err != nil {
		return fmt.Errorf("add to the outbox: %w", err)
	}
	return nil
}

// Next reads the first ones.
func (s outbox) Next(ctx context.Context, limit int) ([]l3.Notice, error) {
	var found []l3.Notice
	err := s.tx.query(ctx, func(r row) error {
		var n l3.Notice
		var seq, epoch int64
		var at string
		if err := r.Scan(&seq, &n.Host, &n.RouterID, &epoch, &n.Gone, &at); err != nil {
			return err
		}
		n.Seq, n.Epoch = uint64(seq), uint64(epoch)
		var err error
		n.At, err = time.Parse(time.RFC3339Nano, at)
		found = append(found, n)
		return err
	}, "SELECT seq, host, router_id, epoch, gone, at FROM outbox ORDER BY seq LIMIT $1", limit)
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	return found, nil
}

// Done drops those up to a number.
func (s outbox) Done(ctx context.Context, upTo uint64) error {
	if _, err := s.tx.exec(ctx, "DELETE FROM outbox WHERE seq <= $1", int64(upTo)); err != nil {
		return fmt.Errorf("clear the outbox: %w", err)
	}
	return nil
}
