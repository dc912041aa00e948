package trial_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// TestRouterThatCannotBeRealised has hosts whose agents claim a physical network that they had when
// they started.
func TestRouterThatCannotBeRealised(t *testing.T) {
	const bridge = "none0"
	s := start(t, deployment.Config{Hosts: 2, AgentFlags: func(h *deployment.Host) []string {
		require.NoError(t, h.Do(func() error {
			return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge, TxQLen: -1}})
		}))
		return []string{"--physical=claimed=" + bridge}
	}})
	for _, h := range s.Hosts {
		require.NoError(t, h.Ready(within(t, 30*time.Second)))
		require.NoError(t, h.Do(func() error {
			l, err := netlink.LinkByName(bridge)
			if err != nil {
				return err
			}
			return netlink.LinkDel(l)
		}))
	}
	good := s.tenants("good", 6)
	s.active(s.api(), good...)
	for i, tenant := range good[:2] {
		s.serve(s.Hosts[i], tenant)
	}
	s.lossless("while a router cannot be realised", good[:2], func() {
		claimed, err := deployment.NewExternal(within(t, 20*time.Second), s.api(), "claimed",
			netip.MustParsePrefix("198.51.100.0/24"), netip.MustParseAddr("198.51.100.254"))
		require.NoError(t, err)
		bad, err := deployment.NewTenant(within(t, 20*time.Second), s.api(), claimed, "bad")
		require.NoError(t, err)
		var status, reason string
		require.Eventually(t, func() bool {
			status, reason, err = deployment.StatusOf(t.Context(), s.api(), bad.Router)
			require.NoError(t, err)
			return status == "ERROR"
		}, lab.Patience(20*time.Second), 20*time.Millisecond)
		require.Contains(t, reason, bridge)
		t.Log(status, reason)
		f, err := floatingips.Get(t.Context(), s.api(), bad.FloatingIP).Extract()
		require.NoError(t, err)
		require.Equal(t, "ERROR", f.Status)

		s.active(s.api(), good...)
		more := s.tenants("more", 2)
		s.active(s.api(), more...)
		for _, tenant := range append(good, more...) {
			_, reason, err := deployment.StatusOf(t.Context(), s.api(), tenant.Router)
			require.NoError(t, err)
			require.Empty(t, reason)
		}
	})
}

// TestWhatIsWrongIsOneLine starts each binary with something wrong, on a machine where all is well
// otherwise.
func TestWhatIsWrongIsOneLine(t *testing.T) {
	s := start(t, deployment.Config{Hosts: 2})
	server, host, free := s.Servers[0].Machine, s.Hosts[0].Machine, s.Hosts[1].Machine // free has no agent
	require.NoError(t, s.Hosts[1].Agent.Terminate(within(t, 20*time.Second)))
	dir := t.TempDir()
	small := "/run/full" // a disk without room
	require.NoError(t, host.Do(func() error { return full(small) }))
	file := func(name string) string { return filepath.Join(dir, name) }
	agent := func(more ...string) []string {
		return append([]string{"--host=other", "--bus=nats://198.18.0.1:4222", "--bus-password=none", "--cache=/var/lib/l3kit/other"}, more...)
	}
	for _, c := range []struct {
		what   string
		on     *deployment.Machine
		binary string
		args   []string
		status int
		says   string
	}{
		{"a wrong flag", server, "server", []string{"--liste=127.0.0.1:1"}, 80, "--liste"},
		{"a port that is taken", server, "server", []string{"--database=sqlite:" + file("a.db"), "--listen=127.0.0.1:9696", "--bus-dir=" + file("a"),
			"--bus-listen=127.0.0.1:0", "--bus-secret-file=" + file("secret")}, 1, "127.0.0.1:9696"},
		{"a port of the bus that is taken", server, "server", []string{"--database=sqlite:" + file("b.db"), "--listen=127.0.0.1:1234", "--bus-dir=" + file("b"),
			"--bus-listen=198.18.0.1:4222", "--bus-secret-file=" + file("secret")}, 1, "198.18.0.1:4222"},
		{"a wrong URL", server, "server", []string{"--database=postgress://x@127.0.0.1/x"}, 80, "--database"},
		{"a full disk", host, "server", []string{"--database=sqlite:" + small + "/l3.db", "--bus-dir=/tmp/bus", "--bus-secret-file=/tmp/secret"}, 1, "full"},

		{"a wrong flag", host, "agent", []string{"--hots=h"}, 80, "--hots"},
		{"a wrong password", free, "agent", agent(), 1, "198.18.0.1:4222"},
		{"a wrong URL", host, "agent", agent("--bus=postgres://198.18.0.1"), 80, "postgres"},
		{"another agent", host, "agent", agent(), 1, "another agent runs on this host"},
		{"a port that is taken", host, "agent", agent("--metrics=127.0.0.1:9090"), 1, "127.0.0.1:9090"},
		{"no root", host, "agent of nobody", agent("--cache=/tmp/agent"), 77, "root"},
	} {
		t.Run(c.binary+": "+c.what, func(t *testing.T) {
			p := s.Program(c.on, c.binary, deployment.Self(c.binary), append([]string{"run"}, c.args...)...)
			said, status, err := p.Run(within(t, 20*time.Second))
			require.NoError(t, err, "%s", said)
			require.Equal(t, c.status, status, said)
			lines := strings.Split(strings.TrimSpace(said), "\n")
			last := lines[len(lines)-1]
			require.Regexp(t, "^(server|agent): error: ", last, said)
			require.Contains(t, last, c.says, said)
			t.Log(last)
			for _, line := range lines[:len(lines)-1] {
				require.Contains(t, line, "level=INFO", "one line says what is wrong: %s", said)
			}
		})
	}
}

// full makes a disk that has no room, in the calling thread's mount namespace.
func full(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=4k"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(path, "ballast"), make([]byte, 4096), 0o600)
}
