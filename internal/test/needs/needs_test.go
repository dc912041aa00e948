package needs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/needs"
)

// asked is a test that something is missing for.
type asked struct {
	testing.TB
	skipped, failed string
}

func (a *asked) Helper()           {}
func (a *asked) Skip(args ...any)  { a.skipped = args[0].(string) }
func (a *asked) Fatal(args ...any) { a.failed = args[0].(string) }

func TestWhatIsMissingSkipsOnALaptopAndFailsInCI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for ci, want := range map[string]asked{
		"":     {skipped: "needs ovs-vsctl (package openvswitch-switch)"},
		"true": {failed: "needs ovs-vsctl (package openvswitch-switch)"},
	} {
		t.Setenv("CI", ci)
		var a asked
		needs.Program(&a, "ovs-vsctl", "openvswitch-switch")
		require.Equal(t, want, a, "CI=%s", ci)
	}
}
