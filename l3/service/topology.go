package service

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// AutoAllocatedTopology returns the topology of a project. The first time it makes a network with a
// subnet of each default subnet pool, and a router between it and the default external network.
func (s *Service) AutoAllocatedTopology(ctx context.Context, who l3.Caller, project string) (l3.AutoAllocatedTopology, error) {
	if err := s.may(who, "get_auto_allocated_topology", relationToProject(who, project)); err != nil {
		return l3.AutoAllocatedTopology{}, err
	}
	var t l3.AutoAllocatedTopology
	do := func(w *work) (err error) {
		t, err = w.Topologies().Get(ctx, project)
		if errors.Is(err, l3.ErrAbsent) {
			t, err = s.makeTopology(ctx, w, who, project)
		}
		return err
	}
	err := s.update(ctx, do)
	if errors.Is(err, l3.ErrTaken) { // another request was the first
		err = s.update(ctx, do)
	}
	return t, err
}

// CheckAutoAllocation implements [l3.Topologies].
func (s *Service) CheckAutoAllocation(ctx context.Context, who l3.Caller, project string) error {
	if err := s.may(who, "get_auto_allocated_topology", relationToProject(who, project)); err != nil {
		return err
	}
	return s.config.Store.View(ctx, func(tx l3.Tx) error {
		if _, err := s.defaultNetwork(ctx, tx, who); err != nil {
			return err
		}
		pools, err := s.defaultPoolsFor(ctx, tx, who)
		if err == nil && len(pools) == 0 {
			err = allocationFailure("No default subnetpools defined")
		}
		return err
	})
}

func (s *Service) makeTopology(ctx context.Context, w *work, who l3.Caller, project string) (l3.AutoAllocatedTopology, error) {
	t := l3.AutoAllocatedTopology{ProjectID: project}
	outside, err := s.defaultNetwork(ctx, w, who)
	if err != nil {
		return t, err
	}
	n, err := s.createNetwork(ctx, w, who, l3.NetworkSpec{ProjectID: &project, Name: new("auto_allocated_network")})
	if err != nil {
		return t, err
	}
	subnets, err := s.allocateOn(ctx, w, who, n)
	if err != nil {
		return t, unallocated(err, "Unable to provide tenant private network")
	}
	r, err := s.createRouter(ctx, w, who, l3.RouterSpec{
		ProjectID: &project, Name: new("auto_allocated_router"), Gateway: &l3.GatewaySpec{NetworkID: outside.ID},
	})
	for _, sub := range subnets {
		if err == nil {
			_, err = s.addInterface(ctx, w, who, r.ID, l3.InterfaceSpec{SubnetID: sub.ID})
		}
	}
	if err != nil {
		return t, unallocated(err, "Unable to provide external connectivity")
	}
	t.NetworkID, t.RouterID = n.ID, r.ID
	return t, w.Topologies().Insert(ctx, t)
}

// defaultNetwork is the default external network, which the caller must see.
func (s *Service) defaultNetwork(ctx context.Context, tx l3.Tx, who l3.Caller) (l3.Network, error) {
	found, err := tx.Networks().List(ctx, l3.Query{Filters: []l3.Filter{{Field: "is_default", Op: l3.In, Values: []any{true}}}})
	if err != nil {
		return l3.Network{}, err
	}
	for _, n := range found {
		to, err := relationToNetwork(ctx, tx, who, n)
		if err != nil {
			return n, err
		}
		if s.Allows(who, "get_network", to) {
			return n, nil
		}
	}
	return l3.Network{}, allocationFailure("No default router:external network")
}

// defaultPoolsFor are the default subnet pools that a caller sees, of each family.
func (s *Service) defaultPoolsFor(ctx context.Context, tx l3.Tx, who l3.Caller) ([]l3.SubnetPool, error) {
	var pools []l3.SubnetPool
	for _, version := range []int{4, 6} {
		p, err := s.defaultPool(ctx, tx, who, version)
		if err != nil {
			return nil, err
		}
		if p != nil {
			pools = append(pools, *p)
		}
	}
	return pools, nil
}

