package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// migrateSQLite brings the tables up to date.
func migrateSQLite(ctx context.Context, db *sql.DB) error {
	// Two processes that open a new file at once both begin with the first step. One of them is
	// refused, and finds it done when it looks again.
	const attempts = 20
	for i := 1; ; i++ {
		err := migrate(ctx, goose.DialectSQLite3, db, "migrations/sqlite")
		if err == nil || i == attempts || errors.Is(err, ErrNewer) || ctx.Err() != nil {
			return err
		}
		time.Sleep(pauses().After(i))
	}
}

// migratePostgres brings the tables up to date.
func migratePostgres(ctx context.Context, db *sql.DB) error {
	return migrate(ctx, goose.DialectPostgres, db, "migrations/postgres", goose.WithSessionLocker(schemaLock{}))
}

// schemaLock lets one process at a time migrate a schema. The server drops it when the connection
// ends.
type schemaLock struct{}

const schemaLockID = "hashtext('l3 migrations of ' || current_schema())"

// SessionLock waits for the lock.
func (schemaLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock("+schemaLockID+")")
	return err
}

// SessionUnlock gives it back.
func (schemaLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock("+schemaLockID+")")
	return err
}

func migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB, dir string, options ...goose.ProviderOption) error {
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return err
	}
	options = append(options, goose.WithDisableGlobalRegistry(true))
	p, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if have > want {
		return fmt.Errorf("%w: its tables are of version %d, this one knows %d", ErrNewer, have, want)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}
