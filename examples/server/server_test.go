package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/internal/test/transcript"
	"github.com/l3kit/l3kit/l3/natsbus"
)

// program tells the test's own executable to be the server, race detector included.
const program = "L3KIT_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(program) == "server" {
		main()
		return
	}
	os.Exit(m.Run())
}

const patience = 30 * time.Second

// site is a directory that servers run in.
type site struct {
	*testing.T
	dir string
}

// command is the server with flags, which says errors only. A prefix is what runs it.
func (s site) command(args []string, prefix ...string) (*exec.Cmd, *transcript.Buffer) {
	s.Helper()
	own, err := os.Executable()
	require.NoError(s, err)
	all := append(append(prefix, own), args...)
	ctx, cancel := context.WithTimeout(s.Context(), 2*patience)
	s.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, all[0], all[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), program+"=server", "L3KIT_LOG_LEVEL=error")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := new(transcript.Buffer)
	cmd.Stderr = said
	return cmd, said
}

// refuses runs a server that cannot run, and requires one line that has the text.
func (s site) refuses(text string, cmd *exec.Cmd, said *transcript.Buffer) {
	s.Helper()
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	require.True(s, errors.As(err, &exit), "%v: %s", err, said)
	require.Positive(s, exit.ExitCode(), "it ends by itself: %s", said)
	require.Equal(s, 1, strings.Count(said.String(), "\n"), "one line: %s", said)
	require.Contains(s, said.String(), text)
	require.Less(s, time.Since(start), patience)
	s.Log(strings.TrimSpace(said.String()))
}

func (s site) file(name, text string, mode os.FileMode) string {
	s.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s, os.WriteFile(path, []byte(text), mode))
	return path
}

// nowhere are flags with which servers of many tests run beside each other.
func nowhere(args ...string) []string {
	return append([]string{"--listen=127.0.0.1:0", "--bus-listen=127.0.0.1:0"}, args...)
}

func TestWhatIsWrongIsSaidInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { taken.Close() }) // when all subtests are over
	busy := taken.Addr().String()
	const invalid, failed = 80, 1
	for name, c := range map[string]struct {
		status int
		args   []string
		says   string
		made   []string // files that may be there afterwards: whole ones
	}{
		"unknown flag":           {invalid, []string{"--lisen=x"}, "unknown flag --lisen", nil},
		"unknown word":           {invalid, []string{"walk"}, "walk", nil},
		"nonsense":               {invalid, []string{"--agent-down-time=x"}, "--agent-down-time", nil},
		"no settings":            {invalid, []string{"--config=none.yaml"}, "--config: open none.yaml: no such file", nil},
		"a setting of no kind":   {invalid, []string{"--config=settings"}, "settings: line 2: quota: ", nil},
		"hasty":                  {invalid, nowhere("--agent-down-time=2s"), "--agent-down-time: 2s is less than 3s", nil},
		"no port":                {invalid, nowhere("--listen=9696"), `--listen: "9696" is not HOST:PORT`, nil},
		"no address":             {invalid, nowhere("--listen=127.0.0.300:1"), `--listen: "127.0.0.300" is not an IP address`, nil},
		"open to everybody":      {invalid, []string{"--listen=0.0.0.0:0"}, "--force-listen", nil},
		"API address taken":      {failed, nowhere("--listen=" + busy), "--listen: listen: listen tcp " + busy + ": bind: address already in use", nil},
		"metrics address taken":  {failed, nowhere("--metrics=" + busy), "--metrics: listen", nil},
		"bus address taken":      {failed, nowhere("--bus-listen=" + busy), busy, []string{"l3kit.db", "l3kit-bus", "l3kit-bus.secret"}},
		"unknown database":       {invalid, nowhere("--database=mysql://x"), "--database: the URL begins neither with sqlite: nor with postgres://", nil},
		"no such directory":      {invalid, nowhere("--database=sqlite:none/l3.db"), "--database: cannot create none/l3.db", nil},
		"no URL of PostgreSQL":   {invalid, nowhere("--database=postgres://u@h:port/x"), "--database: cannot parse", nil},
		"no PostgreSQL":          {failed, nowhere("--database=postgres://nobody@127.0.0.1:1/x?connect_timeout=2"), "--database: open database", nil},
		"unknown quota":          {invalid, nowhere("--quota=rooter=3"), `--quota: there is no quota for "rooter", only for `, nil},
		"small MTU":              {invalid, nowhere("--physical-mtu=10"), "--physical-mtu: 10 is not between", []string{"l3kit.db"}},
		"no segment":             {invalid, nowhere("--tenant-networks=vxlan:5:1"), "--tenant-networks[0]: vxlan has no segmentation IDs from 5 to 1", []string{"l3kit.db"}},
		"no tokens":              {invalid, []string{"--auth=token"}, "--token-file", nil},
		"no file of tokens":      {invalid, nowhere("--auth=token", "--token-file=none"), "--token-file", nil},
		"tokens that are none":   {invalid, nowhere("--auth=token", "--token-file=short"), "/short: entry 1: the project is missing", nil},
		"tokens of everybody":    {invalid, nowhere("--auth=token", "--token-file=public"), "/public: others than its owner can read", nil},
		"no Keystone":            {invalid, []string{"--auth=keystone"}, "--keystone-url", nil},
		"no other NATS":          {failed, nowhere("--bus=nats://127.0.0.1:1"), "nats://127.0.0.1:1", []string{"l3kit.db"}},
		"a bus of another kind":  {invalid, nowhere("--bus=http://127.0.0.1:1"), "neither nats://HOST:PORT nor tls://HOST:PORT", nil},
		"a bus without a scheme": {invalid, nowhere("--bus=192.0.2.10"), `--bus: "192.0.2.10" is neither`, nil},
		"two buses":              {invalid, nowhere("--bus=nats://127.0.0.1:1", "--bus-cluster-name=a"), "--bus names another NATS", nil},
		"half a cluster":         {invalid, nowhere("--bus-cluster-name=a"), "--bus-cluster-listen", nil},
		"half a certificate":     {invalid, nowhere("--bus-tls-cert=short"), "--bus-tls-key", nil},
		"no certificate":         {invalid, nowhere("--bus-tls-cert=short", "--bus-tls-key=short"), "--bus-tls-cert", []string{"l3kit.db"}},
		"short secret":           {invalid, nowhere("--bus-secret-file=short"), "less than 16 bytes", []string{"l3kit.db"}},
		"secret of everybody":    {invalid, nowhere("--bus-secret-file=public"), "chmod 600", []string{"l3kit.db"}},
		"secret in no directory": {failed, nowhere("--bus-secret-file=none/secret"), "none", []string{"l3kit.db"}},
		"secret is a directory":  {invalid, nowhere("--bus-secret-file=."), "is not a file", []string{"l3kit.db"}},
		"credential, bad host":   {invalid, []string{"credential", "h 1"}, `the host name "h 1" has other characters`, nil},
		"accounts, bad host":     {invalid, []string{"accounts", "h1", "*"}, `the host name "*" has other characters`, nil},
		"empty bus":              {invalid, nowhere("--bus="), "--bus: the value is empty: give URL, or leave the flag out", nil},
		"empty database":         {invalid, nowhere("--database="), "--database: the value is empty: give URL", nil},
		"database of no file":    {invalid, nowhere("--database=sqlite:"), `--database: "sqlite:" names no file: give sqlite:FILE`, nil},
		"empty secret file":      {invalid, nowhere("--bus-secret-file="), "--bus-secret-file: the value is empty: give FILE", nil},
		"empty bus directory":    {invalid, nowhere("--bus-dir="), "--bus-dir: the value is empty: give DIR", nil},
		"accounts, no secret":    {invalid, []string{"accounts", "--bus-secret-file=", "h1"}, "--bus-secret-file: the value is empty: give FILE", nil},
		"accounts, empty host":   {invalid, []string{"accounts", ""}, "<host>: the value is empty", nil},
		"one address, two flags": {invalid, nowhere("--listen="+busy, "--metrics="+busy), "--listen " + busy + " and --metrics " + busy + " are the same address", nil},
		"metrics on the bus":     {invalid, []string{"--listen=127.0.0.1:0", "--metrics=:4222"}, "--metrics :4222 and --bus-listen 127.0.0.1:4222 are the same", nil},
		"no URL":                 {invalid, nowhere("--url=network"), `--url: "network" is neither http://HOST:PORT nor https://HOST:PORT`, nil},
		"no URL of Keystone":     {invalid, nowhere("--keystone-url=x"), `--keystone-url: "x" is neither http://`, nil},
		"no public URL":          {invalid, nowhere("--keystone-public=ftp://x"), `--keystone-public: "ftp://x" is neither http://`, nil},
		"stale tokens":           {invalid, nowhere("--keystone-fresh=-1s"), "--keystone-fresh: -1s is not more than 0", nil},
		"explain nowhere":        {invalid, []string{"explain", "r", "--from=10.0.0.1", "--to=10.0.0.2", "--database=sqlite:none.db"}, "--database: stat none.db", nil},
		"negative routes":        {invalid, nowhere("--max-routes=-1"), "--max-routes: -1 is less than 1", nil},
		"no MTU":                 {invalid, nowhere("--physical-mtu=0"), "--physical-mtu: 0 is less than 1", nil},
		"credential, no host":    {invalid, []string{"credential"}, "<host>", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := site{t, t.TempDir()}
			s.file("short", "- token: t", 0o600)
			s.file("public", "0123456789abcdef", 0o644)
			s.file("settings", "listen: 127.0.0.1:0\nquota: {router: many}\n", 0o644)
			cmd, said := s.command(c.args)
			s.refuses(c.says, cmd, said)
			require.Equal(t, c.status, cmd.ProcessState.ExitCode())
			s.left(append(c.made, "short", "public", "settings")...)
		})
	}
}

