package service

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// onHost is the ID of what is recorded of a router on a host. Router IDs have no slash.
func onHost(host, routerID string) string { return host + "/" + routerID }

// Deployment returns the identity of the database.
func (s *Service) Deployment(ctx context.Context) (d l3.Deployment, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		d, err = tx.Deployment().Get(ctx)
		return err
	})
	return d, err
}

// ClaimBus implements [l3.Desired].
func (s *Service) ClaimBus(ctx context.Context, bus, server string) error {
	return s.update(ctx, func(w *work) error {
		d, err := w.Deployment().Get(ctx)
		if err != nil {
			return err
		}
		// A claim from the future is one of before the clock was set back, or of a database that
		// was restored. It must not last for longer than any other.
		age := s.config.Now().Sub(d.Bus.SeenAt)
		if d.Bus.ID != "" && d.Bus.ID != bus && age < l3.BusClaimTime && age > -l3.BusClaimTime {
			return &l3.OtherBusError{Deployment: d, Bus: bus}
		}
		return w.Deployment().SetBus(ctx, l3.BusClaim{ID: bus, Server: server, SeenAt: s.exactly()})
	})
}

// ReleaseBus implements [l3.Desired].
func (s *Service) ReleaseBus(ctx context.Context, bus, server string) error {
	return s.update(ctx, func(w *work) error {
		d, err := w.Deployment().Get(ctx)
		if err != nil || d.Bus.ID != bus || d.Bus.Server != server {
			return err
		}
		return w.Deployment().SetBus(ctx, l3.BusClaim{})
	})
}

// Hosts implements [l3.Desired].
func (s *Service) Hosts(ctx context.Context) (hosts []string, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		hosts = nil
		agents, err := tx.Agents().List(ctx, l3.Query{})
		if err != nil {
			return err
		}
		for _, a := range agents {
			hosts = append(hosts, a.Host)
		}
		departed, err := tx.Departures().List(ctx, l3.Query{})
		for _, d := range departed {
			hosts = append(hosts, d.Host)
		}
		return err
	})
	slices.Sort(hosts)
	return slices.Compact(hosts), err
}

// PlacementOf implements [l3.Desired].
func (s *Service) PlacementOf(ctx context.Context, host, routerID string) (p l3.Placement, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		st, err := stateAt(ctx, tx, host, routerID)
		if err != nil {
			return err
		}
		all, err := s.assignments(ctx, tx, []l3.RouterState{st})
		if err != nil {
			return err
		}
		if len(all) > 0 && all[0].Host == host {
			p = placementOfAssignment(all[0])
			return nil
		}
		d, err := tx.Deployment().Get(ctx)
		if err != nil {
			return err
		}
		gone, err := tx.Departures().Get(ctx, onHost(host, routerID))
		if errors.Is(err, l3.ErrAbsent) {
			return notFound("RouterNotHosted", "Nothing is recorded of router %s on host %s", routerID, host)
		}
		p = placementOfDeparture(gone, d.ID)
		return err
	})
	return p, err
}

// PlacementsOn implements [l3.Desired].
func (s *Service) PlacementsOn(ctx context.Context, host string) (all []l3.Placement, err error) {
	err = s.config.Store.View(ctx, func(tx l3.Tx) error {
		all = []l3.Placement{}
		d, err := tx.Deployment().Get(ctx)
		if err != nil {
			return err
		}
		here, err := s.assignmentsOn(ctx, tx, host)
		if err != nil {
			return err
		}
		for i := range here {
			all = append(all, placementOfAssignment(here[i]))
		}
		departed, err := tx.Departures().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("host", host)}})
		for _, gone := range departed {
			all = append(all, placementOfDeparture(gone, d.ID))
		}
		return err
	})
	slices.SortFunc(all, func(a, b l3.Placement) int { return strings.Compare(a.RouterID, b.RouterID) })
	return all, err
}

func placementOfAssignment(a agent.Assignment) l3.Placement {
	return l3.Placement{
		Host: a.Host, RouterID: a.Router.ID, Deployment: a.Deployment, Epoch: a.Epoch, Revision: a.Revision, Request: a.Request, Assignment: &a,
	}
}

func placementOfDeparture(d l3.Departure, deployment string) l3.Placement {
	return l3.Placement{Host: d.Host, RouterID: d.RouterID, Deployment: deployment, Epoch: d.Epoch, Revision: d.Revision, Request: d.Request, Orphan: d.Orphan}
}
