package ovs

import (
	"context"
	"fmt"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/wiring"
)

// attachment is what is to be plugged, and where.
type attachment struct {
	dataplane.Port
	ns  namespace.NS
	dev string
}

// change is what there is to do for some ports. Plan prints it, Plug does it: devices that the
// bridges are to open, one transaction, what follows from that, and flows.
type change struct {
	*transaction
	works []*work
	steps []dataplane.Step

	replace []*port // have to go first; nothing but the steps is of use then
	missing bool    // ovs-vswitchd has to take up what is there
	acted   bool    // ovs-vswitchd has carried it out, or has said why not
	before  []action
	after   []action
	veths   []string // that the actions before the transaction have made

	closed    [][2]string     // pairs of patch ports that the transaction leaves closed; see [change.surveyPatch]
	protected map[string]bool // bridges whose patch port on the integration bridge is protected; see [Driver.protect]

	dealt map[string]bool   // bridges, and ports that serve whole networks, that have been looked at
	vlans map[string]uint16 // local VLANs of networks that have none yet, by the network's ID
}

// work is the part of a change that is about one port.
type work struct {
	*change
	attachment
	segment segment
	name    string // of the port on the bridge
	begin   int    // of its own among the change's steps
	end     int
	was     dataplane.Network // that the port is on before the change
}

type action struct {
	dev  string
	what string
	do   func(context.Context) error
}

func (c *change) add(object, format string, args ...any) {
	c.steps = append(c.steps, wiring.Step(dataplane.Add, object, fmt.Sprintf(format, args...)))
}

func (c *change) mend(object, format string, args ...any) {
	c.steps = append(c.steps, wiring.Step(dataplane.Change, object, fmt.Sprintf(format, args...)))
}

func (c *change) disturb() { c.steps[len(c.steps)-1].Disturbs = true }

// once says that something has not been looked at yet: several ports may need it.
func (c *change) once(name string) bool {
	again := c.dealt[name]
	c.dealt[name] = true
	return !again
}

// transacts says that there is something to commit, or to wait for.
func (c *change) transacts() bool { return len(c.ops) > 0 || c.missing }

// plugs returns the work on the port with a name on its bridge, or nil.
func (c *change) plugs(name string) *work {
	for _, w := range c.works {
		if w.name == name {
			return w
		}
	}
	return nil
}

// newChange begins one that follows from the view as it is now. Of a transaction that is coming in
// the view may have some rows, so that its number counts only from the next mark on.
func newChange(s *session) *change {
	c := &change{transaction: &transaction{s: s}, dealt: map[string]bool{}, vlans: map[string]uint16{}}
	s.view.read(func() { c.seen = s.view.settled })
	return c
}

// survey looks at the host and says what there is to do. It changes nothing.
func (d *Driver) survey(s *session, what ...attachment) (*change, error) {
	c := newChange(s)
	left := leftBy(s, what)
	d.protect(c, func(p *port) bool { return !slices.Contains(left, p) }, what...)
	for _, a := range what {
		if err := d.surveyOne(c, a); err != nil {
			return nil, about(a.dev, err)
		}
	}
	for _, w := range c.works {
		if err := w.alone(); err != nil {
			return nil, about(w.dev, err)
		}
	}
	d.unprotect(c, left)
	return c, nil
}

func (d *Driver) surveyOne(c *change, a attachment) error {
	segment, err := d.config.segment(a.Network)
	if err != nil {
		return err
	}
	if err := checkContainment(a.Port, segment); err != nil {
		return err
	}
	w := &work{change: c, attachment: a, segment: segment, begin: len(c.steps)}
	if err := d.surveyNetwork(w); err != nil {
		return err
	}
	if err := d.surveyPort(w); err != nil {
		return err
	}
	w.end = len(c.steps)
	c.works = append(c.works, w)
	return nil
}

func run(ctx context.Context, actions []action) error {
	for _, a := range actions {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.do(ctx); err != nil {
			return about(a.dev, fmt.Errorf("%s: %w", a.what, err))
		}
	}
	return nil
}

// fault is an error about one device of several.
type fault struct {
	dev string
	error
}

func about(dev string, err error) error { return &fault{dev, err} }

func (f *fault) Unwrap() error { return f.error }
