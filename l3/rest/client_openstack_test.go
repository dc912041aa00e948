package rest_test

import (
	"bytes"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/internal/test/needs"
	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/rest"
)

// openstack has the openstack client of the member run commands, and returns what it prints. One process runs
// them all, as it takes a second to start.
func (c *cloud) openstack(commands ...string) string {
	c.Helper()
	needs.Program(c.T, "openstack", "python3-openstackclient")
	who := l3.Caller{Project: "p1", Roles: []string{l3.RoleMember}}
	server := httptest.NewServer(holdToOpenAPI(c.T, rest.New(rest.Config{Service: c.service, Auth: rest.None{Default: who}, Logger: logger(c.T)})))
	defer server.Close()
	cmd := exec.CommandContext(c.Context(), "openstack")
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "OS_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "OS_AUTH_TYPE=none", "OS_ENDPOINT="+server.URL)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(c, cmd.Run(), &out)
	c.Log(out.String())
	return out.String()
}

// TestPortForwardingByOpenstack: the commands of the openstack client, by names and addresses.
func TestPortForwardingByOpenstack(t *testing.T) {
	onClouds(t, func(c *cloud) {
		at := c.tiers()
		f := c.floatingIP(at.public.ID, "")
		said := c.openstack(
			"floating ip port forwarding create --internal-ip-address 10.0.0.10 --port "+at.port.ID+
				" --internal-protocol-port 8080 --external-protocol-port 80 --protocol tcp --description web "+f.FloatingIP+" -f shell",
			"floating ip port forwarding create --internal-ip-address 10.0.0.10 --port "+at.port.ID+
				" --internal-protocol-port 53 --external-protocol-port 53 --protocol udp "+f.FloatingIP+" -f shell",
			"floating ip port forwarding list "+f.FloatingIP+" --external-protocol-port 80 --sort-column Description -f csv",
			"floating ip port forwarding create --internal-ip-address 10.0.0.10 --port "+at.port.ID+
				" --internal-protocol-port 1 --external-protocol-port 80 --protocol tcp "+f.FloatingIP,
			"floating ip delete "+f.FloatingIP,
			"floating ip show "+f.FloatingIP+" -f json",
		)
		for _, want := range []string{
			`external_port="80"`, `internal_port="8080"`, `internal_ip_address="10.0.0.10"`, `protocol="tcp"`, `description="web"`,
			`protocol="udp"`,
			"The following ranges collides: 80:80 and 80:80", "in use by Port Forwarding resources.", `"status": "DOWN"`,
		} {
			require.Contains(c, said, want)
		}
		id := func(external string) string {
			_, answer := c.raw(c.admin, "GET", "floatingips/"+f.ID+"/port_forwardings?external_port_range="+external, "")
			require.Contains(c, answer, `"id":"`)
			return answer[strings.Index(answer, `"id":"`)+6:][:36]
		}
		web, dns := id("80"), id("53")
		said = c.openstack(
			"floating ip port forwarding set --external-protocol-port 81 --description other "+f.ID+" "+web,
			"floating ip port forwarding show "+f.ID+" "+web+" -f shell",
			"floating ip port forwarding delete "+f.ID+" "+web+" "+dns,
			"floating ip port forwarding list "+f.ID+" -f json",
			"floating ip delete "+f.ID,
			"floating ip list -f json",
		)
		for _, want := range []string{`external_port="81"`, `internal_port="8080"`, `description="other"`} {
			require.Contains(c, said, want)
		}
		require.Equal(c, 2, strings.Count(said, "[]"), "neither forwardings nor floating IPs are left")
	})
}
