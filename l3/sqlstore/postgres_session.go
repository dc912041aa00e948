package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgresSession is a connection. Statements whose answer nobody waits for, such as BEGIN, go out
// with the one that follows, in one round trip.
type postgresSession struct {
	conn    *pgx.Conn
	db      *postgresDB
	pending []statement
	sent    bool // anything since begin
	marked  bool
	unused  bool   // nothing was sent since mark
	xid     string // the transaction's number; see settle
}

// statement is one with its arguments, and what takes its answer; nil: it has none of interest.
type statement struct {
	text string
	args []any
	read func(pgx.BatchResults) error
}

// lostError is what happened to a connection.
type lostError struct{ err error }

func (e *lostError) Error() string { return "connection lost: " + e.err.Error() }

// Unwrap returns the cause.
func (e *lostError) Unwrap() error { return e.err }

func (s *postgresSession) start(texts ...string) {
	s.pending, s.sent, s.marked, s.unused = nil, false, false, false
	for _, text := range texts {
		s.pending = append(s.pending, statement{text: text})
	}
}

// send sends what is pending and the statements, and reads the answers.
func (s *postgresSession) send(ctx context.Context, statements ...statement) error {
	ctx, done := grace(ctx)
	defer done()
	all := append(s.pending, statements...)
	s.pending, s.sent, s.unused = nil, true, false
	batch := &pgx.Batch{QueuedQueries: make([]*pgx.QueuedQuery, 0, len(all))}
	for _, st := range all {
		batch.Queue(st.text, st.args...)
	}
	results := s.conn.SendBatch(ctx, batch)
	var err error
	for i := 0; err == nil && i < len(all); i++ {
		if all[i].read != nil {
			err = all[i].read(results)
		} else {
			_, err = results.Exec()
		}
	}
	if closing := results.Close(); err == nil {
		err = closing
	}
	return s.noted(err)
}

// noted says whether an error has cost the connection.
func (s *postgresSession) noted(err error) error {
	if err != nil && s.conn.IsClosed() {
		return &lostError{err}
	}
	return err
}

func (s *postgresSession) exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.send(ctx, statement{query, args, count(&n)})
	return n, err
}

// count adds up how many rows were changed.
func count(n *int64) func(pgx.BatchResults) error {
	return func(r pgx.BatchResults) error {
		tag, err := r.Exec()
		*n += tag.RowsAffected()
		return err
	}
}

// uniqueViolation is an error's code.
const uniqueViolation = "23505"

// try needs a savepoint, because PostgreSQL goes on with nothing but a rollback after an error.
func (s *postgresSession) try(ctx context.Context, query string, args ...[]any) (n int64, err error) {
	if len(args) == 0 {
		return 0, nil
	}
	statements := []statement{{text: "SAVEPOINT statements"}}
	for _, a := range args {
		statements = append(statements, statement{query, a, count(&n)})
	}
	err = s.send(ctx, append(statements, statement{text: "RELEASE SAVEPOINT statements"})...)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == uniqueViolation {
		if undo := s.now("ROLLBACK TO SAVEPOINT statements; RELEASE SAVEPOINT statements"); undo != nil {
			return 0, undo
		}
		return 0, taken(refused.ConstraintName)
	}
	return n, err
}

func (s *postgresSession) query(ctx context.Context, each func(row) error, query string, args ...any) error {
	return s.send(ctx, statement{query, args, func(r pgx.BatchResults) error {
		rows, err := r.Query()
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(postgresRow{rows}); err != nil {
				return err
			}
		}
		rows.Close()
		return rows.Err()
	}})
}

type postgresRow struct{ pgx.Rows }

func (r postgresRow) document() ([]byte, error) { return r.RawValues()[0], nil }

// begin takes effect with the first statement. The lock comes before the snapshot, which is taken
// by the first statement that reads (PostgreSQL's manual, LOCK), so the transaction sees everything
// that was committed before it. Others may still read, and pg_dump too.
func (s *postgresSession) begin(context.Context) error {
	if s.conn.IsClosed() {
		return &lostError{errors.New("it was closed")}
	}
	s.start("BEGIN ISOLATION LEVEL SERIALIZABLE", "LOCK TABLE writer IN EXCLUSIVE MODE")
	s.pending = append(s.pending, statement{text: "SELECT pg_current_xact_id()::text", read: func(r pgx.BatchResults) error {
		return r.QueryRow().Scan(&s.xid)
	}})
	return nil
}

func (s *postgresSession) mark(context.Context) error {
	if s.unused {
		return nil
	}
	if s.marked {
		s.pending = append(s.pending, statement{text: "RELEASE SAVEPOINT transaction_mark"})
	}
	s.pending = append(s.pending, statement{text: "SAVEPOINT transaction_mark"})
	s.marked, s.unused = true, true
	return nil
}

func (s *postgresSession) back() error {
	switch {
	case s.unused:
		return nil
	case s.marked:
		return s.now("ROLLBACK TO SAVEPOINT transaction_mark")
	}
	if err := s.rollback(); err != nil {
		return err
	}
	return s.begin(context.Background())
}

func (s *postgresSession) rollback() error {
	s.pending = nil
	if !s.sent {
		return nil
	}
	s.sent = false
	return s.now("ROLLBACK")
}

// now runs statements without parameters.
func (s *postgresSession) now(statements string) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.db.endTime)
	defer cancel()
	return s.noted(s.conn.PgConn().Exec(ctx, statements).Close())
}

func (s *postgresSession) commit() error {
	s.pending = nil
	if !s.sent {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.db.endTime)
	defer cancel()
	results, err := s.conn.PgConn().Exec(ctx, "COMMIT").ReadAll()
	switch err = s.noted(err); {
	case err != nil && s.db.judge(err) == lost:
		return s.settle(err)
	case err == nil && results[0].CommandTag.String() != "COMMIT":
		return fmt.Errorf("the server answered the commit with %s", results[0].CommandTag) // as it does after an error
	}
	return err
}

// settle asks how a transaction ended whose connection was lost at the commit.
func (s *postgresSession) settle(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.db.endTime)
	defer cancel()
	for attempt := 3; ; attempt++ {
		var status *string // null: too long ago to be known
		err := s.db.pool.QueryRow(ctx, "SELECT pg_xact_status($1::text::xid8)", s.xid).Scan(&status)
		switch {
		case err == nil && status != nil && *status == "committed":
			return nil
		case err == nil && status != nil && *status == "aborted":
			return &lostError{cause}
		case err == nil && status == nil, err != nil && s.db.judge(err) == hopeless:
			return fmt.Errorf("%w: %w", ErrUnknown, errors.Join(cause, err))
		}
		time.Sleep(pauses().After(attempt))
	}
}

func (s *postgresSession) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.conn.Close(ctx)
}

// grace is a context that ends a little after ctx. A statement that is cut off costs the
// connection, and others share its transaction, so one that the server is busy with is given the
// time to end.
func grace(ctx context.Context) (context.Context, func()) {
	if ctx.Done() == nil {
		return ctx, func() {}
	}
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, cancel) })
	return after, func() {
		stop()
		cancel()
	}
}
