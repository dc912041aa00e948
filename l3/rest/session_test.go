package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
)

// session is a person at the openstack client, with an agent on one host that reports whatever it
// is given as done.
type session struct {
	*testing.T
	commands   *json.Encoder // one command line's words
	results    *json.Decoder
	transcript *strings.Builder
}

// The client is Debian's, and so is the Python that it is written in.
const python = "/usr/bin/python3"

// driver runs command lines as the script openstack does, each by itself, but without starting
// Python and reading the client's thousands of modules for each: that takes seconds.
const driver = `
import contextlib, io, json, sys
from openstackclient import shell
for line in sys.stdin:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = shell.main(json.loads(line))
        except SystemExit as e:
            code = e.code
    print(json.dumps({"code": code or 0, "out": out.getvalue()}), flush=True)
`

// newSession starts the client with an environment. It goes on in the transcript of the test's name
// where L3KIT_TRANSCRIPTS is a directory.
func newSession(t *testing.T, environment ...string) *session {
	ctx, cancel := context.WithCancel(context.Background())
	client := exec.CommandContext(ctx, python, "-c", driver)
	client.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir(), "LANG=C.UTF-8", "COLUMNS=160", "PYTHONWARNINGS=ignore"}, environment...)
	in, err := client.StdinPipe()
	require.NoError(t, err)
	out, err := client.StdoutPipe()
	require.NoError(t, err)
	var complaints bytes.Buffer
	client.Stderr = &complaints
	require.NoError(t, client.Start())
	s := &session{T: t, commands: json.NewEncoder(in), results: json.NewDecoder(out), transcript: new(strings.Builder)}
	t.Cleanup(func() {
		in.Close()
		io.Copy(io.Discard, out)
		require.NoError(t, client.Wait(), complaints.String())
		cancel()
		if dir := os.Getenv("L3KIT_TRANSCRIPTS"); dir != "" {
			require.NoError(t, os.WriteFile(dir+"/"+t.Name()+".txt", []byte(s.transcript.String()), 0o644))
		}
	})
	for _, setting := range environment {
		fmt.Fprintf(s.transcript, "$ export %s\n", setting)
	}
	return s
}

// needClient skips a test where the client is not installed, or fails it where it must be.
func needClient(t *testing.T) {
	t.Helper()
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("-short: other programs are not started")
	}
	if err := exec.Command(python, "-c", "import openstackclient").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the package python3-openstackclient is missing")
		}
		t.Skip("the package python3-openstackclient is missing")
	}
}

// try runs a command line, whose words are between blanks or within quotes, and returns what it
// printed and its exit status.
func (s *session) try(format string, args ...any) (string, int) {
	s.Helper()
	line := fmt.Sprintf(format, args...)
	require.NoError(s, s.commands.Encode(words(line)))
	var result struct {
		Code int
		Out  string
	}
	require.NoError(s, s.results.Decode(&result))
	fmt.Fprintf(s.transcript, "$ openstack %s\n%s\n", line, strings.TrimRight(result.Out, "\n"))
	return result.Out, result.Code
}

func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}

// run runs a command line that must succeed.
func (s *session) run(format string, args ...any) string {
	s.Helper()
	out, code := s.try(format, args...)
	require.Zero(s, code, "openstack %s\n%s", fmt.Sprintf(format, args...), out)
	return out
}

// fails runs a command line that must fail, and say why.
func (s *session) fails(why, format string, args ...any) {
	s.Helper()
	out, code := s.try(format, args...)
	require.NotZero(s, code, out)
	require.Contains(s, out, why)
}

// value is one field of what a command shows.
func (s *session) value(field, format string, args ...any) string {
	s.Helper()
	return strings.TrimSpace(s.run(format+" -f value -c '"+field+"'", args...))
}

