package namespace

import (
	"context"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// Announce implements [dataplane.Dataplane].
func (d *Dataplane) Announce(ctx context.Context, id string) error {
	if err := d.announce(ctx, id); err != nil {
		return &dataplane.OpError{Op: "announce router", Object: id, Err: err}
	}
	return nil
}

func (d *Dataplane) announce(ctx context.Context, id string) error {
	if err := (dataplane.Router{ID: id}).Validate(); err != nil {
		return err
	}
	k, err := d.desks.take(ctx, id)
	if err != nil {
		return err
	}
	defer d.desks.leave(k)
	if err := d.find(k, id); err != nil {
		return err
	}
	have, err := examine(d.cfg.Dir, id)
	if err != nil {
		return err
	}
	for dev, l := range have.links {
		if dev == loopback || !l.up {
			continue
		}
		var addrs []netip.Prefix
		for a := range l.addrs {
			if !a.Addr().IsLinkLocalUnicast() {
				addrs = append(addrs, a)
			}
		}
		k.site.herald.announce(l.index, l.mac, addrs)
	}
	return nil
}
