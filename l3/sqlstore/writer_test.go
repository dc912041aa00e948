package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeDB is a database that notes what is asked of it, and fails when it is told to.
type fakeDB struct {
	database
	mu       sync.Mutex
	calls    []string
	inside   []string // of the open transaction: what its members did
	marked   int      // how much of it was there at the mark
	stored   []string
	onCommit error
}

var errBusy, errGone, errWrong = errors.New("busy"), errors.New("gone"), errors.New("wrong")

func (f *fakeDB) connect(context.Context) (writing, error) { return f.note("connect"), nil }
func (f *fakeDB) judge(err error) verdict {
	switch {
	case errors.Is(err, errBusy):
		return again
	case errors.Is(err, errGone):
		return lost
	}
	return hopeless
}

func (f *fakeDB) note(call string) *fakeConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	return &fakeConn{fakeDB: f}
}

type fakeConn struct {
	session
	*fakeDB
}

func (c *fakeConn) begin(context.Context) error {
	c.note("begin")
	c.inside, c.marked = nil, 0
	return nil
}

func (c *fakeConn) mark(context.Context) error {
	c.note("mark")
	c.marked = len(c.inside)
	return nil
}

func (c *fakeConn) back() error {
	c.note("back")
	c.inside = c.inside[:c.marked]
	return nil
}

func (c *fakeConn) commit() error {
	c.note("commit")
	if c.onCommit != nil {
		return c.onCommit
	}
	c.stored = append(c.stored, c.inside...)
	return nil
}

func (c *fakeConn) rollback() error {
	c.note("rollback")
	c.inside = nil
	return nil
}

func (c *fakeConn) close() error {
	c.note("close")
	return nil
}

// does is a body that notes its name.
func (f *fakeDB) does(name string, broken, err error) body {
	return func(session) (error, error) {
		f.inside = append(f.inside, name)
		return broken, err
	}
}

// patientWriter is a writer whose groups do not get old on a busy machine.
func patientWriter(f *fakeDB) *writer {
	w := newWriter(f)
	w.old = time.Hour
	return w
}

// together runs bodies in their order, each waiting for its turn before the one before has ended,
// and returns their errors.
func together(w *writer, bodies ...body) []error {
	errs := make([]error, len(bodies))
	var group sync.WaitGroup
	<-w.turn // so that all of them wait
	for i, fn := range bodies {
		group.Go(func() { errs[i] = w.update(context.Background(), fn) })
		for int(w.waiting.Load()) <= i {
			runtime.Gosched()
		}
	}
	w.turn <- struct{}{}
	group.Wait()
	return errs
}

func TestWriterCommitsTogether(t *testing.T) {
	f := &fakeDB{}
	w := patientWriter(f)
	require.Equal(t, []error{nil, nil, nil}, together(w, f.does("a", nil, nil), f.does("b", nil, nil), f.does("c", nil, nil)))
	require.ElementsMatch(t, []string{"a", "b", "c"}, f.stored)
	require.Equal(t, []string{"connect", "begin", "mark", "mark", "commit"}, f.calls)
	require.NoError(t, w.update(t.Context(), f.does("d", nil, nil)), "alone, it is not kept waiting")
	require.Equal(t, []string{"begin", "commit"}, f.calls[5:])
	require.NoError(t, w.close())
	require.NoError(t, w.close())
	require.ErrorIs(t, w.update(t.Context(), f.does("e", nil, nil)), errClosed)
}

func TestWriterWhoFailsFailsAlone(t *testing.T) {
	for position := range 3 {
		f := &fakeDB{}
		w := patientWriter(f)
		bodies := []body{f.does("a", nil, nil), f.does("b", nil, nil), f.does("c", nil, nil)}
		bodies[position] = f.does("bad", nil, errWrong)
		errs := together(w, bodies...)
		for i, err := range errs {
			if i == position {
				require.ErrorIs(t, err, errWrong)
			} else {
				require.NoError(t, err)
			}
		}
		require.Len(t, f.stored, 2)
		require.NotContains(t, f.stored, "bad")
	}
}

// TestWriterBrokenTransaction: whoever breaks it has the error, and those who were in it before are
// to try again.
func TestWriterBrokenTransaction(t *testing.T) {
	for cause, connection := range map[error][]string{errWrong: {"rollback"}, errBusy: {"rollback"}, errGone: {"close"}} {
		f := &fakeDB{}
		w := patientWriter(f)
		errs := together(w, f.does("a", nil, nil), f.does("bad", cause, fmt.Errorf("seen: %w", cause)))
		var retry *retryError
		require.ErrorAs(t, errs[0], &retry, "its work is gone through no fault of its own")
		require.ErrorIs(t, errs[1], cause)
		require.Equal(t, !errors.Is(cause, errWrong), errors.As(errs[1], &retry))
		require.Empty(t, f.stored)
		require.Equal(t, append([]string{"connect", "begin", "mark"}, connection...), f.calls)
		require.NoError(t, w.update(t.Context(), f.does("after", nil, nil)))
		require.Equal(t, []string{"after"}, f.stored)
	}
}

// TestWriterBrokenAndSilent: a body that says nothing of the error that it has met has failed
// nevertheless.
func TestWriterBrokenAndSilent(t *testing.T) {
	f := &fakeDB{}
	w := patientWriter(f)
	require.ErrorIs(t, w.update(t.Context(), f.does("bad", errWrong, nil)), errWrong)
	require.Empty(t, f.stored)
}

func TestWriterFailedCommit(t *testing.T) {
	for cause, again := range map[error]bool{errBusy: true, errGone: true, errWrong: false, ErrUnknown: false} {
		f := &fakeDB{onCommit: cause}
		w := patientWriter(f)
		for _, err := range together(w, f.does("a", nil, nil), f.does("b", nil, nil)) {
			var retry *retryError
			require.ErrorIs(t, err, cause)
			require.Equal(t, again, errors.As(err, &retry), "%v", cause)
		}
	}
}

// TestWriterPanic: the panic is its caller's own, and what others did is kept.
func TestWriterPanic(t *testing.T) {
	f := &fakeDB{}
	w := patientWriter(f)
	<-w.turn
	var first error
	var group sync.WaitGroup
	group.Go(func() { first = w.update(context.Background(), f.does("a", nil, nil)) })
	for w.waiting.Load() == 0 {
		runtime.Gosched()
	}
	group.Go(func() {
		defer func() { require.Equal(t, "boom", recover()) }()
		_ = w.update(context.Background(), func(session) (error, error) {
			f.inside = append(f.inside, "bad")
			panic("boom")
		})
	})
	for w.waiting.Load() == 1 {
		runtime.Gosched()
	}
	w.turn <- struct{}{}
	group.Wait()
	require.NoError(t, first)
	require.Equal(t, []string{"a"}, f.stored)
}

// TestWriterNobodyComes: who is waited for and gives up does not keep others from their commit.
func TestWriterNobodyComes(t *testing.T) {
	f := &fakeDB{}
	w := patientWriter(f)
	waits, giveUp := context.WithCancel(t.Context())
	entered := make(chan struct{})
	gone := make(chan error)
	require.NoError(t, w.update(t.Context(), func(session) (error, error) {
		go func() {
			close(entered)
			gone <- w.update(waits, f.does("late", nil, nil))
		}()
		<-entered
		for w.waiting.Load() == 0 {
			runtime.Gosched()
		}
		time.AfterFunc(time.Millisecond, giveUp) // before or after this body ends: either must do
		f.inside = append(f.inside, "a")
		return nil, nil
	}))
	<-gone
	require.Contains(t, f.stored, "a")
}
