package deployment

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/portsbinding"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github.com/l3kit/l3kit/internal/test/lab"
)

// Tiers are networks behind one router, each with one workload's port: 10.0.0.0/24, 10.0.1.0/24 and
// so on.
type Tiers struct {
	Name, Router string
	Tiers        []*Tenant // none of them has a router of its own
}

// NewTiers makes so many, with a router that is distributed unless the server's default says
// otherwise.
func NewTiers(ctx context.Context, api *gophercloud.ServiceClient, externalNet, name string, n int) (*Tiers, error) {
	return newTiers(ctx, api, externalNet, name, n, true)
}

// NewCentralTiers is NewTiers with a central router.
func NewCentralTiers(ctx context.Context, api *gophercloud.ServiceClient, externalNet, name string, n int) (*Tiers, error) {
	return newTiers(ctx, api, externalNet, name, n, false)
}

func newTiers(ctx context.Context, api *gophercloud.ServiceClient, externalNet, name string, n int, distributed bool) (*Tiers, error) {
	r, err := routers.Create(ctx, api, routers.CreateOpts{
		Name: name, Distributed: &distributed, GatewayInfo: &routers.GatewayInfo{NetworkID: externalNet},
	}).Extract()
	if err != nil {
		return nil, err
	}
	all := &Tiers{Name: name, Router: r.ID}
	for i := range n {
		t := &Tenant{Name: fmt.Sprintf("%s-%d", name, i), Net: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i)}), 24)}
		if err := t.network(ctx, api); err != nil {
			return nil, err
		}
		if err := t.port(ctx, api); err != nil {
			return nil, err
		}
		if _, err := routers.AddInterface(ctx, api, r.ID, routers.AddInterfaceOpts{SubnetID: t.Subnet}).Extract(); err != nil {
			return nil, err
		}
		all.Tiers = append(all.Tiers, t)
	}
	return all, nil
}

// More makes another workload's port on a tier's network.
func (t *Tenant) More(ctx context.Context, api *gophercloud.ServiceClient, name string) (*Tenant, error) {
	more := *t
	more.Name, more.FloatingIP = name, ""
	return &more, more.port(ctx, api)
}

// Place binds the tenant's port to a host, as whoever plugs it in does; empty: to none.
func (t *Tenant) Place(ctx context.Context, api *gophercloud.ServiceClient, host string) error {
	_, err := ports.Update(ctx, api, t.Port, portsbinding.UpdateOptsExt{UpdateOptsBuilder: ports.UpdateOpts{}, HostID: &host}).Extract()
	return err
}

// PlaceAndAttach binds the tenant's port to a host, and puts the workload there.
func (h *Host) PlaceAndAttach(ctx context.Context, api *gophercloud.ServiceClient, t *Tenant) (*lab.Host, error) {
	if err := t.Place(ctx, api, h.Name); err != nil {
		return nil, err
	}
	return h.Attach(ctx, t)
}
