package namespace

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
)

// revive completes the taking back of a link's going down by what the kernel dropped with it: routes, and the link-local address.
func (l *long) revive(dev string, up func(context.Context) error) func(context.Context) error {
	addrs := prefixesOf(missing(l.have.links[dev].addrs, nil))
	routes := maps.Clone(l.have.routes)
	maps.DeleteFunc(routes, func(_ routeKey, h hops) bool { return !h.through(dev) })
	return func(ctx context.Context) error {
		if err := up(ctx); err != nil {
			return err
		}
		if err := l.writeAddresses(ctx, "restore address", dev, addrs, addAddress); err != nil {
			return err
		}
		return l.writeRoutes(ctx, "restore route", nil, routes)
	}
}

// plug brings devices to their networks. What a device that is made anew had is lost, and so is as if it had not been there.
func (l *long) plug(ctx context.Context) error {
	for _, dev := range l.devices() {
		port := l.ports[dev]
		steps, err := l.cfg.Wiring.Plan(ctx, l.NS, dev, port)
		if err != nil {
			return err
		}
		have, there := l.have.links[dev]
		if there {
			steps = append(steps, linkChanges(dev, have, port)...)
		} else if len(steps) == 0 {
			steps = []dataplane.Step{{Op: dataplane.Add, Kind: "link", Object: dev}}
		}
		if len(steps) == 0 {
			continue
		}
		l.plugged = true
		a := l.plugDevice(dev, port, steps)
		if slices.ContainsFunc(steps, func(s dataplane.Step) bool { return s.Op == dataplane.Add }) {
			a.undo = l.replug(dev, there)
			l.forget(dev)
		}
		l.add(a)
	}
	if l.plugged {
		l.add(action{do: func(context.Context) error { return l.locate() }})
	}
	return nil
}

func linkChanges(dev string, have link, port dataplane.Port) (steps []dataplane.Step) {
	change := func(detail string, disturbs bool) {
		steps = append(steps, dataplane.Step{Op: dataplane.Change, Kind: "link", Object: dev, Detail: detail, Disturbs: disturbs})
	}
	if have.mac != port.MAC {
		change(fmt.Sprintf("MAC %s, was %s", port.MAC, have.mac), true)
	}
	if have.mtu != port.MTU {
		change(fmt.Sprintf("MTU %d, was %d", port.MTU, have.mtu), false)
	}
	return steps
}

// plugDevice completes or makes a device. Taken back, a device that stayed gets its MAC and MTU back.
func (l *long) plugDevice(dev string, port dataplane.Port, steps []dataplane.Step) action {
	before := port
	before.MAC, before.MTU = l.have.links[dev].mac, l.have.links[dev].mtu
	return action{
		steps: steps,
		do:    func(ctx context.Context) error { return l.cfg.Wiring.Plug(ctx, l.NS, dev, port) },
		undo:  func(ctx context.Context) error { return l.cfg.Wiring.Plug(ctx, l.NS, dev, before) },
	}
}

// replug takes back the making of a device. One that was replaced is made as it was, if this process knows of it.
func (l *long) replug(dev string, there bool) func(context.Context) error {
	had := l.have.links[dev]
	up := l.revive(dev, func(ctx context.Context) error {
		_, err := l.write.send(ctx, setLink(l.index[dev], had.up))
		return opError("set link "+upDown(had.up), dev, err)
	})
	return func(ctx context.Context) error {
		var before dataplane.Port
		if l.last != nil {
			before = portsByDevice(l.last.router)[dev]
		}
		if !there || before.ID == "" {
			return l.cfg.Wiring.Unplug(ctx, l.NS, dev)
		}
		if err := l.cfg.Wiring.Plug(ctx, l.NS, dev, before); err != nil {
			return err
		}
		if err := l.locate(); err != nil {
			return err
		}
		return up(ctx)
	}
}

// forget makes of a device one that is not there: what it had ends with it.
func (l *long) forget(dev string) {
	delete(l.have.links, dev)
	for key, h := range l.have.routes {
		if h = outlive(key, h, dev); len(h) > 0 {
			l.have.routes[key] = h
		} else {
			delete(l.have.routes, key)
		}
	}
}

func (l *long) unplug(context.Context) error {
	for _, dev := range l.leaving() {
		l.add(action{
			steps: []dataplane.Step{{Op: dataplane.Remove, Kind: "wiring", Object: dev, Disturbs: true}},
			do:    func(ctx context.Context) error { return l.unplugDevice(ctx, dev) },
		})
	}
	return nil
}

// unplugDevice also takes away a device that is named as ours are, but that no driver made.
func (l *long) unplugDevice(ctx context.Context, dev string) error {
	if err := l.cfg.Wiring.Unplug(ctx, l.NS, dev); err != nil {
		return err
	}
	h, err := l.reader()
	if err != nil {
		return err
	}
	links := map[string]link{}
	if _, err := observeLinks(h, links); err != nil {
		return err
	}
	if left, ok := links[dev]; ok {
		err := h.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: left.index, Name: dev}})
		return opError("remove link", dev, err)
	}
	return nil
}
