package main

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/internal/test/example"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// run parses a command line as main does, and runs it on a machine.
func run(t *testing.T, m *lab.Lab, args ...string) error {
	t.Helper()
	c := command{netns: m.HostNS, names: m.Dir}
	parser, err := kong.New(&c, kong.BindTo(t.Context(), (*context.Context)(nil)))
	require.NoError(t, err)
	k, err := parser.Parse(args)
	require.NoError(t, err)
	return k.Run()
}

// TestSamplesOnAHost realises the sample routers, and asks them from outside whether they are
// there.
func TestSamplesOnAHost(t *testing.T) {
	needs.Root(t)
	machine, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, machine.Close()) })
	h, err := host.Open(t.Context(), host.Config{HostNS: machine.HostNS, Dir: machine.Dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })

	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS("routers")))
	require.NoError(t, run(t, machine, "--plan", folder))
	routers, err := h.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, routers, "a plan changes nothing")
	require.NoError(t, run(t, machine, "--once", folder))
	outside, err := machine.Attach(t.Context(), h.Wiring, lab.Spec{Name: "outside", Ports: []dataplane.Port{{
		Network: dataplane.Network{ID: "0fd630f1-f29d-4da9-953f-48f1a09f76b5", Type: dataplane.NetworkFlat},
		Addrs:   []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24"), netip.MustParsePrefix("2001:db8::1/64")},
	}}})
	require.NoError(t, err)
	for _, router := range []string{"203.0.113.2", "203.0.113.3", "2001:db8::3"} {
		require.NoError(t, outside.Ping(t.Context(), router))
	}

	require.NoError(t, run(t, machine, "--once", folder)) // the kernel numbers a namespace, and says so, when a link that leads into it is first read
	writes, err := lab.Writes([]string{machine.HostNS}, func() error { return run(t, machine, "--once", folder) })
	require.NoError(t, err)
	require.Empty(t, writes, "again is free")

	require.NoError(t, os.Rename(filepath.Join(folder, "three-tier.json"), filepath.Join(folder, "three-tier.gone")))
	require.NoError(t, run(t, machine, "--once", folder))
	require.NoFileExists(t, filepath.Join(folder, "three-tier.gone"))
	routers, err = h.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"8e81973e-0bec-47b0-b898-d190f9ebdacc"}, routers)
	require.NoError(t, outside.Ping(t.Context(), "203.0.113.3"))
	require.NoError(t, h.Delete(t.Context(), routers[0]))

	require.NoError(t, os.WriteFile(filepath.Join(folder, "bad.json"), []byte("{"), 0o644))
	require.ErrorContains(t, run(t, machine, "--once", folder), "bad.json")
	require.ErrorContains(t, run(t, machine, "--plan", folder), "bad.json")
	require.ErrorContains(t, run(t, machine, "--tunnel-address=127.0.0.1", folder), "127.0.0.1 is not an address that other hosts can reach")
}

// TestBuildsElsewhere runs the program as a copy of it, on a machine of its own.
func TestBuildsElsewhere(t *testing.T) {
	program := example.Build(t)
	if !needs.Machine(t) {
		return
	}
	for _, c := range []struct{ mode, says string }{{"--once", "router applied"}, {"--plan", "nothing to do"}} {
		out, err := exec.CommandContext(t.Context(), program, c.mode, "routers").CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, 2, strings.Count(string(out), c.says), "%s", out)
	}
}

func TestReadmeShowsTheAgent(t *testing.T) { example.InReadme(t, "\tsource := &agent.Poller") }
