package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/l3kit/l3kit/l3"
)

// sqliteDB is a file, with a few connections that read. The journal is a write-ahead log, so that they and the one that writes are not in each other's way.
type sqliteDB struct {
	sqliteDialect
	dsn     string
	pool    *sql.DB
	readers chan *sqliteSession // those that nobody uses
	made    int                 // how many there are
	remove  string              // directory to remove in the end; empty: none
	ending  sync.Once
	ended   chan struct{}
}

// sqliteReaders is how many may read at once.
const sqliteReaders = 8

func openSQLite(ctx context.Context, path string) (_ *sqliteDB, err error) {
	path, options, _ := strings.Cut(path, "?")
	synchronous, err := synchronousOf(options)
	if err != nil {
		return nil, err
	}
	db := &sqliteDB{readers: make(chan *sqliteSession, sqliteReaders), ended: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.close())
		}
	}()
	switch path {
	case "":
		return nil, errors.New("the path of the SQLite file is missing")
	case ":memory:":
		// SQLite's own databases in memory have no write-ahead log: there readers and the writer would meet.
		if db.remove, err = os.MkdirTemp("", "l3-"); err != nil {
			return nil, err
		}
		path, synchronous = filepath.Join(db.remove, "l3.db"), "OFF"
	}
	db.dsn = (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String() + "?" + url.Values{"_pragma": {
		"busy_timeout(100)", "journal_mode(WAL)", "synchronous(" + synchronous + ")", "foreign_keys(ON)", "temp_store(MEMORY)", "cache_size(-8000)",
	}}.Encode()
	if db.pool, err = sql.Open("sqlite", db.dsn); err != nil {
		return nil, err
	}
	if err := migrateSQLite(ctx, db.pool); err != nil {
		return nil, err
	}
	for ; db.made < sqliteReaders; db.made++ {
		reader, err := db.session(ctx)
		if err != nil {
			return nil, err
		}
		db.readers <- reader
		if err := reader.run("PRAGMA query_only = ON"); err != nil {
			db.made++
			return nil, err
		}
	}
	return db, nil
}

func synchronousOf(options string) (string, error) {
	values, err := url.ParseQuery(options)
	if err != nil {
		return "", err
	}
	level := "FULL"
	for name, v := range values {
		switch {
		case name == "synchronous" && strings.EqualFold(v[0], "normal"):
			level = "NORMAL"
		case name != "synchronous" || !strings.EqualFold(v[0], "full"):
			return "", fmt.Errorf("option %s=%s is unknown", name, v[0])
		}
	}
	return level, nil
}

// close waits for those who read.
func (db *sqliteDB) close() (err error) {
	db.ending.Do(func() {
		close(db.ended)
		for range db.made {
			err = errors.Join(err, (<-db.readers).close())
		}
		if db.pool != nil {
			err = errors.Join(err, db.pool.Close())
		}
		if db.remove != "" {
			err = errors.Join(err, os.RemoveAll(db.remove))
		}
	})
	return err
}

func (db *sqliteDB) connect(ctx context.Context) (writing, error) { return db.session(ctx) }

func (db *sqliteDB) session(ctx context.Context) (*sqliteSession, error) {
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &sqliteSession{conn: conn, prepared: map[string]*sql.Stmt{}}, nil
}

func (db *sqliteDB) view(ctx context.Context, fn func(session) error) error {
	var s *sqliteSession
	select {
	case s = <-db.readers:
	case <-db.ended:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { db.readers <- s }()
	if err := s.run("BEGIN"); err != nil {
		return err
	}
	defer func() { _ = s.rollback() }() // nothing was changed
	return fn(s)
}

func (db *sqliteDB) judge(err error) verdict {
	var e *sqlite.Error
	if errors.As(err, &e) && (e.Code()&0xff == lib.SQLITE_BUSY || e.Code()&0xff == lib.SQLITE_LOCKED) {
		return again
	}
	return hopeless
}

// sqliteSession is a connection. Its statements are not interrupted when a context ends: SQLite would roll back the whole transaction, which others
// share.
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

// sqliteTaken makes a TakenError of what a unique key has refused. SQLite names an index if it is on expressions, and else the columns.
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

// sqliteDialect is SQLite's words.
type sqliteDialect struct{}

func (sqliteDialect) scalar(from string, path []string, k kind) string {
	value := from
	if len(path) > 0 {
		value = from + " ->> '" + jsonPath(path) + "'"
	}
	if k == text {
		return "COALESCE(" + value + ", '')"
	}
	return "(" + value + ")"
}

func (sqliteDialect) elements(from string, path []string, as string) string {
	// The key is null when there is no list but null.
	return "json_each(" + from + ", '" + jsonPath(path) + "') AS " + as + " WHERE " + as + ".key IS NOT NULL"
}

func (sqliteDialect) element(as string) string { return as + ".value" }

func (sqliteDialect) anyOf(value, parameter string, _ kind) string {
	return value + " IN (SELECT value FROM json_each(" + parameter + "))"
}

func (sqliteDialect) list(values []any, _ kind) any {
	doc, _ := json.Marshal(values) // strings, integers and booleans can be written
	return string(doc)
}

func (sqliteDialect) contains(value, parameter string) string {
	return "instr(" + value + ", " + parameter + ") > 0"
}

func (sqliteDialect) sortable(value string, k kind) string {
	if k == text {
		return value
	}
	return "COALESCE(" + value + ", -9223372036854775808)"
}

// jsonPath is a path in the words of SQLite. The names are those of Go types' tags, which have no quotes.
func jsonPath(path []string) string { return `$."` + strings.Join(path, `"."`) + `"` }
