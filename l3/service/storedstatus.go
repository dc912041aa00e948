package service

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/l3kit/l3kit/l3"
)

// The status of routers, their ports and floating IPs follows from their [RouterState]. It is also
// stored with each, together with the host that it depends on, so that lists are filtered and
// sorted by it with an index. The stored status is the one while that host is alive; lists leave
// out, or add, what is on hosts that are not. See [Service.live].

// mark notes that a router has changed in a way that its status, or that of its ports and floating
// IPs, may follow from. Before is its state until then.
func (w *work) mark(before l3.RouterState) {
	if w.marked == nil {
		w.marked = map[string]l3.RouterState{}
	}
	if before.RouterID != "" { // one of several: everything may follow from it
		before = l3.RouterState{ID: before.RouterID}
	}
	if _, known := w.marked[before.ID]; !known {
		w.marked[before.ID] = before
	}
}

// restate stores the status of everything that was marked. It is called at the end of a
// transaction, and before what it has written is read.
func (s *Service) restate(ctx context.Context, w *work) error {
	if err := s.handOver(ctx, w); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(w.marked)) {
		if err := s.restateRouter(ctx, w, w.marked[id]); err != nil {
			return err
		}
	}
	clear(w.marked)
	return nil
}

func (s *Service) restateRouter(ctx context.Context, w *work, before l3.RouterState) error {
	r, err := w.Routers().Get(ctx, before.ID)
	if errors.Is(err, l3.ErrAbsent) {
		return nil // it was deleted, and its ports with it
	}
	if err != nil {
		return err
	}
	st, err := wholeState(ctx, w, r.ID)
	if err != nil {
		return err
	}
	after := r
	after.Status, _ = settledState(&st, r.AdminStateUp)
	after.Host = dependsOn(&st, r.AdminStateUp)
	if err := refresh(ctx, w, w.Routers(), r, &after, s.now(), after.Status != r.Status); err != nil {
		return err
	}
	if err := s.restatePorts(ctx, w, r, st); err != nil {
		return err
	}
	return s.restateFloatingIPs(ctx, w, before, st, after.Host)
}

// refresh stores what follows from other resources and from hosts, if it has changed. The revision
// grows with an attribute that clients see, as in Neutron, but only once in a transaction: what a
// caller has changed is returned before its status is stored.
func refresh[R any, P l3.Resource[R]](ctx context.Context, w *work, table l3.Table[R], before R, after P, now time.Time, seen bool) error {
	m := after.Base()
	switch {
	case reflect.DeepEqual(before, *after):
		return nil
	case !seen || w.raised[m.ID]:
		return table.Refresh(ctx, after)
	}
	m.UpdatedAt = now
	return table.Update(ctx, after)
}

// The tables of resources with a status note which of them change; see refresh.

func (w *work) Routers() l3.Table[l3.Router] {
	return raising[l3.Router, *l3.Router]{w.Tx.Routers(), w}
}

func (w *work) Ports() l3.Table[l3.Port] {
	return raising[l3.Port, *l3.Port]{w.Tx.Ports(), w}
}

func (w *work) FloatingIPs() l3.Table[l3.FloatingIP] {
	return raising[l3.FloatingIP, *l3.FloatingIP]{w.Tx.FloatingIPs(), w}
}

type raising[R any, P l3.Resource[R]] struct {
	l3.Table[R]
	work *work
}

func (t raising[R, P]) Insert(ctx context.Context, r ...R) error {
	for i := range r {
		t.work.raised[P(&r[i]).Base().ID] = true
	}
	return t.Table.Insert(ctx, r...)
}

func (t raising[R, P]) Update(ctx context.Context, r *R) error {
	t.work.raised[P(r).Base().ID] = true
	return t.Table.Update(ctx, r)
}

func (s *Service) restatePorts(ctx context.Context, w *work, r l3.Router, st l3.RouterState) error {
	ports, err := w.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("device_id", r.ID), routerOwned()}})
	if err != nil {
		return err
	}
	var on l3.Binding
	if host := dependsOn(&st, r.AdminStateUp); host != "" {
		a, err := w.Agents().Get(ctx, st.AgentID)
		if err != nil {
			return err
		}
		on = bindingTo(a)
	}
	for _, p := range ports {
		after := p
		realiseState(&st, &after, on, r.AdminStateUp)
		seen := after.Status != p.Status || after.Binding.HostID != p.Binding.HostID
		if err := refresh(ctx, w, w.Ports(), p, &after, s.now(), seen); err != nil {
			return err
		}
	}
	return nil
}

