package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// sqliteDB is a file, with a few connections that read. The journal is a write-ahead log, so that
// they and the one that writes are not in each other's way.
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
		// SQLite's own databases in memory have no write-ahead log: there readers and the writer
		// would meet.
		if db.remove, err = os.MkdirTemp("", "l3-"); err != nil {
			return nil, err
		}
		path, synchronous = filepath.Join(db.remove, "l3.db"), "OFF"
	}
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	db.dsn = (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String() + "?" + url.Values{"_pragma": {
		"busy_timeout(100)", "journal_mode(WAL)", "synchronous(" + synchronous + ")", "foreign_keys(ON)", "temp_store(MEMORY)", "cache_size(-8000)",
	}}.Encode()
	if db.pool, err = sql.Open("sqlite", db.dsn); err != nil {
		return nil, err
	}
	// A connection reads the planner's statistics once. The migrations write them, so their
	// connections are closed.
	if err := migrateSQLite(ctx, db.pool); err != nil {
		return nil, err
	}
	const standard = 2
	db.pool.SetMaxIdleConns(0)
	db.pool.SetMaxIdleConns(standard)
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

// createPrivate makes an empty file that nobody but its owner can open, unless there is one: SQLite
// would make it as the umask allows. The files beside it get its permissions. A file that exists is
// not opened here: closing it would end the locks that this process has on it.
func createPrivate(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if target, err := os.Readlink(path); err == nil { // a link that leads nowhere yet
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		return createPrivate(target)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".l3-*") // with 0600
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	err = os.Link(file.Name(), path)
	if errors.Is(err, fs.ErrExist) { // another process was first
		err = nil
	}
	return errors.Join(err, os.Remove(file.Name()))
}

// Files returns the names of the files that a database is in: none for one that is not in SQLite,
// or in memory. It is for whoever backs them up or looks after their permissions.
func Files(address string) []string {
	scheme, rest, _ := strings.Cut(address, ":")
	path, _, _ := strings.Cut(rest, "?")
	if scheme != "sqlite" || path == "" || path == ":memory:" {
		return nil
	}
	return []string{path, path + "-wal", path + "-shm"}
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
