package service

import (
	"context"
	"errors"
	"slices"

	"github.com/l3kit/l3kit/l3"
)

// routersOf are the routers of ports, each once, sorted.
func routersOf(ports []l3.Port) []string {
	ids := make([]string, 0, len(ports))
	for i := range ports {
		if isRouterPort(&ports[i]) {
			ids = append(ids, ports[i].DeviceID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func isRouterPort(p *l3.Port) bool {
	return p.DeviceOwner == l3.OwnerRouterInterface || p.DeviceOwner == l3.OwnerRouterGateway
}

// routersOfNetwork are the routers that have a port on a network.
func (s *Service) routersOfNetwork(ctx context.Context, tx l3.Tx, networkID string) ([]string, error) {
	ports, err := tx.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", networkID), routerOwned()}})
	return routersOf(ports), err
}

// routersOfSubnet are the routers that have an address in a subnet.
func (s *Service) routersOfSubnet(ctx context.Context, tx l3.Tx, subnetID string) ([]string, error) {
	subnet, err := tx.Subnets().Get(ctx, subnetID)
	if errors.Is(err, l3.ErrAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ports, err := tx.Ports().List(ctx, l3.Query{Filters: []l3.Filter{oneOf("network_id", subnet.NetworkID), routerOwned()}})
	ports = slices.DeleteFunc(ports, func(p l3.Port) bool {
		return !slices.ContainsFunc(p.FixedIPs, func(ip l3.FixedIP) bool { return ip.SubnetID == subnetID })
	})
	return routersOf(ports), err
}

// mayDeletePort refuses a port that a router or a floating IP owns: it goes with its owner.
func (s *Service) mayDeletePort(p l3.Port) error {
	if isRouterPort(&p) || p.DeviceOwner == l3.OwnerFloatingIP {
		return conflict("ServicePortInUse", "Port %s cannot be deleted by itself: it has the device owner %s", p.ID, p.DeviceOwner)
	}
	return nil
}

// networkMayCeaseExternal refuses it while routers have their gateways on the network. Floating IPs
// that are bound need such a router; others stay, and cannot be bound.
func (s *Service) networkMayCeaseExternal(ctx context.Context, tx l3.Tx, networkID string) error {
	n, err := tx.Ports().Count(ctx, oneOf("network_id", networkID), oneOf("device_owner", l3.OwnerRouterGateway))
	if err != nil {
		return err
	}
	if n > 0 {
		return conflict("ExternalNetworkInUse", "External network %s is used by gateways of routers: %d", networkID, n)
	}
	return nil
}
