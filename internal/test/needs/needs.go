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
		Lacks(t, "needs root")
	}
}

// Program is for tests that start a program, which comes with a package of Debian's.
func Program(t testing.TB, name, from string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		Lacks(t, "needs "+name+" (package "+from+")")
	}
}

// MountNamespace runs the test that calls it again, in a process with a mount namespace of its own,
// and reports whether this is that process. What the test mounts is seen nowhere else, and ends
// with the process; what is unmounted elsewhere is unmounted there too. The test must return where
// it is false.
func MountNamespace(t *testing.T) bool {
	t.Helper()
	return again(t, "unshare", "--mount", "--propagation=slave")
}

// Machine is like MountNamespace. The process also has an empty /run and a network namespace of its
// own, in which lo is up, so programs that the test starts run as on another machine.
func Machine(t *testing.T) bool {
	t.Helper()
	Program(t, "ip", "iproute2")
	return again(t, "unshare", "--mount", "--propagation=slave", "--net",
		"sh", "-c", `mount -t tmpfs tmpfs /run && ip link set lo up && exec "$0" "$@"`)
}

// again runs the test again by a command, unless this is that run.
func again(t *testing.T, command ...string) bool {
	t.Helper()
	Root(t)
	const mark = "TEST_RUNS_AGAIN"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	Program(t, command[0], "util-linux")
	args := append(command[1:], os.Args[0])
	for _, name := range []string{"test.v", "test.timeout"} {
		args = append(args, "-"+name+"="+flag.Lookup(name).Value.String())
	}
	run := "^" + t.Name() + "$"
	if _, subtests, some := strings.Cut(flag.Lookup("test.run").Value.String(), "/"); some {
		run += "/" + subtests
	}
	cmd := exec.Command(command[0], append(args, "-test.run="+run)...)
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	return false
}

// Lacks says that a test cannot do what it is for, because something that it names is missing.
func Lacks(t testing.TB, what string) {
	t.Helper()
	end := t.Skip
	if os.Getenv("CI") == "true" {
		end = t.Fatal
	}
	end(what)
}
