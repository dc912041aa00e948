package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/dataplane/bridge"
	"github.com/l3kit/l3kit/examples/internal/control"
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// asMain makes the test binary the agent.
const asMain = "L3KIT_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	deployment.Main(map[string]func(){"agent": main, "server": func() { daemon.Main("server", "", &control.Commands{}) }})
	if os.Getenv(asMain) != "" {
		os.Unsetenv(asMain)
		main()
		return
	}
	os.Exit(m.Run())
}

var patience = lab.Patience(30 * time.Second)

// process is a command that runs the agent, behind others such as setpriv.
func process(ctx context.Context, before []string, args ...string) *exec.Cmd {
	all := append(append(before[:len(before):len(before)], os.Args[0]), args...)
	cmd := exec.CommandContext(ctx, all[0], all[1:]...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	return cmd
}

// refusal is the one line, and the exit status, of an agent that does not start.
func refusal(t *testing.T, before []string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := process(ctx, before, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "it runs: %s", &said)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	var lines []string
	for line := range strings.Lines(said.String()) {
		if !strings.HasPrefix(line, "time=") { // the log, before it was found out
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	require.Len(t, lines, 1, "%s", &said)
	return lines[0], exit.ExitCode()
}

func TestWrongFlags(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	const login = "--bus-password=x"
	const invalid, failed = 80, 1
	for _, tt := range []struct {
		args   string
		says   string
		status int
	}{
		{"--nonsense", "unknown flag --nonsense", invalid},
		{"nonsense", "unexpected argument nonsense", invalid},
		{"--dataplane=pf", `--dataplane must be one of "nftables","iptables"`, invalid},
		{"--wiring=ovn", `--wiring must be one of "bridge","ovs"`, invalid},
		{"--physical=eth1", `--physical: expected "<key>=<value>"`, invalid},
		{"--tunnel-address=192.0.2", "--tunnel-address: ParseAddr", invalid},
		{"--check=often", "--check: expected duration", invalid},
		{"--config=" + dir + "/none", "--config: open " + dir + "/none: no such file", invalid},
		{"--config=" + file("typo.yaml", "wirring: ovs"), "typo.yaml: line 1: wirring: there is no such flag", invalid},
		{"--config=" + file("twice.yaml", "check: 1m\ncheck: 2m"), "twice.yaml: line 2: check: it is set in line 1 already", invalid},
		{"--config=" + file("value.yaml", "# \ncheck: often"), "value.yaml: line 2: check: expected duration", invalid},
		{"plan --config=" + file("plan.yaml", "wiring: ovn"), "plan.yaml: line 1: wiring: must be one of bridge, ovs", invalid},
		{"", "give one of --bus-password-file", invalid},
		{"--bus-password-file=" + dir + "/none", dir + "/none: no such file", invalid},
		{"--bus-credentials=" + dir + "/none", "--bus-credentials: stat", invalid},
		{"--bus-cert=" + dir + "/none", "--bus-cert and --bus-key go together", invalid},
		{login + " --bus-ca=" + file("ca.pem", "no"), "--bus-ca: " + dir + "/ca.pem has no certificate", invalid},
		{login + " --bus=http://192.0.2.1", `--bus: "http://192.0.2.1" is neither nats://HOST:PORT nor`, invalid},
		{login + " --bus=192.0.2.10", `--bus: "192.0.2.10" is neither nats://HOST:PORT nor`, invalid},
		{login + " --bus=nats://[::1", "--bus: parse", invalid},
		{login + " --lease=0s", "--lease must be more than 0", invalid},
		{login + " --heartbeat=-1s", "--heartbeat must be more than 0", invalid},
		{login + " --heartbeat=26s", "--heartbeat: 26s is more than 25s, a third of --agent-down-time", invalid},
		{login + " --heartbeat=9s --agent-down-time=26s", "--heartbeat: 9s is more than 8.666s, a third of --agent-down-time", invalid},
		{login + " --agent-down-time=0s", "--agent-down-time must be more than 0", invalid},
		{login + " --vxlan-port=0", "--vxlan-port: 0 is not a port", invalid},
		{"plan --vxlan-port=0", "--vxlan-port: 0 is not a port", invalid},
		{login + " --mode=router", `--mode must be one of "auto","dvr","dvr_snat","legacy"`, invalid},
		{login + " --mode=dvr_snat", "--mode: dvr_snat is for hosts that reach external networks, and this one has no physical network", invalid},
		{login + " --parallel=-1", "--parallel must not be less than 0", invalid},
		{login + " --metrics=192.0.2.300:80", `--metrics: "192.0.2.300" is not an IP address`, invalid},
		{login + " --tunnel-address=192.0.2.1 --tunnel-peers=2001:db8::1", "peer 2001:db8::1 is not of the same address family", invalid},
		{login + " --wiring=ovs --ovs-endpoint=nowhere", `"nowhere"`, invalid},
		{login + " --wiring=ovs --ovs-direct=public", `--ovs-direct: "public" is not among the physical networks`, invalid},
		{login + " --metrics=9090", `--metrics: "9090" is not HOST:PORT`, invalid},
		{"attach port", "missing flags: --netns=NAME or --pid=PID or --tap", invalid},
		{"attach port --tap --pid=1", "can't be used together", invalid},
		{"attach port --tap --api=127.0.0.1:9696", `--api: "127.0.0.1:9696" is neither http://HOST:PORT nor`, invalid},
		{"detach port --api-token-file=" + dir + "/none", "--api-token-file: stat", invalid},
		{"completion tcsh", `must be one of "bash","zsh","fish"`, invalid},
		{"attach port --tap --api=http://127.0.0.1:1", "read ports: ", failed},
		{"plan --cache=" + file("cache", ""), "--cache: ", invalid},
		{"inspect --cache=", "--cache: the value is empty: give DIR", invalid},
		{login + " --cache=", "--cache: the value is empty: give DIR", invalid},
		{login + " --namespaces=", "--namespaces: the value is empty: give DIR", invalid},
		{login + " --bus=", "--bus: the value is empty: give URL", invalid},
		{"--bus-password-file=" + file("empty", " \n"), "--bus-password-file: " + dir + "/empty: the file is empty", invalid},
		{login + " --tunnel-address=127.0.0.1", "--tunnel-address: 127.0.0.1 is not an address that other hosts can reach", invalid},
		{login + " --tunnel-address=224.0.0.1", "--tunnel-address: 224.0.0.1 is not an address that other hosts can reach", invalid},
		{login + " --tunnel-address=0.0.0.0", "--tunnel-address: 0.0.0.0 is not an address that other hosts can reach", invalid},
		{login + " --tunnel-address=::", "--tunnel-address: :: is not an address that other hosts can reach", invalid},
		{"attach port --pid=0", "--pid: 0 is not the ID of a process", invalid},
		{"attach port --pid=-1", "--pid: -1 is not the ID of a process", invalid},
		{"attach port --netns=", "--netns: the value is empty: give NAME", invalid},
		{"attach port --netns=x --device=bad/name", `--device: "bad/name" is not the name of a network device`, invalid},
		{"attach port --netns=x --device=averyverylongname", `--device: "averyverylongname" is not the name`, invalid},
		{"--log-level=foo", "--log-level: must be one of debug, info, warn, error", invalid},
		{"--config=" + file("unit.yaml", "heartbeat: 30"), "unit.yaml: line 1: heartbeat: expected duration but got \"30\": time: missing unit", invalid},
		{"explain nobody --from=10.0.0.1 --to=10.0.0.2 --cache=" + dir, "no router nobody on this host", failed},
	} {
		line, status := refusal(t, nil, strings.Fields(tt.args)...)
		require.Contains(t, line, tt.says, "%s", tt.args)
		require.Equal(t, tt.status, status, "%s", tt.args)
	}
}

// TestPhysicalNetworks: what no router could use is refused at start, naming the flag.
func TestPhysicalNetworks(t *testing.T) {
	h := newSite(t)
	root := []string{"nsenter", "--net=" + h.machine.HostNS}
	for _, args := range [][]string{
		{"link", "add", "eth1", "type", "veth", "peer", "name", "eth1-far"},
		{"address", "add", "192.0.2.7/24", "dev", "eth1"},
		{"link", "set", "eth1", "up"},
		{"link", "set", "eth1-far", "up"}, // has nothing but a link-local address
		{"link", "add", "br-with", "type", "bridge"},
		{"address", "add", "192.0.2.8/24", "dev", "br-with"},
	} {
		out, err := exec.CommandContext(t.Context(), root[0], append([]string{root[1], "ip"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	start := append([]string{"--bus-password=x", "--bus=nats://127.0.0.1:1"}, h.flags...)
	line, status := refusal(t, root, append(start, "--physical=public=eth9")...)
	require.Contains(t, line, "--physical: public=eth9: there is no interface eth9 on this host")
	require.Equal(t, 80, status)
	line, status = refusal(t, root, append(start, "--physical=public=eth1")...)
	require.Contains(t, line, "--physical: public=eth1: interface eth1 has the address 192.0.2.7/24, which would stop working")
	require.Equal(t, 80, status)
	stop := h.start(root, "--physical=one=eth1-far,two=br-with")
	h.passes()
	stop()

	t.Run("ovs", func(t *testing.T) {
		needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
		s, err := h.machine.Switch(t.Context())
		require.NoError(t, err)
		line, status := refusal(t, root, append(start, "--wiring=ovs", "--ovs-endpoint="+s.Endpoint, "--ovs-run-dir="+s.RunDir,
			"--ovs-datapath=netdev", "--physical=public=br-ex")...)
		require.Contains(t, line, "--physical: public=br-ex: ")
		require.Contains(t, line, "Open vSwitch has no bridge br-ex")
		require.Equal(t, 80, status)
	})
}

// site is a pretended machine with a router in the agent's cache.
type site struct {
	t       *testing.T
	machine *lab.Lab
	flags   []string
	client  *lab.Host
}

var office = dataplane.Router{
	ID: "office",
	Ports: []dataplane.Port{{
		ID: "lan", Network: dataplane.Network{ID: "lan"}, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}, MTU: 1500,
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.0.1.1/24"), netip.MustParsePrefix("2001:db8:1::1/64")},
	}},
	Gateway: &dataplane.Gateway{SNAT: true, NextHops: []netip.Addr{netip.MustParseAddr("203.0.113.1")}, Port: dataplane.Port{
		ID: "wan", Network: dataplane.Network{ID: "wan"}, MAC: dataplane.MAC{0xfa, 0x16, 0x3e, 0, 0, 2}, MTU: 1500,
		Addrs: []netip.Prefix{netip.MustParsePrefix("203.0.113.2/24")},
	}},
	FloatingIPs: []dataplane.FloatingIP{{ID: "f", Addr: netip.MustParseAddr("203.0.113.5"), Fixed: netip.MustParseAddr("10.0.1.5")}},
}

func newSite(t *testing.T) *site {
	t.Helper()
	needs.Root(t)
	needs.Program(t, "nsenter", "util-linux")
	needs.Program(t, "setpriv", "util-linux")
	machine, err := lab.New()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, machine.Close()) })
	cache := t.TempDir()
	text, err := json.Marshal(agent.Assignment{Epoch: 1, Revision: 1, Router: office})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(cache, "office.json"), text, 0o600))
	h := &site{t: t, machine: machine, flags: []string{"--cache", cache, "--namespaces", machine.Dir}}

	w, err := bridge.New(bridge.Config{HostNS: machine.HostNS})
	require.NoError(t, err)
	t.Cleanup(func() { w.Close() })
	for name, addr := range map[string]string{"lan": "10.0.1.5/24", "wan": "203.0.113.1/24"} {
		one, err := machine.Attach(t.Context(), w, lab.Spec{Name: name, NextHops: []netip.Addr{netip.MustParseAddr("10.0.1.1")}, Ports: []dataplane.Port{{
			Network: dataplane.Network{ID: name}, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)},
		}}})
		require.NoError(t, err)
		if name == "wan" {
			h.client = one
		}
	}
	return h
}

