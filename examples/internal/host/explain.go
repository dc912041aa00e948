package host

import (
	"context"
	"io"

	"github.com/l3kit/l3kit/examples/internal/explain"
)

// Explain is the command that says what a router of this host does with a packet.
type Explain struct {
	Router string `arg:"" help:"ID of a router that was applied on this host, or enough of its beginning."`
	explain.Question
	Machine
}

// Run is called by kong. It answers for the router as it was applied last.
func (e *Explain) Run(ctx context.Context, out io.Writer) error {
	kept, err := e.cached()
	if err != nil {
		return err
	}
	id, err := one(ids(kept.Routers), e.Router)
	if err != nil {
		return err
	}
	a, _ := byID(kept.Routers, id)
	return e.Answer(ctx, out, a.Router, explain.Host{NS: e.ns, Dir: e.Namespaces})
}
