package l3

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// BusClaimTime is how long a message queue's claim on a database lasts without being renewed.
const BusClaimTime = 30 * time.Second

// onHost is the ID of what is recorded of a router on a host. Router IDs have no slash.
func onHost(host, routerID string) string { return host + "/" + routerID }

// Deployment returns the identity of the database.
func (s *Service) Deployment(ctx context.Context) (d Deployment, err error) {
	err = s.config.Store.View(ctx, func(tx Tx) error {
		d, err = tx.Deployment().Get(ctx)
		return err
	})
	return d, err
}

// ClaimBus implements [Desired].
func (s *Service) ClaimBus(ctx context.Context, bus, server string) error {
	return s.update(ctx, func(w *work) error {
		d, err := w.Deployment().Get(ctx)
		if err != nil {
			return err
		}
		// A claim from the future is one of before the clock was set back, or of a database that
		// was restored. It must not last for longer than any other.
		age := s.config.Now().Sub(d.Bus.SeenAt)
		if d.Bus.ID != "" && d.Bus.ID != bus && age < BusClaimTime && age > -BusClaimTime {
			return &OtherBusError{Deployment: d, Bus: bus}
		}
		return w.Deployment().SetBus(ctx, BusClaim{ID: bus, Server: server, SeenAt: s.exactly()})
	})
}

// ReleaseBus implements [Desired].
func (s *Service) ReleaseBus(ctx context.Context, bus, server string) error {
	return s.update(ctx, func(w *work) error {
		d, err := w.Deployment().Get(ctx)
		if err != nil || d.Bus.ID != bus || d.Bus.Server != server {
			return err
		}
		return w.Deployment().SetBus(ctx, BusClaim{})
	})
}

// Hosts implements [Desired].
func (s *Service) Hosts(ctx context.Context) (hosts []string, err error) {
	err = s.config.Store.View(ctx, func(tx Tx) error {
		hosts = nil
		agents, err := tx.Agents().List(ctx, Query{})
		if err != nil {
			return err
		}
		for _, a := range agents {
			hosts = append(hosts, a.Host)
		}
		departed, err := tx.Departures().List(ctx, Query{})
		for _, d := range departed {
			hosts = append(hosts, d.Host)
		}
		return err
	})
	slices.Sort(hosts)
	return slices.Compact(hosts), err
}

// PlacementOf implements [Desired].
func (s *Service) PlacementOf(ctx context.Context, host, routerID string) (p Placement, err error) {
	err = s.config.Store.View(ctx, func(tx Tx) error {
		all, err := assignments(ctx, tx, []string{routerID})
		if err != nil {
			return err
		}
		if len(all) > 0 && all[0].Host == host {
			p = all[0].placement()
			return nil
		}
		d, err := tx.Deployment().Get(ctx)
		if err != nil {
			return err
		}
		gone, err := tx.Departures().Get(ctx, onHost(host, routerID))
		if errors.Is(err, ErrAbsent) {
			return notFound("RouterNotHosted", "Nothing is recorded of router %s on host %s", routerID, host)
		}
		p = gone.placement(d.ID)
		return err
	})
	return p, err
}

// PlacementsOn implements [Desired].
func (s *Service) PlacementsOn(ctx context.Context, host string) (all []Placement, err error) {
	err = s.config.Store.View(ctx, func(tx Tx) error {
		all = []Placement{}
		d, err := tx.Deployment().Get(ctx)
		if err != nil {
			return err
		}
		here, err := assignmentsOn(ctx, tx, host)
		if err != nil {
			return err
		}
		for i := range here {
			all = append(all, here[i].placement())
		}
		departed, err := tx.Departures().List(ctx, Query{Filters: []Filter{oneOf("host", host)}})
		for _, gone := range departed {
			all = append(all, gone.placement(d.ID))
		}
		return err
	})
	slices.SortFunc(all, func(a, b Placement) int { return strings.Compare(a.RouterID, b.RouterID) })
	return all, err
}

func (a Assignment) placement() Placement {
	return Placement{
		Host: a.Host, RouterID: a.Router.ID, Deployment: a.Deployment, Epoch: a.Epoch, Revision: a.Revision, Request: a.Request, Assignment: &a,
	}
}

func (d Departure) placement(deployment string) Placement {
	return Placement{Host: d.Host, RouterID: d.RouterID, Deployment: deployment, Epoch: d.Epoch, Revision: d.Revision, Request: d.Request, Orphan: d.Orphan}
}
