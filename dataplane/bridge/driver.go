package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/backoff"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/monitor"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/wiring"
)

// Config says what the host offers. With the zero Config there are local networks, and flat ones
// without a physical network, in the caller's namespace.
type Config struct {
	// HostNS is the path of the network namespace that has the bridges. Empty: the one that the
	// thread which calls New is in.
	HostNS string
	// Physical maps names of physical networks to devices of the host: an existing bridge, whose
	// ports the routers' become, or an interface without addresses, which becomes a port of a
	// bridge of ours. Neither is ever deleted or marked.
	Physical map[string]string
	VXLAN    VXLAN
	// Logger is told, at level debug, of each change. Nil: nobody.
	Logger *slog.Logger
}

// Driver attaches ports to Linux bridges.
type Driver struct {
	config Config
	log    *slog.Logger
	hostNS *os.File
	host   *sockets
	view   *view
	locks  locks
	peers  peers
	table  table
	kinds  kinds
	ipv6   bool          // the kernel has it
	index  atomic.Uint32 // see newIndex
}

var _ namespace.InterfaceDriver = (*Driver)(nil)

// New opens the host's namespace and begins to listen. It changes nothing.
func New(c Config) (_ *Driver, err error) {
	c.Physical = maps.Clone(c.Physical)
	c.VXLAN.Local = c.VXLAN.Local.Unmap()
	if c.VXLAN.Port == 0 {
		c.VXLAN.Port = 4789
	}
	d := &Driver{config: c, log: c.Logger, peers: peers{synced: map[int]bool{}}}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.peers.want, err = wiring.Peers(c.VXLAN.Local, c.VXLAN.Peers); err != nil {
		return nil, failure.Of("configure wiring", "", err)
	}
	if d.hostNS, err = netns.Open(c.HostNS); err != nil {
		return nil, failure.Of("open host namespace", c.HostNS, err)
	}
	fd := int(d.hostNS.Fd())
	d.host = &sockets{ns: fd}
	d.table.conn.NS = fd
	d.view = &view{sockets: d.host}
	if d.view.host, err = netns.IdentifyFD(fd); err == nil {
		d.view.monitor, err = monitor.Open(fd, unix.RTNLGRP_LINK, unix.RTNLGRP_NSID)
	}
	if err != nil {
		return nil, failure.Of("open host namespace", c.HostNS, errors.Join(err, d.hostNS.Close()))
	}
	_, err = os.Stat("/proc/net/if_inet6")
	d.ipv6 = err == nil
	d.index.Store(firstIndex + rand.Uint32N(firstIndex/2))
	return d, nil
}

// Close releases sockets. Everything stays plugged. A second Close is fine.
func (d *Driver) Close() error {
	err := d.hostNS.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(d.host.close(), d.view.monitor.Close(), d.table.close(), err)
}

// Plan says what Plug would do. When there is nothing to do it costs two system calls and one
// request for each device.
func (d *Driver) Plan(ctx context.Context, ns namespace.NS, what ...namespace.Attachment) ([][]dataplane.Step, error) {
	plans := make([][]dataplane.Step, len(what))
	told := map[string]bool{} // what is done to networks
	for i, a := range what {
		err := wiring.CheckPlan(ns, a.Port)
		var w work
		if err == nil {
			w, err = d.survey(ctx, port{a.Port, ns, a.Device}, false)
		}
		if err != nil {
			return nil, failure.Of("plan wiring of", a.Device, err)
		}
		shared := len(w.grow) + len(w.network)
		for n, c := range w.all() {
			text := c.step.String()
			own := n >= shared && n < shared+len(w.port) || c.step.Object == tableText && c.step.Op == dataplane.Change // of the table, what the port needs
			if own || !told[text] {
				plans[i] = append(plans[i], c.step)
			}
			told[text] = true
		}
	}
	return plans, nil
}

// Plug attaches ports, one after the other; see [namespace.InterfaceDriver].
func (d *Driver) Plug(ctx context.Context, ns namespace.NS, what ...namespace.Attachment) error {
	for _, a := range what {
		if err := wiring.CheckPlug(ns, a.Port); err != nil {
			return failure.Of("plug", a.Device, err)
		}
	}
	var made []string
	for _, a := range what {
		first, err := d.plugOne(ctx, port{a.Port, ns, a.Device})
		if err != nil {
			errs := []error{failure.Of("plug", a.Device, err)}
			for _, dev := range slices.Backward(made) {
				errs = append(errs, d.Unplug(context.WithoutCancel(ctx), ns, dev))
			}
			return errors.Join(errs...)
		}
		if first.makes() {
			made = append(made, a.Device)
		}
	}
	return nil
}

// plugOne returns what there was to do at first sight.
func (d *Driver) plugOne(ctx context.Context, p port) (first work, err error) {
	if p.mark().contained() {
		defer d.table.begin()()
	}
	first, err = d.plug(ctx, p)
	if err == nil && p.mark().contained() && len(first.all()) > 0 {
		// Another process that did not see the port yet may have taken it out of the table. So far
		// the port's device is down, unless it was there before.
		err = d.contain(p, false)
	}
	if err != nil && first.makes() && p.mark().contained() {
		err = errors.Join(err, d.withdraw(p))
	}
	if err != nil {
		// What was made for the network must not stay behind, even if this port was the first and
		// there is no second attempt.
		err = errors.Join(err, d.sweep(context.WithoutCancel(ctx), p.Network.ID))
	}
	if first.former != "" {
		err = errors.Join(err, d.sweep(context.WithoutCancel(ctx), first.former)) // nobody else will know of it
	}
	return first, err
}

