package service

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
)

// keepOrphan records an orphan and keeps its addresses from being given to others. Where orphans
// are removed, it has the host told so.
func (s *Service) keepOrphan(ctx context.Context, w *work, o l3.Orphan) error {
	was, err := w.Orphans().Get(ctx, o.ID)
	known := err == nil
	if err != nil && !errors.Is(err, l3.ErrAbsent) {
		return err
	}
	if len(o.Addrs) == 0 {
		o.Addrs = was.Addrs // a host that does not know them takes nothing back
	}
	o.Conflicts = was.Conflicts
	if !known || !reflect.DeepEqual(was, o) {
		if err := s.replaceOrphan(ctx, w, was, o, known); err != nil {
			return err
		}
	}
	if s.config.RemoveOrphans {
		return s.removeOrphan(ctx, w, o)
	}
	return nil
}

func (s *Service) replaceOrphan(ctx context.Context, w *work, was, o l3.Orphan, known bool) (err error) {
	if known {
		if err := dropOrphan(ctx, w, o.ID); err != nil {
			return err
		}
	}
	if o.Conflicts, err = hold(ctx, w, o); err != nil {
		return err
	}
	if !known {
		s.log.Warn("a router runs on a host, and the database has no record of it: its addresses are not given to others",
			"router", o.RouterID, "host", o.Host, "deployment", o.Deployment, "addresses", len(o.Addrs), "removed", s.config.RemoveOrphans)
	}
	if len(o.Conflicts) > 0 && !slices.Equal(o.Conflicts, was.Conflicts) {
		s.log.Error("an orphaned router answers for addresses that ports have: remove it from its host, or the ports",
			"router", o.RouterID, "host", o.Host, "addresses", o.Conflicts)
	}
	return w.Orphans().Insert(ctx, o)
}

// removeOrphan records that an orphan is to leave its host. It is an orphan until it has left.
func (s *Service) removeOrphan(ctx context.Context, w *work, o l3.Orphan) error {
	d, err := w.Deployment().Get(ctx)
	if err != nil {
		return err
	}
	// The epochs of another deployment have nothing to do with ours.
	epoch := max(d.Epoch, 1)
	if o.Deployment == d.ID {
		epoch = max(epoch, o.Epoch)
	}
	revision := o.Revision
	before, err := w.Departures().Get(ctx, o.ID)
	switch {
	case err == nil && !before.Orphan: // that of another router with the ID, which was published
		epoch, revision = max(epoch, before.Epoch), max(revision, before.Revision+1)
	case err != nil && !errors.Is(err, l3.ErrAbsent):
		return err
	}
	return s.evict(ctx, w, l3.RouterState{ID: o.RouterID, Host: o.Host, Epoch: epoch, Revision: revision}, true)
}

// evict records that a router leaves a host that it was not bound to in that epoch. Until then, the
// database may not have given the epoch to any router, and hosts that name one which it has not
// given show that it was restored from a backup.
func (s *Service) evict(ctx context.Context, w *work, st l3.RouterState, orphan bool) error {
	if err := w.Deployment().RaiseEpoch(ctx, st.Epoch); err != nil {
		return err
	}
	return s.record(ctx, w, st, orphan)
}

// hold claims an orphan's addresses in the subnets of the networks on the same segments, whatever
// those networks are called: two networks on one segment are one wire. It returns the addresses
// that a port has.
func hold(ctx context.Context, w *work, o l3.Orphan) (taken []netip.Addr, err error) {
	networks, err := w.Networks().List(ctx, l3.Query{})
	if err != nil {
		return nil, err
	}
	for _, h := range o.Addrs {
		for i := range networks {
			if !heldOn(h, networks[i]) {
				continue
			}
			subnets, err := w.Subnets().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", networks[i].ID)}})
			if err != nil {
				return nil, err
			}
			for _, subnet := range subnets {
				if !subnet.CIDR.Contains(h.Addr) {
					continue
				}
				err := w.Addresses().Claim(ctx, subnet.ID, h.Addr, o.ID)
				if errors.Is(err, l3.ErrTaken) {
					taken = append(taken, h.Addr)
				} else if err != nil {
					return nil, err
				}
			}
		}
	}
	return taken, nil
}

// heldOn reports whether the address is on the wire of a network.
func heldOn(h agent.HeldAddr, n l3.Network) bool {
	if h.Network.ID == n.ID {
		return true
	}
	return h.Network.Type != dataplane.NetworkLocal && slices.Contains(n.Segments, heldSegment(h))
}

func heldSegment(h agent.HeldAddr) l3.Segment {
	return l3.Segment{Type: h.Network.Type, Physical: h.Network.Physical, ID: h.Network.Segment}
}

// dropOrphan forgets an orphan; its addresses are free.
func dropOrphan(ctx context.Context, w *work, id string) error {
	return w.Orphans().Delete(ctx, id)
}

// releaseIn gives back what orphans hold of a subnet in which no port has an address.
func releaseIn(ctx context.Context, w *work, subnet l3.Subnet) error {
	orphans, err := w.Orphans().List(ctx, l3.Query{})
	if err != nil {
		return err
	}
	for _, o := range orphans {
		for _, h := range o.Addrs {
			if !subnet.CIDR.Contains(h.Addr) {
				continue
			}
			if err := w.Addresses().Release(ctx, subnet.ID, h.Addr); err != nil && !errors.Is(err, l3.ErrAbsent) {
				return err
			}
		}
	}
	return nil
}

// holdIn claims what orphans hold of a subnet that was made just now.
func holdIn(ctx context.Context, w *work, n l3.Network, subnet l3.Subnet) error {
	orphans, err := w.Orphans().List(ctx, l3.Query{})
	if err != nil {
		return err
	}
	for _, o := range orphans {
		for _, h := range o.Addrs {
			if !heldOn(h, n) || !subnet.CIDR.Contains(h.Addr) {
				continue
			}
			if err := w.Addresses().Claim(ctx, subnet.ID, h.Addr, o.ID); err != nil && !errors.Is(err, l3.ErrTaken) {
				return err
			}
		}
	}
	return nil
}

// orphanSegments lists the segments that orphans use, which are not allocated to new networks.
func orphanSegments(ctx context.Context, tx l3.Tx) ([]l3.Segment, error) {
	orphans, err := tx.Orphans().List(ctx, l3.Query{})
	if err != nil {
		return nil, err
	}
	var used []l3.Segment
	for _, o := range orphans {
		for _, h := range o.Addrs {
			if numbered(h.Network.Type) {
				used = append(used, heldSegment(h))
			}
		}
	}
	return used, nil
}
