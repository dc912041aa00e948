package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/needs"
)

func TestTopology(t *testing.T) {
	m := new(machines)
	m.bridges()
	require.NoError(t, m.desired().Validate())
	require.NoError(t, m.unbound().Validate())
}

// TestDemonstration is make demo, under names of its own.
func TestDemonstration(t *testing.T) {
	needs.Root(t)
	needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
	for _, wiring := range []string{"bridge", "ovs"} {
		t.Run(wiring, func(t *testing.T) { demonstration(t, backend{dataplane: "nftables", wiring: wiring}) })
	}
}

func demonstration(t *testing.T, b backend) {
	n := names{dir: t.TempDir(), prefix: "machine-"}
	// Names of namespaces are in a directory that is a mount.
	t.Cleanup(func() { require.NoError(t, unix.Unmount(n.dir, unix.MNT_DETACH)) })
	var text bytes.Buffer
	out := &report{out: &text}
	require.NoError(t, demonstrate(t.Context(), n, b, out, true))
	require.NoError(t, out.verdict(), "%s", &text)

	// The site was kept, as if this process had been killed. Another one finds it, and leaves nothing.
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