// TestOpenStackClientBuildsAndRemovesThreeTiers needs no Keystone: with the auth type none the
// client asks the endpoint that it is told, and says nothing about who it is, so None.Default does.
func TestOpenStackClientBuildsAndRemovesThreeTiers(t *testing.T) {
	needClient(t)
	store := l3test.Open(t, l3test.SQLiteURL(t))
	svc, err := service.New(service.Config{Store: store})
	require.NoError(t, err)
	boss := l3.Caller{Project: projectID, User: "operator", Admin: true}
	server := httptest.NewServer(holdToOpenAPI(t, rest.New(rest.Config{Service: svc, Auth: rest.None{Default: boss}, Logger: logger(t)})))
	t.Cleanup(server.Close)
	beat(t, svc, "host-1")
	s := newSession(t, "OS_AUTH_TYPE=none", "OS_ENDPOINT="+server.URL)

	s.run("network agent list")
	id := s.value("ID", "network agent list --host host-1")
	s.run("network agent show %s", id)
	s.run("extension list --network")
	s.run("availability zone list --network")

	s.run("network create --external --provider-network-type flat --provider-physical-network physnet1 public")
	s.run("subnet create --network public --subnet-range 203.0.113.0/24 --gateway 203.0.113.1 --allocation-pool start=203.0.113.10,end=203.0.113.99 --no-dhcp public4")
	for i, tier := range []string{"web", "app", "db"} {
		s.run("network create --description 'the %s tier' %s", tier, tier)
		s.run("subnet create --network %s --subnet-range 10.0.%d.0/24 --dns-nameserver 9.9.9.9 %s4", tier, i, tier)
	}
	s.run("subnet set --name web-v4 --description 'of the web servers' web4")
	require.Equal(t, "10.0.0.1", s.value("gateway_ip", "subnet show web-v4"))

	s.run("router create --description 'three tiers' core")
	s.run("router set --external-gateway public core")
	require.Contains(t, s.value("external_gateway_info", "router show core"), "203.0.113.10")
	for _, subnet := range []string{"web-v4", "app4", "db4"} {
		s.run("router add subnet core %s", subnet)
	}
	require.Equal(t, "BUILD", s.value("status", "router show core"), "nothing has realised it yet")
	settle(t, svc, "host-1")
	require.Equal(t, "ACTIVE", s.value("status", "router show core"))
	s.run("port list --router core")
	s.run("network agent list --router core")
	s.run("router list --agent %s", id)
	s.fails("Conflict", "router delete core")

	for i, tier := range []string{"web", "app", "db"} {
		s.run("port create --network %s --fixed-ip ip-address=10.0.%d.10 --disable-port-security --no-security-group %s1", tier, i, tier)
	}
	s.run("port create --network web --allowed-address ip-address=10.0.0.99 --host compute-1 --vnic-type normal web2")
	s.run("port set --name web2-renamed web2")
	require.Contains(t, s.run("port list --fixed-ip ip-substring=10.0.1."), "app1")

	// A floating IP: taken, bound, moved, unbound.
	address := s.value("floating_ip_address", "floating ip create public --description 'the way in'")
	s.run("floating ip list")
	s.run("floating ip set --port web1 %s", address)
	settle(t, svc, "host-1")
	require.Equal(t, "ACTIVE", s.value("status", "floating ip show %s", address))
	require.Equal(t, "10.0.0.10", s.value("fixed_ip_address", "floating ip show %s", address))
	s.run("floating ip set --port app1 %s", address)
	require.Equal(t, "10.0.1.10", s.value("fixed_ip_address", "floating ip show %s", address))
	s.fails("Conflict", "router unset --external-gateway core")
	s.fails("Conflict", "router remove subnet core app4")
	s.run("floating ip unset --port %s", address)
	require.Equal(t, "None", s.value("port_id", "floating ip show %s", address))
	s.run("floating ip create public --port db1")

	// Extra routes.
	s.run("router add route --route destination=10.8.0.0/16,gateway=10.0.1.9 --route destination=10.9.0.0/16,gateway=10.0.1.9 core")
	require.Contains(t, s.value("routes", "router show core"), "10.9.0.0/16")
	s.run("router remove route --route destination=10.8.0.0/16,gateway=10.0.1.9 core")
	s.run("router set --route destination=10.7.0.0/16,gateway=10.0.2.9 core")
	s.fails("BadRequest", "router add route --route destination=10.6.0.0/16,gateway=192.0.2.9 core")
	s.fails("Conflict", "router remove subnet core db4")
	s.run("router set --no-route core")
	require.Equal(t, "[]", s.value("routes", "router show core"))

	s.run("router set --disable-snat --external-gateway public core")
	s.run("router set --disable core")
	s.run("router set --enable --name spine core")

	// Tags.
	s.run("router set --tag tier=core --tag blue spine")
	s.run("network set --tag blue web")
	require.Contains(t, s.run("router list --tags blue"), "spine")
	require.Contains(t, s.run("network list --any-tags blue,red"), "web")
	require.NotContains(t, s.run("network list --not-tags blue"), "web")
	s.run("router unset --tag blue spine")
	require.Equal(t, "['tier=core']", s.value("tags", "router show spine"))

	// Lists.
	s.run("network list --external --long")
	s.run("subnet list --ip-version 4 --network web --long")
	s.run("router list --long")
	s.run("port list --device-owner network:router_interface --long")
	s.run("floating ip list --network public --status DOWN --long")
	s.run("ip availability list")
	s.run("ip availability show web")

	// Security groups are kept.
	s.run("security group create web")
	s.run("security group rule create --ingress --protocol tcp --dst-port 443 --remote-ip 0.0.0.0/0 web")
	s.run("security group rule list web")
	s.run("security group set --description 'of the web' web")
	s.run("port set --security-group web web2-renamed")
	s.run("port unset --security-group web web2-renamed")
	s.run("security group delete web")

	// Sharing.
	s.run("network rbac create --type network --action access_as_shared --target-all-projects app")
	rbac := s.value("ID", "network rbac list --type network --action access_as_shared")
	s.run("network rbac show %s", rbac)
	s.run("network rbac delete %s", rbac)

	// The router moves away from its agent, and back.
	s.run("network agent remove router --l3 %s spine", id)
	require.Empty(t, s.value("ID", "network agent list --router spine"))
	s.run("network agent add router --l3 %s spine", id)
	s.run("network agent set --disable --description 'to be mended' %s", id)
	s.run("network agent set --enable %s", id)

	// Everything goes, in order.
	for fip := range strings.FieldsSeq(s.value("ID", "floating ip list")) {
		s.run("floating ip delete %s", fip)
	}
	s.run("router unset --external-gateway spine")
	for _, subnet := range []string{"web-v4", "app4", "db4"} {
		s.run("router remove subnet spine %s", subnet)
	}
	s.run("router delete spine")
	s.run("port delete web1 app1 db1 web2-renamed")
	s.run("subnet delete web-v4 app4 db4 public4")
	s.run("network delete web app db public")
	for _, many := range []string{"router", "port", "subnet", "network", "floating ip"} {
		require.Empty(t, s.value("ID", "%s list", many))
	}
	require.NoError(t, l3test.Audit(t.Context(), store))
}

