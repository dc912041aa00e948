package host

import (
	"fmt"
	"io"
)

// Remove is the command that takes orphans off this host.
type Remove struct {
	Routers []string `arg:"" name:"router" help:"IDs of orphans, or enough of their beginnings; inspect lists them."`
	Machine
}

// Run is called by kong.
func (r *Remove) Run(out io.Writer) error {
	kept, err := r.cached()
	if err != nil {
		return err
	}
	for _, asked := range r.Routers {
		id, err := one(kept.Orphans, asked)
		if err != nil {
			return fmt.Errorf("%w among its orphans: a router that the control plane has a record of is deleted by the API", err)
		}
		if err := r.ask(request{Remove: id}); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "router %s is removed\n", id); err != nil {
			return err
		}
	}
	return nil
}
