package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// Clean is the command that takes everything off this host.
type Clean struct {
	Machine
}

// Run is called by kong. It fails while an agent runs, which would make its routers again.
func (c *Clean) Run(ctx context.Context, out io.Writer) (err error) {
	claimed, err := c.claim()
	if err != nil {
		return err
	}
	defer claimed.Close()
	s, err := c.open(ctx, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	routers, err := s.List(ctx)
	if err != nil {
		return err
	}
	for _, id := range routers {
		if err := s.Delete(ctx, id); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "removed router %s\n", id); err != nil {
			return err
		}
	}
	if err := c.removeWorkloads(ctx, s.Wiring, out); err != nil {
		return err
	}
	if err := removeCache(c.Cache); err != nil {
		return fmt.Errorf("--cache: %w", err)
	}
	_, err = fmt.Fprintf(out, "removed %s\n", c.Cache)
	return err
}

// removeWorkloads removes what is left of workloads that have gone.
func (c *Clean) removeWorkloads(ctx context.Context, w wiring, out io.Writer) error {
	var errs []error
	left, err := w.RemoveWorkloads(ctx, func(port string) bool {
		places, err := c.places(port)
		errs = append(errs, err)
		return err == nil && len(places) == 0
	})
	for _, port := range left {
		_, err := fmt.Fprintf(out, "removed port %s, whose workload has gone\n", port)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, err)...)
}

// removeCache removes what an agent keeps, and the directory if it has nothing else.
func removeCache(dir string) error {
	if _, err := agent.ReadCache(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, pattern := range []string{"*.json", "peers", "listing", "heard", "lock", noteFile} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		errs = append(errs, err)
		for _, file := range files {
			errs = append(errs, os.Remove(file))
		}
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) == 0 {
		errs = append(errs, os.Remove(dir))
	}
	return errors.Join(errs...)
}
