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

	"github.com/l3kit/l3kit/internal/test/needs"
)

// place is where commands are run: a checkout, whose changes go with it, in network, mount and
// process namespaces of its own.
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

// run runs a script in that place, and shows and returns what it prints. All of its processes end
// with it.
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
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // the client takes seconds for each command on a busy machine
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

// blocks are the commands of README: those that stand in blocks behind a mark.
func blocks(t *testing.T, mark string) []string {
	t.Helper()
	return blocksOf(t, "README.md", mark)
}

func blocksOf(t *testing.T, file, mark string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", file))
	require.NoError(t, err)
	var found []string
	for _, m := range regexp.MustCompile("(?s)<!-- "+regexp.QuoteMeta(mark)+" -->\n```sh\n(.*?)```\n").FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	require.NotEmpty(t, found)
	return found
}

// TestReadme runs the commands of README's first packet as they are printed, to a packet and back
// to nothing.
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

// binaries builds all three, in this checkout, whose build cache is warm.
func binaries(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/", "../allinone", "../server", "../agent")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}

// firstTry is the commands that the help of a binary prints.
func firstTry(t *testing.T, binary string) string {
	t.Helper()
	help, err := exec.CommandContext(t.Context(), binary, "--help").Output()
	require.NoError(t, err)
	_, tail, found := strings.Cut(string(help), "A first try")
	require.True(t, found)
	_, commands, _ := strings.Cut(tail, ":\n\n")
	commands, _, _ = strings.Cut(commands, "\n\n")
	return commands + "\n"
}

// TestHelp runs the first tries of the binaries' help as they are printed.
func TestHelp(t *testing.T) {
	dir := binaries(t)
	require.Equal(t, firstTry(t, dir+"/server"), firstTry(t, dir+"/agent"))
	for binary, want := range map[string]string{"allinone": " 0% packet loss", "server": " | :-)   | UP    |"} {
		t.Run(binary, func(t *testing.T) {
			require.Contains(t, run(t, "cp -r "+dir+" bin\n"+firstTry(t, dir+"/"+binary)), want)
		})
	}
}

// switches starts Open vSwitch, whose files are in /run.
const switches = `
mkdir /run/openvswitch
quiet="-vconsole:off -vsyslog:off -vfile:off"
ovsdb-tool create /run/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /run/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --detach --pidfile $quiet
ovs-vsctl --no-wait init
ovs-vswitchd unix:/run/openvswitch/db.sock --detach --pidfile $quiet
`

// resources makes what README's first packet has the openstack client make, which takes seconds for
// each.
const resources = `
python3 - <<'END'
import json, time, urllib.error, urllib.request

def send(method, path, body):
    data = body and json.dumps(body).encode()
    request = urllib.request.Request("http://127.0.0.1:9696/v2.0/" + path, data, {"Content-Type": "application/json"}, method=method)
    return json.load(urllib.request.urlopen(request))

def make(kind, **body):
    return send("POST", kind + "s", {kind: body})[kind]["id"]

while True:
    try:
        send("GET", "networks", None)
        break
    except urllib.error.URLError:
        time.sleep(0.1)
public = make("network", name="public", **{"router:external": True, "provider:network_type": "flat", "provider:physical_network": "public"})
make("subnet", network_id=public, ip_version=4, cidr="203.0.113.0/24", gateway_ip="203.0.113.1", enable_dhcp=False)
blue = make("network", name="blue")
subnet = make("subnet", network_id=blue, ip_version=4, cidr="10.0.1.0/24")
router = make("router", name="blue", external_gateway_info={"network_id": public})
send("PUT", "routers/" + router + "/add_router_interface", {"subnet_id": subnet})
make("port", network_id=blue, name="vm1")
while send("GET", "routers/" + router, None)["router"]["status"] != "ACTIVE":
    time.sleep(0.1)
END
`

// TestReadmeOnOpenVSwitch starts the service as README says for Open vSwitch, in user space, and
// ends with what the first packet ends with.
func TestReadmeOnOpenVSwitch(t *testing.T) {
	needs.Program(t, "ovs-vswitchd", "openvswitch-switch")
	needs.Program(t, "python3", "python3")
	first, ovs := blocks(t, "try"), blocks(t, "ovs")
	const build = "go build -o bin/ ./examples/allinone\n"
	require.Contains(t, first[0], build)
	replace := strings.NewReplacer(build, "cp -r "+binaries(t)+" bin\n",
		"add-br br-ex", "add-br br-ex -- set bridge br-ex datapath_type=netdev", "--wiring ovs", "--wiring ovs --ovs-datapath netdev")
	started := replace.Replace(first[0] + ovs[0])
	require.Equal(t, 2, strings.Count(started, "netdev"))
	attached, cleaned := first[len(first)-3], first[len(first)-1]
	require.Contains(t, attached, " attach vm1 ")
	said := run(t, switches+started+resources+attached+ovs[1]+cleaned+strings.Join(blocks(t, "ovs clean"), "")+`
[ -z "$(ovs-vsctl list-br)" ]
ovs-appctl -t ovs-vswitchd exit
ovs-appctl -t ovsdb-server exit
`+same)
	require.Contains(t, said, " 0% packet loss")
	require.Regexp(t, `(?s)Bridge br-int\n.*Port tap[0-9a-f-]{11}\n +tag: \d`, said)
	require.Contains(t, said, "options: {peer=phy-br-ex}")
}

// TestReadmeOnSeveralHosts runs the blocks for a server and for a host, each in a network namespace
// of its own with the address that the text says.
func TestReadmeOnSeveralHosts(t *testing.T) {
	server, node := blocks(t, "several: server"), blocks(t, "several: node1")
	build := "go build -o bin/ ./examples/server ./examples/agent\n"
	require.Contains(t, server[0], build)
	server[0] = strings.Replace(server[0], build, "cp -r "+binaries(t)+" bin\n", 1) // the same
	said := run(t, twoHosts+strings.Join(server, "")+`
ip netns exec node1 bash -euc `+quoted(strings.Join(node, "")+"\nsleep infinity")+` &
export OS_AUTH_TYPE=none OS_ENDPOINT=http://127.0.0.1:9696
until openstack network agent list | grep node1; do sleep 1; done
`)
	require.Regexp(t, `node1 .* :-\) `, said)
}

// twoHosts is this machine, the server of the texts, and the first host, a network namespace.
const twoHosts = `
ip netns add node1
ip link add lan type veth peer name lan netns node1
ip address add 192.0.2.10/24 dev lan
ip link set lan up
ip -n node1 link set lo up
ip -n node1 address add 192.0.2.11/24 dev lan
ip -n node1 link set lan up
ip -n node1 link add eth1 type veth peer name far
`

// TestInstall runs the blocks with which OPERATIONS.md installs the services, and then what the
// units start, with the files that were written.
func TestInstall(t *testing.T) {
	needs.Program(t, "systemctl", "systemd")
	step := func(mark string) string {
		// No systemd runs that could start a service. Nothing of that would get through sudo.
		return strings.ReplaceAll(blocksOf(t, "OPERATIONS.md", "install: "+mark)[0], "sudo ", "")
	}
	build := "go build -o bin/ ./examples/server ./examples/agent\n"
	require.Contains(t, step("server"), build)
	install := strings.Replace(step("server"), build, "cp -r "+binaries(t)+" bin\n", 1)
	said := run(t, twoHosts+`
systemctl() { [ "$1 $2" = "enable --now" ] && SYSTEMD_OFFLINE=1 command systemctl enable "$3"; }
for dir in /etc /usr/local; do
	mkdir -p /run/over$dir/upper /run/over$dir/work
	mount -t overlay overlay -o "lowerdir=$dir,upperdir=/run/over$dir/upper,workdir=/run/over$dir/work" $dir
done
mkdir -p /var/lib/l3kit/server
start() { sed -n 's/^ExecStart=//p' "/etc/systemd/system/multi-user.target.wants/$1.service"; }
`+install+`
(cd /var/lib/l3kit/server && exec $(start l3kit-server)) &
until [ -s /var/lib/l3kit/server/l3kit-bus.secret ]; do sleep 0.1; done
`+strings.ReplaceAll(step("password"), "l3kit-server", "/usr/local/bin/l3kit-server")+`
mkdir /run/node1
cp bin/agent examples/agent/l3kit-agent.service node1.password /run/node1
cd /run/node1
`+step("node1")+`
ip netns exec node1 $(start l3kit-agent) &
ready() { bash -c 'exec 3<>/dev/tcp/127.0.0.1/9698 && printf "GET /readyz HTTP/1.0\r\n\r\n" >&3 && cat <&3'; }
export -f ready
until ip netns exec node1 bash -c ready 2>/dev/null | grep -o '200 OK'; do sleep 0.1; done
systemd-analyze verify --recursive-errors=no /etc/systemd/system/l3kit-*.service
echo verified
`)
	require.Contains(t, said, "200 OK")
	require.Contains(t, said, "verified")
}

// quoted is a text as one word of the shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// TestStart: a start is quiet, an address in the log is one at which something listens, and a
// second process on the host, or one with flags that are wrong, is refused before it writes
// anything.
func TestStart(t *testing.T) {
	said := run(t, "cp -r "+binaries(t)+" bin\n"+`
bin/allinone 2>/run/log &
until grep -q 'connected to the message queue' /run/log; do sleep 0.1; done
export OS_AUTH_TYPE=none OS_ENDPOINT=http://127.0.0.1:9696
openstack router create r1 >/dev/null
mkdir /run/elsewhere
binary=$PWD/bin/allinone
cd /run/elsewhere
"$binary" --listen 127.0.0.1:9697 --cache /run/elsewhere/cache && exit 1
echo "status $?, left: $(ls -A)"
"$binary" --listen :9696 --force-listen --cache /run/elsewhere/cache && exit 1
echo "status $?, left: $(ls -A)"
for wrong in --heartbeat=26s --metrics=127.0.0.1:9696; do
	"$binary" $wrong && exit 1
	echo "status $?, left: $(ls -A)"
done
for address in $(grep -oE '[0-9.]+:[0-9]+' /run/log | grep '^127'); do
	(exec 3<>"/dev/tcp/${address%:*}/${address#*:}") && echo "listens: $address"
done
grep -E 'level=(WARN|ERROR)' /run/log && exit 1
echo quiet
`)
	require.Equal(t, 2, strings.Count(said, "status 1, left: \n"))
	require.Equal(t, 2, strings.Count(said, "status 80, left: \n"))
	require.Contains(t, said, "--heartbeat: 26s is more than 25s, a third of --agent-down-time")
	require.Contains(t, said, "--listen 127.0.0.1:9696 and --metrics 127.0.0.1:9696 are the same address")
	require.Contains(t, said, "another agent runs on this host, process ")
	require.Contains(t, said, "listens: 127.0.0.1:9696")
	require.NotContains(t, said, "4222")
	require.Contains(t, said, "quiet")
}
