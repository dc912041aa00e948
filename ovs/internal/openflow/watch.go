package openflow

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrAway says that nobody answers for the bridge: ovs-vswitchd does not run, or there is no such
// bridge.
var ErrAway = errors.New("ovs-vswitchd does not answer")

// readLen is how many bytes are taken from the socket at a time.
const readLen = 64 << 10

// watch is a connection on which ovs-vswitchd tells what becomes of a bridge's flows. It ends for
// good when the connection does. One goroutine reads the news as they come; whoever needs the
// latest ones calls look.
//
// ovs-vswitchd writes news to the socket at once, as long as there is room. So if the socket is
// empty, and nothing has come since ovs-vswitchd last answered us, then nothing waits on its side
// either. After news there may be more that found no room, and ovs-vswitchd is asked: its answer
// comes behind them. When they are far too many, it pauses, and later makes up for what it left
// out.
type watch struct {
	conn   net.Conn
	raw    syscall.RawConn
	notify func()        // called after news about flows of ours, and at the end
	done   chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex
	table  table
	rest   []byte // of a message that has not come in full
	chunk  []byte
	heard  bool          // something has come since the last answer
	paused bool          // news are left out
	asks   uint32        // transaction of the last question
	open   bool          // it has not been answered
	answer chan struct{} // closed when it has been answered and everything is known; nil: nobody waits
	quiet  bool          // notify waits for speak
	told   int           // version of the table that notify was called for
	err    error         // why the watch has ended
}

// dial begins a watch of the flows that have a mark. It returns when they have been listed.
func dial(ctx context.Context, socket string, mark cookie, notify func()) (*watch, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrAway, err)
		}
		return nil, err
	}
	w := &watch{
		conn: conn, notify: notify, done: make(chan struct{}), table: newTable(mark), chunk: make([]byte, readLen), heard: true, quiet: true,
	}
	if w.raw, err = conn.(syscall.Conn).SyscallConn(); err == nil {
		_, err = conn.Write(greeting())
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go w.run()
	version := 0
	if err := w.look(ctx, func(t *table) { version = t.version }); err != nil {
		w.close()
		return nil, err
	}
	w.speak(version)
	return w, nil
}

func (w *watch) run() {
	defer close(w.done)
	err := w.raw.Read(func(fd uintptr) bool { return w.read(int(fd)) != nil })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(err)
}

// close ends the watch, silently.
func (w *watch) close() {
	w.hush()
	w.conn.Close()
	<-w.done
}

// hush holds notifications back until speak, for they may be of changes of our own.
func (w *watch) hush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = true
}

// speak ends hush. A version of the table that is known already is no news.
func (w *watch) speak(known int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet, w.told = false, max(w.told, known)
	w.tell()
}

// look calls fn with the flows of ours that the bridge has: every change is in it that was complete
// when look was called. When nothing has happened since the last look that costs one system call.
// With an error the watch is over, unless it is that of ctx. It must not be called concurrently.
func (w *watch) look(ctx context.Context, fn func(*table)) error {
	if err := w.raw.Control(func(fd uintptr) { w.read(int(fd)) }); err != nil { //nolint:errcheck // what read returns is kept
		return err
	}
	w.mu.Lock()
	behind := w.err == nil && (w.heard || w.paused)
	w.mu.Unlock()
	if behind {
		if err := w.ask(ctx); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		fn(&w.table)
	}
	return w.err
}

// ask waits until everything is known that had happened when it was called.
func (w *watch) ask(ctx context.Context) error {
	answer := make(chan struct{})
	w.mu.Lock()
	if err := w.err; err != nil {
		w.mu.Unlock()
		return err
	}
	w.asks++
	w.open, w.answer = true, answer
	question := newMessage(typeBarrierRequest, w.asks)
	w.mu.Unlock()
	if _, err := w.conn.Write(question); err != nil {
		return err
	}
	select {
	case <-answer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The functions below are called with mu locked, but for read.

// read takes in everything that has come. It never blocks. An error is why the watch has ended.
func (w *watch) read(fd int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.tell()
	for w.err == nil {
		n, err := unix.Read(fd, w.chunk)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			w.end(os.NewSyscallError("read", err))
		case n == 0:
			w.end(fmt.Errorf("%w: it closed the connection", ErrAway))
		default:
			if err := w.take(fd, w.chunk[:n]); err != nil {
				w.end(err)
			}
		}
	}
	return w.err
}

func (w *watch) take(fd int, b []byte) error {
	b = append(w.rest, b...)
	for {
		m, after, err := next(b)
		if err != nil {
			return err
		}
		if m == nil {
			w.rest = append(w.rest[:0], b...)
			return nil
		}
		if err := w.handle(fd, m); err != nil {
			return err
		}
		b = after
	}
}

func (w *watch) handle(fd int, m message) error {
	switch m.kind() {
	case typeEchoRequest:
		_, err := unix.Write(fd, m.echo()) // a few bytes, and nearly nothing else is ever written: there is room
		return os.NewSyscallError("write", err)
	case typeError:
		return m.refusal()
	case typeVendor:
		switch m.nicira() {
		case subtypeMonitorPaused:
			w.paused = true
		case subtypeMonitorResumed:
			w.paused = false
			w.answered()
		}
	case typeBarrierReply:
		if m.transaction() == w.asks {
			w.open, w.heard = false, false
			w.answered()
		}
	case typeStatsReply:
		w.heard = true
		listed := m.transaction() == listing
		return m.updates(func(u update) { w.table.apply(u, listed) })
	}
	return nil
}

// answered lets ask return, if nothing is missing any more.
func (w *watch) answered() {
	if w.answer != nil && (!w.open && !w.paused || w.err != nil) {
		close(w.answer)
		w.answer = nil
	}
}

func (w *watch) tell() {
	if !w.quiet && w.told != w.table.version {
		w.told = w.table.version
		w.notify()
	}
}

// end is a change, too.
func (w *watch) end(err error) {
	if w.err == nil {
		w.err = err
		w.table.version++
		w.answered()
	}
	w.tell()
}
