package host

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/workload"
	"github.com/l3kit/l3kit/examples/internal/daemon"
	"github.com/l3kit/l3kit/examples/internal/files"
)

// API is where the API is served, as flags for kong.
type API struct {
	URL       string `name:"api" default:"http://127.0.0.1:9696" placeholder:"URL" help:"Root of the API."`
	Token     string `name:"api-token" placeholder:"TOKEN" help:"Token of an administrator; better in the environment or a file than here. Default: none."`
	TokenFile string `name:"api-token-file" placeholder:"FILE" help:"File with that token."`
}

func (a *API) client() (*gophercloud.ServiceClient, error) {
	if err := daemon.CheckURL("--api", a.URL); err != nil {
		return nil, err
	}
	token := a.Token
	if a.TokenFile != "" {
		var err error
		if token, err = files.ReadSecret("--api-token-file", a.TokenFile); err != nil {
			return nil, err
		}
	}
	root := strings.TrimSuffix(a.URL, "/") + "/"
	return &gophercloud.ServiceClient{
		ProviderClient: &gophercloud.ProviderClient{TokenID: token}, Endpoint: root, ResourceBase: root + "v2.0/",
	}, nil
}

// apiPort is a port as the API shows it to administrators.
type apiPort struct {
	ID          string        `json:"id"`
	Name        string        `json:"name"`
	NetworkID   string        `json:"network_id"`
	MAC         dataplane.MAC `json:"mac_address"`
	DeviceOwner string        `json:"device_owner"`
	HostID      string        `json:"binding:host_id"` // empty: not bound
	Revision    int           `json:"revision_number"`
	FixedIPs    []struct {
		SubnetID string     `json:"subnet_id"`
		Address  netip.Addr `json:"ip_address"`
	} `json:"fixed_ips"`
}

// service reports whether the port is the network service's own.
func (p *apiPort) service() bool { return strings.HasPrefix(p.DeviceOwner, "network:") }

type apiNetwork struct {
	ID       string                `json:"id"`
	MTU      int                   `json:"mtu"`
	Type     dataplane.NetworkType `json:"provider:network_type"`
	Physical string                `json:"provider:physical_network"`
	Segment  uint32                `json:"provider:segmentation_id"`
}

type apiSubnet struct {
	ID         string       `json:"id"`
	CIDR       netip.Prefix `json:"cidr"`
	GatewayIP  string       `json:"gateway_ip"`
	HostRoutes []struct {
		Destination netip.Prefix `json:"destination"`
		NextHop     netip.Addr   `json:"nexthop"`
	} `json:"host_routes"`
}

// portNamed finds a port by its ID or its name.
func portNamed(ctx context.Context, c *gophercloud.ServiceClient, name string) (p apiPort, err error) {
	for _, key := range []string{"id", "name"} {
		var found struct{ Ports []apiPort }
		if err := read(ctx, c, "ports?"+url.Values{key: {name}}.Encode(), &found); err != nil {
			return p, err
		}
		switch len(found.Ports) {
		case 0:
		case 1:
			return found.Ports[0], nil
		default:
			return p, fmt.Errorf("port %s: %d ports have that name, give the ID of one", name, len(found.Ports))
		}
	}
	return p, fmt.Errorf("port %s: %w", name, errNoPort)
}

var errNoPort = fmt.Errorf("the API has no such port")

// configOf reads all that a workload needs to know of its port.
func configOf(ctx context.Context, c *gophercloud.ServiceClient, p apiPort) (w workload.Config, err error) {
	var answer struct {
		Network apiNetwork
		Subnets []apiSubnet
	}
	if err := read(ctx, c, "networks/"+p.NetworkID, &answer); err != nil {
		return w, err
	}
	if err := read(ctx, c, "subnets?"+url.Values{"network_id": {p.NetworkID}}.Encode(), &answer); err != nil {
		return w, err
	}
	n := answer.Network
	if n.Type == "" {
		return w, fmt.Errorf("port %s: the API does not show the segment of its network: use the token of an administrator (--api-token)", p.ID)
	}
	w.Port = dataplane.Port{ID: p.ID, MAC: p.MAC, MTU: n.MTU, Network: dataplane.Network{ID: n.ID, Type: n.Type, Physical: n.Physical, Segment: n.Segment}}
	routed := map[bool]bool{} // by whether the family is IPv4
	for _, f := range p.FixedIPs {
		for _, s := range answer.Subnets {
			if s.ID != f.SubnetID {
				continue
			}
			w.Port.Addrs = append(w.Port.Addrs, netip.PrefixFrom(f.Address, s.CIDR.Bits()))
			for _, r := range s.HostRoutes {
				w.Routes = append(w.Routes, dataplane.Route{Dest: r.Destination, NextHop: r.NextHop})
			}
			if gateway, err := netip.ParseAddr(s.GatewayIP); err == nil && !routed[gateway.Is4()] {
				routed[gateway.Is4()] = true
				w.NextHops = append(w.NextHops, gateway)
			}
		}
	}
	return w, nil
}

// bind says in the API on which host a port is. It fails when somebody else has bound the port
// since it was read, so that two hosts never take one port. Other changes, such as of its status,
// do no harm.
func bind(ctx context.Context, c *gophercloud.ServiceClient, p *apiPort, host string) error {
	for was := p.HostID; p.HostID != host; {
		err := bindIfMatch(ctx, c, p, host)
		if err == nil {
			return nil
		}
		if gophercloud.ResponseCodeIs(err, http.StatusPreconditionFailed) {
			var now struct{ Port apiPort }
			if again := read(ctx, c, "ports/"+p.ID, &now); again == nil && now.Port.HostID == was {
				*p = now.Port
				continue
			}
		}
		return fmt.Errorf("bind port %s to host %q: %w", p.ID, host, err)
	}
	return nil
}

func bindIfMatch(ctx context.Context, c *gophercloud.ServiceClient, p *apiPort, host string) error {
	var answer struct{ Port apiPort }
	body := map[string]any{"port": map[string]any{"binding:host_id": host}}
	_, err := c.Put(ctx, c.ServiceURL("ports", p.ID), body, &answer, &gophercloud.RequestOpts{
		OkCodes: []int{http.StatusOK}, MoreHeaders: map[string]string{"If-Match": fmt.Sprintf("revision_number=%d", p.Revision)},
	})
	if err == nil {
		*p = answer.Port
	}
	return err
}

func read(ctx context.Context, c *gophercloud.ServiceClient, path string, into any) error {
	if _, err := c.Get(ctx, c.ServiceURL(path), into, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}}); err != nil {
		return fmt.Errorf("read %s: %w", strings.SplitN(path, "?", 2)[0], err)
	}
	return nil
}