// left requires that the directory has nothing else.
func (s site) left(names ...string) {
	s.Helper()
	entries, err := os.ReadDir(s.dir)
	require.NoError(s, err)
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	require.Subset(s, names, found)
}

// TestFullDisk: nothing that is kept there is half made, and the next start, with room, goes well.
func TestFullDisk(t *testing.T) {
	needs.Root(t)
	const full = `mount -t tmpfs -o size=16k tmpfs full && head -c 16k /dev/zero >full/zero; exec "$@"`
	for name, c := range map[string]struct{ flag, says string }{
		"database":      {"--database=sqlite:full/l3.db", "full"},
		"bus directory": {"--bus-dir=full/bus", "no space left on device"},
		"secret":        {"--bus-secret-file=full/secret", "no space left on device"},
	} {
		t.Run(name, func(t *testing.T) {
			s := site{t, t.TempDir()}
			require.NoError(t, os.Mkdir(filepath.Join(s.dir, "full"), 0o700))
			cmd, said := s.command(nowhere(c.flag), "unshare", "--mount", "--propagation=private", "sh", "-c", full, "sh")
			s.refuses(c.says, cmd, said)
			cmd, said = s.command(nowhere(c.flag, "--metrics=127.0.0.1:0"))
			require.NoError(t, cmd.Start())
			s.ends(cmd, said)
		})
	}
}

// ends requires that a server which runs, or is about to, ends well when it is told to.
func (s site) ends(cmd *exec.Cmd, said *transcript.Buffer) {
	s.Helper()
	require.Eventually(s, func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "l3kit-bus", "jetstream"))
		_, other := os.Stat(filepath.Join(s.dir, "full", "bus", "jetstream"))
		return err == nil || other == nil
	}, patience, 10*time.Millisecond)
	require.NoError(s, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(s, cmd.Wait(), "%s", said)
	require.Empty(s, said.String())
}

// TestSecondServerInOneDirectory: the bus of the first is not spoilt.
func TestSecondServerInOneDirectory(t *testing.T) {
	s := site{t, t.TempDir()}
	first, saidFirst := s.command(nowhere())
	require.NoError(t, first.Start())
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "l3kit-bus", "jetstream"))
		return err == nil
	}, patience, 10*time.Millisecond)
	second, said := s.command(nowhere())
	s.refuses("is another server's", second, said)
	s.ends(first, saidFirst)
}

// TestCredentialBeforeTheServer: the password is the same whichever of the two is started first.
func TestCredentialBeforeTheServer(t *testing.T) {
	s := site{t, t.TempDir()}
	var printed []string
	for i := range 2 {
		cmd, said := s.command([]string{"credential", "h1"})
		text, err := cmd.Output()
		require.NoError(t, err, "%s", said)
		printed = append(printed, string(text))
		created := "there was no secret, so " + filepath.Join(s.dir, "l3kit-bus.secret") + " was created"
		require.Equal(t, i == 0, strings.Contains(said.String(), created), "%s", said)
	}
	require.Equal(t, printed[0], printed[1])
	secret, err := os.ReadFile(filepath.Join(s.dir, "l3kit-bus.secret"))
	require.NoError(t, err)
	require.Equal(t, natsbus.Credential(bytes.TrimSpace(secret), "h1")+"\n", printed[0])
	s.left("l3kit-bus.secret")
}

func TestCommandsPrint(t *testing.T) {
	s := site{t, t.TempDir()}
	const secret = "0123456789abcdef0123456789abcdef"
	s.file("l3kit-bus.secret", secret+"\n", 0o600)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"credential", "h1"}, natsbus.Credential([]byte(secret), "h1") + "\n"},
		{[]string{"accounts", "h1"}, `{service: {account: "L3KIT", subject: "reports.h1"}, to: "report"}`},
		{[]string{"--version"}, "github.com/l3kit/l3kit"},
		{[]string{"--help"}, "openstack"},
		{[]string{"--help"}, "--agent-down-time"},
		{[]string{"--help"}, "Exit status: 0 success, 1 failure, 77 not permitted, 80 invalid flag or setting."},
		{[]string{"--help"}, "--distributed"},
		{[]string{"--help"}, "explain "},
		{[]string{"run", "--help"}, "--agent-down-time"},
		{[]string{"credential", "--version"}, "server github.com/l3kit/l3kit"},
	} {
		cmd, said := s.command(c.args)
		text, err := cmd.Output()
		require.NoError(t, err, "%s", said)
		require.Contains(t, string(text), c.want)
	}
}
