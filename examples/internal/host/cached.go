package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/examples/internal/setting"
)

// look opens the host beside a running agent, or without one, to look at it: what was applied last,
// and what is there.
func (m *Machine) look(ctx context.Context) (*host.Host, agent.Cached, error) {
	kept, err := m.cached()
	if err != nil {
		return nil, kept, err
	}
	s, err := m.open(ctx, slog.New(slog.DiscardHandler), kept.Peers)
	return s, kept, err
}

// cached is what was applied last. No cache is one with nothing in it: no agent has run yet.
func (m *Machine) cached() (agent.Cached, error) {
	kept, err := agent.ReadCache(m.Cache)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return kept, nil
	case errors.Is(err, unix.ENOTDIR):
		return kept, setting.For("--cache", err)
	}
	m.Metadata.addTo(kept)
	return kept, err
}

// choose picks the routers that were asked for, by their IDs or enough of the beginning; none asked
// for: all.
func choose(ids, asked []string) ([]string, error) {
	if len(asked) == 0 {
		return ids, nil
	}
	var chosen []string
	for _, a := range asked {
		id, err := one(ids, a)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(chosen, id) {
			chosen = append(chosen, id)
		}
	}
	return chosen, nil
}

func one(ids []string, asked string) (string, error) {
	if slices.Contains(ids, asked) {
		return asked, nil
	}
	var fit []string
	for _, id := range ids {
		if strings.HasPrefix(id, asked) {
			fit = append(fit, id)
		}
	}
	switch len(fit) {
	case 0:
		return "", fmt.Errorf("no router %s on this host", asked)
	case 1:
		return fit[0], nil
	}
	return "", fmt.Errorf("%s is the beginning of %d routers' IDs", asked, len(fit))
}

// byID finds a router among those that were applied last; false: it is not among them.
func byID(kept []agent.Assignment, id string) (agent.Assignment, bool) {
	i := slices.IndexFunc(kept, func(a agent.Assignment) bool { return a.Router.ID == id })
	if i < 0 {
		return agent.Assignment{}, false
	}
	return kept[i], true
}

func ids(kept []agent.Assignment) []string {
	all := make([]string, len(kept))
	for i, a := range kept {
		all[i] = a.Router.ID
	}
	return all
}

// show prints a text, or JSON.
func show(out io.Writer, asJSON bool, v fmt.Stringer) error {
	if asJSON {
		return encode(out, v)
	}
	_, err := io.WriteString(out, v.String())
	return err
}
