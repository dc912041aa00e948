package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsbinding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/internal/test/deployment"
	"github.com/l3kit/l3kit/internal/test/lab"
	"github.com/l3kit/l3kit/internal/test/needs"
)

// TestAttach attaches a namespace to a tenant's network on a host that has nothing else of it, with
// the settings of the agent that runs there, and detaches it.
func TestAttach(t *testing.T) {
	needs.Root(t)
	needs.Program(t, "ip", "iproute2")
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cl, err := deployment.Start(ctx, deployment.Config{
		Server: deployment.Self("server"), Agent: deployment.Self("agent"), Hosts: 2,
		ServerFlags: []string{"--listen=0.0.0.0:9696", "--force-listen"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cl.Close()) })
	api := cl.Servers[0].API
	external, err := deployment.NewExternal(ctx, api, deployment.Physical, deployment.ExternalNet, deployment.OutsideAddr)
	require.NoError(t, err)
	tenant, err := deployment.NewTenant(ctx, api, external, "blue")
	require.NoError(t, err)
	routed, err := deployment.HostOf(ctx, api, tenant.Router)
	require.NoError(t, err)
	here, other := cl.Hosts[0], cl.Hosts[1]
	if here.Name == routed {
		here, other = other, here
	}
	require.NoError(t, here.Ready(ctx))

	logs := t.TempDir()
	command := deployment.Self("agent")
	command.Env = append(command.Env, "L3KIT_API=http://198.18.0.1:9696")
	agent := func(h *deployment.Host, args ...string) (string, int) {
		said, status, err := h.NewProgram(logs, "tool", command, args...).Run(ctx)
		require.NoError(t, err)
		return said, status
	}
	boundTo := func(port string) string {
		var p struct{ portsbinding.PortsBindingExt }
		require.NoError(t, ports.Get(ctx, api, port).ExtractInto(&p))
		return p.HostID
	}
	var before []string
	addNetns := func(name string, h *deployment.Host) {
		require.NoError(t, h.Do(func() error {
			out, err := exec.CommandContext(ctx, "ip", "netns", "add", name).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		}))
	}
	for _, h := range []*deployment.Host{here, other} {
		addNetns("vm1", h)
	}
	before = links(t, here)

	said, status := agent(here, "attach", "blue", "--netns=nowhere")
	require.Equal(t, 80, status, said)
	require.Contains(t, said, "--netns: there is no network namespace nowhere: create it with ip netns add nowhere")
	require.Empty(t, boundTo(tenant.Port))
	require.Equal(t, before, links(t, here))

	said, status = agent(here, "attach", "blue", "--netns=/proc/self/ns/net")
	require.Equal(t, 80, status, said)
	require.Contains(t, said, "--netns: that is the network namespace of the host itself")
	require.Empty(t, boundTo(tenant.Port))
	require.Equal(t, before, links(t, here))

	said, status = agent(here, "attach", "blue", "--netns=vm1")
	require.Zero(t, status, said)
	require.Equal(t, fmt.Sprintf("attached port %s as eth0: %s/24, default via 10.0.0.1, MAC %s, MTU %d\n", tenant.Port, tenant.Fixed, tenant.MAC, tenant.MTU), said)
	require.Equal(t, here.Name, boundTo(tenant.Port))
	becomes(ctx, t, api, tenant.Port, "ACTIVE")
	var inside *lab.Host
	require.NoError(t, here.Do(func() (err error) { inside, err = here.Enter("/run/netns/vm1"); return err }))
	pings(t, inside, netip.MustParseAddr("10.0.0.1"))
	pings(t, inside, deployment.OutsideAddr)
	pings(t, cl.Outside, tenant.Floating)

	// The port is moved by nothing but a detachment.
	during := links(t, here)
	addNetns("vm2", here)
	for _, args := range [][]string{{"--netns=vm2"}, {"--netns=vm1", "--device=eth7"}, {"--tap"}} {
		said, status = agent(here, append([]string{"attach", "blue"}, args...)...)
		require.Equal(t, 1, status, said)
		require.Contains(t, said, "it is attached on this host as eth0 in the network namespace /run/netns/vm1: detach it first")
	}
	require.Equal(t, during, links(t, here))

	// A second port leaves the namespace the default route that it has.
	second, err := ports.Create(ctx, api, ports.CreateOpts{NetworkID: tenant.Network, Name: "second"}).Extract()
	require.NoError(t, err)
	said, status = agent(here, "attach", "second", "--netns=vm1", "--device=eth1")
	require.Zero(t, status, said)
	require.NotContains(t, said, ", default via")
	require.Contains(t, said, "no default route via 10.0.0.1 was added: there is one through another device\n")
	pings(t, inside, deployment.OutsideAddr)
	said, status = agent(here, "detach", "second")
	require.Zero(t, status, said)
	pings(t, inside, deployment.OutsideAddr)

	// What is left of a namespace that has gone is removed, and the port unbound.
	said, status = agent(here, "attach", "second", "--netns=vm2")
	require.Zero(t, status, said)
	becomes(ctx, t, api, second.ID, "ACTIVE")
	require.NoError(t, here.Do(func() error { return exec.CommandContext(ctx, "ip", "netns", "del", "vm2").Run() }))
	becomes(ctx, t, api, second.ID, "DOWN")
	said, status = agent(other, "detach", "second")
	require.Equal(t, 1, status, said)
	require.Contains(t, said, "nothing on this host is attached to it")
	said, status = agent(here, "detach", "second")
	require.Zero(t, status, said)
	require.Equal(t, "detached port "+second.ID+"\n", said)
	require.Empty(t, boundTo(second.ID))
	require.ElementsMatch(t, during, links(t, here))

	said, status = agent(other, "attach", tenant.Port, "--netns=vm1")
	require.Equal(t, 1, status, said)
	require.Contains(t, said, "it is bound to host "+here.Name)
	said, status = agent(other, "detach", "blue")
	require.Equal(t, 1, status, said)
	require.Contains(t, said, "nothing on this host is attached to it")
	require.Equal(t, here.Name, boundTo(tenant.Port))
	pings(t, inside, deployment.OutsideAddr)

	// The agent that starts again, and checks what it finds, leaves the workload as it is.
	require.NoError(t, here.Agent.Terminate(ctx))
	require.NoError(t, here.Agent.Start())
	require.NoError(t, here.Ready(ctx))
	said, status = agent(here, "plan")
	require.Zero(t, status, said)
	pings(t, inside, deployment.OutsideAddr)

	said, status = agent(here, "detach", "blue")
	require.Zero(t, status, said)
	require.Equal(t, "detached port "+tenant.Port+"\n", said)
	require.Empty(t, boundTo(tenant.Port))
	detached, err := ports.Get(ctx, api, tenant.Port).Extract()
	require.NoError(t, err)
	require.Equal(t, "DOWN", detached.Status, "at once")
	require.Equal(t, before, links(t, here))

	// A tap device, and a port that is deleted before it is detached.
	said, status = agent(here, "attach", "blue", "--tap")
	require.Zero(t, status, said)
	require.Contains(t, said, "ifname=vm-"+tenant.Port[:11]+",")
	require.Contains(t, said, "mac="+tenant.MAC.String())
	require.Contains(t, links(t, here), "vm-"+tenant.Port[:11])
	becomes(ctx, t, api, tenant.Port, "ACTIVE")
	require.NoError(t, ports.Delete(ctx, api, tenant.Port).ExtractErr())
	said, status = agent(here, "detach", tenant.Port)
	require.Zero(t, status, said)
	require.Equal(t, before, links(t, here))

	// A port that is attached here is detached by its ID without the API, which is told later.
	said, status = agent(here, "attach", "second", "--netns=vm1")
	require.Zero(t, status, said)
	reachable := slices.Clone(command.Env)
	command.Env = append(slices.Clone(reachable), "L3KIT_API=http://127.0.0.1:1")
	said, status = agent(here, "detach", "second")
	require.Equal(t, 1, status, said)
	require.Contains(t, said, "no port with this ID is attached on this host, and the API does not say which has this name: read ports: ")
	said, status = agent(here, "detach", second.ID)
	require.Zero(t, status, said)
	require.Contains(t, said, "detached port "+second.ID+"\n")
	require.Contains(t, said, "cannot tell the API, which may show the port bound to host "+here.Name+" until this command is run again: read ports: ")
	require.Equal(t, before, links(t, here))
	require.Equal(t, here.Name, boundTo(second.ID))
	said, status = agent(here, "detach", second.ID)
	require.Equal(t, 1, status, said)
	command.Env = reachable
	said, status = agent(here, "detach", second.ID)
	require.Zero(t, status, said)
	require.Equal(t, "detached port "+second.ID+"\n", said)
	require.Empty(t, boundTo(second.ID))

	// A port that another host has taken stays bound to that one.
	said, status = agent(here, "attach", "second", "--netns=vm1")
	require.Zero(t, status, said)
	require.NoError(t, ports.Update(ctx, api, second.ID, portsbinding.UpdateOptsExt{UpdateOptsBuilder: ports.UpdateOpts{}, HostID: &other.Name}).Err)
	said, status = agent(here, "detach", second.ID)
	require.Zero(t, status, said)
	require.Equal(t, "detached port "+second.ID+"\n", said)
	require.Equal(t, other.Name, boundTo(second.ID))
	require.Equal(t, before, links(t, here))
	unbound := ""
	require.NoError(t, ports.Update(ctx, api, second.ID, portsbinding.UpdateOptsExt{UpdateOptsBuilder: ports.UpdateOpts{}, HostID: &unbound}).Err)

	// What is left of a workload that has gone with its namespace stays until clean removes it.
	addNetns("vm3", here)
	said, status = agent(here, "attach", "second", "--netns=vm3")
	require.Zero(t, status, said)
	require.NoError(t, here.Do(func() error { return exec.CommandContext(ctx, "ip", "netns", "del", "vm3").Run() }))
	require.NotEqual(t, before, links(t, here))
	require.NoError(t, here.Agent.Terminate(ctx))
	said, status = agent(here, "clean")
	require.Zero(t, status, said)
	require.ElementsMatch(t, before, links(t, here))
}

