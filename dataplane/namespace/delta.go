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
	steps, err := wiring.Plan(ctx, s.NS, attachments(portsByDevice(s.last.router))...)
	return len(slices.Concat(steps...)) == 0, err
}

func (s *site) sysctlsHold() bool {
	holds := false
	err := netns.Do(s.FD, func() error {
		differ, err := readSysctls(told)
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
	if len(actions) == 0 {
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
	before, after := addressesOf(d.Removed), addressesOf(d.Added)
	return missing(before, after), missing(after, before)
}

func addressesOf(fips []dataplane.FloatingIP) map[netip.Prefix]struct{} {
	set := make(map[netip.Prefix]struct{}, len(fips))
	for _, f := range fips {
		set[host(f.Addr)] = struct{}{}
	}
	return set
}
