package openflow

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
)

// Bridge is a bridge's OpenFlow side. Its methods may be called concurrently; writers take turns.
type Bridge struct {
	name    string
	socket  string
	mark    cookie // of the owner's flows
	tool    ofctl
	changed chan struct{}

	turn  chan struct{} // holds one token: whoever took it owns what follows
	watch *watch        // nil: none, or it ended
	want  *wanted       // of the last call
	// proven is the version of the watch's table that was found equal to want; 0: none.
	proven int
	closed bool
}

// Open prepares for the bridge whose socket is <run directory>/<bridge>.mgmt. Flows of ours are
// those that were written for the same owner, in this process or another: it must be the same text
// in all processes that mean the same flows. Open connects to nobody: Plan and Replace do, whenever
// there is no connection. Without ovs-ofctl in PATH it is [dataplane.ErrUnsupported].
func Open(socket, owner string) (*Bridge, error) {
	b := &Bridge{
		name:    strings.TrimSuffix(filepath.Base(socket), ".mgmt"),
		socket:  socket,
		mark:    markOf(owner),
		changed: make(chan struct{}, 1),
		turn:    make(chan struct{}, 1),
	}
	var err error
	if b.tool, err = findOfctl(); err != nil {
		return nil, b.error("watch flows of", err)
	}
	b.turn <- struct{}{}
	return b, nil
}

// Changed yields a value after somebody else changed flows of ours, or the connection ended, as it
// does when ovs-vswitchd stops or the bridge is deleted. Several changes may yield one value.
// Nothing is heard while there is no connection: whoever is told should call Replace until it
// succeeds.
func (b *Bridge) Changed() <-chan struct{} { return b.changed }

func (b *Bridge) notify() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// Close ends the connection. The flows stay. A second Close is fine.
func (b *Bridge) Close() error {
	<-b.turn
	defer b.release()
	b.disconnect()
	b.closed = true
	return nil
}

// Plan says which flows Replace would add and remove. What it would remove is known by cookie only.
// When nothing has changed since the last call it costs one system call, and no process is started
// unless a flow was there before the connection, or was changed under its cookie. [ErrAway] says
// that there is nobody to ask.
func (b *Bridge) Plan(ctx context.Context, flows []Flow) (add, remove []Flow, err error) {
	if err := b.acquire(ctx); err != nil {
		return nil, nil, b.error("plan flows of", err)
	}
	defer b.release()
	d, err := b.diff(ctx, flows)
	return d.add, d.remove, b.error("plan flows of", err)
}

// Replace makes these the bridge's flows of ours: all of them take effect at once, or none does.
// Those that are there already keep their counters, and flows of others stay. After a failure, or
// when ctx ends meanwhile, all have been made or none. Files in held stay open until the last write
// is over, even if this process is killed: with a lock among them, nobody who waits for it is
// overtaken.
func (b *Bridge) Replace(ctx context.Context, flows []Flow, held ...*os.File) error {
	if err := b.acquire(ctx); err != nil {
		return b.error("write flows of", err)
	}
	defer b.release()
	return b.error("write flows of", b.replace(ctx, flows, held))
}

func (b *Bridge) replace(ctx context.Context, flows []Flow, held []*os.File) error {
	const attempts = 3
	for i := 0; ; i++ {
		d, err := b.diff(ctx, flows)
		switch {
		case err != nil || d.empty():
			return err
		case i == attempts:
			return fmt.Errorf("the bridge has other flows than were written: another program writes too, or two have one match in different notations: %s", d.first())
		}
		if err := b.write(ctx, d, held); err != nil {
			return err
		}
	}
}

// write makes a difference of flows, which is no news to whoever listens.
func (b *Bridge) write(ctx context.Context, d difference, held []*os.File) error {
	known := 0
	b.watch.hush()
	defer func() { b.watch.speak(known) }()
	if err := b.tool.add(ctx, b.socket, d.bundle(), held); err != nil {
		return err
	}
	return b.watch.look(ctx, func(t *table) { known = t.version })
}

// diff finds what is to be written. With no error there is a watch.
func (b *Bridge) diff(ctx context.Context, flows []Flow) (difference, error) {
	if b.want == nil || !slices.Equal(b.want.flows, flows) {
		w, err := want(b.mark, slices.Clone(flows))
		if err != nil {
			return difference{}, err
		}
		b.want, b.proven = w, 0
	}
	for {
		var d difference
		var doubtful string
		var version int
		err := b.look(ctx, func(t *table) {
			if version = t.version; version != b.proven {
				doubtful, d = t.doubtful(b.want), t.diff(b.want)
			}
		})
		if err != nil || version == b.proven {
			return d, err
		}
		if doubtful == "" {
			if d.empty() {
				b.proven = version
			}
			return d, nil
		}
		differ, err := b.tool.differ(ctx, b.socket, doubtful)
		if err == nil {
			err = b.watch.look(ctx, func(t *table) {
				if t.version == version { // else the answer may be of another time
					t.judge(b.want, differ)
				}
			})
		}
		if err != nil {
			return d, err
		}
	}
}

// look sees what the bridge has now, by a new connection if need be.
func (b *Bridge) look(ctx context.Context, fn func(*table)) error {
	if b.closed {
		return dataplane.ErrClosed
	}
	if b.watch != nil {
		if err := b.watch.look(ctx, fn); err == nil || ctx.Err() != nil {
			return err
		}
		b.disconnect()
	}
	w, err := dial(ctx, b.socket, b.mark, b.notify)
	if err != nil {
		return err
	}
	b.watch, b.proven = w, 0
	return w.look(ctx, fn)
}

func (b *Bridge) disconnect() {
	if b.watch != nil {
		b.watch.close()
		b.watch = nil
	}
}

func (b *Bridge) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-b.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Bridge) release() { b.turn <- struct{}{} }

func (b *Bridge) error(op string, err error) error { return failure.Of(op, b.name, err) }
