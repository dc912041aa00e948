package namespace

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/l3kit/l3kit/dataplane"
)

// desks give each router one worker at a time. They keep a router's site open from one call to the
// next.
type desks struct {
	mu     sync.Mutex
	all    map[string]*desk
	closed bool
}

// desk is where one router is worked on, by whoever holds its turn.
type desk struct {
	router string
	turn   chan struct{} // holds a token while somebody works
	users  int           // who work or wait; guarded by desks.mu
	site   *site         // nil: not open
}

// take waits for the router's turn, or for the context's end.
func (d *desks) take(ctx context.Context, router string) (*desk, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, dataplane.ErrClosed
	}
	k := d.join(router)
	d.mu.Unlock()
	select {
	case k.turn <- struct{}{}:
		return k, nil
	case <-ctx.Done():
		d.mu.Lock()
		d.part(k)
		d.mu.Unlock()
		return nil, ctx.Err()
	}
}

// try takes the turn of a router that is worked on, unless somebody has it. A nil desk without busy
// says that nothing is known of the router.
func (d *desks) try(router string) (k *desk, busy bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k = d.all[router]
	if d.closed || k == nil {
		return nil, false
	}
	select {
	case k.turn <- struct{}{}:
		k.users++
		return k, false
	default:
		return nil, true
	}
}

// routers lists the routers that are worked on, or open.
func (d *desks) routers() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.all))
}

func (d *desks) join(router string) *desk {
	k, ok := d.all[router]
	if !ok {
		k = &desk{router: router, turn: make(chan struct{}, 1)}
		d.all[router] = k
	}
	k.users++
	return k
}

// part forgets a desk that nobody uses and where nothing is open.
func (d *desks) part(k *desk) {
	k.users--
	if k.users == 0 && k.site == nil {
		delete(d.all, k.router)
	}
}

func (d *desks) leave(k *desk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	<-k.turn
	d.part(k)
}

func (d *desks) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return dataplane.ErrClosed
	}
	return nil
}

// close waits for whoever works, and closes all sites.
func (d *desks) close() error {
	d.mu.Lock()
	d.closed = true
	var all []*desk
	for router := range d.all {
		all = append(all, d.join(router))
	}
	d.mu.Unlock()
	var errs []error
	for _, k := range all {
		k.turn <- struct{}{}
		errs = append(errs, k.clear())
		d.leave(k)
	}
	return errors.Join(errs...)
}

// clear closes the desk's site.
func (k *desk) clear() error {
	if k.site == nil {
		return nil
	}
	s := k.site
	k.site = nil
	return s.close()
}
