package natsbus_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/needs"
)

// oldest is the first release of nats-server that can serve as a bus: it has a time to live for
// single messages, and markers for those that expire.
const oldest = "v2.11.0"

// natsServer returns the program nats-server in a version; empty: the one that this module uses.
func natsServer(t *testing.T, version string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "l3kit-test", "nats-server-"+version)
	program := filepath.Join(dir, "nats-server")
	if version == "" {
		program = filepath.Join(t.TempDir(), "nats-server")
		out, err := exec.Command("go", "build", "-o", program, "github.com/nats-io/nats-server/v2").CombinedOutput()
		require.NoError(t, err, "%s", out)
		return program
	}
	if _, err := os.Stat(program); err == nil {
		return program
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	made, err := os.MkdirTemp(dir, "build-")
	require.NoError(t, err)
	defer os.RemoveAll(made)
	install := exec.Command("go", "install", "github.com/nats-io/nats-server/v2@"+version)
	install.Dir = made
	install.Env = append(os.Environ(), "GOBIN="+made, "GOFLAGS=-mod=mod")
	if out, err := install.CombinedOutput(); err != nil {
		needs.Lacks(t, fmt.Sprintf("needs nats-server %s, which cannot be built: %s", version, out))
	}
	require.NoError(t, os.Rename(filepath.Join(made, "nats-server"), program))
	return program
}

// external runs nats-server as a process of its own, with accounts as they are printed for
// operators, and returns its URL.
func external(t *testing.T, version, jetstream, accounts string) string {
	t.Helper()
	listen := freePort(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	config := fmt.Sprintf("listen: %q\nmax_payload: 8388608\njetstream {store_dir: %q, %s}\n%s", listen, dir, jetstream, accounts)
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(natsServer(t, version), "-c", file)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("nats-server: %s", text[max(0, len(text)-500):])
		}
	})
	return waitForNATS(t, listen)
}

func waitForNATS(t *testing.T, at netip.AddrPort) string {
	t.Helper()
	url := "nats://" + at.String()
	require.Eventually(t, func() bool {
		nc, err := nats.Connect(url, nats.UserInfo("control", "control"))
		if err != nil {
			return false
		}
		nc.Close()
		return true
	}, patience, 20*1e6, "nats-server runs")
	return url
}
