package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/portforwarding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/mtu"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsbinding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/qos/policies"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/qos/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"github.com/l3kit/l3kit/dataplane"
)

// cloud is the API as its client sees it, and what the demonstration has made of it.
type cloud struct {
	client *gophercloud.ServiceClient

	distributed bool // the router is to be

	networks map[string]*network
	ports    map[string]dataplane.Port // of machines, by address
	routerID string

	// IDs
	public     string // the floating IP of www
	shared     string // the floating IP whose ports are forwarded
	forwarding string
	policy     string // that limits shared
}

type network struct {
	networks.Network
	provider.NetworkProviderExt
	mtu.NetworkMTUExt
	subnetIDs []string // as in the plan: IPv4 first
}

// apiAddr is where allinone serves the API, on its machine's loopback device.
const apiAddr = "127.0.0.1:9696"

// newCloud makes a client that calls by way of another.
func newCloud(by *http.Client) *cloud {
	return &cloud{networks: map[string]*network{}, ports: map[string]dataplane.Port{}, client: &gophercloud.ServiceClient{
		ProviderClient: &gophercloud.ProviderClient{HTTPClient: *by},
		Endpoint:       "http://" + apiAddr + "/", ResourceBase: "http://" + apiAddr + "/v2.0/",
		MoreHeaders: map[string]string{"X-Project-Id": "demo", "X-Roles": "admin"},
	}}
}

// makeNetworks asks for all networks, each with its subnet.
func (c *cloud) makeNetworks(ctx context.Context) error {
	for _, plan := range plans {
		var options networks.CreateOptsBuilder = networks.CreateOpts{Name: plan.name}
		if plan.name == outside {
			yes := true
			options = external.CreateOptsExt{External: &yes, CreateOptsBuilder: provider.CreateOptsExt{
				CreateOptsBuilder: options, Segments: []provider.Segment{{NetworkType: "flat", PhysicalNetwork: outside}},
			}}
		}
		n := new(network)
		if err := networks.Create(ctx, c.client, options).ExtractInto(n); err != nil {
			return fmt.Errorf("create network %s: %w", plan.name, err)
		}
		for _, options := range plan.subnets {
			options.NetworkID, options.Name = n.ID, plan.name
			s, err := subnets.Create(ctx, c.client, options).Extract()
			if err != nil {
				return fmt.Errorf("create subnet %s: %w", options.CIDR, err)
			}
			n.subnetIDs = append(n.subnetIDs, s.ID)
		}
		c.networks[plan.name] = n
	}
	return nil
}

// port asks for a machine's port, with an address of its own choosing, bound to a host unless that
// is empty, and returns what wiring needs of it.
func (c *cloud) port(ctx context.Context, networkName, address, host string) (p dataplane.Port, err error) {
	p, _, err = c.makePort(ctx, networkName, host, ports.IP{SubnetID: c.networks[networkName].subnetIDs[0], IPAddress: address})
	p.Addrs = []netip.Prefix{netip.PrefixFrom(addr(address), 24)}
	c.ports[address] = p
	return p, err
}

// selfConfigured asks for the port of a machine that is not told its address, and returns the
// address that the API expects the machine to give itself (RFC 4862).
func (c *cloud) selfConfigured(ctx context.Context, networkName, host string) (p dataplane.Port, address string, err error) {
	p, address, err = c.makePort(ctx, networkName, host, ports.IP{SubnetID: c.networks[networkName].subnetIDs[1]})
	c.ports[address] = p
	return p, address, err
}

