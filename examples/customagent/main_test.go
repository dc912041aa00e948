package main

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// command parses a command line as main does, and runs it.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	parser, err := kong.New(&commands{}, kong.BindTo(t.Context(), (*context.Context)(nil)), kong.BindTo(&out, (*io.Writer)(nil)))
	require.NoError(t, err)
	k, err := parser.Parse(args)
	if err == nil {
		err = k.Run()
	}
	return out.String(), err
}

// TestFolderIsTheDefaultCommand: what people typed before there were commands still works.
func TestFolderIsTheDefaultCommand(t *testing.T) {
	folder := t.TempDir()
	for _, args := range [][]string{{folder, "--once"}, {"--plan", "--json", folder}, {"run", "--once", folder}} {
		var c commands
		parser, err := kong.New(&c)
		require.NoError(t, err)
		k, err := parser.Parse(args)
		require.NoError(t, err)
		require.Contains(t, k.Command(), "run", "%v", args)
		require.Equal(t, folder, c.Run.Folder)
	}
	_, err := command(t, "--json", folder)
	require.ErrorContains(t, err, "--json prints a plan", "flags are still checked against each other")
	_, err = command(t, "--vxlan-port=0", folder)
	require.ErrorContains(t, err, "--vxlan-port: 0 is not a port")
}

func TestExplainReadsAFile(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, "office.yaml", officeYAML)
	write(t, folder, "bad.yaml", "id: [")
	text, err := command(t, "explain", "--router", folder+"/office.yaml", "--from", "10.0.0.7", "--to", "203.0.113.9")
	require.NoError(t, err)
	require.Contains(t, text, "10.0.0.7 → 203.0.113.9: forwarded by wan")
	_, err = command(t, "explain", "--router", folder+"/bad.yaml", "--from", "10.0.0.7", "--to", "203.0.113.9")
	require.ErrorContains(t, err, "bad.yaml")
}
