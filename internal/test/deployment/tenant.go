package deployment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/agents"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/external"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/test/lab"
)

// NewExternal makes an external network on a physical one, and returns its ID.
func NewExternal(ctx context.Context, api *gophercloud.ServiceClient, physical string, prefix netip.Prefix, gateway netip.Addr) (id string, err error) {
	n, err := networks.Create(ctx, api, external.CreateOptsExt{External: new(true), CreateOptsBuilder: provider.CreateOptsExt{
		CreateOptsBuilder: networks.CreateOpts{Name: physical},
		Segments:          []provider.Segment{{NetworkType: "flat", PhysicalNetwork: physical}},
	}}).Extract()
	if err != nil {
		return "", err
	}
	_, err = subnets.Create(ctx, api, subnets.CreateOpts{
		NetworkID: n.ID, CIDR: prefix.String(), IPVersion: gophercloud.IPv4, GatewayIP: new(gateway.String()),
	}).Extract()
	return n.ID, err
}

// Tenant is a network behind a router to the outside, and one workload's port on it that has a
// floating IP.
type Tenant struct {
	Name, Router, Network, Subnet, Port, FloatingIP string // the last five are IDs, and empty for what is not there yet

	Net      netip.Prefix // the subnet
	Segment  uint32
	MTU      int
	Fixed    netip.Addr // of the port
	MAC      dataplane.MAC
	Floating netip.Addr
}

// TenantNet is the subnet of every tenant whose Net is not given: they never meet.
var TenantNet = netip.MustParsePrefix("10.0.0.0/24")

// NewTenant makes a tenant, in one call after the other.
func NewTenant(ctx context.Context, api *gophercloud.ServiceClient, externalNet, name string) (*Tenant, error) {
	t, err := NewNetwork(ctx, api, name)
	if err == nil {
		err = t.Route(ctx, api, externalNet)
	}
	if err == nil {
		err = t.Bind(ctx, api, externalNet)
	}
	if err != nil {
		return nil, fmt.Errorf("tenant %s: %w", name, err)
	}
	return t, nil
}

// NewNetwork makes a tenant that has a network and a port, and no router yet.
func NewNetwork(ctx context.Context, api *gophercloud.ServiceClient, name string) (*Tenant, error) {
	t := &Tenant{Name: name, Net: TenantNet}
	if err := t.network(ctx, api); err != nil {
		return nil, err
	}
	return t, t.port(ctx, api)
}

func (t *Tenant) network(ctx context.Context, api *gophercloud.ServiceClient) error {
	var made struct {
		networks.Network
		provider.NetworkProviderExt
		MTU int `json:"mtu"`
	}
	if err := networks.Create(ctx, api, networks.CreateOpts{Name: t.Name}).ExtractInto(&made); err != nil {
		return err
	}
	t.Network, t.MTU = made.ID, made.MTU
	if _, err := fmt.Sscan(made.SegmentationID, &t.Segment); err != nil {
		return fmt.Errorf("segmentation ID %q: %w", made.SegmentationID, err)
	}
	s, err := subnets.Create(ctx, api, subnets.CreateOpts{NetworkID: made.ID, CIDR: t.Net.String(), IPVersion: gophercloud.IPv4}).Extract()
	if err == nil {
		t.Subnet = s.ID
	}
	return err
}

// Route joins the network to the outside by a router.
func (t *Tenant) Route(ctx context.Context, api *gophercloud.ServiceClient, externalNet string) error {
	r, err := routers.Create(ctx, api, routers.CreateOpts{Name: t.Name, GatewayInfo: &routers.GatewayInfo{NetworkID: externalNet}}).Extract()
	if err != nil {
		return err
	}
	t.Router = r.ID
	_, err = routers.AddInterface(ctx, api, r.ID, routers.AddInterfaceOpts{SubnetID: t.Subnet}).Extract()
	return err
}

func (t *Tenant) port(ctx context.Context, api *gophercloud.ServiceClient) error {
	p, err := ports.Create(ctx, api, ports.CreateOpts{NetworkID: t.Network, Name: t.Name}).Extract()
	if err != nil {
		return err
	}
	t.Port = p.ID
	if t.Fixed, err = netip.ParseAddr(p.FixedIPs[0].IPAddress); err != nil {
		return err
	}
	return t.MAC.UnmarshalText([]byte(p.MACAddress))
}

// Bind gives the port a floating IP.
func (t *Tenant) Bind(ctx context.Context, api *gophercloud.ServiceClient, externalNet string) error {
	f, err := floatingips.Create(ctx, api, floatingips.CreateOpts{FloatingNetworkID: externalNet, PortID: t.Port}).Extract()
	if err != nil {
		return err
	}
	t.FloatingIP = f.ID
	t.Floating, err = netip.ParseAddr(f.FloatingIP)
	return err
}

// Unbind deletes the floating IP.
func (t *Tenant) Unbind(ctx context.Context, api *gophercloud.ServiceClient) error {
	err := floatingips.Delete(ctx, api, t.FloatingIP).ExtractErr()
	t.FloatingIP = ""
	return err
}

// Remove deletes everything of the tenant.
func (t *Tenant) Remove(ctx context.Context, api *gophercloud.ServiceClient) error {
	if t.FloatingIP != "" {
		if err := t.Unbind(ctx, api); err != nil {
			return err
		}
	}
	if _, err := routers.RemoveInterface(ctx, api, t.Router, routers.RemoveInterfaceOpts{SubnetID: t.Subnet}).Extract(); err != nil {
		return err
	}
	return errors.Join(
		routers.Delete(ctx, api, t.Router).ExtractErr(), ports.Delete(ctx, api, t.Port).ExtractErr(), networks.Delete(ctx, api, t.Network).ExtractErr())
}

// Spec is the tenant's workload for [lab.Lab.Attach].
func (t *Tenant) Spec() lab.Spec {
	gateway := t.Net.Addr().Next()
	return lab.Spec{
		Name:     t.Name,
		NextHops: []netip.Addr{gateway},
		Ports: []dataplane.Port{{
			ID: t.Port, MAC: t.MAC, MTU: t.MTU, Addrs: []netip.Prefix{netip.PrefixFrom(t.Fixed, t.Net.Bits())},
			Network: dataplane.Network{ID: t.Network, Type: dataplane.NetworkVXLAN, Segment: t.Segment},
		}},
	}
}

// Attach puts the tenant's workload on a host.
func (h *Host) Attach(ctx context.Context, t *Tenant) (*lab.Host, error) {
	return h.Machine.Attach(ctx, h.wiring, t.Spec())
}

// StatusOf is a router's status, and the reason for it.
func StatusOf(ctx context.Context, api *gophercloud.ServiceClient, router string) (status, reason string, err error) {
	var r struct {
		Status string `json:"status"`
		Reason string `json:"status_reason"`
	}
	err = routers.Get(ctx, api, router).ExtractIntoStructPtr(&r, "router")
	return r.Status, r.Reason, err
}

// HostOf is the name of the host that a router is on by the database; empty: it has none.
func HostOf(ctx context.Context, api *gophercloud.ServiceClient, router string) (string, error) {
	var answer struct {
		Agents []agents.Agent `json:"agents"`
	}
	_, err := api.Get(ctx, api.ServiceURL("routers", router, "l3-agents"), &answer, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	if err != nil || len(answer.Agents) == 0 {
		return "", err
	}
	return answer.Agents[0].Host, nil
}
