package dataplanetest

import (
	"context"
	"errors"
	"sync"

	"github.com/l3kit/l3kit/dataplane/namespace"
)

// errBroken is the failure that a [Breaker] causes.
var errBroken = errors.New("broken by the test")

// faults makes wiring fail when it is told to.
type faults struct {
	mu    sync.Mutex
	armed bool
	after int
}

func (f *faults) wrap(d namespace.InterfaceDriver) namespace.InterfaceDriver {
	return faultyWiring{InterfaceDriver: d, faults: f}
}

// strike says whether this operation is the one to fail.
func (f *faults) strike() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed {
		return nil
	}
	if f.after > 0 {
		f.after--
		return nil
	}
	f.armed = false
	return errBroken
}

// Break makes the wiring fail: at the port after so many.
func (k *kernel) Break(after int) (heal func()) {
	f := &k.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.after = true, after
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.armed = false
	}
}

type faultyWiring struct {
	namespace.InterfaceDriver
	faults *faults
}

// Plug counts devices. The one that fails leaves those before it plugged: to take that back as well
// is more than a driver may ask for.
func (w faultyWiring) Plug(ctx context.Context, ns namespace.NS, what ...namespace.Attachment) error {
	for i := range what {
		if err := w.faults.strike(); err != nil {
			return errors.Join(err, w.InterfaceDriver.Plug(ctx, ns, what[:i]...))
		}
	}
	return w.InterfaceDriver.Plug(ctx, ns, what...)
}

func (w faultyWiring) Unplug(ctx context.Context, ns namespace.NS, dev string) error {
	if err := w.faults.strike(); err != nil {
		return err
	}
	return w.InterfaceDriver.Unplug(ctx, ns, dev)
}

// Watch is the driver's, if it has one.
func (w faultyWiring) Watch(ctx context.Context, changed func(router string)) error {
	watched, ok := w.InterfaceDriver.(namespace.WatchedWiring)
	if !ok {
		<-ctx.Done()
		return ctx.Err()
	}
	return watched.Watch(ctx, changed)
}

func (w faultyWiring) Release(ctx context.Context, router string) error {
	if err := w.faults.strike(); err != nil {
		return err
	}
	return w.InterfaceDriver.Release(ctx, router)
}
