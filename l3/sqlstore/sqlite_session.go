package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/l3kit/l3kit/l3"
)

// sqliteSession is a connection. Its statements are not interrupted when a context ends: SQLite
// would roll back the whole transaction, which others share.
type sqliteSession struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
	marked   bool
}

// maxPrepared is how many statements are kept ready. Those of queries have any shape.
const maxPrepared = 200

func (s *sqliteSession) prepare(query string) (*sql.Stmt, error) {
	if stmt := s.prepared[query]; stmt != nil {
		return stmt, nil
	}
	if len(s.prepared) >= maxPrepared {
		for _, stmt := range s.prepared {
			_ = stmt.Close()
		}
		clear(s.prepared)
	}
	stmt, err := s.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	s.prepared[query] = stmt
	return stmt, nil
}

func (s *sqliteSession) run(query string) error {
	_, err := s.exec(context.Background(), query)
	return err
}

func (s *sqliteSession) exec(_ context.Context, query string, args ...any) (int64, error) {
	stmt, err := s.prepare(query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, sqliteTaken(err)
	}
	return result.RowsAffected()
}

// try needs no savepoint for a single statement, which SQLite undoes by itself.
func (s *sqliteSession) try(ctx context.Context, query string, args ...[]any) (total int64, err error) {
	if len(args) == 1 {
		return s.exec(ctx, query, args[0]...)
	}
	if err := s.run("SAVEPOINT statements"); err != nil {
		return 0, err
	}
	for _, a := range args {
		n, err := s.exec(ctx, query, a...)
		if errors.Is(err, l3.ErrTaken) {
			if undo := cmp.Or(s.run("ROLLBACK TO statements"), s.run("RELEASE statements")); undo != nil {
				return 0, undo
			}
		}
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, s.run("RELEASE statements")
}

func (s *sqliteSession) query(ctx context.Context, each func(row) error, query string, args ...any) error {
	stmt, err := s.prepare(query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(context.Background(), args...)
	if err != nil {
		return sqliteTaken(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := each(sqliteRow{rows}); err != nil {
			return err
		}
	}
	return sqliteTaken(rows.Err())
}

type sqliteRow struct{ *sql.Rows }

func (r sqliteRow) document() ([]byte, error) {
	var doc sql.RawBytes
	err := r.Scan(&doc)
	return doc, err
}

func (s *sqliteSession) begin(context.Context) error {
	s.marked = false
	return s.run("BEGIN IMMEDIATE")
}

func (s *sqliteSession) mark(context.Context) error {
	if s.marked {
		if err := s.run("RELEASE transaction_mark"); err != nil {
			return err
		}
	}
	s.marked = true
	return s.run("SAVEPOINT transaction_mark")
}

func (s *sqliteSession) back() error {
	if s.marked {
		return s.run("ROLLBACK TO transaction_mark")
	}
	if err := s.rollback(); err != nil {
		return err
	}
	return s.begin(context.Background())
}

func (s *sqliteSession) commit() error { return s.run("COMMIT") }

func (s *sqliteSession) rollback() error {
	err := s.run("ROLLBACK")
	if err != nil && strings.Contains(err.Error(), "no transaction is active") {
		return nil // SQLite rolls back by itself after some errors
	}
	return err
}

func (s *sqliteSession) close() error {
	for _, stmt := range s.prepared {
		_ = stmt.Close()
	}
	return s.conn.Close()
}

// sqliteTaken makes a TakenError of what a unique key has refused. SQLite names an index if it is
// on expressions, and else the columns.
func sqliteTaken(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) || e.Code() != lib.SQLITE_CONSTRAINT_UNIQUE && e.Code() != lib.SQLITE_CONSTRAINT_PRIMARYKEY {
		return err
	}
	_, what, _ := strings.Cut(e.Error(), "UNIQUE constraint failed: ")
	what, _, _ = strings.Cut(what, " (")
	if name, ok := strings.CutPrefix(what, "index '"); ok {
		return taken(strings.TrimSuffix(name, "'"))
	}
	table, _, _ := strings.Cut(what, ".")
	return taken(table + "_pkey")
}