// becomes waits, as clients do, until the API shows a port with a status.
func becomes(ctx context.Context, t *testing.T, api *gophercloud.ServiceClient, port, status string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		p, err := ports.Get(ctx, api, port).Extract()
		require.NoError(c, err)
		require.Equal(c, status, p.Status)
	}, patience, 50*time.Millisecond)
}

func pings(t *testing.T, from *lab.Host, to netip.Addr) {
	t.Helper()
	require.NoError(t, from.Ping(t.Context(), to.String()))
}

func links(t *testing.T, h *deployment.Host) (names []string) {
	t.Helper()
	require.NoError(t, h.Do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return err
	}))
	return names
}

// TestRequestIsFollowedToTheHost: the ID that the client was given is in the server's log, and in
// the agent's when the router is applied and when it is removed.
func TestRequestIsFollowedToTheHost(t *testing.T) {
	needs.Root(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cl, err := deployment.Start(ctx, deployment.Config{Server: deployment.Self("server"), Agent: deployment.Self("agent"), Hosts: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cl.Close()) })
	s := cl.Servers[0]
	tenant, err := deployment.NewNetwork(ctx, s.API, "blue")
	require.NoError(t, err)
	request := func(method, path, body string, status int) string {
		answer, id := call(ctx, t, s, method, path, body)
		require.Equal(t, status, answer)
		return id
	}
	request("POST", "routers", `{"router": {"id": "x"}}`, 400)
	require.NoError(t, tenant.Route(ctx, s.API, externalNetwork(ctx, t, cl)))
	added := request("PUT", "routers/"+tenant.Router, `{"router": {"routes": [{"destination": "10.8.0.0/24", "nexthop": "10.0.0.9"}]}}`, 200)
	logged := func(p *deployment.Program, pattern string) {
		t.Helper()
		require.Eventually(t, func() bool { return matches(pattern, p.Said()) }, patience, 10*time.Millisecond, "%s", pattern)
	}
	logged(s.Process, `level=DEBUG msg="answered request" request=`+added+` method=PUT path=/v2.0/routers/`+tenant.Router+` status=200 `)
	logged(s.Process, `level=INFO msg="refused request" request=req-[0-9a-f-]{36} method=POST path=/v2.0/routers status=400 .* reason=".*'id'`)
	logged(cl.Hosts[0].Agent, `level=INFO msg="router applied" router=`+tenant.Router+` .* request=`+added+" ")
	removed := request("PUT", "routers/"+tenant.Router, `{"router": {"admin_state_up": false}}`, 200)
	logged(cl.Hosts[0].Agent, `level=INFO msg="router removed" router=`+tenant.Router+` .* request=`+removed)
}

func externalNetwork(ctx context.Context, t *testing.T, cl *deployment.Cluster) string {
	t.Helper()
	id, err := deployment.NewExternal(ctx, cl.Servers[0].API, deployment.Physical, deployment.ExternalNet, deployment.OutsideAddr)
	require.NoError(t, err)
	return id
}

func matches(pattern, text string) bool { return regexp.MustCompile(pattern).MatchString(text) }

// call asks the API, and returns the status and the ID of the request.
func call(ctx context.Context, t *testing.T, s *deployment.Server, method, path, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, s.API.ServiceURL(path), strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := s.HTTP().Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	return answer.StatusCode, answer.Header.Get("X-Openstack-Request-Id")
}
