package bridge

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/wiring"
)

// change is a difference between the host and what is wanted of it, and the way to mend it. Plan
// prints changes, Plug runs them.
type change struct {
	step dataplane.Step
	do   func() error // looks devices up by name: an earlier change may have made them
}

// work is all that is to be done for one port.
type work struct {
	network []change // needs the network's lock for writing
	port    []change // needs it for reading
	former  string   // network that the port's device is still attached to; empty: no other
}

func (w work) all() []change { return slices.Concat(w.network, w.port) }

// makes says that the port's device is made.
func (w work) makes() bool {
	return slices.ContainsFunc(w.port, func(c change) bool { return c.step.Op == dataplane.Add })
}

// mends says that something existing is changed, so that a second look is due: one repair may
// uncover another, as when IPv6 comes back to a bridge whose MTU grows.
func (w work) mends() bool {
	return slices.ContainsFunc(w.all(), func(c change) bool { return c.step.Op != dataplane.Add })
}

// survey looks at the host and says what there is to do. It changes nothing. A second look asks the
// kernel again about all that it sees.
func (d *Driver) survey(ctx context.Context, p port, second bool) (w work, err error) {
	if err := ctx.Err(); err != nil {
		return w, err
	}
	s, err := d.config.segment(p.Network)
	if err != nil {
		return w, err
	}
	ident, err := identify(p.ns)
	if err != nil {
		return w, err
	}
	var tap *link
	var n *network
	var nsid int
	look := func() {
		tap = d.view.names[wiring.TapName(p.ID)]
		n = d.view.survey(s, tap)
		nsid = d.view.nsid(ident)
	}
	if err := d.view.read(look); err != nil {
		return w, err
	}
	if doubtful := doubtful(second, tap, n.first, n.home, n.uplink, n.physical, n.trunk[0], n.trunk[1]); len(doubtful) > 0 {
		if err := d.view.refresh(doubtful, look); err != nil {
			return w, err
		}
	}
	if w.network, err = d.networkChanges(n, p.Port); err != nil {
		return w, err
	}
	if tap != nil && nsid == unknownNS {
		if nsid, err = d.learnNSID(p.ns, ident); err != nil {
			return w, err
		}
	}
	if w.port, err = d.portChanges(n, p, tap, nsid); err != nil {
		return w, err
	}
	if tap != nil && tap.mark.network != p.Network.ID {
		w.former = tap.mark.network
	}
	return w, nil
}

// doubtful picks the links of which the view may be out of date. The kernel does not tell of a new
// alias or IPv6 mode while a device is down (netdev_state_change in net/core/dev.c), and tells of a
// new MTU before IPv6 has acted on it.
func doubtful(all bool, links ...*link) (doubtful []*link) {
	for _, l := range links {
		if l != nil && (all || !l.up) {
			doubtful = append(doubtful, l)
		}
	}
	return doubtful
}

func (d *Driver) run(ctx context.Context, changes []change) error {
	for _, c := range changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.do(); err != nil {
			return &dataplane.OpError{Op: verb(c.step.Op), Object: c.step.Object, Err: err}
		}
		d.log.DebugContext(ctx, "wiring changed", "step", c.step.String())
	}
	return nil
}

func verb(op dataplane.Op) string {
	switch op {
	case dataplane.Add:
		return "make"
	case dataplane.Remove:
		return "remove"
	default:
		return "mend"
	}
}
