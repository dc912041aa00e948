// Package needs says what a test cannot do without. A test that lacks it is skipped on a developer's machine, and fails where CI is "true": a
// continuous integration that skips tests has stopped to test.
package needs

import (
	"os"
	"os/exec"
	"testing"
)

// Root is for tests that make network namespaces and what is in them.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacks(t, "needs root")
	}
}

// Program is for tests that start a program, which comes with a package of Debian's.
func Program(t testing.TB, name, from string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		lacks(t, "needs "+name+" (package "+from+")")
	}
}

func lacks(t testing.TB, what string) {
	t.Helper()
	end := t.Skip
	if os.Getenv("CI") == "true" {
		end = t.Fatal
	}
	end(what)
}

// Lacks says that a test cannot do what it is for, because something that it names is missing.
func Lacks(t testing.TB, what string) {
	t.Helper()
	lacks(t, what)
}
