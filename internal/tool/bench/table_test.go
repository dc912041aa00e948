package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/needs"
)

// TestOneRowThatCannotBeMeasured: what comes before and after it is kept and printed, and the
// reason stands in its place.
func TestOneRowThatCannotBeMeasured(t *testing.T) {
	needs.Root(t)
	dir := t.TempDir()
	kept, report := filepath.Join(dir, "bench.json"), filepath.Join(dir, "report.md")
	value := func(name string) measurement {
		return measurement{name, func(context.Context) ([]row, error) {
			return []row{atMost(2, row{Name: name, Value: 1, Unit: "ms"})}, nil
		}}
	}
	away := errors.New("iptables-restore is not installed")
	err := run(t.Context(), []measurement{
		value("first"), {"second", func(context.Context) ([]row, error) { return nil, away }}, value("third"),
	}, kept, report, "")
	require.ErrorIs(t, err, away)
	require.ErrorContains(t, err, "cannot measure second: ")
	text, err := os.ReadFile(kept)
	require.NoError(t, err)
	var rows []row
	require.NoError(t, json.Unmarshal(text, &rows))
	require.Len(t, rows, 3)
	require.Equal(t, "cannot measure second: iptables-restore is not installed", rows[1].Error)
	text, err = os.ReadFile(report)
	require.NoError(t, err)
	require.Contains(t, string(text), "| first | 1 ms | <= 2 | yes |  |\n| second | not measured |  |  | cannot measure second: iptables-restore is not installed |\n| third |")

	// A part does not replace the report of the whole.
	require.NoError(t, os.Remove(report))
	require.NoError(t, run(t.Context(), []measurement{value("first")}, kept, report, "first"))
	require.NoFileExists(t, report)

	// Nor does a run that was interrupted, whose rows are kept.
	ctx, cancel := context.WithCancel(t.Context())
	err = run(ctx, []measurement{value("first"), {"second", func(context.Context) ([]row, error) { cancel(); return nil, ctx.Err() }}, value("third")}, kept, report, "")
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, report)
	text, err = os.ReadFile(kept)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &rows))
	require.Len(t, rows, 1)
}
