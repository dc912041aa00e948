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
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/mtu"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsbinding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
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
	public   string // ID of the floating IP
}

type network struct {
	networks.Network
	provider.NetworkProviderExt
	mtu.NetworkMTUExt
	subnetID string
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
		gateway := plan.gateway
		s, err := subnets.Create(ctx, c.client, subnets.CreateOpts{
			NetworkID: n.ID, Name: plan.name, CIDR: plan.cidr, IPVersion: gophercloud.IPv4, GatewayIP: &gateway,
		}).Extract()
		if err != nil {
			return fmt.Errorf("create subnet %s: %w", plan.name, err)
		}
		n.subnetID = s.ID
		c.networks[plan.name] = n
	}
	return nil
}

// port asks for a machine's port, with an address of its own choosing, bound to a host unless that
// is empty, and returns what wiring needs of it.
func (c *cloud) port(ctx context.Context, networkName, address, host string) (p dataplane.Port, err error) {
	n := c.networks[networkName]
	made, err := ports.Create(ctx, c.client, portsbinding.CreateOptsExt{HostID: host, CreateOptsBuilder: ports.CreateOpts{
		NetworkID: n.ID, FixedIPs: []ports.IP{{SubnetID: n.subnetID, IPAddress: address}},
	}}).Extract()
	if err != nil {
		return p, fmt.Errorf("create port %s: %w", address, err)
	}
	mac, err := dataplane.ParseMAC(made.MACAddress)
	p = dataplane.Port{ID: made.ID, Network: n.segment(), MAC: mac, MTU: n.MTU, Addrs: []netip.Prefix{netip.PrefixFrom(addr(address), 24)}}
	c.ports[address] = p
	return p, err
}

// makeRouter asks for the router: gateway, interfaces and the extra route; and for the floating IP
// of www, whose answer is the last.
func (c *cloud) makeRouter(ctx context.Context) error {
	r, err := routers.Create(ctx, c.client, routers.CreateOpts{
		Name: "demo", Distributed: &c.distributed, GatewayInfo: &routers.GatewayInfo{NetworkID: c.networks[outside].ID},
	}).Extract()
	if err != nil {
		return fmt.Errorf("create router: %w", err)
	}
	c.routerID = r.ID
	for _, plan := range plans {
		if !plan.routed {
			continue
		}
		_, err := routers.AddInterface(ctx, c.client, r.ID, routers.AddInterfaceOpts{SubnetID: c.networks[plan.name].subnetID}).Extract()
		if err != nil {
			return fmt.Errorf("add interface %s: %w", plan.name, err)
		}
	}
	if err := c.setRoutes(ctx, routers.Route{DestinationCIDR: archiveCIDR, NextHop: applAddr}); err != nil {
		return err
	}
	f, err := floatingips.Create(ctx, c.client, floatingips.CreateOpts{
		FloatingNetworkID: c.networks[outside].ID, FloatingIP: publicAddr, PortID: c.ports[wwwAddr].ID,
	}).Extract()
	if err != nil {
		return fmt.Errorf("create floating IP: %w", err)
	}
	c.public = f.ID
	return nil
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
	if err := floatingips.Delete(ctx, c.client, c.public).ExtractErr(); err != nil {
		return fmt.Errorf("delete floating IP: %w", err)
	}
	if err := c.setRoutes(ctx); err != nil {
		return err
	}
	for _, plan := range plans {
		if !plan.routed {
			continue
		}
		_, err := routers.RemoveInterface(ctx, c.client, c.routerID, routers.RemoveInterfaceOpts{SubnetID: c.networks[plan.name].subnetID}).Extract()
		if err != nil {
			return fmt.Errorf("remove interface %s: %w", plan.name, err)
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
