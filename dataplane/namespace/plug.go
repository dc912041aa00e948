package namespace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
)

// plug brings devices to their networks, all in one go: wiring may have to wait for somebody, and
// then does so once. What a device that is made anew had is lost, and so is as if it had not been
// there.
func (l *long) plug(ctx context.Context) error {
	var a action
	var what []Attachment
	var undo []func(context.Context) error
	var replaced, lost []string // devices that are made anew
	wanted := attachments(l.ports)
	plans, err := l.cfg.Wiring.Plan(ctx, l.NS, wanted...)
	if err != nil {
		return err
	}
	for i, w := range wanted {
		dev, steps := w.Device, l.plugSteps(w, plans[i])
		if len(steps) == 0 {
			continue
		}
		before, known := l.before(dev)
		switch {
		case !slices.ContainsFunc(steps, func(s dataplane.Step) bool { return s.Op == dataplane.Add }):
			undo = append(undo, l.plugAs(dev, before))
		case known:
			undo, replaced = append(undo, l.plugAs(dev, before)), append(replaced, dev)
		default:
			// Of a device that another process plugged into another network, nobody here knows
			// where that was.
			_, there := l.have.links[dev]
			a.oneWay = a.oneWay || there
			undo, lost = append(undo, func(ctx context.Context) error { return l.cfg.Wiring.Unplug(ctx, l.NS, dev) }), append(lost, dev)
		}
		what = append(what, w)
		a.steps = append(a.steps, steps...)
	}
	revive := l.revive(replaced)
	for _, dev := range append(replaced, lost...) {
		l.forget(dev)
	}
	if len(what) > 0 {
		a.do = func(ctx context.Context) error { return l.cfg.Wiring.Plug(ctx, l.NS, what...) }
		a.undo = func(ctx context.Context) error {
			return errors.Join(backwards(ctx, undo), l.locate(), revive(ctx))
		}
		l.add(a)
		l.plugged = true
	}
	if l.plugged {
		l.add(action{do: func(context.Context) error { return l.locate() }})
	}
	return nil
}

// attachments lists ports by device, in order.
func attachments(ports map[string]dataplane.Port) []Attachment {
	list := make([]Attachment, 0, len(ports))
	for _, dev := range slices.Sorted(maps.Keys(ports)) {
		list = append(list, Attachment{Device: dev, Port: ports[dev]})
	}
	return list
}

// plugSteps says what there is to do before a device is what its port says; steps is what wiring
// has to do.
func (l *long) plugSteps(a Attachment, steps []dataplane.Step) []dataplane.Step {
	if have, there := l.have.links[a.Device]; there {
		return append(steps, linkChanges(a.Device, have, a.Port)...)
	} else if len(steps) == 0 {
		return []dataplane.Step{{Op: dataplane.Add, Kind: dataplane.KindLink, Object: a.Device}}
	}
	return steps
}

func linkChanges(dev string, have link, port dataplane.Port) (steps []dataplane.Step) {
	change := func(detail string, disturbs bool) {
		steps = append(steps, dataplane.Step{Op: dataplane.Change, Kind: dataplane.KindLink, Object: dev, Detail: detail, Disturbs: disturbs})
	}
	if have.mac != port.MAC {
		change(fmt.Sprintf("MAC %s, was %s", port.MAC, have.mac), true)
	}
	if have.mtu != port.MTU {
		change(fmt.Sprintf("MTU %d, was %d", port.MTU, have.mtu), false)
	}
	return steps
}

// before is the port that a device is now: as this process applied it, if it did, else as it is
// wanted; and with the MAC and MTU that the device has. known says that the device is there, and
// was applied by this process.
func (l *long) before(dev string) (port dataplane.Port, known bool) {
	have, there := l.have.links[dev]
	if there && l.last != nil {
		port, known = PortsByDevice(l.last.router)[dev]
	}
	if !known {
		port = l.ports[dev]
	}
	port.MAC, port.MTU = have.mac, have.mtu
	return port, known
}

func (l *long) plugAs(dev string, port dataplane.Port) func(context.Context) error {
	return func(ctx context.Context) error {
		return l.cfg.Wiring.Plug(ctx, l.NS, Attachment{Device: dev, Port: port})
	}
}

// setAsBefore sets a link up or down, as it is now.
func (l *long) setAsBefore(dev string) func(context.Context) error {
	up := l.have.links[dev].up
	return func(ctx context.Context) error {
		_, err := l.write.send(ctx, setLink(l.index[dev], up))
		return opError("set link "+upDown(up), dev, err)
	}
}

// revive completes the taking back of links' going down by what the kernel dropped with them:
// link-local addresses, and routes, which are restored when all links are up, because one may need
// several.
func (l *long) revive(devices []string) func(context.Context) error {
	addrs := map[string][]address{}
	var up []func(context.Context) error
	for _, dev := range devices {
		addrs[dev] = missing(l.have.links[dev].addrs, nil)
		up = append(up, l.setAsBefore(dev))
	}
	routes := maps.Clone(l.have.routes)
	maps.DeleteFunc(routes, func(_ routeKey, h hops) bool { return !slices.ContainsFunc(devices, h.through) })
	return func(ctx context.Context) error {
		errs := []error{backwards(ctx, up)}
		for _, dev := range devices {
			errs = append(errs, l.writeAddresses(ctx, "restore address", dev, addrs[dev], addAddress))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		return l.writeRoutes(ctx, "restore route", nil, routes)
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
			final: true,
			steps: []dataplane.Step{{Op: dataplane.Remove, Kind: dataplane.KindWiring, Object: dev, Disturbs: true}},
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
	if _, _, err := observeLinks(h, links); err != nil {
		return err
	}
	if left, ok := links[dev]; ok {
		err := h.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: left.index, Name: dev}})
		return opError("remove link", dev, err)
	}
	return nil
}
