package service

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// A floating IP moves between hosts when its port does, or when it is bound elsewhere. The host
// that gets it announces it as soon as it has applied that. The host that loses it may be later:
// until then it answers for the address, and neighbours may hear it last. So what a host has to let
// go of is kept with the state of the router there, or with the record of its departure, and when
// the host has let go, the present one announces the address again.

// holderOf is where a floating IP is translated. Of a router that is not distributed its state says
// on which host that is.
func holderOf(f *l3.FloatingIP) l3.Holder {
	if f.Holder != (l3.Holder{}) {
		return f.Holder
	}
	return l3.Holder{Host: f.Host, Instance: f.RouterID}
}

// leaveBehind records that a floating IP is not an instance's any more, whose present revision says
// so to its host.
func (s *Service) leaveBehind(ctx context.Context, w *work, from l3.Holder, addr netip.Addr) error {
	st, err := stateAt(ctx, w, from.Host, from.Instance)
	if err != nil {
		return err
	}
	if st.AgentID != "" {
		st.Left, st.LeftAt = union(st.Left, []netip.Addr{addr}), st.Revision
		if err := save(ctx, w, st); err != nil {
			return err
		}
	}
	departures, err := w.Departures().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("id", onHost(from.Host, from.Instance))}})
	for _, d := range departures {
		d.Left = union(d.Left, []netip.Addr{addr})
		if err := w.Departures().Update(ctx, &d); err != nil {
			return err
		}
	}
	return err
}

// handOver finds out which instances have floating IPs after a change, and has those announce them
// that got them from hosts which have let go by now.
func (s *Service) handOver(ctx context.Context, w *work) error {
	for _, id := range slices.Sorted(maps.Keys(w.spread)) {
		if err := s.rehold(ctx, w, id); err != nil {
			return err
		}
	}
	clear(w.spread)
	if len(w.left) == 0 {
		return nil
	}
	addrs := make([]string, len(w.left))
	for i, a := range w.left {
		addrs[i] = a.String()
	}
	w.left = nil
	held, err := listOf(ctx, w.FloatingIPs(), "floating_ip_address", addrs)
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for i := range held {
		if held[i].RouterID == "" {
			continue
		}
		at := holderOf(&held[i])
		st, err := stateAt(ctx, w, at.Host, at.Instance)
		if err != nil {
			return err
		}
		if told[st.ID] {
			continue
		}
		told[st.ID] = true
		if err := s.announce(ctx, w, st); err != nil {
			return err
		}
	}
	return nil
}

// rehold stores which instances of a distributed router have its floating IPs.
func (s *Service) rehold(ctx context.Context, w *work, routerID string) error {
	bound, err := listOf(ctx, w.FloatingIPs(), "router_id", []string{routerID})
	if err != nil || len(bound) == 0 {
		return err
	}
	in, err := intentOf(ctx, w, routerID)
	if err != nil || in.Spread == nil {
		return err
	}
	in.FloatingIPs = bound
	if in.PortForwardings, err = listOf(ctx, w.PortForwardings(), "router_id", []string{routerID}); err != nil {
		return err
	}
	sp, err := in.spreading()
	if err != nil {
		return err
	}
	for i := range bound {
		f := &bound[i]
		before, after := f.Holder, sp.holder(f)
		if before == after {
			continue
		}
		centre := dataplane.CentreID(routerID)
		if before != (l3.Holder{}) && !(before.Instance == centre && after.Instance == centre) { // whose departure says it
			if err := s.leaveBehind(ctx, w, before, f.Address); err != nil {
				return err
			}
		}
		f.Holder = after
		if err := w.FloatingIPs().Refresh(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// holder is the instance that translates a floating IP, or is to when its fixed address has a
// place.
func (sp *spreading) holder(f *l3.FloatingIP) l3.Holder {
	if home := sp.served[f.FixedIP]; home != "" {
		return l3.Holder{Host: home, Instance: sp.Router.ID}
	}
	return l3.Holder{Host: sp.Spread.Centre.Host, Instance: dataplane.CentreID(sp.Router.ID)}
}

// union is a list with what it lacks of another.
func union(list, more []netip.Addr) []netip.Addr {
	for _, a := range more {
		if !slices.Contains(list, a) {
			list = append(slices.Clip(list), a)
		}
	}
	return list
}