// as is how a process gets onto the machine, with these capabilities and no others, as the service
// manager would start it.
func (h *site) as(capabilities ...string) []string {
	set := "-all"
	for _, c := range capabilities {
		set += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return []string{"nsenter", "--net=" + h.machine.HostNS, "setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=" + set}
}

// start runs the agent, with servers that nobody can reach.
func (h *site) start(before []string, more ...string) (stop func()) {
	h.t.Helper()
	var said bytes.Buffer
	cmd := process(h.t.Context(), before, append(append([]string{"--bus=nats://127.0.0.1:1", "--bus-password=x", "--host=host1"}, h.flags...), more...)...)
	cmd.Stderr = &said
	require.NoError(h.t, cmd.Start())
	return func() {
		h.t.Helper()
		require.NoError(h.t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(h.t, cmd.Wait(), "%s", &said)
	}
}

// show runs one of the commands that look.
func (h *site) show(before []string, args ...string) string {
	h.t.Helper()
	cmd := process(h.t.Context(), before, append(args, h.flags...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	text, err := cmd.Output()
	require.NoError(h.t, err, "%v: %s%s", args, text, &said)
	return string(text)
}

// passes says that the floating IP's workload answers the client.
func (h *site) passes() {
	h.t.Helper()
	require.NoError(h.t, h.client.Ping(h.t.Context(), "203.0.113.5"))
}

// TestCapabilities starts the agent with what the unit file gives it, and with less.
func TestCapabilities(t *testing.T) {
	unit, err := os.ReadFile("l3kit-agent.service")
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindSubmatch(unit)
	require.NotNil(t, found)
	capabilities := strings.Fields(string(found[1]))

	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			needs.Program(t, "iptables-restore", "iptables")
			h := newSite(t)
			h.flags = append(h.flags, "--dataplane", backend)
			all := h.as(capabilities...)
			stop := h.start(all)
			h.passes()
			require.Equal(t, "nothing to do\n", h.show(all, "plan"))
			require.Contains(t, h.show(all, "inspect"), "as it was applied")
			require.Contains(t, h.show(all, "explain", "off", "--from=10.0.1.5", "--to=203.0.113.1", "--proto=icmp", "--check"), "The kernel agrees")
			stop()
			h.passes()
		})
	}
	t.Run("ovs", func(t *testing.T) {
		needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
		h := newSite(t)
		s, err := h.machine.Switch(t.Context())
		require.NoError(t, err)
		h.flags = append(h.flags, "--wiring=ovs", "--ovs-endpoint="+s.Endpoint, "--ovs-run-dir="+s.RunDir, "--ovs-datapath=netdev")
		all := h.as(capabilities...)
		stop := h.start(all)
		require.Eventually(t, func() bool {
			return process(t.Context(), all, append([]string{"plan"}, h.flags...)...).Run() == nil
		}, patience, 100*time.Millisecond, "it is there")
		stop()
		require.Contains(t, h.show(all, "inspect"), "as it was applied")

		// The cache is enough to find the rest of the settings by, while no agent runs.
		cache := h.flags[1]
		info, err := os.Stat(filepath.Join(cache, "settings"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		h.flags = []string{"--cache", cache}
		require.Contains(t, h.show(all, "inspect"), "as it was applied")
		require.Equal(t, "nothing to do\n", h.show(all, "plan"))
		ports := func() string {
			text, err := s.Vsctl("list-ports", "br-int")
			require.NoError(t, err)
			return text
		}
		require.Contains(t, ports(), "taplan")
		require.Contains(t, h.show(all, "clean"), "removed router office")
		require.NotContains(t, ports(), "taplan")
		require.NotContains(t, ports(), "tapwan")
		require.NoFileExists(t, filepath.Join(cache, "settings"))
	})
	t.Run("less", func(t *testing.T) {
		h := newSite(t)
		start := append([]string{"--bus-password=x", "--bus=nats://127.0.0.1:1"}, h.flags...)
		line, status := refusal(t, h.as(), start...)
		require.Contains(t, line, "needs root (CAP_NET_ADMIN and CAP_SYS_ADMIN)")
		require.Equal(t, notPermitted, status)
		for i, c := range capabilities {
			rest := append(append([]string{}, capabilities[:i]...), capabilities[i+1:]...)
			args := start
			if c == "CAP_NET_RAW" { // without it a router is silent, which is no reason not to have it
				stop := h.start(h.as(capabilities...))
				h.passes()
				stop()
				args = append([]string{"explain", "off", "--from=10.0.1.5", "--to=203.0.113.1", "--check"}, h.flags...)
			}
			line, status := refusal(t, h.as(rest...), args...)
			require.Contains(t, line, "operation not permitted", "without %s", c)
			require.Equal(t, notPermitted, status, "without %s", c)
		}
	})
}

// notPermitted is EX_NOPERM of sysexits(3).
const notPermitted = 77

// TestWithoutRoot: what an ordinary user starts says what it lacks, beside an agent of root and
// without one.
func TestWithoutRoot(t *testing.T) {
	h := newSite(t)
	binary, err := os.Open(os.Args[0]) // in a directory that nobody else may enter
	require.NoError(t, err)
	defer binary.Close()
	refused := func(says string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		const nobody = "65534"
		cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + h.machine.HostNS, "setpriv", "--reuid=" + nobody, "--regid=" + nobody,
			"--clear-groups", "/proc/self/fd/3"}, args...)...)
		cmd.Env, cmd.ExtraFiles = append(os.Environ(), asMain+"=1"), []*os.File{binary}
		text, err := cmd.CombinedOutput()
		require.NoError(t, ctx.Err())
		require.Error(t, err)
		require.Regexp(t, `^agent: error: .*`+says+`.*\n$`, string(text), "%v", args)
		require.Equal(t, notPermitted, cmd.ProcessState.ExitCode(), "%v", args)
	}
	const root = `needs root \(CAP_NET_ADMIN and CAP_SYS_ADMIN\)`
	refused(root, "--bus-password=x", "--cache="+h.flags[1])
	const none = "--cache=/nonexistent/l3kit"
	for _, args := range [][]string{{"inspect", none}, {"plan", none}, {"clean", none}, {"attach", "port", "--tap"}, {"detach", "port"}} {
		refused(root, args...)
	}
	refused("permission denied", "inspect", "--cache="+h.flags[1])

	stop := h.start(h.as("net_admin", "sys_admin", "net_raw"))
	defer stop()
	h.passes()
	for _, args := range [][]string{{"inspect"}, {"plan"}, {"remove", "office"}, {"attach", "port", "--tap"}, {"detach", "port"}} {
		refused(`ask the agent of this host, process \d+: `+root+`: run the command as root`, args...)
	}
}

