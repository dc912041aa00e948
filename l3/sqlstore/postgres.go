package sqlstore

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgresDB is a PostgreSQL database: a pool of connections that read, and one that writes.
type postgresDB struct {
	postgresDialect
	pool *pgxpool.Pool
	// endTime is for how long an answer to the end of a transaction is waited for, whatever becomes
	// of those who wanted it.
	endTime time.Duration
}

func openPostgres(ctx context.Context, address string) (*postgresDB, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	db := stdlib.OpenDB(*config.ConnConfig.Copy())
	err = migratePostgres(ctx, db)
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &postgresDB{pool: pool, endTime: 10 * time.Second}, nil
}

func (db *postgresDB) close() error {
	db.pool.Close()
	return nil
}

func (db *postgresDB) view(ctx context.Context, fn func(session) error) error {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // which closes it when it is still in the transaction
	s := &postgresSession{conn: conn.Conn(), db: db}
	s.start("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	err = fn(s)
	return errors.Join(err, s.rollback())
}

func (db *postgresDB) connect(ctx context.Context) (writing, error) {
	config := db.pool.Config().ConnConfig
	if config.RuntimeParams["idle_in_transaction_session_timeout"] == "" {
		// A process that has been stopped, or cut off, does not keep the others from writing.
		config.RuntimeParams["idle_in_transaction_session_timeout"] = "20s"
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &postgresSession{conn: conn, db: db}, nil
}

func (db *postgresDB) judge(err error) verdict {
	var refused *pgconn.PgError
	var away *pgconn.ConnectError
	var dropped *lostError
	switch {
	case errors.As(err, &refused):
		return judgeCode(refused.Code)
	case errors.As(err, &dropped), errors.As(err, &away):
		return lost
	}
	return hopeless
}

// judgeCode knows the codes of PostgreSQL's manual, appendix A.
func judgeCode(code string) verdict {
	switch {
	case code == "40001", code == "40P01", code == "55P03": // serialisation failure, deadlock, lock not available
		return again
	case code == "25P03", code == "53300", strings.HasPrefix(code, "57P"), strings.HasPrefix(code, "08"):
		return lost // idle in a transaction, too many connections, the server shuts down or starts, connection exceptions
	}
	return hopeless
}
