package ovs

import (
	"context"
	"fmt"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// attachment is what is to be plugged, and where.
type attachment struct {
	dataplane.Port
	ns  namespace.NS
	dev string
}

// work is what there is to do for one port. Plan prints it, Plug does it: devices that the bridge is to open, one transaction, what follows from
// that, and flows.
type work struct {
	attachment
	*transaction
	segment segment
	name    string            // of the port on the bridge
	former  dataplane.Network // that the port was on before
	steps   []dataplane.Step

	replace *port // the port has to go first; nothing but the steps is of use then
	missing bool  // ovs-vswitchd has to take up what is there
	before  []action
	after   []action
}

type action struct {
	what string
	do   func(context.Context) error
}

func step(op dataplane.Op, object, detail string) dataplane.Step {
	return dataplane.Step{Op: op, Kind: "wiring", Object: object, Detail: detail}
}

func (w *work) add(object, format string, args ...any) {
	w.steps = append(w.steps, step(dataplane.Add, object, fmt.Sprintf(format, args...)))
}

func (w *work) change(object, format string, args ...any) {
	w.steps = append(w.steps, step(dataplane.Change, object, fmt.Sprintf(format, args...)))
}

func (w *work) disturb() { w.steps[len(w.steps)-1].Disturbs = true }

// transacts says that there is something to commit, or to wait for.
func (w *work) transacts() bool { return len(w.ops) > 0 || w.missing }

// survey looks at the host and says what there is to do. It changes nothing.
func (d *Driver) survey(s *session, a attachment) (*work, error) {
	segment, err := d.config.segment(a.Network)
	if err != nil {
		return nil, err
	}
	w := &work{attachment: a, segment: segment, transaction: s.transaction()}
	if err := d.surveyNetwork(w); err != nil {
		return nil, err
	}
	return w, d.surveyPort(w)
}

// transaction begins one that follows from the view as it is now.
func (s *session) transaction() *transaction {
	t := &transaction{s: s}
	s.view.read(func() { t.seen = *s.view.sw })
	return t
}

func run(ctx context.Context, actions []action) error {
	for _, a := range actions {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", a.what, err)
		}
	}
	return nil
}
