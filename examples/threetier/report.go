package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// report prints what is shown, and remembers what failed.
type report struct {
	out    io.Writer
	colour bool
	passed int
	failed []string
}

func newReport(out *os.File) *report {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &report{out: out, colour: terminal && os.Getenv("NO_COLOR") == ""}
}

const (
	green = "32"
	red   = "31"
	bold  = "1"
)

func (r *report) paint(colour, s string) string {
	if !r.colour {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

func (r *report) text(s string) { fmt.Fprintln(r.out, strings.Trim(s, "\n")) }

func (r *report) section(title string) { fmt.Fprintf(r.out, "\n%s\n", r.paint(bold, title)) }

// check prints a row of the table: a claim, and what was seen. An error is why the claim does not
// hold.
func (r *report) check(claim, seen string, err error) {
	mark := r.paint(green, "✓")
	if err != nil {
		mark, seen = r.paint(red, "✗"), err.Error()
		r.failed = append(r.failed, claim)
	} else {
		r.passed++
	}
	fmt.Fprintf(r.out, "  %s %-51s %s\n", mark, claim, seen)
}

// equal is a check that one thing was seen and no other.
func (r *report) equal(claim, want, seen string, err error) {
	if err == nil && seen != want {
		err = fmt.Errorf("%s, want %s", seen, want)
	}
	r.check(claim, seen, err)
}

// note prints a row that is no check.
func (r *report) note(what, seen string) { fmt.Fprintf(r.out, "  · %-51s %s\n", what, seen) }

// verdict says how it went. The error names the checks that failed.
func (r *report) verdict() error {
	if len(r.failed) > 0 {
		return errors.New("failed: " + strings.Join(r.failed, "; "))
	}
	fmt.Fprintf(r.out, "\nAll %d checks passed.\n", r.passed)
	return nil
}
