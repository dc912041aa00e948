package sqlstore

import (
	"context"
	"strings"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// SetEndTime shortens for how long a PostgreSQL server is asked how a transaction ended.
func SetEndTime(s *Store, d time.Duration) { s.db.(*postgresDB).endTime = d }

// SetPatience shortens for how long a database is tried that cannot be reached.
func SetPatience(s *Store, d time.Duration) { s.patience = d }

// Explain says how the database would find what a query chooses, if the table were large.
func Explain[R any](ctx context.Context, s *Store, of func(l3.Tx) l3.Table[R], q l3.Query) (plan string, err error) {
	err = s.View(ctx, func(t l3.Tx) error {
		from := of(t).(interface {
			selection(context.Context, l3.Query) (string, []any, error)
		})
		text, args, err := from.selection(ctx, q)
		if err != nil {
			return err
		}
		columns, explain := 1, "EXPLAIN "
		if _, ok := s.db.(*sqliteDB); ok {
			columns, explain = 4, "EXPLAIN QUERY PLAN "
		} else if _, err := t.(*tx).exec(ctx, "SET LOCAL enable_seqscan = off"); err != nil {
			return err
		}
		return t.(*tx).query(ctx, func(r row) error {
			var line string
			into := make([]any, columns)
			for i := range into {
				into[i] = new(any)
			}
			into[columns-1] = &line
			err := r.Scan(into...)
			plan += strings.TrimSpace(line) + "\n"
			return err
		}, explain+text, args...)
	})
	return plan, err
}
