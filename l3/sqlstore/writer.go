package sqlstore

import (
	"context"
	"sync/atomic"
	"time"
)

// writer lets one transaction of this process change something at a time, and commits those
// together that wait for each other: each runs within a savepoint of its own, the last, which
// nobody waits behind, commits for all, and none of them has an answer before that. So the cost of
// a commit, which is a write to the disk, is shared when there is much to do, and nobody waits for
// company when there is little.
type writer struct {
	db      database
	turn    chan struct{} // holds a token; whoever has taken it may use what follows
	waiting atomic.Int32  // those who will take it

	old    time.Duration // age at which a group is committed even if somebody waits to join it
	closed bool
	conn   writing // nil: none
	group  *group  // nil: no transaction
}

// group is transactions that are committed together.
type group struct {
	began   time.Time
	members int
	ended   chan struct{} // closed when err is known
	err     error
}

// fullGroup is how many members a group has when it is committed even if somebody waits to join it.
const fullGroup = 64

func newWriter(db database) *writer {
	w := &writer{db: db, turn: make(chan struct{}, 1), old: 5 * time.Millisecond}
	w.turn <- struct{}{}
	return w
}

// body is what a transaction does. Broken is an error that the transaction cannot go on after, even
// if the body did.
type body func(on session) (broken, err error)

// update runs fn and commits.
func (w *writer) update(ctx context.Context, fn body) error {
	if err := w.take(ctx); err != nil {
		return err
	}
	g, err := w.member(ctx, fn)
	if err != nil {
		return err
	}
	<-g.ended
	return g.err
}

// take waits for the token.
func (w *writer) take(ctx context.Context) error {
	w.waiting.Add(1)
	select {
	case <-w.turn:
		w.waiting.Add(-1)
		return nil
	case <-ctx.Done():
		w.waiting.Add(-1)
		// Somebody may have left his group open for this caller. Whoever takes the token from now
		// on does not count on him any more.
		go func() {
			<-w.turn
			w.pass()
		}()
		return ctx.Err()
	}
}

// pass gives the token away. It commits the group, unless somebody waits who can join it.
func (w *writer) pass() {
	if g := w.group; g != nil && (w.waiting.Load() == 0 || g.members >= fullGroup || time.Since(g.began) > w.old) {
		err := w.conn.commit()
		w.finish(err, judged(w.db, err))
	}
	w.turn <- struct{}{}
}

// member runs fn as one of a group, which it returns, and passes the token. After an error fn has
// had no effect.
func (w *writer) member(ctx context.Context, fn body) (*group, error) {
	returned := false // it is not, when fn panics or ends its goroutine
	defer func() {
		if !returned {
			w.retreat()
		}
		w.pass()
	}()
	g, err := w.join(ctx)
	if err != nil {
		returned = true
		return nil, err
	}
	broken, err := fn(w.conn)
	returned = true
	if broken != nil {
		w.finish(broken, &retryError{max(again, w.db.judge(broken)), broken})
		if err == nil || w.db.judge(broken) != hopeless {
			err = judged(w.db, broken)
		}
		return nil, err
	}
	if err != nil {
		w.retreat()
		return nil, err
	}
	g.members++
	return g, nil
}

// join begins a transaction, or goes on with the one that is open.
func (w *writer) join(ctx context.Context) (*group, error) {
	if w.closed {
		return nil, errClosed
	}
	if w.group != nil {
		if err := w.conn.mark(ctx); err != nil {
			retry := &retryError{max(again, w.db.judge(err)), err}
			w.finish(err, retry)
			return nil, retry
		}
		return w.group, nil
	}
	if w.conn == nil {
		conn, err := w.db.connect(ctx)
		if err != nil {
			return nil, judged(w.db, err)
		}
		w.conn = conn
	}
	if err := w.conn.begin(ctx); err != nil {
		w.abandon(err)
		return nil, judged(w.db, err)
	}
	w.group = &group{began: time.Now(), ended: make(chan struct{})}
	return w.group, nil
}

// retreat undoes what the last body did.
func (w *writer) retreat() {
	if w.group == nil {
		return
	}
	if w.group.members == 0 {
		w.group = nil
		w.abandon(nil)
		return
	}
	if err := w.conn.back(); err != nil {
		w.finish(err, &retryError{max(again, w.db.judge(err)), err})
	}
}

// finish ends the transaction, which cause has made impossible unless it is nil. The members get
// err.
func (w *writer) finish(cause, err error) {
	g := w.group
	w.group = nil
	if cause != nil {
		w.abandon(cause)
	}
	g.err = err
	close(g.ended)
}

// abandon rolls back, and drops a connection that does not work any more.
func (w *writer) abandon(cause error) {
	if cause == nil || w.db.judge(cause) != lost {
		if w.conn.rollback() == nil {
			return
		}
	}
	_ = w.conn.close() // it is broken: there is nothing to learn from its last words
	w.conn = nil
}

// close waits for its turn, and commits what others wait for.
func (w *writer) close() (err error) {
	<-w.turn
	w.closed = true
	if w.group != nil {
		cause := w.conn.commit()
		w.finish(cause, judged(w.db, cause))
	}
	if w.conn != nil {
		err = w.conn.close()
		w.conn = nil
	}
	w.turn <- struct{}{}
	return err
}
