package main

import (
	"net"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/host"
	"github.com/l3kit/l3kit/internal/test/example"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// TestProgram: a run that ends without Close leaves its router, which the next run takes over, and
// another program finds and removes.
func TestProgram(t *testing.T) {
	program := example.Build(t)
	if !needs.Machine(t) {
		return
	}
	before, err := net.Interfaces()
	require.NoError(t, err)
	run := func() string {
		out, err := exec.CommandContext(t.Context(), program).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	require.Contains(t, run(), "203.0.113.10")
	require.Equal(t, "router office: nothing to do\n", run())

	h, err := host.Open(t.Context(), host.Config{})
	require.NoError(t, err)
	defer h.Close()
	left, err := h.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"office"}, left)
	require.NoError(t, h.Delete(t.Context(), "office"))
	left, err = h.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, left)
	after, err := net.Interfaces()
	require.NoError(t, err)
	require.Equal(t, before, after, "bridges and devices go with it")
}

func TestReadmeShowsThisProgram(t *testing.T) { example.InReadme(t, "") }