// withdraw removes a port that could not be plugged in full, from the table too.
func (d *Driver) withdraw(p port) error {
	var tap *link
	err := d.view.read(func() { tap = d.view.names[wiring.TapName(p.ID)] })
	if err == nil && tap != nil && tap.mark == p.mark() {
		err = d.remove(tap)
	}
	return errors.Join(err, d.settle())
}

// raced says that another process may have been quicker: it has made what the network needs
// (EEXIST), has not marked it yet (ErrForeign), or has swept it (ENODEV, EINVAL).
func raced(err error) bool {
	return errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, dataplane.ErrForeign)
}

// mostRaces is how often Plug looks again for that.
const mostRaces = 8

// plug returns what there was to do at first sight.
func (d *Driver) plug(ctx context.Context, p port) (first work, err error) {
	lock, done := d.locks.get(p.Network.ID)
	defer done()

	lock.RLock()
	first, err = d.survey(ctx, p, false)
	if err == nil && len(first.network) == 0 {
		err = d.run(ctx, first.all())
	}
	lock.RUnlock()
	// EXFULL: others took the last place in the bridge.
	if err != nil && !errors.Is(err, unix.EXFULL) && !raced(err) || err == nil && len(first.network) == 0 && !first.mends() {
		return first, err
	}

	lock.Lock()
	defer lock.Unlock()
	mended := len(first.network) == 0
	for races := 0; ; {
		var w work
		if w, err = d.survey(ctx, p, mended); err == nil {
			err = d.run(ctx, w.all())
		}
		if raced(err) && races < mostRaces && backoff.Sleep(ctx, time.Millisecond) == nil {
			races++
			continue
		}
		if err != nil || mended || !w.mends() {
			return first, err
		}
		mended = true
	}
}

// Unplug takes away a device; see [namespace.InterfaceDriver]. A device of a workload that Plug did
// not make is [dataplane.ErrForeign].
func (d *Driver) Unplug(ctx context.Context, ns namespace.NS, dev string) error {
	tap, err := d.unplug(ctx, ns, dev)
	switch {
	case err != nil:
	case tap == nil: // it is gone, and nothing says which network it was on
		err = errors.Join(d.sweepAll(ctx), d.settle())
	default:
		if tap.mark.contained() {
			defer d.table.begin()()
		}
		if err = d.remove(tap); err == nil { // with it goes what says that the network needs sweeping
			err = d.sweep(context.WithoutCancel(ctx), tap.mark.network)
		}
		if tap.mark.contained() {
			err = errors.Join(err, d.settle())
		}
	}
	return failure.Of("unplug", dev, err)
}

// unplug finds the host end of a device. A device that has none, but is ours to remove, it removes.
func (d *Driver) unplug(ctx context.Context, ns namespace.NS, dev string) (tap *link, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if ns.FD >= 0 {
		err := d.inside(ns, func(c *netlink.Conn) error {
			l, err := findLink(c, dev)
			if errors.Is(err, unix.ENODEV) {
				return nil
			}
			if err != nil {
				return err
			}
			if tap, err = d.nearEnd(ns, l); err != nil || tap != nil {
				return err
			}
			if ns.Router == "" {
				return fmt.Errorf("device of the workload %w", dataplane.ErrForeign)
			}
			return remove(c, l)
		})
		if err != nil || tap != nil {
			return tap, err
		}
	}
	// The device may have been renamed or moved, or its namespace be gone; the mark still says
	// which port it was for.
	if ns.Router != "" {
		err = d.view.read(func() {
			for _, l := range d.view.taps[ns.Router] {
				if wiring.Named(l.mark.port, dev) {
					tap = l
				}
			}
		})
	}
	return tap, err
}

// Release takes away everything of a router, and what no network on this host needs; see
// [namespace.InterfaceDriver].
func (d *Driver) Release(ctx context.Context, router string) error {
	if router == "" {
		return failure.Of("release", "router", fmt.Errorf("%w: it has no ID", dataplane.ErrInvalid))
	}
	var taps []*link
	if err := d.view.read(func() { taps = sorted(d.view.taps[router]) }); err != nil {
		return failure.Of("release", "router "+router, err)
	}
	defer d.table.begin()()
	err := atOnce(ctx, taps, d.remove)
	return failure.Of("release", "router "+router, errors.Join(err, d.sweepAll(ctx), d.settle()))
}

// Routers names every router that has a port here, sorted.
func (d *Driver) Routers(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, failure.Of("list wiring", "", err)
	}
	var routers []string
	err := d.view.read(func() {
		for router := range d.view.taps {
			if router != "" {
				routers = append(routers, router)
			}
		}
	})
	slices.Sort(routers)
	return routers, failure.Of("list wiring", "", err)
}

const (
	ethernetMTU = 1500
	minIPv6MTU  = 1280 // RFC 8200; below it the kernel keeps IPv6 away from a device
	firstIndex  = 1 << 30
)

// newIndex chooses the interface index of a new device, so that the messages which complete it can
// be sent along with the one that creates it, and cannot hit anything else if that fails. The
// kernel counts its own choices from 1; ours come from a random place high above.
func (d *Driver) newIndex() int { return int(d.index.Add(1)) }

// batch is a list of messages for one system call.
type batch []netlink.Message

// introduce says what a new device of ours is, and keeps it from speaking.
func (d *Driver) introduce(index int, m mark, mtu int) batch {
	b := batch{setMark(index, m)}
	if d.ipv6 && mtu >= minIPv6MTU {
		b = append(b, setQuiet(index))
	}
	return b
}
