// Package firewalltest holds a [namespace.Firewall] to what does not depend on how it writes rules.
package firewalltest

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netns"
)

// Place is a network namespace with rules open in it.
type Place interface {
	Rules() namespace.ProvenRules

	// Reopen stands for another process: nothing is remembered.
	Reopen()

	// Listing is everything in the namespace, without counters. It is empty when there is nothing.
	Listing() string

	// Stamp is another one after each write of anybody.
	Stamp() any

	// Foreign writes what is none of the backend's business.
	Foreign()
}

// Tool runs a program in the namespace that fd is open on, and returns what it prints.
func Tool(fd int, input, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Stdin = strings.NewReader(input)
	var out []byte
	err := netns.Do(fd, func() (err error) {
		out, err = c.CombinedOutput()
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", c, err, out)
	}
	return string(out), err
}

// Apply applies a whole router, and returns the way back.
func Apply(t testing.TB, rules namespace.Rules, r dataplane.Router) func(context.Context) error {
	t.Helper()
	undo, err := rules.Apply(t.Context(), namespace.Change{Want: r})
	require.NoError(t, err)
	return undo
}

// Plan returns the steps to a router as text.
func Plan(t testing.TB, rules namespace.Rules, r dataplane.Router, since *namespace.Delta) []string {
	t.Helper()
	steps, err := rules.Plan(t.Context(), namespace.Change{Want: r, Since: since})
	require.NoError(t, err)
	lines := []string{}
	for _, s := range steps {
		lines = append(lines, s.String())
	}
	return lines
}

// RequirePresent fails the test unless the namespace holds something of the backend's, or nothing.
func RequirePresent(t testing.TB, rules namespace.Rules, want bool) {
	t.Helper()
	present, err := rules.Present(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, present)
}
