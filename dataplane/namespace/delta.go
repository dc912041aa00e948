package namespace

import (
	"context"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/conntrack"
	"github.com/l3kit/l3kit/internal/netns"
)

// proved reports whether the namespace is as the last Apply left it. It does not look at the rules,
// which have a proof of their own.
func (s *site) proved(ctx context.Context, wiring InterfaceDriver) bool {
	if !s.undisturbed(s.last.links, false) || !s.sysctlsHold() {
		return false
	}
	plugged, err := s.plugged(ctx, wiring)
	return plugged && err == nil
}

// plugged reports whether the wiring is as the last Apply left it.
func (s *site) plugged(ctx context.Context, wiring InterfaceDriver) (bool, error) {
	steps, err := wiring.Plan(ctx, s.NS, attachments(PortsByDevice(s.last.router))...)
	return len(slices.Concat(steps...)) == 0, err
}

func (s *site) sysctlsHold() bool {
	holds := false
	err := netns.Do(s.FD, func() error {
		differ, err := readSysctls(sysctls, unread)
		if holds = len(differ) == 0; !holds || err != nil {
			return err
		}
		differ, err = readSysctls(ofInstance(s.last.router), none)
		holds = len(differ) == 0
		return err
	})
	return err == nil && holds
}

// short plans the difference to the router that was applied last. Its cost does not depend on what
// stays.
func (s *site) short(ctx context.Context, want dataplane.Router, d delta, rehearsal bool) ([]action, error) {
	change := Change{Want: want, Since: &d.Delta}
	proven, err := s.rulesProven()
	if err != nil {
		return nil, err
	}
	steps, err := s.rules.Plan(ctx, change)
	if err != nil {
		return nil, err
	}
	var actions []action
	leaving, coming := addressChanges(d)
	if len(leaving) > 0 {
		actions = append(actions, s.removeAddresses(s.gatewayDevice(), leaving))
	}
	if len(steps) > 0 {
		actions = append(actions, s.applyRules(change, steps))
	}
	if len(coming) > 0 {
		actions = append(actions, s.addAddresses(s.gatewayDevice(), coming))
	}
	before, after := routeChanges(want, d.Delta)
	if len(before)+len(after) > 0 {
		actions = append(actions, s.changeRoutes(before, after))
	}
	if gone := departed(want, d.Neighbours); len(gone) > 0 {
		actions = append(actions, s.deleteNeighbours(gone))
	}
	if len(actions) == 0 && d.Elsewhere.Empty() {
		return nil, nil
	}
	if len(coming) > 0 {
		actions = append(actions, s.announce(s.gatewayDevice(), want.Gateway.MAC, coming))
	}
	// Rules that somebody else has changed may have translated any connection in any way.
	where := everywhere(want)
	if proven {
		where = touchedBy(want, d.Delta)
	}
	if where.touched != nil && len(where.touched) == 0 {
		identifyDelta(actions, want, d)
		return actions, nil
	}
	var planned []conntrack.Connection
	if rehearsal {
		if planned, err = s.find(ctx, where); err != nil {
			return nil, err
		}
	}
	actions = append(actions, s.endConnections(where, planned))
	identifyDelta(actions, want, d)
	return actions, nil
}

// rulesProven reports whether nobody else has written rules since they were applied.
func (s *site) rulesProven() (bool, error) {
	p, ok := s.rules.(ProvenRules)
	if !ok {
		return false, nil
	}
	return p.Unchanged()
}

func (s *site) gatewayDevice() string { return dataplane.GatewayDevice(s.last.router.Gateway.ID) }

// addressChanges returns the addresses that leave and those that come. A floating IP that moves
// keeps its address.
func addressChanges(d delta) (leaving, coming []address) {
	before, after := addressesOf(d.Removed, d.ForwardingAddrs.Removed), addressesOf(d.Added, d.ForwardingAddrs.Added)
	return missing(before, after), missing(after, before)
}

func addressesOf(fips []dataplane.FloatingIP, forwarding []netip.Addr) map[netip.Prefix]form {
	set := make(map[netip.Prefix]form, len(fips)+len(forwarding))
	for _, a := range forwarding {
		set[host(a)] = form{}
	}
	for _, f := range fips {
		set[host(f.Addr)] = form{}
	}
	return set
}

// routeChanges returns the routes that a difference replaces, and those that it puts in their
// place.
func routeChanges(want dataplane.Router, d Delta) (before, after map[routeKey]hops) {
	return routesOf(want, d.Neighbours.Removed, d.Routes.Removed, d.Remote.Removed),
		routesOf(want, d.Neighbours.Added, d.Routes.Added, d.Remote.Added)
}

func routesOf(r dataplane.Router, neighbours []Neighbour, routes, remote []dataplane.Route) map[routeKey]hops {
	w := newRouting(r)
	for _, n := range neighbours {
		w.neighbour(portOf(r, n), n.Addr)
	}
	for _, x := range routes {
		w.instance(x, tableMain)
	}
	for _, x := range remote {
		w.outside(x)
	}
	return w.routes
}

func portOf(r dataplane.Router, n Neighbour) dataplane.Port {
	i := slices.IndexFunc(r.Ports, func(p dataplane.Port) bool { return p.ID == n.Port })
	return r.Ports[i]
}

// departed returns the routes to neighbours that are no longer on their link.
func departed(r dataplane.Router, d Difference[Neighbour]) map[routeKey]hops {
	return routesOf(r, without(d.Removed, d.Added), nil, nil)
}
