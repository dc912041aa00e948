package bridge

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/wiring"
)

// Ready waits until bridges forward to ports; see [namespace.InterfaceDriver]. It does not wait for
// spanning tree, which an existing bridge may have on.
func (d *Driver) Ready(ctx context.Context, ns namespace.NS, what ...namespace.Attachment) error {
	var inside, names []string
	for _, a := range what {
		inside, names = append(inside, a.Device), append(names, wiring.TapName(a.Port.ID))
	}
	if err := netdev.AwaitUp(ctx, ns.FD, inside); err != nil {
		return failure.Of("wait for", "devices", err)
	}
	err := d.view.read(func() {
		for _, a := range what {
			for _, l := range d.view.plumbing[a.Port.Network.ID] {
				if l.kind != "bridge" && l.master != 0 {
					names = append(names, l.name)
				}
			}
		}
	})
	if err == nil {
		err = netdev.Await(ctx, int(d.hostNS.Fd()), names, func() (bool, error) { return d.forward(names) })
	}
	return failure.Of("wait for", "bridges to forward", err)
}

// forward asks the kernel: the view does not hear of a port's state.
func (d *Driver) forward(names []string) (bool, error) {
	var links []*link
	stp := map[int]bool{}
	if err := d.view.read(func() {
		for _, name := range names {
			if l := d.view.names[name]; l != nil {
				links = append(links, l)
				stp[l.master] = d.view.links[l.master] != nil && d.view.links[l.master].bridge.stp
			}
		}
	}); err != nil {
		return false, err
	}
	for _, l := range links {
		now, err := d.host.link(sameNS, l.index)
		switch {
		case errors.Is(err, unix.ENODEV):
			continue // somebody else's wish
		case err != nil:
			return false, err
		case now.kind == "veth" && now.oper != operUp:
			// A bridge may call a new port forwarding before the kernel knows that it has no
			// carrier yet.
			return false, nil
		case now.forwarding || now.master == 0 || stp[l.master]:
		case l.mark.plumbing() && !now.carrier: // the network's other side is away
		default:
			return false, nil
		}
	}
	return true, nil
}