func (c *cloud) makePort(ctx context.Context, networkName, host string, ip ports.IP) (p dataplane.Port, address string, err error) {
	n := c.networks[networkName]
	made, err := ports.Create(ctx, c.client, portsbinding.CreateOptsExt{HostID: host, CreateOptsBuilder: ports.CreateOpts{
		NetworkID: n.ID, FixedIPs: []ports.IP{ip},
	}}).Extract()
	if err != nil {
		return p, "", fmt.Errorf("create port %s on %s: %w", ip.IPAddress, networkName, err)
	}
	mac, err := dataplane.ParseMAC(made.MACAddress)
	return dataplane.Port{ID: made.ID, Network: n.segment(), MAC: mac, MTU: n.MTU}, made.FixedIPs[0].IPAddress, err
}

// makeRouter asks for the router: gateway, interfaces and the extra route; for a port that is
// forwarded to db; and for the floating IP of www, whose answer is the last.
func (c *cloud) makeRouter(ctx context.Context) error {
	beyond := c.networks[outside]
	r, err := routers.Create(ctx, c.client, routers.CreateOpts{
		Name: "demo", Distributed: &c.distributed, GatewayInfo: &routers.GatewayInfo{
			NetworkID: beyond.ID, ExternalFixedIPs: []routers.ExternalFixedIP{
				{SubnetID: beyond.subnetIDs[0], IPAddress: routerAddr}, {SubnetID: beyond.subnetIDs[1], IPAddress: router6Addr},
			},
		},
	}).Extract()
	if err != nil {
		return fmt.Errorf("create router: %w", err)
	}
	c.routerID = r.ID
	for _, plan := range plans {
		if !plan.routed {
			continue
		}
		for _, id := range c.networks[plan.name].subnetIDs {
			if _, err := routers.AddInterface(ctx, c.client, r.ID, routers.AddInterfaceOpts{SubnetID: id}).Extract(); err != nil {
				return fmt.Errorf("add interface %s: %w", plan.name, err)
			}
		}
	}
	if err := c.setRoutes(ctx, routers.Route{DestinationCIDR: archiveCIDR, NextHop: applAddr}); err != nil {
		return err
	}
	if err := c.forward(ctx); err != nil {
		return err
	}
	f, err := floatingips.Create(ctx, c.client, floatingips.CreateOpts{
		FloatingNetworkID: beyond.ID, FloatingIP: publicAddr, PortID: c.ports[wwwAddr].ID,
	}).Extract()
	if err != nil {
		return fmt.Errorf("create floating IP: %w", err)
	}
	c.public = f.ID
	return nil
}

// forward asks for a port of an external address to lead to db.
func (c *cloud) forward(ctx context.Context) error {
	policy, err := policies.Create(ctx, c.client, policies.CreateOpts{Name: "slow"}).Extract()
	if err != nil {
		return fmt.Errorf("create QoS policy: %w", err)
	}
	c.policy = policy.ID
	_, err = rules.CreateBandwidthLimitRule(ctx, c.client, policy.ID, rules.CreateBandwidthLimitRuleOpts{MaxKBps: limit, Direction: "egress"}).
		ExtractBandwidthLimitRule()
	if err != nil {
		return fmt.Errorf("create QoS rule: %w", err)
	}
	f, err := floatingips.Create(ctx, c.client, limitedFloatingIP{policy.ID, floatingips.CreateOpts{
		FloatingNetworkID: c.networks[outside].ID, FloatingIP: forwardAddr,
	}}).Extract()
	if err != nil {
		return fmt.Errorf("create floating IP: %w", err)
	}
	c.shared = f.ID
	p, err := portforwarding.Create(ctx, c.client, f.ID, portforwarding.CreateOpts{
		Protocol: "tcp", ExternalPort: forwardPort, InternalPortID: c.ports[dbAddr].ID, InternalIPAddress: dbAddr, InternalPort: 80,
	}).Extract()
	if err != nil {
		return fmt.Errorf("create port forwarding: %w", err)
	}
	c.forwarding = p.ID
	return nil
}

// limitedFloatingIP is a floating IP with a QoS policy, which gophercloud does not know.
type limitedFloatingIP struct {
	policy string
	floatingips.CreateOptsBuilder
}

