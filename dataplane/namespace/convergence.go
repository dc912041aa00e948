package namespace

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// long plans a full convergence: it reads the whole namespace, and turns each difference to the
// wanted router into an action.
type long struct {
	*site
	cfg    Config
	router dataplane.Router
	ports  map[string]dataplane.Port // by device
	have   state
	want   state
	fresh  bool // the namespace was just created

	rehearsal bool // only the plan is wanted

	actions []action
	plugged bool // links are made or set
	keeps   bool // the namespace had links before
}

// plan lists the actions in an order in which no packet meets a half-made router.
func (l *long) plan(ctx context.Context) error {
	l.ports, l.want = PortsByDevice(l.router), want(l.router)
	if !l.fresh {
		h, err := l.reader()
		if err != nil {
			return err
		}
		if l.have, err = observe(h); err != nil {
			return err
		}
	}
	clear(l.index)
	for dev, have := range l.have.links {
		l.index[dev] = have.index
	}
	l.index[loopback] = loopbackIndex
	l.keeps = len(l.have.links) > 0
	for _, part := range []func(context.Context) error{
		l.sysctls, l.own, l.retract, l.retire, l.plug, l.deviceSysctls, l.rewrite, l.address, l.raise, l.await, l.route, l.steer, l.forgetNeighbours,
		l.tell, l.advertise, l.serveMetadata, l.settle, l.unplug, l.replace, l.sweep, l.identify,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *long) add(a action) { l.actions = append(l.actions, a) }

// devices returns the wanted devices, sorted.
func (l *long) devices() []string { return slices.Sorted(maps.Keys(l.want.links)) }

// locate looks up the indexes of the devices that stay, come or leave.
func (l *long) locate() error {
	return l.site.locate(append(append(l.devices(), l.leaving()...), loopback))
}

// leaving returns the devices that the router no longer has, sorted.
func (l *long) leaving() []string {
	var list []string
	for _, dev := range slices.Sorted(maps.Keys(l.have.links)) {
		if _, stays := l.want.links[dev]; !stays {
			list = append(list, dev)
		}
	}
	return list
}

func (l *long) sysctls(context.Context) error {
	if l.fresh { // the others were set before the namespace had a name
		if isEdge(l.router) {
			l.add(action{do: func(context.Context) error { return l.writeSysctls([]sysctl{reflectMark(true)}) }})
		}
		return nil
	}
	return l.setSysctls(append(slices.Clone(sysctls), reflectMark(isEdge(l.router))))
}

// deviceSysctls sets what belongs to a device, once it is there.
func (l *long) deviceSysctls(context.Context) error {
	t := l.router.Transit
	if t == nil {
		return nil
	}
	list := []sysctl{acceptLocal(dataplane.TransitDevice(t.ID))}
	if _, there := l.have.links[dataplane.TransitDevice(t.ID)]; there {
		return l.setSysctls(list)
	}
	l.add(action{do: func(context.Context) error { return l.writeSysctls(list) }})
	return nil
}

// setSysctls sets those that differ.
func (l *long) setSysctls(list []sysctl) error {
	var differ []sysctl
	err := netns.Do(l.FD, func() (err error) {
		differ, err = readSysctls(list, none)
		return err
	})
	if err != nil || len(differ) == 0 {
		return err
	}
	a := action{
		do:   func(context.Context) error { return l.writeSysctls(list) },
		undo: nil, // there is no router for which the other values would be right
	}
	for _, s := range differ {
		a.steps = append(a.steps, dataplane.Step{
			Op: dataplane.Change, Kind: dataplane.KindSysctl, Object: s.dotted(), Detail: valueOf(list, s.name) + ", was " + s.value,
		})
	}
	l.add(a)
	return nil
}

func (s *site) writeSysctls(list []sysctl) error {
	return netns.Do(s.FD, func() error {
		_, err := writeSysctls(list)
		return err
	})
}

// retire takes out of traffic what leaves, before the rules go that traffic through it needs:
// devices, and floating IPs' addresses.
func (l *long) retire(context.Context) error {
	var down action
	var leaving []string
	var set []func(context.Context) error
	for _, dev := range l.leaving() {
		if l.have.links[dev].up {
			one := l.setLink(dev, false)
			leaving, set, down.steps = append(leaving, dev), append(set, one.do), append(down.steps, one.steps...)
		}
	}
	if len(leaving) > 0 {
		down.do = func(ctx context.Context) error { return inOrder(ctx, set) }
		down.undo = l.revive(leaving)
		l.add(down)
		l.plugged = true
	}
	for _, dev := range l.leaving() {
		l.removeSome(dev, missing(l.have.links[dev].addrs, nil), l.neighbours()) // an own address is no next hop
	}
	for _, dev := range l.devices() {
		if gone := l.retired(dev); len(gone) > 0 {
			l.add(l.removeAddresses(dev, gone))
		}
	}
	return nil
}

// holds reports whether an address is in the set, with any prefix length.
func holds(addrs map[netip.Prefix]form, a netip.Addr) bool {
	for b := range addrs {
		if b.Addr() == a {
			return true
		}
	}
	return false
}

func (l *long) rewrite(ctx context.Context) error {
	change := Change{Want: l.router}
	steps, err := l.rules.Plan(ctx, change)
	if err != nil {
		return err
	}
	l.add(l.applyRules(change, steps)) // also with nothing to do: then it learns that its last state holds
	if l.fresh && len(l.late) > 0 {
		l.add(action{do: func(context.Context) error { return l.writeSysctls(l.late) }})
	}
	return nil
}

func hasIPv4(addrs map[netip.Prefix]form) bool {
	for a := range addrs {
		if a.Addr().Is4() {
			return true
		}
	}
	return false
}

func (l *long) raise(context.Context) error {
	for _, dev := range l.devices() {
		if !l.have.links[dev].up {
			l.add(l.setLink(dev, true))
			l.plugged = true
		}
	}
	return nil
}

// await waits until packets pass the devices that were made or set up.
func (l *long) await(context.Context) error {
	if !l.plugged || len(l.want.links) == 0 {
		return nil
	}
	l.add(action{do: func(ctx context.Context) error {
		return l.cfg.Wiring.Ready(ctx, l.NS, attachments(l.ports)...)
	}})
	return nil
}

func (l *long) route(context.Context) error {
	put, before := maps.Clone(l.want.routes), map[routeKey]hops{}
	leaving := l.leaving()
	stays := func(h hop) bool { return !slices.Contains(leaving, h.dev) }
	doomed := map[routeKey]hops{} // go with a device, but until then lead by other hops
	for key, have := range l.have.routes {
		left := have
		for _, dev := range leaving {
			left = outlive(key, left, dev)
		}
		switch {
		case len(left) == 0 && put[key] == nil && slices.ContainsFunc(have, stays):
			doomed[key] = have
		case len(left) == 0: // by now, or when the device goes
		case slices.Equal(put[key], left):
			delete(put, key)
		default:
			before[key] = left
		}
	}
	if len(doomed) > 0 {
		a := l.changeRoutes(doomed, nil)
		a.undo = nil // they come back with the device
		l.add(a)
	}
	if len(put)+len(before) > 0 {
		l.add(l.changeRoutes(before, put))
	}
	return nil
}

// forgetNeighbours makes the kernel forget the MACs of hosts that are no longer on the link of an
// anycast port: one that comes back may have another.
func (l *long) forgetNeighbours(context.Context) error {
	gone := map[routeKey]hops{}
	for key, h := range l.have.routes {
		if key.metric == neighbourMetric && l.want.routes[key] == nil && l.ports[h[0].dev].Anycast != nil {
			gone[key] = h
		}
	}
	if len(gone) > 0 {
		l.add(l.deleteNeighbours(gone))
	}
	return nil
}

// outlive returns what is left of a route when a device goes: the kernel takes away an IPv4 route
// whole (fib_sync_down_dev), and of an IPv6 route the hops through the device only.
func outlive(key routeKey, h hops, dev string) hops {
	switch {
	case !h.through(dev):
		return h
	case key.dest.Addr().Is4():
		return nil
	}
	return slices.DeleteFunc(slices.Clone(h), func(h hop) bool { return h.dev == dev })
}

// replace clears the rules of firewalls that were in charge before. It cannot be taken back, and so
// comes when all else is in place.
func (l *long) replace(ctx context.Context) error {
	if l.fresh {
		return nil
	}
	for _, f := range l.cfg.Replaces {
		present, err := l.ofFirewall(f, func(r Rules) (bool, error) { return r.Present(ctx) })
		if err != nil {
			return err
		}
		if present {
			l.add(action{
				final: true,
				steps: []dataplane.Step{{Op: dataplane.Remove, Kind: dataplane.KindRules, Object: f.Name(), Detail: "replaced by " + l.cfg.Firewall.Name()}},
				do: func(ctx context.Context) error {
					_, err := l.ofFirewall(f, func(r Rules) (bool, error) { return false, r.Clear(ctx) })
					return err
				},
			})
		}
	}
	return nil
}

// sweep takes away what a killed process left on the host. It may have been this router's, and
// nothing but its name would say so.
func (l *long) sweep(ctx context.Context) error {
	wanted := l.devices()
	spare, err := l.cfg.Wiring.Spare(ctx, l.Router, append(wanted, l.leaving()...))
	if len(spare) > 0 {
		l.add(action{final: true, around: true, steps: spare, do: func(ctx context.Context) error { return l.cfg.Wiring.Sweep(ctx, l.Router, wanted) }})
	}
	return err
}

func (l *long) ofFirewall(f Firewall, ask func(Rules) (bool, error)) (bool, error) {
	r, err := f.Open(l.NS)
	if err != nil {
		return false, err
	}
	answer, err := ask(r)
	return answer, errors.Join(err, r.Close())
}

// settle ends the connections that the router would not carry in the same way any more.
func (l *long) settle(ctx context.Context) error {
	if l.fresh {
		return nil
	}
	where := everywhere(l.router)
	changes := len(steps(l.actions)) > 0
	if changes && !l.rehearsal {
		l.add(l.endConnections(where, nil))
		return nil
	}
	stale, err := l.find(ctx, where)
	if len(stale) > 0 {
		l.add(l.endConnections(where, stale))
	}
	return err
}

// tell announces the addresses that are new on their device, or that have a new MAC.
func (l *long) tell(context.Context) error {
	for _, dev := range l.devices() {
		have, want := l.have.links[dev], l.want.links[dev]
		known := have.addrs
		if have.mac != want.mac || !have.up {
			known = nil
		}
		if news := announced(missing(want.addrs, known)); len(news) > 0 {
			l.add(l.announce(dev, want.mac, news))
		}
	}
	return nil
}

// learn remembers the router, and trusts what it remembers if nobody else wrote meanwhile. A link
// that was there before may have been down for a moment that is not ours, and have lost its routes;
// so then trust waits for the next look.
func (l *long) learn() {
	links := withIndexes(l.want.links, l.index)
	l.last = remember(l.router, links)
	if owned, err := l.owns(l.cfg.owning, l.router.Owner); owned && err == nil {
		l.last.owner = l.router.Owner
	}
	l.trusted = l.undisturbed(links, l.plugged || l.fresh) && !(l.plugged && l.keeps)
}
