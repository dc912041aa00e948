package sqlstore

import (
	"errors"
	"fmt"

	"github.com/l3kit/l3kit/l3"
)

// ErrUnknown is an Update whose connection was lost at the commit, when nobody could be asked any
// more whether it had come through. It has an effect as a whole, or none.
var ErrUnknown = errors.New("it is unknown whether the change was committed")

// ErrNewer is a database that a later version of this package has made.
var ErrNewer = errors.New("the database was made by a newer version")

var (
	errClosed = errors.New("the store is closed")
	errEnded  = errors.New("the transaction has ended")
)

// retryError is one after which another attempt may go better.
type retryError struct {
	verdict verdict
	err     error
}

func (e *retryError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *retryError) Unwrap() error { return e.err }

// judged makes a retryError of what another attempt may mend. What may have had an effect is not
// attempted again.
func judged(db database, err error) error {
	if err == nil || errors.Is(err, ErrUnknown) {
		return err
	}
	if v := db.judge(err); v != hopeless {
		return &retryError{v, err}
	}
	return err
}

// staleError is an update of what has changed since it was read.
type staleError struct {
	table, id string
	revision  int
}

func (e *staleError) Error() string {
	return fmt.Sprintf("%s: %s has changed since revision %d was read", e.table, e.id, e.revision)
}

func taken(what string) error { return &l3.TakenError{What: what} }
