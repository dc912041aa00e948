package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
)

// Plan is the command that says how the host differs from what was applied last.
type Plan struct {
	Routers []string `arg:"" optional:"" name:"router" help:"IDs of routers, or enough of their beginnings. Default: all."`
	JSON    bool     `own:"" help:"Print JSON."`
	Machine
}

// errDrift is for the exit status.
var errDrift = errors.New("this host is not as it was left")

// plans are what would change, by router; those without changes are left out.
type plans []dataplane.Plan

// Run is called by kong.
func (p *Plan) Run(ctx context.Context, out io.Writer) (err error) {
	s, kept, err := p.look(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	chosen, err := choose(ids(kept.Routers), p.Routers)
	if err != nil {
		return err
	}
	found := plans{}
	for _, id := range chosen {
		a, _ := byID(kept.Routers, id)
		plan, err := s.Plan(ctx, agent.Realised(a))
		if err != nil {
			return fmt.Errorf("router %s: %w", id, err)
		}
		if !plan.Empty() {
			found = append(found, plan)
		}
	}
	if err := show(out, p.JSON, found); err != nil || len(found) == 0 {
		return err
	}
	return fmt.Errorf("%w: %d of %d routers would change", errDrift, len(found), len(chosen))
}

func (p plans) String() string {
	if len(p) == 0 {
		return "nothing to do\n"
	}
	var b strings.Builder
	for _, plan := range p {
		fmt.Fprintln(&b, plan)
	}
	return b.String()
}

func encode(out io.Writer, v any) error {
	to := json.NewEncoder(out)
	to.SetIndent("", "  ")
	return to.Encode(v)
}
