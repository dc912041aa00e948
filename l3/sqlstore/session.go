package sqlstore

import "context"

// session runs statements in a transaction. Parameters are $1, $2, …, in both databases. After an
// error the transaction is of no use, with one exception.
type session interface {
	// exec returns how many rows were changed.
	exec(ctx context.Context, query string, args ...any) (int64, error)
	// try is exec, with each of several lists of arguments, for a statement that a unique key may
	// refuse. If it refuses one, the error is [l3.TakenError], none has had an effect, and the
	// transaction goes on.
	try(ctx context.Context, query string, args ...[]any) (int64, error)
	// query calls each for every row that is found, and stops at its error.
	query(ctx context.Context, each func(row) error, query string, args ...any) error
}

// row is one that was found.
type row interface {
	Scan(into ...any) error
	// document is the only column, as it is stored. It is valid until the next row.
	document() ([]byte, error)
}

// writing is a process's one connection that changes something.
type writing interface {
	session
	// begin waits until nobody else writes.
	begin(ctx context.Context) error
	// mark makes the place to go back to, which is the beginning before.
	mark(ctx context.Context) error
	back() error
	// commit fails with ErrUnknown if it may have had an effect; with every other error it has had
	// none.
	commit() error
	// rollback ends the transaction, in whatever state it is.
	rollback() error
	close() error
}

// database is what there are two of.
type database interface {
	dialect
	// connect opens the connection for changes.
	connect(ctx context.Context) (writing, error)
	// view runs fn on one state.
	view(ctx context.Context, fn func(session) error) error
	// judge says what follows from an error of the database.
	judge(err error) verdict
	close() error
}

// verdict is whether another attempt may go better.
type verdict int

const (
	hopeless verdict = iota
	again            // the database was busy, or asks for it
	lost             // the connection is
)
