package bridge

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/monitor"
)

var _ namespace.WatchedWiring = (*Driver)(nil)

// gather is how long changes of the host's links gather before they are read.
const gather = 20 * time.Millisecond

// Watch calls changed with routers whose ports somebody may have changed; see
// [namespace.WatchedWiring]. Only one Watch may be under way. Flood lists of VXLAN devices are not
// watched.
func (d *Driver) Watch(ctx context.Context, changed func(router string)) error {
	return failure.Of("watch wiring", "", d.watch(ctx, changed))
}

func (d *Driver) watch(ctx context.Context, changed func(router string)) (err error) {
	p, err := monitor.NewPoller()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { p.Close() })()
	defer p.Close()
	busy := false
	err = d.view.read(func() {
		if busy = d.view.changed != nil; !busy {
			d.view.changed = changed
		}
	})
	if busy {
		err = errors.New("somebody watches it already")
	}
	if err != nil {
		return err
	}
	defer func() {
		d.view.mu.Lock()
		defer d.view.mu.Unlock()
		d.view.changed = nil
	}()
	changed("")
	rules := tableWatch{driver: d, poller: p}
	defer func() { err = errors.Join(err, rules.close()) }()
	for {
		if _, err := d.view.monitor.Arm(p); err != nil {
			return err
		}
		if err := rules.look(); err != nil {
			return err
		}
		if _, err := p.Wait(); err != nil {
			return err
		}
		select {
		case <-time.After(gather):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := d.view.read(func() {}); err != nil { // which notes what has changed
			return err
		}
	}
}

// tableWatch notices changes of the table. While the host has no anycast port it does not
// listen, because listening costs whoever writes rules on this host.
type tableWatch struct {
	driver *Driver
	poller *monitor.Poller
	rules  *monitor.Monitor
}

// look notes what has changed about the table since the last look, and waits for the next change.
func (w *tableWatch) look() error {
	needed := false
	if err := w.driver.view.read(func() { needed = w.driver.view.hasAnycast() }); err != nil {
		return err
	}
	if !needed {
		return w.close()
	}
	news := false
	if w.rules == nil {
		var err error
		if w.rules, err = monitor.OpenRules(int(w.driver.hostNS.Fd())); err != nil {
			return err
		}
		news = true // what happened before is not known
	}
	if _, err := w.rules.Arm(w.poller); err != nil {
		return err
	}
	err := w.rules.Drain(func(unix.NlMsghdr, []byte) { news = true })
	if errors.Is(err, monitor.ErrOverrun) {
		news, err = true, nil
	}
	if err != nil || !news {
		return err
	}
	return w.driver.noteTable()
}

func (w *tableWatch) close() (err error) {
	if w.rules != nil {
		err = w.rules.Close()
		w.rules = nil
	}
	return err
}

// note tells whoever watches of the routers that depend on a link which has changed from before to
// after; either is nil if the link is not there. A link that is new was in nobody's way.
func (v *view) note(before, after *link) {
	if v.changed == nil || before == nil || after != nil && *before == *after {
		return
	}
	switch m := before.mark; {
	case m.port != "":
		v.noteAll(set{before.index: before})
	case m.plumbing():
		for _, taps := range v.taps {
			for _, tap := range taps {
				if tap.mark.network == m.network {
					v.noteAll(set{tap.index: tap})
				}
			}
		}
	default: // a physical network's, perhaps: a bridge with ports of ours, a port of a bridge of ours, what VLANs are on
		v.noteAll(v.ports[before.index])
		if bridge := v.links[before.master]; bridge != nil && bridge.mark.uplink == before.name {
			v.noteAll(v.ports[bridge.index])
		}
		for _, plumbing := range v.plumbing {
			for _, l := range plumbing {
				if l.lower == before.index && l.lowerNS == sameNS {
					v.noteAll(v.ports[l.master])
				}
			}
		}
	}
}

// noteAll tells of the routers that ports belong to.
func (v *view) noteAll(ports set) {
	for _, l := range ports {
		if l.mark.port != "" && l.mark.router != "" {
			v.changed(l.mark.router)
		}
	}
}
