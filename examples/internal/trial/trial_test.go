package trial_test

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/l3kit/l3kit/examples/internal/control"
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/host"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// TestMain is the binaries too, so that the race detector looks at them and no Go tool is needed
// when the tests run.
func TestMain(m *testing.M) {
	deployment.Main(map[string]func(){
		"server": func() { daemon.Main("server", "", &control.Commands{}) },
		"agent":  func() { daemon.Main("agent", "", &host.Commands{}) },
		"agent of nobody": func() {
			if err := syscall.Setuid(65534); err != nil {
				panic(err)
			}
			daemon.Main("agent", "", &host.Commands{})
		},
	})
	os.Exit(m.Run())
}

// within is a context of a time that is more than enough.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience(d))
	t.Cleanup(cancel)
	return ctx
}

// everything reports whether every combination is wanted, however long it takes: make trial sets
// the variable.
func everything() bool { return os.Getenv("TRIAL_FULL") != "" }
