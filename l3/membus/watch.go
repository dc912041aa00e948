package membus

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/l3"
)

// watch is one session of a host.
type watch struct {
	bus        *Bus
	host       string
	deployment string
	events     chan agent.Event
	ctx        context.Context
	stop       func()
	wake       chan struct{} // has room for one

	mu      sync.Mutex
	changed []string        // routers that may have changed
	waiting map[string]bool // those in changed
	peers   bool            // the tunnel peers may have changed

	// Those of its goroutine.
	listed bool
	newer  map[string]bool // routers that were read after the listing began
	told   []netip.Addr
	first  bool // told is of use
}

// begin begins a watch, which ends the host's watch before.
func (b *Bus) begin(ctx context.Context, host, deployment string) (*watch, error) {
	running, _, err := b.state()
	if err != nil {
		return nil, err
	}
	w := &watch{
		bus: b, host: host, deployment: deployment, events: make(chan agent.Event), wake: make(chan struct{}, 1),
		waiting: map[string]bool{}, peers: true, newer: map[string]bool{},
	}
	var cancel func()
	w.ctx, cancel = context.WithCancel(ctx)
	detach := context.AfterFunc(running, cancel)
	w.stop = func() {
		detach()
		cancel()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running != running || b.closed || b.trouble != nil {
		w.stop()
		return nil, ErrNotRunning // since a moment ago
	}
	if before := b.watches[host]; before != nil {
		before.stop()
	}
	b.watches[host] = w
	b.active.Go(func() {
		defer close(w.events)
		defer b.end(w)
		w.run()
	})
	return w, nil
}

// end forgets a watch.
func (b *Bus) end(w *watch) {
	w.stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watches[w.host] == w {
		delete(b.watches, w.host)
	}
}

// tell says that a router may have changed.
func (w *watch) tell(routerID string) {
	w.note(routerID)
	w.awake()
}

// note is tell without waking the watch.
func (w *watch) note(routerIDs ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range routerIDs {
		if !w.waiting[id] {
			w.waiting[id] = true
			w.changed = append(w.changed, id)
		}
	}
}

// tellPeers says that the tunnel peers may have changed.
func (w *watch) tellPeers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peers = true
	w.awake()
}

func (w *watch) awake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run yields what there is until the watch ends.
func (w *watch) run() {
	pause := backoff.Backoff{Pause: 100 * time.Millisecond, Longest: 2 * time.Second}
	for fails := 0; w.ctx.Err() == nil; {
		err := w.deliver()
		if err == nil && !w.listed {
			err = w.list()
		}
		var again <-chan time.Time
		if err == nil {
			fails = 0
		} else if w.ctx.Err() == nil {
			w.bus.log.Warn("cannot read the routers of a host", "host", w.host, "err", err)
			again = time.After(pause.After(fails))
			fails++
		}
		select {
		case <-w.wake:
		case <-again:
		case <-w.ctx.Done():
		}
	}
}

// list yields everything that is recorded of the host, and then that it is complete. What changes
// meanwhile does not wait for it.
func (w *watch) list() error {
	clear(w.newer)
	all, err := w.bus.control.PlacementsOn(w.ctx, w.host)
	if err != nil {
		return err
	}
	for _, p := range all {
		if err := w.deliver(); err != nil {
			return err
		}
		if !w.newer[p.RouterID] && !w.emit(event(p)) {
			return w.ctx.Err()
		}
	}
	if err := w.deliver(); err != nil {
		return err
	}
	if !w.emit(agent.Synced{Deployment: w.deployment}) {
		return w.ctx.Err()
	}
	w.listed, w.newer = true, nil
	return nil
}

// deliver yields the changed routers as they are now, and the tunnel peers.
func (w *watch) deliver() error {
	w.mu.Lock()
	changed, peers := w.changed, w.peers
	w.changed, w.peers = nil, false
	clear(w.waiting)
	w.mu.Unlock()
	if peers {
		w.emitPeers()
	}
	for i, id := range changed {
		p, err := w.bus.control.PlacementOf(w.ctx, w.host, id)
		switch {
		case err == nil:
			w.emit(event(p))
		case errors.Is(err, l3.ErrNotFound): // nothing is recorded, which says nothing
		case errors.Is(err, dataplane.ErrInvalid):
			w.bus.log.Error("a router cannot be published", "router", id, "host", w.host, "err", err)
		default:
			w.note(changed[i:]...)
			return err
		}
		if !w.listed {
			w.newer[id] = true
		}
	}
	return nil
}

// emitPeers yields the tunnel peers if they have changed.
func (w *watch) emitPeers() {
	w.bus.mu.Lock()
	now := make([]netip.Addr, 0, len(w.bus.peers))
	for _, p := range w.bus.peers {
		now = append(now, p.addr)
	}
	w.bus.mu.Unlock()
	slices.SortFunc(now, netip.Addr.Compare)
	now = slices.Compact(now)
	if w.first && slices.Equal(now, w.told) {
		return
	}
	w.told, w.first = now, true
	w.emit(agent.Peers{Addrs: slices.Clone(now)})
}

// emit reports whether an event was read before the watch ended.
func (w *watch) emit(e agent.Event) bool {
	select {
	case w.events <- e:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// event is what a placement tells a host.
func event(p l3.Placement) agent.Event {
	if p.Assignment == nil {
		return agent.Gone{
			RouterID: p.RouterID, Deployment: p.Deployment, Epoch: p.Epoch, Revision: p.Revision, Request: p.Request, Orphan: p.Orphan,
		}
	}
	return agent.Put{Assignment: *p.Assignment}
}