// TestStartsThatFail: what was begun is stopped, and one line says why.
func TestStartsThatFail(t *testing.T) {
	h := newSite(t)
	root := []string{"env"} // in the caller's namespace, where the message queue is; nothing is made there, because nothing gets so far
	secret := []byte("0123456789abcdef0123456789abcdef")
	server, err := natsbus.StartServer(natsbus.ServerConfig{Secret: secret, Dir: t.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	require.NoError(t, err)
	defer server.Shutdown()
	empty := []string{"--namespaces", h.machine.Dir, "--host=host1", "--bus=" + server.URL(), "--cache"}

	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte(natsbus.Credential(secret, "host2")+"\n"), 0o600))
	line, _ := refusal(t, root, append(empty, t.TempDir(), "--bus-password-file="+password)...)
	require.Contains(t, line, "as agent:host1: nats: Authorization Violation: the password is not that of host host1: on the server, in its directory or with its --bus-secret-file, server credential host1 prints it")

	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	line, _ = refusal(t, root, append(empty, t.TempDir(), "--bus-password=x", "--metrics="+busy.Addr().String())...)
	require.Contains(t, line, "listen tcp "+busy.Addr().String()+": bind: address already in use")

	line, _ = refusal(t, root, append(empty, filepath.Join(password, "cache"), "--bus-password=x")...)
	require.Contains(t, line, "--cache: mkdir "+password+": not a directory")

	linked := t.TempDir()
	require.NoError(t, os.Symlink("/dev/null", filepath.Join(linked, "lock")))
	line, _ = refusal(t, root, append(empty, linked, "--bus-password=x")...)
	require.Contains(t, line, "--cache: open "+filepath.Join(linked, "lock")+": too many levels of symbolic links")

	stop := h.start(h.as("net_admin", "sys_admin", "net_raw"))
	h.passes()
	line, _ = refusal(t, h.as("net_admin", "sys_admin", "net_raw"), append([]string{"--bus-password=x"}, h.flags...)...)
	require.Contains(t, line, "another agent runs on this host")
	stop()

	line, _ = refusal(t, h.as("net_admin", "sys_admin"), append([]string{"--bus-password=x", "--wiring=ovs", "--ovs-endpoint=unix:/nowhere/db.sock"}, h.flags...)...)
	require.Contains(t, line, "/nowhere/db.sock")
}