// realiseState sets what follows for a port of a router: where it is plugged in, and whether it is.
func realiseState(st *l3.RouterState, p *l3.Port, on l3.Binding, routerUp bool) {
	p.Binding.HostID, p.Binding.VIFType, p.Binding.VIFDetails = on.HostID, vifUnbound, nil
	switch {
	case on.HostID == "":
	case p.DeviceOwner == l3.OwnerDistributedInterface: // it is on many hosts
		p.Binding.HostID, p.Binding.VIFType = "", vifDistributed
	default:
		p.Binding.VIFType, p.Binding.VIFDetails = on.VIFType, on.VIFDetails
	}
	switch {
	case !routerUp || !p.AdminStateUp:
		p.StateRevision = 0
	case p.StateRevision == 0:
		p.StateRevision = st.Revision
	}
	p.Status = l3.StatusDown
	if on.HostID != "" && runs(st, p.StateRevision) {
		p.Status = l3.StatusActive
	}
}

// What binding:vif_type says of a port.
const (
	vifUnbound     = "unbound"
	vifOther       = "other"
	vifDistributed = "distributed"
)

// bindingTo returns the binding of a router's port to an agent's host, in Neutron's terms.
func bindingTo(a l3.Agent) l3.Binding {
	b := l3.Binding{HostID: a.Host, VIFType: vifOther, VIFDetails: json.RawMessage(`{"connectivity":"l2","port_filter":false}`)}
	if wiring := a.Capabilities.Wiring; wiring == "ovs" || wiring == "bridge" {
		b.VIFType = wiring
	}
	return b
}

// restateFloatingIPs stores the status of a router's floating IPs, and which revision translates
// them. Only those are read that may have another status than is stored, because a router may have
// thousands.
func (s *Service) restateFloatingIPs(ctx context.Context, w *work, before, st l3.RouterState, host string) error {
	filters := []l3.Filter{oneOf("router_id", st.ID)}
	usual := l3.StatusDown
	switch {
	case st.Applied > 0:
		usual = l3.StatusActive
	case st.Error != "":
		usual = l3.StatusError
	}
	narrow := before.Revision > 0 && before.Host == st.Host && before.Wanted == st.Wanted && before.Reported <= st.Reported &&
		(before.Applied <= st.Applied || st.Applied == 0) && slices.Equal(before.Inside, st.Inside)
	if narrow {
		// Those that were bound meanwhile are stored as DOWN; see bindTo.
		filters = append(filters, l3.Filter{Field: "status", Op: l3.NotIn, Values: []any{string(usual)}})
	}
	fips, err := w.FloatingIPs().List(ctx, l3.Query{Filters: filters})
	if err != nil {
		return err
	}
	if err := fillForwardings(ctx, w, fips); err != nil {
		return err
	}
	for _, f := range fips {
		after := f
		switch {
		case !realisedIn(st.Inside, &f):
			after.StateRevision = 0
		case f.StateRevision == 0:
			after.StateRevision = st.Revision
		}
		after.Status, _ = floatingState(&st, &after)
		if after.Host = host; after.Status == l3.StatusDown {
			after.Host = "" // which would not change it
		}
		if err := refresh(ctx, w, w.FloatingIPs(), f, &after, s.now(), after.Status != f.Status); err != nil {
			return err
		}
	}
	return nil
}

// restateAll stores the status of all routers, ports and floating IPs that a former version has
// left without one.
func (s *Service) restateAll(ctx context.Context) error {
	const most = 100 // in a transaction, so that others can write meanwhile
	for left := true; left; {
		err := s.update(ctx, func(w *work) error {
			unstated := l3.Query{Filters: []l3.Filter{oneOf("status", "")}, Limit: most}
			routers, err := w.Routers().List(ctx, unstated)
			if err != nil {
				return err
			}
			for _, r := range routers {
				w.mark(l3.RouterState{ID: r.ID})
			}
			if left = len(routers) > 0; left {
				return nil
			}
			// Those of routers have got theirs by now.
			fips, err := w.FloatingIPs().List(ctx, unstated)
			left = len(fips) > 0
			for _, f := range fips {
				f.Status = l3.StatusDown
				if err := w.FloatingIPs().Refresh(ctx, &f); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
