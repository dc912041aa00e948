package service

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// makePort completes a port and stores it: what is zero of its Meta, MAC, Status and Binding is
// filled in, and it gets the addresses that it wants (nil: one of each family that the network
// offers). AdminStateUp is taken as it is. It asks nothing about callers and quotas.
func (s *Service) makePort(ctx context.Context, w *work, p l3.Port, want []l3.FixedIPSpec) (l3.Port, error) {
	s.complete(&p)
	if err := s.ensureMAC(ctx, w, &p); err != nil {
		return l3.Port{}, err
	}
	fixed, err := s.allocate(ctx, w, &p, want)
	if err != nil {
		return l3.Port{}, err
	}
	p.FixedIPs = fixed
	if err := w.Ports().Insert(ctx, p); errors.Is(err, l3.ErrTaken) {
		return l3.Port{}, macInUse(p)
	} else if err != nil {
		return l3.Port{}, err
	}
	return p, claim(ctx, w, p, nil)
}

func (s *Service) complete(p *l3.Port) {
	meta := s.newMeta(p.ProjectID, p.Name, p.Description)
	if p.ID != "" {
		meta.ID = p.ID
	}
	if p.Tags != nil {
		meta.Tags = p.Tags
	}
	p.Meta = meta
	p.Status = l3.StatusDown
	if p.DeviceOwner == l3.OwnerFloatingIP {
		p.Status = l3.StatusNone
	}
	if p.Binding.VNICType == "" {
		p.Binding.VNICType = "normal"
	}
	if p.Binding.VIFType == "" {
		p.Binding.VIFType = vifUnbound
	}
	p.SecurityGroups = notNil(p.SecurityGroups)
	p.AllowedAddressPairs = notNil(p.AllowedAddressPairs)
	p.ExtraDHCPOpts = notNil(p.ExtraDHCPOpts)
}

// notNil makes a list of nothing an empty one, so that it is written [] and not null.
func notNil[E any](list []E) []E {
	if list == nil {
		return []E{}
	}
	return list
}

// dropPort deletes a port. Its addresses go with it. It checks nothing.
func (s *Service) dropPort(ctx context.Context, w *work, p l3.Port) error {
	return w.Ports().Delete(ctx, p.ID)
}

// changeAddresses gives a stored port other addresses and stores it. Those that it has and wants
// stay; nothing changes when it wants what it has.
func (s *Service) changeAddresses(ctx context.Context, w *work, p *l3.Port, want []l3.FixedIPSpec) error {
	before := *p
	if err := s.readdress(ctx, w, p, want); err != nil {
		return err
	}
	_, err := put(ctx, w.Ports(), before, p, &p.Meta, s.now())
	return err
}

// readdress is changeAddresses that leaves it to the caller to store the port.
func (s *Service) readdress(ctx context.Context, w *work, p *l3.Port, want []l3.FixedIPSpec) error {
	before := p.FixedIPs
	fixed, err := s.allocate(ctx, w, p, want)
	if err != nil {
		return err
	}
	p.FixedIPs = fixed
	return claim(ctx, w, *p, before)
}

// ensureMAC makes a MAC address for a port that has none, or refuses one that another port of the
// network has.
func (s *Service) ensureMAC(ctx context.Context, tx l3.Tx, p *l3.Port) error {
	if p.MAC != (dataplane.MAC{}) {
		taken, err := macTaken(ctx, tx, *p)
		if err == nil && taken {
			err = macInUse(*p)
		}
		return err
	}
	// Chance rarely meets a taken one: by 16 million to the number of ports.
	for range 16 {
		p.MAC = s.newMAC()
		if taken, err := macTaken(ctx, tx, *p); err != nil || !taken {
			return err
		}
	}
	return l3.Refuse(l3.ErrExhausted, "NetworkMacAddressGenerationFailure", "Unable to generate unique mac on network %s.", p.NetworkID)
}

// newMAC makes a MAC address under the base.
func (s *Service) newMAC() dataplane.MAC {
	m, r := s.config.BaseMAC, rand.Uint32()
	m[3], m[4], m[5] = byte(r>>16), byte(r>>8), byte(r)
	return m
}

func macTaken(ctx context.Context, tx l3.Tx, p l3.Port) (bool, error) {
	n, err := tx.Ports().Count(ctx, oneOf("network_id", p.NetworkID), oneOf("mac_address", p.MAC.String()),
		l3.Filter{Field: "id", Op: l3.NotIn, Values: []any{p.ID}})
	return n > 0, err
}

func macInUse(p l3.Port) error {
	return conflict("MacAddressInUse", "Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC)
}
