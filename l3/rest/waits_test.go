package rest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/agents"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsbinding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/agent"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/natsbus"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
)

// slow is a dataplane that takes its time, as a kernel does.
type slow struct{ dataplane.Dataplane }

func (d slow) Apply(ctx context.Context, want dataplane.Router) (dataplane.Plan, error) {
	time.Sleep(20 * time.Millisecond)
	return d.Dataplane.Apply(ctx, want)
}

// deployment is the API in front of the service, the message queue, and agents with a stand-in for
// the kernel.
type deployment struct {
	*cloud
	connect func(host string) agent.Source
}

func deploy(t *testing.T, physical ...string) *deployment {
	const secret = "0123456789abcdef0123456789abcdef"
	server, err := natsbus.StartServer(natsbus.ServerConfig{Secret: []byte(secret), Dir: t.TempDir(), Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	require.NoError(t, err)
	t.Cleanup(server.Shutdown)
	nc, err := natsbus.Connect(natsbus.Login{Server: server})
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	store := l3test.Open(t, l3test.SQLiteURL(t))
	svc, err := service.New(service.Config{
		Store: store, Logger: logger(t),
		Quotas: map[string]int{"router": -1, "network": -1, "subnet": -1, "port": -1},
	})
	require.NoError(t, err)
	bus, err := natsbus.Open(t.Context(), nc, svc, natsbus.Options{})
	require.NoError(t, err)
	inBackground(t, bus.Run)
	inBackground(t, service.Failover{Service: svc, DownTime: time.Second}.Run)
	h := holdToOpenAPI(t, rest.New(rest.Config{Service: svc, Auth: rest.None{}, Logger: logger(t)}))
	api := httptest.NewServer(h)
	t.Cleanup(api.Close)
	client := func(project, role string) *gophercloud.ServiceClient {
		return &gophercloud.ServiceClient{
			ProviderClient: &gophercloud.ProviderClient{}, Endpoint: api.URL + "/", ResourceBase: api.URL + "/v2.0/",
			MoreHeaders: map[string]string{"X-Project-Id": project, "X-User-Id": "u", "X-Roles": role},
		}
	}
	d := &deployment{cloud: &cloud{T: t, service: svc, handler: h, admin: client("admins", "admin"), member: client("p1", "member")}}
	d.connect = func(host string) agent.Source {
		login := natsbus.Login{Server: server, Host: host, Password: natsbus.Credential([]byte(secret), host)}
		nc, err := natsbus.Connect(login)
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		source, err := natsbus.NewSource(nc, host, nil)
		require.NoError(t, err)
		return source
	}
	for _, host := range []string{"h1", "h2"} {
		d.agent(host, physical...)
	}
	list := func() bool {
		return len(all(d.cloud, agents.List(d.admin, agents.ListOpts{Alive: new(true)}), agents.ExtractAgents)) == 2
	}
	require.Eventually(t, list, time.Minute, 10*time.Millisecond)
	return d
}

func (d *deployment) agent(host string, physical ...string) {
	a, err := agent.New(agent.Config{
		Host: host, Machine: host, Source: d.connect(host), Dataplane: slow{dataplane.NewFake(&dataplane.FakeHost{})}, HeartbeatEvery: time.Second,
		CheckEvery: -1, Cache: d.TempDir(), Capabilities: agent.Capabilities{Wiring: "ovs", PhysicalNetworks: physical},
	})
	require.NoError(d, err)
	inBackground(d.T, a.Run)
}

func inBackground(t *testing.T, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// statuses are what Terraform's provider waits through and for: any other status is a failure. It
// asks at once, and again and again.
type statuses struct{ pending, target []string }

var (
	building = []string{"BUILD", "PENDING_CREATE", "PENDING_UPDATE"}
	// As in the provider's resources: openstack_networking_router_v2, _router_interface_v2 and
	// _floatingip_v2 (or _associate_v2).
	ofRouter     = statuses{building, []string{"ACTIVE"}}
	ofInterface  = statuses{building, []string{"ACTIVE", "DOWN"}}
	ofFloatingIP = statuses{[]string{"DOWN"}, []string{"ACTIVE"}}
)

func (d *deployment) wait(what string, s statuses, get func() (string, error)) {
	d.Helper()
	var seen []string
	for deadline := time.Now().Add(time.Minute); ; {
		status, err := get()
		require.NoError(d, err)
		seen = append(seen, status)
		switch {
		case slices.Contains(s.target, status):
			return
		case !slices.Contains(s.pending, status):
			d.Fatalf("%s: unexpected state %q, wanted %v; before: %v", what, status, s.target, seen)
		case time.Now().After(deadline):
			d.Fatalf("%s: timeout while waiting for %v; last: %s", what, s.target, status)
		}
		time.Sleep(time.Millisecond)
	}
}

func (d *deployment) routerStatus(id string) func() (string, error) {
	return func() (string, error) {
		r, err := routers.Get(d.Context(), d.member, id).Extract()
		if err != nil {
			return "", err
		}
		return r.Status, nil
	}
}

func (d *deployment) portStatus(id string) func() (string, error) {
	return func() (string, error) {
		p, err := ports.Get(d.Context(), d.member, id).Extract()
		if err != nil {
			return "", err
		}
		return p.Status, nil
	}
}

// TestTerraformWaits makes, changes and deletes what Terraform's provider would, and waits as it
// does, 50 times in a row.
func TestTerraformWaits(t *testing.T) {
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("-short: it takes as long as Terraform's provider waits")
	}
	d := deploy(t, "public", "second")
	first, _ := d.external("public", "203.0.113.0/24")
	second, _ := d.external("second", "198.51.100.0/24")
	inside := d.network(d.member, "inside")
	gateway := func(id string) *routers.GatewayInfo { return &routers.GatewayInfo{NetworkID: id} }
	for range 50 {
		r := d.router(first.ID)
		require.Equal(d, "BUILD", r.Status)
		d.wait("router", ofRouter, d.routerStatus(r.ID))
		bare := ok(routers.Create(d.Context(), d.member, routers.CreateOpts{Name: "bare"}).Extract())(d.cloud)
		require.Equal(d, "ACTIVE", bare.Status)
		set := ok(routers.Update(d.Context(), d.member, bare.ID, routers.UpdateOpts{GatewayInfo: gateway(second.ID)}).Extract())(d.cloud)
		require.Equal(d, "BUILD", set.Status)
		d.wait("gateway set later", ofRouter, d.routerStatus(bare.ID))
		changed := ok(routers.Update(d.Context(), d.member, bare.ID, routers.UpdateOpts{GatewayInfo: gateway(first.ID)}).Extract())(d.cloud)
		require.Equal(d, "BUILD", changed.Status)
		d.wait("gateway changed", ofRouter, d.routerStatus(bare.ID))

		sub := d.subnet(d.member, inside.ID, "10.0.0.0/24")
		join := d.attach(r.ID, sub.ID)
		d.wait("interface", ofInterface, d.portStatus(join.PortID))
		d.wait("router with an interface", ofRouter, d.routerStatus(r.ID))
		machine := d.port(d.member, inside.ID, "10.0.0.10")
		f := d.floatingIP(first.ID, machine.ID)
		d.wait("floating IP", ofFloatingIP, func() (string, error) {
			f, err := floatingips.Get(d.Context(), d.member, f.ID).Extract()
			if err != nil {
				return "", err
			}
			return f.Status, nil
		})
		require.NoError(d, floatingips.Delete(d.Context(), d.member, f.ID).ExtractErr())
		ok(routers.RemoveInterface(d.Context(), d.member, r.ID, routers.RemoveInterfaceOpts{SubnetID: sub.ID}).Extract())(d.cloud)
		require.NoError(d, ports.Delete(d.Context(), d.member, machine.ID).ExtractErr())
		for _, id := range []string{r.ID, bare.ID} {
			d.wait("router before it is deleted", ofRouter, d.routerStatus(id))
			require.NoError(d, routers.Delete(d.Context(), d.member, id).ExtractErr())
			_, err := routers.Get(d.Context(), d.member, id).Extract()
			require.True(d, gophercloud.ResponseCodeIs(err, http.StatusNotFound), "%v", err)
		}
		status, body := d.raw(d.member, "DELETE", "subnets/"+sub.ID, "")
		require.Equal(d, http.StatusNoContent, status, body)
	}
}

// TestGophercloudWaits waits with gophercloud's helper as its acceptance tests do: for a router,
// its interface's port and a floating IP, and while the router moves to another host.
func TestGophercloudWaits(t *testing.T) {
	d := deploy(t, "public")
	public, _ := d.external("public", "203.0.113.0/24")
	until := func(what string, get func() (string, error)) {
		d.Helper()
		ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
		defer cancel()
		require.NoError(d, gophercloud.WaitFor(ctx, func(context.Context) (bool, error) {
			status, err := get()
			if status == "ERROR" || status == "DOWN" && what == "router" {
				return false, fmt.Errorf("%s is %s", what, status)
			}
			return status == "ACTIVE", err
		}), what)
	}
	r := d.router(public.ID)
	require.Equal(d, "BUILD", r.Status)
	until("router", d.routerStatus(r.ID))
	inside := d.network(d.member, "inside")
	sub := d.subnet(d.member, inside.ID, "10.0.0.0/24")
	join := d.attach(r.ID, sub.ID)
	until("port", d.portStatus(join.PortID))
	until("router", d.routerStatus(r.ID))

	hosts := all(d.cloud, routers.ListL3Agents(d.admin, r.ID), routers.ExtractL3Agents)
	require.Len(d, hosts, 1)
	type bound struct {
		ports.Port
		portsbinding.PortsBindingExt
	}
	var p bound
	require.NoError(d, ports.Get(d.Context(), d.admin, join.PortID).ExtractInto(&p))
	require.Equal(d, []any{"ACTIVE", hosts[0].Host, "ovs"}, []any{p.Status, p.HostID, p.VIFType})
	_, body := d.raw(d.member, "GET", "ports/"+join.PortID, "")
	require.Contains(d, body, `"status":"ACTIVE"`)
	require.NotContains(d, body, hosts[0].Host, "where it is is not for members")
	for query, want := range map[string]int{
		"status=ACTIVE": 2, "status=DOWN": 0, "status=ACTIVE&device_owner=network:router_interface": 1, "binding:host_id=" + hosts[0].Host: 2,
		"binding:host_id=elsewhere": 0, "status=BUILD": 0,
	} {
		_, body := d.raw(d.admin, "GET", "ports?fields=id&"+query, "")
		require.Equal(d, want, strings.Count(body, `"id":`), "%s: %s", query, body)
	}

	// It moves by hand: it is DOWN until it is added to another agent, which no failover
	// forestalls.
	other := "h1"
	if hosts[0].Host == other {
		other = "h2"
	}
	require.NoError(d, agents.RemoveL3Router(d.Context(), d.admin, hosts[0].ID, r.ID).ExtractErr())
	d.wait("router without a host", statuses{nil, []string{"DOWN"}}, d.routerStatus(r.ID))
	to := all(d.cloud, agents.List(d.admin, agents.ListOpts{Host: other}), agents.ExtractAgents)[0]
	require.NoError(d, agents.ScheduleL3Router(d.Context(), d.admin, to.ID, agents.ScheduleL3RouterOpts{RouterID: r.ID}).ExtractErr())
	d.wait("router that moves", ofRouter, d.routerStatus(r.ID))
	until("port", d.portStatus(join.PortID))
}