// TestOpenStackClientOnDistributedRouters has an operator make one, look where it is, and convert
// it.
func TestOpenStackClientOnDistributedRouters(t *testing.T) {
	needClient(t)
	store := l3test.Open(t, l3test.SQLiteURL(t))
	svc, err := service.New(service.Config{Store: store, Distributed: true})
	require.NoError(t, err)
	boss := l3.Caller{Project: projectID, User: "operator", Admin: true}
	server := httptest.NewServer(holdToOpenAPI(t, rest.New(rest.Config{Service: svc, Auth: rest.None{Default: boss}, Logger: logger(t)})))
	t.Cleanup(server.Close)
	beatAs(t, svc, "node", agent.ModeDVRSNAT, "physnet1")
	beatAs(t, svc, "compute-1", agent.ModeDVR, "physnet1")
	s := newSession(t, "OS_AUTH_TYPE=none", "OS_ENDPOINT="+server.URL)

	require.Contains(t, s.run("extension show dvr"), "Distributed Virtual Router")
	s.run("network create --external --provider-network-type flat --provider-physical-network physnet1 public")
	s.run("subnet create --network public --subnet-range 203.0.113.0/24 --no-dhcp public4")
	s.run("network create web")
	s.run("subnet create --network web --subnet-range 10.0.0.0/24 web4")

	require.Equal(t, "False", s.value("distributed", "router create --centralized central"))
	require.Equal(t, "True", s.value("distributed", "router create --distributed core"))
	require.Equal(t, "True", s.value("distributed", "router create unsaid"), "as the server's default is")
	s.run("router set --external-gateway public core")
	s.run("router add subnet core web4")
	s.run("port create --network web --host compute-1 --device-owner compute:nova --device vm web1")
	require.NotEmpty(t, s.value("ID", "port list --router core --device-owner network:router_interface_distributed"))
	require.Contains(t, s.run("router show core"), "interfaces_info")
	require.Equal(t, "BUILD", s.value("status", "router show core"))
	settle(t, svc, "node")
	require.Equal(t, "BUILD", s.value("status", "router show core"), "a host has not applied it yet")
	settle(t, svc, "compute-1")
	require.Equal(t, "ACTIVE", s.value("status", "router show core"))

	require.ElementsMatch(t, []string{"node", "compute-1"}, strings.Fields(s.value("Host", "network agent list --router core")))
	compute := s.value("ID", "network agent list --host compute-1")
	require.Contains(t, s.run("network agent show %s", compute), "'agent_mode': 'dvr'")
	require.Equal(t, "core", s.value("Name", "router list --agent %s", compute))
	require.Contains(t, s.run("router list --long"), "| True ")

	s.fails("Cannot change the 'distributed' attribute of active router", "router set --centralized core")
	s.fails("Cannot change the 'distributed' attribute of active router", "router set --disable --centralized core")
	s.run("router set --disable core")
	s.run("router set --centralized core")
	s.run("router set --enable core")
	require.Equal(t, "False", s.value("distributed", "router show core"))
	require.Equal(t, "node", s.value("Host", "network agent list --router core"))
	require.NotEmpty(t, s.value("ID", "port list --router core --device-owner network:router_interface"))
	s.run("router set --disable core")
	s.run("router set --distributed core")
	s.run("router set --enable core")
	require.ElementsMatch(t, []string{"node", "compute-1"}, strings.Fields(s.value("Host", "network agent list --router core")))
	require.NoError(t, l3test.Audit(t.Context(), store))

	s.run("port delete web1")
	require.Equal(t, "node", s.value("Host", "network agent list --router core"), "the edge goes with the last workload")
	s.run("router unset --external-gateway core")
	s.run("router remove subnet core web4")
	s.run("router delete core central unsaid")
	require.NoError(t, l3test.Audit(t.Context(), store))
}

