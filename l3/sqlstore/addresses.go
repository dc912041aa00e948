package sqlstore

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/l3kit/l3kit/l3"
)

// addresses is [l3.Addresses] in a transaction.
type addresses struct{ tx *tx }

// Claim takes an address.
func (s addresses) Claim(ctx context.Context, subnetID string, a netip.Addr, portID string) error {
	_, err := s.tx.try(ctx, "INSERT INTO addresses (subnet_id, address, port_id) VALUES ($1, $2, $3)", []any{subnetID, a.AsSlice(), portID})
	if err == nil {
		err = s.runs(subnetID).add(ctx, a.AsSlice())
	}
	if err != nil {
		return fmt.Errorf("claim %s of subnet %s: %w", a, subnetID, err)
	}
	return nil
}

// Release gives one back.
func (s addresses) Release(ctx context.Context, subnetID string, a netip.Addr) error {
	n, err := s.tx.exec(ctx, "DELETE FROM addresses WHERE subnet_id = $1 AND address = $2", subnetID, a.AsSlice())
	if err == nil && n == 0 {
		err = l3.ErrAbsent
	}
	if err == nil {
		err = s.runs(subnetID).drop(ctx, a.AsSlice())
	}
	if err != nil {
		return fmt.Errorf("release %s of subnet %s: %w", a, subnetID, err)
	}
	return nil
}

// releaseAll gives back what a port has.
func (s addresses) releaseAll(ctx context.Context, portID string) error {
	type claim struct {
		subnet  string
		address []byte
	}
	var held []claim
	err := s.tx.query(ctx, func(r row) error {
		var c claim
		err := r.Scan(&c.subnet, &c.address)
		held = append(held, c)
		return err
	}, "SELECT subnet_id, address FROM addresses WHERE port_id = $1", portID)
	if err != nil || len(held) == 0 {
		return err
	}
	for _, c := range held {
		if err := s.runs(c.subnet).drop(ctx, c.address); err != nil {
			return err
		}
	}
	_, err = s.tx.exec(ctx, "DELETE FROM addresses WHERE port_id = $1", portID)
	return err
}

// FirstFree finds an address that nobody has.
func (s addresses) FirstFree(ctx context.Context, subnetID string, ranges []l3.AddressRange) (netip.Addr, error) {
	for _, r := range ranges {
		free, err := s.runs(subnetID).free(ctx, r.First.AsSlice(), r.Last.AsSlice())
		if err != nil {
			return netip.Addr{}, fmt.Errorf("find a free address of subnet %s: %w", subnetID, err)
		}
		if a, ok := netip.AddrFromSlice(free); ok {
			return a, nil
		}
	}
	return netip.Addr{}, nil
}

// Count counts a subnet's.
func (s addresses) Count(ctx context.Context, subnetID string) (n int, err error) {
	err = s.tx.query(ctx, func(r row) error { return r.Scan(&n) }, "SELECT count(*) FROM addresses WHERE subnet_id = $1", subnetID)
	if err != nil {
		return 0, fmt.Errorf("count addresses of subnet %s: %w", subnetID, err)
	}
	return n, nil
}

// All reads every claim.
func (s addresses) All(ctx context.Context) ([]l3.AddressClaim, error) {
	var all []l3.AddressClaim
	err := s.tx.query(ctx, func(r row) error {
		var c l3.AddressClaim
		var address []byte
		err := r.Scan(&c.SubnetID, &address, &c.PortID)
		c.Address, _ = netip.AddrFromSlice(address)
		all = append(all, c)
		return err
	}, "SELECT subnet_id, address, port_id FROM addresses ORDER BY subnet_id, address")
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return all, nil
}

func (s addresses) runs(subnetID string) runs { return runs{s.tx, "addresses/" + subnetID} }
