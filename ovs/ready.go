package ovs

import (
	"context"
	"fmt"
	"time"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/wiring"
)

// revalidation bounds the wait for ovs-vswitchd to bring its cached flows up to date. It does so at
// once after a change, in a few milliseconds; but one that had finished before it was asked would
// answer half a second later.
const revalidation = 30 * time.Millisecond

var _ namespace.CheckedWiring = (*Driver)(nil)

// Check asks ovsdb-server and ovs-vswitchd whether they are there; see [namespace.CheckedWiring].
func (d *Driver) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := d.db.synced(ctx)
	if err == nil {
		err = d.config.datapathSupported()
	}
	if err == nil {
		if err = d.config.command(ctx, "version"); err != nil {
			err = fmt.Errorf("%w: %w", dataplane.ErrDaemon, err)
		}
	}
	return opError("check", "Open vSwitch", err)
}

// Ready waits until both ends of ports pass packets; see [namespace.InterfaceDriver]. An internal
// port has no end on the host. Flows are there since Plug, but a flow that the datapath has cached
// may still lead past a port that is new, until ovs-vswitchd has looked at it again.
func (d *Driver) Ready(ctx context.Context, ns namespace.NS, what ...namespace.Attachment) error {
	var inside, outside []string
	for _, a := range what {
		inside, outside = append(inside, a.Device), append(outside, wiring.TapName(a.Port.ID))
	}
	err := netdev.AwaitUp(ctx, ns.FD, inside)
	if err == nil {
		err = netdev.AwaitUp(ctx, int(d.hostNS.Fd()), outside)
	}
	if err != nil {
		return opError("wait for", "devices", err)
	}
	limited, cancel := context.WithTimeout(ctx, revalidation)
	defer cancel()
	if err := d.config.command(limited, "revalidator/wait"); err != nil && ctx.Err() == nil {
		d.config.Logger.DebugContext(ctx, "did not wait for cached flows", "err", err)
	}
	return opError("wait for", "cached flows", ctx.Err())
}
