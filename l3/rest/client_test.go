package rest_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/gophercloud/gophercloud/v2/pagination"
	"github.com/stretchr/testify/require"

	"github.com/l3kit/l3kit/l3"
	"github.com/l3kit/l3kit/l3/l3test"
	"github.com/l3kit/l3kit/l3/rest"
	"github.com/l3kit/l3kit/l3/service"
)

// cloud is a service on an empty store behind its API, with gophercloud as the client of an
// administrator and of two projects. Everything that is said is held to the OpenAPI document.
type cloud struct {
	*testing.T
	service              *service.Service
	handler              http.Handler
	now                  *time.Time
	admin, member, other *gophercloud.ServiceClient
}

// onClouds runs a test on every store.
func onClouds(t *testing.T, test func(c *cloud)) {
	t.Parallel()
	l3test.Stores(t, func(t *testing.T, store l3.Store) {
		now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		service, err := service.New(service.Config{Store: store, Now: func() time.Time { return now }})
		require.NoError(t, err)
		h := holdToOpenAPI(t, rest.New(rest.Config{Service: service, Auth: rest.None{}, Logger: logger(t)}))
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		client := func(project, role string) *gophercloud.ServiceClient {
			return &gophercloud.ServiceClient{
				ProviderClient: &gophercloud.ProviderClient{}, Endpoint: server.URL + "/", ResourceBase: server.URL + "/v2.0/",
				MoreHeaders: map[string]string{"X-Project-Id": project, "X-User-Id": "u", "X-Roles": role},
			}
		}
		test(&cloud{T: t, service: service, handler: h, now: &now,
			admin: client("admins", "admin"), member: client("p1", "member"), other: client("p2", "member")})
		require.NoError(t, l3test.Audit(t.Context(), store))
	})
}

// logger shows with a test what the API logs, which is why it answered with 500.
func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// refused requires an error of this status and Neutron's name.
func (c *cloud) refused(err error, status int, name string) {
	c.Helper()
	var answer gophercloud.ErrUnexpectedResponseCode
	require.Truef(c, errors.As(err, &answer), "want %d %s, got %v", status, name, err)
	require.Equal(c, status, answer.Actual, string(answer.Body))
	require.Contains(c, string(answer.Body), `"type":"`+name+`"`)
	require.NotEmpty(c, answer.ResponseHeader.Get("X-Openstack-Request-Id"))
}

// ok passes on the first of two results, whose second must be no error.
func ok[V any](v V, err error) func(c *cloud) V {
	return func(c *cloud) V {
		c.Helper()
		require.NoError(c, err)
		return v
	}
}

// all collects the pages of a list.
func all[V any](c *cloud, p pagination.Pager, extract func(pagination.Page) ([]V, error)) []V {
	c.Helper()
	page, err := p.AllPages(c.Context())
	require.NoError(c, err)
	return ok(extract(page))(c)
}

// raw sends what gophercloud has no words for, and returns the answer's status and body.
func (c *cloud) raw(who *gophercloud.ServiceClient, method, path, body string, headers ...string) (int, string) {
	c.Helper()
	headers = append(headers, "X-Project-Id", who.MoreHeaders["X-Project-Id"], "X-Roles", who.MoreHeaders["X-Roles"])
	w := ask(c.handler, method, "/v2.0/"+path, body, headers...)
	return w.Code, w.Body.String()
}

// client is what a person of a cloud asks with.
type client = gophercloud.ServiceClient

// cut splits a request such as "GET networks".
func cut(request string) (method, path string) {
	method, path, _ = strings.Cut(request, " ")
	return method, path
}

// messageOf reads what a refusal says.
func messageOf(t *testing.T, answer string) string {
	t.Helper()
	var said struct{ NeutronError struct{ Message string } }
	require.NoError(t, json.Unmarshal([]byte(answer), &said), answer)
	return said.NeutronError.Message
}

// idOf reads the ID from the answer to a creation.
func idOf(t *testing.T, answer string) string {
	t.Helper()
	var said map[string]struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(answer), &said), answer)
	for _, made := range said {
		return made.ID
	}
	return ""
}

func (c *cloud) network(who *gophercloud.ServiceClient, name string) *networks.Network {
	c.Helper()
	return ok(networks.Create(c.Context(), who, networks.CreateOpts{Name: name}).Extract())(c)
}

func (c *cloud) subnet(who *gophercloud.ServiceClient, network, cidr string) *subnets.Subnet {
	c.Helper()
	return ok(subnets.Create(c.Context(), who, subnets.CreateOpts{NetworkID: network, CIDR: cidr, IPVersion: gophercloud.IPv4}).Extract())(c)
}

// external makes an external network of the administrator.
func (c *cloud) external(name, cidr string) (*networks.Network, *subnets.Subnet) {
	c.Helper()
	opts := external.CreateOptsExt{External: new(true), CreateOptsBuilder: provider.CreateOptsExt{
		CreateOptsBuilder: networks.CreateOpts{Name: name}, Segments: []provider.Segment{{NetworkType: "flat", PhysicalNetwork: name}}}}
	n := ok(networks.Create(c.Context(), c.admin, opts).Extract())(c)
	return n, c.subnet(c.admin, n.ID, cidr)
}

// router makes a router of the member with a gateway.
func (c *cloud) router(externalNetwork string) *routers.Router {
	c.Helper()
	opts := routers.CreateOpts{Name: "r", GatewayInfo: &routers.GatewayInfo{NetworkID: externalNetwork}}
	return ok(routers.Create(c.Context(), c.member, opts).Extract())(c)
}

func (c *cloud) attach(router, subnet string) *routers.InterfaceInfo {
	c.Helper()
	return ok(routers.AddInterface(c.Context(), c.member, router, routers.AddInterfaceOpts{SubnetID: subnet}).Extract())(c)
}

func (c *cloud) port(who *gophercloud.ServiceClient, network string, addresses ...string) *ports.Port {
	c.Helper()
	opts := ports.CreateOpts{NetworkID: network}
	var ips []ports.IP
	for _, a := range addresses {
		ips = append(ips, ports.IP{IPAddress: a})
	}
	if ips != nil {
		opts.FixedIPs = ips
	}
	return ok(ports.Create(c.Context(), who, opts).Extract())(c)
}

func (c *cloud) floatingIP(network, port string) *floatingips.FloatingIP {
	c.Helper()
	return ok(floatingips.Create(c.Context(), c.member, floatingips.CreateOpts{FloatingNetworkID: network, PortID: port}).Extract())(c)
}

// tiers is what most tests of routers and floating IPs begin with: an external network, a router, a
// network with a subnet on it, and a port there.
type tiers struct {
	public       *networks.Network
	publicSubnet *subnets.Subnet
	router       *routers.Router
	inside       *networks.Network
	subnet       *subnets.Subnet
	port         *ports.Port
}

func (c *cloud) tiers() tiers {
	c.Helper()
	public, outside := c.external("public", "203.0.113.0/24")
	t := tiers{public: public, publicSubnet: outside, router: c.router(public.ID), inside: c.network(c.member, "inside")}
	t.subnet = c.subnet(c.member, t.inside.ID, "10.0.0.0/24")
	c.attach(t.router.ID, t.subnet.ID)
	t.port = c.port(c.member, t.inside.ID, "10.0.0.10")
	return t
}
