package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// row is one figure. Met is nil for a figure without a goal.
type row struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Goal  string  `json:"goal,omitempty"`
	Met   *bool   `json:"met,omitempty"`
	Note  string  `json:"note,omitempty"`
}

func atMost(limit float64, r row) row {
	met := r.Value <= limit
	r.Goal, r.Met = fmt.Sprintf("<= %g", limit), &met
	return r
}

func atLeast(limit float64, r row) row {
	met := r.Value >= limit
	r.Goal, r.Met = fmt.Sprintf(">= %g", limit), &met
	return r
}

type table struct{ rows []row }

func (t *table) add(rows ...row) {
	for _, r := range rows {
		fmt.Fprintf(os.Stderr, "%s: %.4g %s\n", r.Name, r.Value, r.Unit)
	}
	t.rows = append(t.rows, rows...)
}

func (t *table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "measure\tvalue\tgoal\tmet\t")
	for _, r := range t.rows {
		met := ""
		if r.Met != nil {
			met = map[bool]string{true: "yes", false: "no"}[*r.Met]
		}
		fmt.Fprintf(tw, "%s\t%.4g %s\t%s\t%s\t%s\n", r.Name, r.Value, r.Unit, r.Goal, met, r.Note)
	}
	return tw.Flush()
}

func (t *table) write(path string) error {
	b, err := json.MarshalIndent(t.rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
