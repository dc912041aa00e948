package namespace

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netns"
)

// Inspect implements [dataplane.Dataplane]. It waits for nobody, so of a router that is being
// changed it may see some of the change.
func (d *Dataplane) Inspect(ctx context.Context, id string) (dataplane.Inspection, error) {
	in, err := d.inspect(ctx, id)
	if err != nil {
		err = &dataplane.OpError{Op: "inspect router", Object: id, Err: err}
	}
	return in, err
}

func (d *Dataplane) inspect(ctx context.Context, id string) (in dataplane.Inspection, err error) {
	if err := errors.Join(ctx.Err(), d.registry.open(), (dataplane.Router{ID: id}).Validate()); err != nil {
		return in, err
	}
	networks, err := d.cfg.Wiring.Networks(ctx, id)
	if err != nil {
		return in, err
	}
	have, err := examine(d.cfg.Dir, id)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, dataplane.ErrForeign):
		if len(networks) == 0 {
			return in, os.ErrNotExist
		}
		return in, nil
	case err != nil:
		return in, err
	}
	byDevice := make(map[string]dataplane.Network, len(networks))
	for port, network := range networks {
		for _, dev := range devicesOf(port) {
			byDevice[dev] = network
		}
	}
	if len(have.owners) == 1 { // of several, nobody knows which is true
		in.Owner = have.owners[0]
	}
	for dev, l := range have.links {
		for a := range l.addrs {
			if a.Addr().Is4() || !a.Addr().IsLinkLocalUnicast() {
				in.Held = append(in.Held, dataplane.HeldAddr{Network: byDevice[dev], Addr: a.Addr()})
			}
		}
	}
	dataplane.SortHeld(in.Held)
	return in, nil
}

// examine reads the router's namespace. Unlike find, it leaves a half-made one as it is, because
// the process that makes it may be alive.
func examine(dir, router string) (s state, err error) {
	name := dataplane.NamespaceName(router)
	path := filepath.Join(dir, name)
	f, err := netns.Open(path)
	if errors.Is(err, netns.ErrNotNamespace) {
		if ours, err := halfMade(path, router); err != nil || !ours {
			return s, foreign(name, err)
		}
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer f.Close()
	if ours, err := claimed(int(f.Fd()), router); err != nil || !ours {
		return s, foreign(name, err)
	}
	h, err := netlink.NewHandleAt(vnetns.NsHandle(f.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return s, opError("open netlink socket", "", err)
	}
	defer h.Close()
	return observe(h)
}
