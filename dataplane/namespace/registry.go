package namespace

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/l3kit/l3kit/dataplane"
)

// registry gives each router one worker at a time, and keeps a router's site open from one call to
// the next.
type registry struct {
	mu     sync.Mutex
	all    map[string]*entry
	closed bool
}

// entry is one router of a registry. Whoever holds its turn works on the router.
type entry struct {
	router string
	turn   chan struct{} // holds a token while somebody works
	users  int           // who work or wait; guarded by registry.mu
	site   *site         // nil: not open
}

// take waits for the router's turn, or for the context's end.
func (d *registry) take(ctx context.Context, router string) (*entry, error) {
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

// try takes the turn of a router that is worked on, unless somebody has it. A nil entry without
// busy says that nothing is known of the router.
func (d *registry) try(router string) (k *entry, busy bool) {
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
func (d *registry) routers() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.all))
}

func (d *registry) join(router string) *entry {
	k, ok := d.all[router]
	if !ok {
		k = &entry{router: router, turn: make(chan struct{}, 1)}
		d.all[router] = k
	}
	k.users++
	return k
}

// part forgets an entry that nobody uses and where nothing is open.
func (d *registry) part(k *entry) {
	k.users--
	if k.users == 0 && k.site == nil {
		delete(d.all, k.router)
	}
}

func (d *registry) leave(k *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	<-k.turn
	d.part(k)
}

func (d *registry) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return dataplane.ErrClosed
	}
	return nil
}

// close waits for whoever works, and closes all sites.
func (d *registry) close() error {
	d.mu.Lock()
	d.closed = true
	var all []*entry
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

// clear closes the entry's site.
func (k *entry) clear() error {
	if k.site == nil {
		return nil
	}
	s := k.site
	k.site = nil
	return s.close()
}
