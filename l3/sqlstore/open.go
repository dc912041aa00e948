package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Open opens a database, makes it if it is an SQLite file that is not there, and brings its tables
// up to date. The forms of a URL are:
//
//	sqlite:/var/lib/l3/l3.db   a file, by its absolute or relative path; for an option see below
//	sqlite::memory:            a database of its own, which goes with the Store
//	postgres://user@host/name  whatever libpq takes, and pool_max_conns and its like of pgxpool
//
// An SQLite file is made for its owner alone (0600), and so are those beside it; see [Files]. One
// that is there keeps its permissions.
//
// On SQLite a change is on the disk when Update returns, and outlives the loss of power (PRAGMA
// synchronous=FULL). With ?synchronous=normal it outlives the process only: after a loss of power
// the last changes may be missing, and the database is whole. On PostgreSQL that is the server's
// synchronous_commit.
func Open(ctx context.Context, address string) (*Store, error) {
	scheme, rest, _ := strings.Cut(address, ":")
	var db database
	var err error
	switch scheme {
	case "sqlite":
		db, err = openSQLite(ctx, rest)
	case "postgres", "postgresql":
		db, err = openPostgres(ctx, address)
	default:
		err = errors.New("the URL begins neither with sqlite: nor with postgres://")
	}
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", redacted(address), err)
	}
	return newStore(db), nil
}

// redacted is without the password.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the URL"
	}
	return u.Redacted()
}
