package bridge

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/wiring"
)

// spare lists what a network has on this host and needs no more, in the order in which to remove
// it. The view is locked. Only marks are asked, not the configuration, so that what was made under
// another one goes too.
func (v *view) spare(network string) (spare []*link) {
	plumbing := v.plumbing[network]
	var first *link
	used := map[int]bool{} // overflow bridges, by number; 0 is the first
	for _, l := range plumbing {
		if l.kind != "bridge" {
			continue
		}
		if l.mark.overflow == 0 {
			first = l
		}
		for _, p := range v.ports[l.index] {
			serves := p.mark.network == network && p.mark.plumbing() || p.name == l.mark.uplink
			if !serves {
				used[l.mark.overflow] = true
				break
			}
		}
	}
	inUse := len(used) > 0
	var bridges []*link
	for _, l := range sorted(plumbing) {
		switch {
		case l == first:
		case l.mark.overflow > 0 && used[l.mark.overflow]:
		case l.mark.overflow > 0 && l.kind == "bridge":
			bridges = append(bridges, l)
		case l.mark.overflow > 0: // one end of a trunk takes the other with it
			spare = append(spare, l)
		case !inUse || first == nil:
			spare = append(spare, l)
		}
	}
	spare = append(spare, bridges...)
	if first != nil && !inUse {
		spare = append(spare, first)
	}
	return spare
}

// sweep removes what a network needs no more. Who removes the last port of another process at the
// same time may remove a bridge under our hands, and the other way round; the next Plug makes it
// again.
func (d *Driver) sweep(ctx context.Context, network string) error {
	lock, done := d.locks.get(network)
	defer done()
	lock.Lock()
	defer lock.Unlock()
	var spare []*link
	if err := d.view.read(func() { spare = d.view.spare(network) }); err != nil {
		return err
	}
	var errs []error
	for _, l := range spare {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, d.remove(l))
		d.peers.forget(l.index)
	}
	return errors.Join(errs...)
}

// Spare says what Sweep would remove; see [namespace.InterfaceDriver].
func (d *Driver) Spare(ctx context.Context, router string, devices []string) (steps []dataplane.Step, err error) {
	if err := ctx.Err(); err != nil {
		return nil, failure.Of("look for", "spare bridges", err)
	}
	var networks []string
	err = d.view.read(func() {
		networks = d.view.withoutPorts()
		for _, tap := range d.view.others(router, devices) {
			steps = append(steps, step(dataplane.Remove, tap.name, "not a port of router "+router+" any more"))
		}
	})
	for _, network := range networks {
		lock, done := d.locks.get(network)
		if lock.TryLock() { // else somebody is about to plug into it
			err = errors.Join(err, d.view.read(func() {
				for _, l := range d.view.spare(network) {
					steps = append(steps, step(dataplane.Remove, l.name, "network "+network+" has no port here"))
				}
			}))
			lock.Unlock()
		}
		done()
	}
	return steps, failure.Of("look for", "spare bridges", err)
}

// Sweep removes them; see [namespace.InterfaceDriver].
func (d *Driver) Sweep(ctx context.Context, router string, devices []string) error {
	var taps []*link
	err := d.view.read(func() { taps = d.view.others(router, devices) })
	if err == nil {
		err = atOnce(ctx, taps, d.remove)
	}
	return failure.Of("sweep", "spare bridges", errors.Join(err, d.sweepAll(ctx)))
}

// others lists the host ends of a router's ports that are none of these devices. The view is
// locked.
func (v *view) others(router string, devices []string) (taps []*link) {
	for _, l := range sorted(v.taps[router]) {
		named := func(device func(string) string) bool { return slices.Contains(devices, device(l.mark.port)) }
		if !named(dataplane.PortDevice) && !named(dataplane.GatewayDevice) && !named(dataplane.TransitDevice) {
			taps = append(taps, l)
		}
	}
	return taps
}

// withoutPorts lists networks that have something spare, in order. The view is locked.
func (v *view) withoutPorts() (networks []string) {
	for network := range v.plumbing {
		if len(v.spare(network)) > 0 {
			networks = append(networks, network)
		}
	}
	slices.Sort(networks)
	return networks
}

// sweepAll removes what any network needs no more: also what a process left that was killed between
// making a bridge and its first port.
func (d *Driver) sweepAll(ctx context.Context) error {
	var networks []string
	if err := d.view.read(func() { networks = d.view.withoutPorts() }); err != nil {
		return err
	}
	return atOnce(ctx, networks, func(network string) error { return d.sweep(ctx, network) })
}

// atOnce calls fn for each of list, and returns all errors.
func atOnce[T any](ctx context.Context, list []T, fn func(T) error) error {
	var g errgroup.Group
	g.SetLimit(wiring.MaxAtOnce)
	errs := make([]error, len(list))
	for i, item := range list {
		g.Go(func() error {
			if errs[i] = ctx.Err(); errs[i] == nil {
				errs[i] = fn(item)
			}
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	return errors.Join(errs...)
}
