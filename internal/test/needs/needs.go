// Package needs says what a test cannot do without. A test that lacks it is skipped on a
// developer's machine, and fails where CI is "true": a continuous integration that skips tests has
// stopped to test.
package needs

import (
	"flag"
	"os"
	"os/exec"
	"strings"
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

// MountNamespace runs the test that calls it again, in a process with a mount namespace of its own,
// and reports whether this is that process. What the test mounts is seen nowhere else, and ends
// with the process; what is unmounted elsewhere is unmounted there too. The test must return where
// it is false.
func MountNamespace(t *testing.T) bool {
	t.Helper()
	Root(t)
	const mark = "TEST_IN_MOUNT_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	Program(t, "unshare", "util-linux")
	args := []string{"--mount", "--propagation=slave", os.Args[0]}
	for _, name := range []string{"test.v", "test.timeout"} {
		args = append(args, "-"+name+"="+flag.Lookup(name).Value.String())
	}
	run := "^" + t.Name() + "$"
	if _, subtests, some := strings.Cut(flag.Lookup("test.run").Value.String(), "/"); some {
		run += "/" + subtests
	}
	cmd := exec.Command("unshare", append(args, "-test.run="+run)...)
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	return false
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
