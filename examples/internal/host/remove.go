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
			if _, recorded := one(ids(kept.Routers), asked); recorded == nil {
				return fmt.Errorf("remove router %s: it is not an orphan: the servers have a record of it, so delete it by the API", asked)
			}
			return fmt.Errorf("remove router %s: there is no such router on this host", asked)
		}
		if _, err := r.ask(request{Remove: id}); err != nil {
			return fmt.Errorf("remove router %s: %w", id, err)
		}
		if _, err := fmt.Fprintf(out, "removed router %s\n", id); err != nil {
			return err
		}
	}
	return nil
}
