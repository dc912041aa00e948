package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/l3kit/l3kit/l3"
)

// cache keeps one file for each router that was applied, named after its ID.
type cache struct{ dir string }

const suffix = ".json"

func openCache(dir string) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the agent's cache: %w", err)
	}
	return &cache{dir}, nil
}

// load reads every router. A file that is damaged is left out: the control plane has the truth.
func (c *cache) load(log *slog.Logger) (kept []l3.Assignment, err error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, fmt.Errorf("read the agent's cache: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue // a file that was never completed
		}
		text, err := os.ReadFile(filepath.Join(c.dir, e.Name()))
		var a l3.Assignment
		if err == nil {
			err = json.Unmarshal(text, &a)
		}
		if err == nil && a.Router.ID != id {
			err = fmt.Errorf("it has router %q", a.Router.ID)
		}
		if err != nil {
			log.Warn("a file of the cache is damaged", "file", e.Name(), "err", err)
			continue
		}
		kept = append(kept, a)
	}
	return kept, nil
}

// keep writes a router's file as a whole or not at all, whatever ends the machine.
func (c *cache) keep(a l3.Assignment) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	path := c.path(a.Router.ID)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
		return nil
	}
	if err := write(path, text); err != nil {
		return fmt.Errorf("keep router %s in the agent's cache: %w", a.Router.ID, err)
	}
	return nil
}

func write(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func (c *cache) remove(id string) error {
	err := os.Remove(c.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (c *cache) path(id string) string { return filepath.Join(c.dir, filepath.Base(id)+suffix) }