// allocateOn makes a subnet of each default subnet pool on a network.
func (s *Service) allocateOn(ctx context.Context, w *work, who l3.Caller, n l3.Network) ([]l3.Subnet, error) {
	pools, err := s.defaultPoolsFor(ctx, w, who)
	if err != nil {
		return nil, err
	}
	if len(pools) == 0 {
		return nil, notFound("SubnetPoolNotFound", "There is no default subnet pool.")
	}
	var made []l3.Subnet
	for _, p := range pools {
		sub, err := s.createSubnet(ctx, w, who, l3.SubnetSpec{
			ProjectID: &n.ProjectID, NetworkID: &n.ID, Name: new(fmt.Sprintf("auto_allocated_subnet_v%d", p.IPVersion)),
			IPVersion: &p.IPVersion, SubnetPoolID: &p.ID,
		})
		if err != nil {
			return nil, err
		}
		made = append(made, sub)
	}
	return made, nil
}

// unallocated says of a refusal what could not be provided. Quotas and the policy speak for
// themselves.
func unallocated(err error, reason string) error {
	var refused *l3.Error
	if !errors.As(err, &refused) || errors.Is(err, l3.ErrOverQuota) || errors.Is(err, l3.ErrForbidden) {
		return err
	}
	return allocationFailure(reason + ": " + strings.TrimSuffix(refused.Message, "."))
}

func allocationFailure(reason string) error {
	return conflict("AutoAllocationFailure", "Deployment error: %s.", reason)
}

// DeleteAutoAllocatedTopology deletes the topology of a project, unless something else uses it.
func (s *Service) DeleteAutoAllocatedTopology(ctx context.Context, who l3.Caller, project string) error {
	if err := s.may(who, "delete_auto_allocated_topology", relationToProject(who, project)); err != nil {
		return err
	}
	return s.update(ctx, func(w *work) error {
		t, err := w.Topologies().Get(ctx, project)
		switch {
		case errors.Is(err, l3.ErrAbsent):
			return nil
		case err != nil:
			return err
		}
		if t.RouterID != "" {
			if err := s.detachTopology(ctx, w, who, t); err != nil {
				return err
			}
			if err := s.deleteRouter(ctx, w, t.RouterID); err != nil {
				return err
			}
		}
		n, err := w.Networks().Get(ctx, t.NetworkID)
		if err != nil {
			return err
		}
		return s.deleteNetwork(ctx, w, n)
	})
}

// detachTopology removes the network of a topology from its router.
func (s *Service) detachTopology(ctx context.Context, w *work, who l3.Caller, t l3.AutoAllocatedTopology) error {
	in, err := intentOf(ctx, w, t.RouterID)
	if err != nil {
		return err
	}
	for _, p := range in.interfaces() {
		if p.NetworkID != t.NetworkID {
			continue
		}
		if _, err := s.removeInterface(ctx, w, who, t.RouterID, l3.InterfaceSpec{PortID: p.ID}); err != nil {
			return err
		}
	}
	return nil
}

// networkLeaves ends the topology that a network is of.
func networkLeaves(ctx context.Context, w *work, n l3.Network) error {
	t, err := w.Topologies().Get(ctx, n.ProjectID)
	switch {
	case errors.Is(err, l3.ErrAbsent):
		return nil
	case err != nil || t.NetworkID != n.ID:
		return err
	}
	return w.Topologies().Delete(ctx, t.ProjectID)
}

// routerLeaves takes a router out of the topology that it is of.
func routerLeaves(ctx context.Context, w *work, r l3.Router) error {
	t, err := w.Topologies().Get(ctx, r.ProjectID)
	switch {
	case errors.Is(err, l3.ErrAbsent):
		return nil
	case err != nil || t.RouterID != r.ID:
		return err
	}
	t.RouterID = ""
	return w.Topologies().Update(ctx, &t)
}