func (l limitedFloatingIP) ToFloatingIPCreateMap() (map[string]any, error) {
	body, err := l.CreateOptsBuilder.ToFloatingIPCreateMap()
	if err == nil {
		body["floatingip"].(map[string]any)["qos_policy_id"] = l.policy
	}
	return body, err
}

func (c *cloud) setRoutes(ctx context.Context, routes ...routers.Route) error {
	if _, err := routers.Update(ctx, c.client, c.routerID, routers.UpdateOpts{Routes: &routes}).Extract(); err != nil {
		return fmt.Errorf("set routes: %w", err)
	}
	return nil
}

// bind gives the floating IP to a port; empty: to none.
func (c *cloud) bind(ctx context.Context, port string) error {
	if _, err := floatingips.Update(ctx, c.client, c.public, floatingips.UpdateOpts{PortID: &port}).Extract(); err != nil {
		return fmt.Errorf("update floating IP: %w", err)
	}
	return nil
}

// move binds a machine's port to another host.
func (c *cloud) move(ctx context.Context, address, host string) error {
	_, err := ports.Update(ctx, c.client, c.ports[address].ID, portsbinding.UpdateOptsExt{UpdateOptsBuilder: ports.UpdateOpts{}, HostID: &host}).Extract()
	if err != nil {
		return fmt.Errorf("bind port %s to %s: %w", address, host, err)
	}
	return nil
}

// applied waits until the API says that the host has what was asked for last.
func (c *cloud) applied(ctx context.Context) error {
	for {
		r, err := routers.Get(ctx, c.client, c.routerID).Extract()
		if err != nil {
			return fmt.Errorf("get router: %w", err)
		}
		if r.Status == "ACTIVE" {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the router is %s: %w", r.Status, context.Cause(ctx))
		}
	}
}

// remove asks for all of it to be deleted, in the order that the rules want.
func (c *cloud) remove(ctx context.Context) error {
	if err := portforwarding.Delete(ctx, c.client, c.shared, c.forwarding).ExtractErr(); err != nil {
		return fmt.Errorf("delete port forwarding: %w", err)
	}
	for _, id := range []string{c.public, c.shared} {
		if err := floatingips.Delete(ctx, c.client, id).ExtractErr(); err != nil {
			return fmt.Errorf("delete floating IP: %w", err)
		}
	}
	if err := policies.Delete(ctx, c.client, c.policy).ExtractErr(); err != nil {
		return fmt.Errorf("delete QoS policy: %w", err)
	}
	if err := c.setRoutes(ctx); err != nil {
		return err
	}
	for _, plan := range plans {
		if !plan.routed {
			continue
		}
		for _, id := range c.networks[plan.name].subnetIDs {
			_, err := routers.RemoveInterface(ctx, c.client, c.routerID, routers.RemoveInterfaceOpts{SubnetID: id}).Extract()
			if err != nil {
				return fmt.Errorf("remove interface %s: %w", plan.name, err)
			}
		}
	}
	if err := routers.Delete(ctx, c.client, c.routerID).ExtractErr(); err != nil {
		return fmt.Errorf("delete router: %w", err)
	}
	for _, p := range c.ports {
		if err := ports.Delete(ctx, c.client, p.ID).ExtractErr(); err != nil {
			return fmt.Errorf("delete port: %w", err)
		}
	}
	for name, n := range c.networks {
		if err := networks.Delete(ctx, c.client, n.ID).ExtractErr(); err != nil {
			return fmt.Errorf("delete network %s: %w", name, err)
		}
	}
	return nil
}

// segment is what wiring needs of a network.
func (n *network) segment() dataplane.Network {
	var id uint32
	_, _ = fmt.Sscan(n.SegmentationID, &id) // empty for those that have none
	return dataplane.Network{ID: n.ID, Type: dataplane.NetworkType(n.NetworkType), Physical: n.PhysicalNetwork, Segment: id}
}
