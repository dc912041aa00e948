package host

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/examples/internal/explain"
)

// Explain is the command that says what a router of this host does with a packet.
type Explain struct {
	Router string `arg:"" help:"ID of a router that was applied on this host, or enough of its beginning; or a file FILE.json with a router."`
	explain.Question
	Machine
}

// Run is called by kong. It answers for the router as it was applied last, or as the file has it.
func (e *Explain) Run(ctx context.Context, out io.Writer) error {
	router, err := e.router()
	if err != nil {
		return err
	}
	return e.Answer(ctx, out, router, explain.Host{NS: e.ns, Dir: e.Namespaces})
}

func (e *Explain) router() (r dataplane.Router, err error) {
	if strings.HasSuffix(e.Router, ".json") {
		text, err := os.ReadFile(e.Router)
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		if err == nil {
			err = r.Validate()
		}
		if err != nil {
			return r, fmt.Errorf("read router from %s: %w", e.Router, err)
		}
		return r, nil
	}
	kept, err := e.cached()
	if err != nil {
		return r, err
	}
	id, err := one(ids(kept.Routers), e.Router)
	if err != nil {
		return r, err
	}
	a, _ := byID(kept.Routers, id)
	return a.Router, nil
}