// beatAs has an agent say that it is alive, in which mode, and which physical networks it reaches.
func beatAs(t *testing.T, svc *service.Service, host, mode string, physical ...string) {
	t.Helper()
	_, err := svc.Heartbeat(t.Context(), agent.Heartbeat{Host: host, Binary: "l3kit-agent",
		Capabilities: agent.Capabilities{Mode: mode, PhysicalNetworks: append([]string{}, physical...)}})
	require.NoError(t, err)
}

// beat has an agent say that it is alive.
func beat(t *testing.T, svc *service.Service, host string) {
	_, err := svc.Heartbeat(t.Context(), agent.Heartbeat{Host: host, Binary: "l3kit-agent"})
	require.NoError(t, err)
}

// settle has a host report that it has applied everything.
func settle(t *testing.T, svc *service.Service, host string) {
	t.Helper()
	all, err := svc.DesiredOn(t.Context(), host)
	require.NoError(t, err)
	for _, a := range all {
		require.NoError(t, svc.Report(t.Context(), agent.Report{Host: host, RouterID: a.Router.ID, Epoch: a.Epoch, Revision: a.Revision}))
	}
}

// TestOpenStackClientWithKeystone is what needs a Keystone: the client looks projects up there
// before it asks for their quotas.
func TestOpenStackClientWithKeystone(t *testing.T) {
	needClient(t)
	k := newIdentity(t)
	svc, err := service.New(service.Config{Store: l3test.Open(t, l3test.SQLiteURL(t))})
	require.NoError(t, err)
	auth, err := rest.NewKeystone(rest.KeystoneConfig{
		Service: gophercloud.AuthOptions{IdentityEndpoint: k.URL + "/v3", Username: "neutron", Password: "x", DomainID: "default"}})
	require.NoError(t, err)
	server := httptest.NewServer(holdToOpenAPI(t, rest.New(rest.Config{Service: svc, Auth: auth, Logger: logger(t)})))
	t.Cleanup(server.Close)
	k.set(func() { k.network = server.URL })
	s := newSession(t, "OS_AUTH_URL="+k.URL+"/v3", "OS_USERNAME=boss", "OS_PASSWORD=x", "OS_PROJECT_NAME=tenants", "OS_USER_DOMAIN_ID=default",
		"OS_PROJECT_DOMAIN_ID=default", "OS_IDENTITY_API_VERSION=3")

	s.run("quota show tenants")
	s.run("quota set --routers 1 --networks -1 tenants")
	require.Equal(t, "1", s.value("routers", "quota show tenants"))
	s.run("quota list --network --detail --project tenants")
	s.run("router create one")
	s.fails("Quota exceeded", "router create two")
	s.fails("greater than or equal to already used 1", "quota set --routers 0 --check-limit tenants")
	s.run("quota set --routers 2 --check-limit tenants")
	s.run("router create two")
	s.run("router delete one two")
}
