package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/examples/internal/allinone"
	"github.com/l3kit/l3kit/examples/internal/control"
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/host"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// TestMain is allinone too, race detector included.
func TestMain(m *testing.M) {
	deployment.Main(map[string]func(){
		"allinone": allinone.Main, "threetier": main,
		"server": func() { daemon.Main("server", "", &control.Commands{}) },
		"agent":  func() { daemon.Main("agent", "", &host.Commands{}) },
	})
	os.Exit(m.Run())
}

// TestDemonstration is make demo, under names of its own.
func TestDemonstration(t *testing.T) {
	needs.Root(t)
	needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
	for name, how := range map[string]setting{
		"bridge":             {wiring: "bridge", allinone: deployment.Self("allinone")},
		"ovs":                {wiring: "ovs", allinone: deployment.Self("allinone")},
		"distributed bridge": {wiring: "bridge", distributed: true, server: deployment.Self("server"), agent: deployment.Self("agent")},
		"distributed ovs":    {wiring: "ovs", distributed: true, server: deployment.Self("server"), agent: deployment.Self("agent")},
	} {
		how.dir, how.dataplane = filepath.Join(t.TempDir(), "demo"), "nftables"
		t.Run(name, func(t *testing.T) { demonstration(t, how) })
	}
}

func demonstration(t *testing.T, how setting) {
	var text bytes.Buffer
	out := &report{out: &text}
	require.NoError(t, demonstrate(t.Context(), how, out, false), "%s", &text)
	require.NoError(t, out.verdict(), "%s", &text)
	require.NoDirExists(t, how.dir)
	require.NoDirExists(t, how.files())
}

// TestSweep takes away what a demonstration left that was killed.
func TestSweep(t *testing.T) {
	needs.Root(t)
	how := setting{dir: filepath.Join(t.TempDir(), "demo"), wiring: "bridge"}
	m, err := raise(t.Context(), how)
	require.NoError(t, err)
	require.FileExists(t, m.router.HostNS)
	require.NoError(t, how.sweep())
	require.NoDirExists(t, how.dir)
	require.NoError(t, how.sweep(), "there is nothing")
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

// TestFlags: what is wrong is one line, and has the exit status that it has everywhere.
func TestFlags(t *testing.T) {
	for flag, says := range map[string]string{
		"--wiring=ovn": `threetier: error: --wiring must be one of "bridge","ovs" but got "ovn"`,
		"--allinone=":  "threetier: error: --allinone: the value is empty: give FILE, or leave the flag out",
	} {
		self := deployment.Self("threetier")
		cmd := exec.CommandContext(t.Context(), self.File, flag)
		cmd.Env = append(os.Environ(), self.Env...)
		text, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Equal(t, 80, cmd.ProcessState.ExitCode())
		require.Equal(t, says+"\n", string(text))
	}
}
