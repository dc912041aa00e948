package l3test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/sqlstore"
)

// Stores runs a test on a fresh store of every kind: SQLite, and PostgreSQL in a server that all
// tests of a program share. Where PostgreSQL is not installed the test is skipped, or fails if
// CI=true; with -short it is skipped, unless CI=true.
func Stores(t *testing.T, test func(t *testing.T, store l3.Store)) {
	t.Helper()
	for name, address := range Databases() {
		t.Run(name, func(t *testing.T) { test(t, Open(t, address(t))) })
	}
}

// Databases are what gives the URL of a fresh database, by kind.
func Databases() map[string]func(testing.TB) string {
	return map[string]func(testing.TB) string{"sqlite": SQLiteURL, "postgres": PostgresURL}
}

// Open opens a store, and closes it at the end of the test.
func Open(t testing.TB, address string) *sqlstore.Store {
	t.Helper()
	store, err := sqlstore.Open(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// SQLiteURL is a file that is not there yet, in the test's directory.
func SQLiteURL(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "l3.db") + "?synchronous=normal"
}

// shared is the server of this process. Nothing stops it: it ends with the process.
var shared = sync.OnceValues(func() (*Postgres, error) {
	return StartPostgres(context.Background(), "fsync=off", "max_connections=500", "shared_buffers=32MB")
})

// PostgresURL is an empty database. With -short the test is skipped, unless CI=true.
func PostgresURL(t testing.TB) string {
	t.Helper()
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("-short: PostgreSQL is not started")
	}
	server, err := shared()
	if errors.Is(err, ErrNoPostgres) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	address, err := server.Database(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return address
}
