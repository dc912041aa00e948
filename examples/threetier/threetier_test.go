package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

func TestTopology(t *testing.T) {
	require.NoError(t, router().Validate())
	require.NoError(t, unbound().Validate())
}

// TestDemonstration is make demo, under names of its own.
func TestDemonstration(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	n := names{dir: t.TempDir(), prefix: "machine-"}
	// Names of namespaces are in a directory that is a mount.
	t.Cleanup(func() { require.NoError(t, unix.Unmount(n.dir, unix.MNT_DETACH)) })
	b := backend{dataplane: "nftables", wiring: "bridge"}
	var text bytes.Buffer
	out := &report{out: &text}
	require.NoError(t, demonstrate(t.Context(), n, b, out, true))
	require.NoError(t, out.verdict(), "%s", &text)

	// It was kept, as if this process had been killed. Another one finds it, and leaves nothing.
	require.FileExists(t, n.dir+"/"+dataplane.NamespaceName(routerID))
	require.NoError(t, sweep(t.Context(), n, b))
	left, err := os.ReadDir(n.dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestVerdictNamesWhatFailed(t *testing.T) {
	var text bytes.Buffer
	out := &report{out: &text}
	out.equal("one", "a", "a", nil)
	require.NoError(t, out.verdict())
	out.equal("two", "a", "b", nil)
	require.EqualError(t, out.verdict(), "failed: two")
	require.Contains(t, text.String(), "✗ two")
}
