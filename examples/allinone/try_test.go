package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/needs"
)

// place is where commands are run: a checkout, whose changes go with it, in network, mount and process
// namespaces of its own.
const place = `
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mkdir /run/upper /run/work
mount -t overlay overlay -o lowerdir=%[1]q,upperdir=/run/upper,workdir=/run/work %[1]q
cd %[1]q
rm -rf bin
ip link set lo up
state() { ip -o -br link; ip netns list; find . /var/lib -path ./.git -prune -o -path ./build -prune -o -path ./bin -prune -o -print | sort; }
state >/run/before
`

// same compares what there is with what there was.
const same = `
state >/run/after
diff /run/before /run/after
`

// run runs a script in that place, and shows and returns what it prints. All of its processes end with
// it.
func run(t *testing.T, script string) string {
	t.Helper()
	needs.Root(t)
	for program, from := range map[string]string{
		"sudo": "sudo", "openstack": "python3-openstackclient", "ip": "iproute2", "ping": "iputils-ping", "unshare": "util-linux",
	} {
		needs.Program(t, program, from)
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"bash", "-c", fmt.Sprintf(place, root)+script)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "L3KIT_") && !strings.HasPrefix(e, "OS_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	output := filepath.Join(t.TempDir(), "output") // a pipe would wait for what runs in the background
	file, err := os.Create(output)
	require.NoError(t, err)
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	err = cmd.Run()
	said, readErr := os.ReadFile(output)
	require.NoError(t, readErr)
	t.Logf("%s", said)
	require.NoError(t, err)
	return string(said)
}

// blocks are the commands of a text: those that stand in blocks behind a mark.
func blocks(t *testing.T, mark string) []string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	var found []string
	for _, m := range regexp.MustCompile("(?s)<!-- "+regexp.QuoteMeta(mark)+" -->\n```sh\n(.*?)```\n").FindAllStringSubmatch(string(readme), -1) {
		found = append(found, m[1])
	}
	require.NotEmpty(t, found)
	return found
}

// TestReadme runs the commands of README's first packet as they are printed, to a packet and back to
// nothing.
func TestReadme(t *testing.T) {
	var script strings.Builder
	for _, b := range blocks(t, "try") {
		for line := range strings.Lines(b) {
			fmt.Fprintf(&script, "echo %s\n%s", quoted("$ "+strings.TrimSpace(line)), line)
		}
	}
	said := run(t, script.String()+same)
	require.Equal(t, 2, strings.Count(said, " 0% packet loss"), "inside and outside")
	require.Regexp(t, `attached port [0-9a-f-]{36} as eth0: 10\.0\.1\.\d+/24, default via 10\.0\.1\.1, MAC fa:16:3e:`, said)
	require.Regexp(t, `203\.0\.113\.50 +10\.0\.1\.\d+ +[1-9]`, said, "inspect counts the packets of the floating IP")
	for _, want := range []string{"detached port ", "removed router ", "removed /var/lib/l3kit/agent"} {
		require.Contains(t, said, want)
	}
}

// TestHelp runs the first tries of the binaries' help as they are printed.
func TestHelp(t *testing.T) {
	for binary, want := range map[string]string{"allinone": " 0% packet loss", "server": " | :-)   | UP    |", "agent": " | :-)   | UP    |"} {
		t.Run(binary, func(t *testing.T) {
			own := exec.CommandContext(t.Context(), "go", "run", ".", "--help")
			own.Dir = "../" + binary
			help, err := own.Output()
			require.NoError(t, err)
			_, tail, found := strings.Cut(string(help), "A first try")
			require.True(t, found)
			_, commands, _ := strings.Cut(tail, ":\n\n")
			commands, _, _ = strings.Cut(commands, "\n\n")
			said := run(t, "go build -o bin/ ./examples/allinone ./examples/server ./examples/agent\n"+commands+"\n")
			require.Contains(t, said, want)
		})
	}
}

// TestReadmeOnSeveralHosts runs the blocks for a server and for a host, each in a network namespace of
// its own with the address that the text says.
func TestReadmeOnSeveralHosts(t *testing.T) {
	server, node := blocks(t, "several: server"), blocks(t, "several: node1")
	said := run(t, `
ip netns add node1
ip link add lan type veth peer name lan netns node1
ip address add 192.0.2.10/24 dev lan
ip link set lan up
ip -n node1 address add 192.0.2.11/24 dev lan
ip -n node1 link set lan up
ip -n node1 link add eth1 type veth peer name far
`+strings.Join(server, "")+`
ip netns exec node1 bash -euc `+quoted(strings.Join(node, "")+"\nsleep infinity")+` &
export OS_AUTH_TYPE=none OS_ENDPOINT=http://127.0.0.1:9696
until openstack network agent list | grep node1; do sleep 1; done
`)
	require.Regexp(t, `node1 .* :-\) `, said)
}

// quoted is a text as one word of the shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
