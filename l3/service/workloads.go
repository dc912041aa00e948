package service

import (
	"context"
	"reflect"

	"github.com/l3kit/l3kit/l3"
)

// A port that belongs to no router and no floating IP is a workload's: a virtual machine's, a
// container's. Whoever plugs it in binds it to a host. It becomes ACTIVE when that host's inventory
// names it, and DOWN when an inventory does not, or when it is bound elsewhere. Like what is stored
// of routers, that is so while the host is heard.

func isWorkloadPort(p *l3.Port) bool { return !isRouterPort(p) && p.DeviceOwner != l3.OwnerFloatingIP }

// workloadsOn are the ports of workloads that are bound to a host.
func workloadsOn(ctx context.Context, tx l3.Tx, host string) ([]l3.Port, error) {
	others := []any{l3.OwnerRouterInterface, l3.OwnerDistributedInterface, l3.OwnerRouterGateway, l3.OwnerFloatingIP}
	return tx.Ports().List(ctx, l3.Query{Filters: []l3.Filter{
		oneOf("binding.binding:host_id", host), {Field: "device_owner", Op: l3.NotIn, Values: others},
	}})
}

// workloads compares the ports that are attached on a host with those that are bound to it.
func (c *comparison) workloads(ctx context.Context, tx l3.Tx, a l3.Agent, attached []string) error {
	if attached == nil {
		return nil // the agent does not know
	}
	is := make(map[string]bool, len(attached))
	for _, id := range attached {
		is[id] = true
	}
	bound, err := workloadsOn(ctx, tx, a.Host)
	if err != nil {
		return err
	}
	for _, p := range bound {
		after := p
		bindPort(&after, a.Host, &a)
		after.Status = l3.StatusDown
		if is[p.ID] && p.AdminStateUp {
			after.Status = l3.StatusActive
		}
		if !reflect.DeepEqual(p, after) {
			c.ports = append(c.ports, after)
		}
	}
	return nil
}

// bindPort sets what follows from the host that a workload's port is bound to; a is nil if no agent
// serves it.
func bindPort(p *l3.Port, host string, a *l3.Agent) {
	p.Binding.HostID, p.Binding.VIFType, p.Binding.VIFDetails = host, vifUnbound, nil
	if host != "" && a != nil {
		on := bindingTo(*a)
		p.Binding.VIFType, p.Binding.VIFDetails = on.VIFType, on.VIFDetails
	}
}

// rebind sets what follows from a change of a workload's port: it is DOWN until the host that it is
// bound to names it again.
func (s *Service) rebind(ctx context.Context, tx l3.Tx, before l3.Port, p *l3.Port) error {
	if !isWorkloadPort(p) {
		return nil
	}
	if p.Binding.HostID != before.Binding.HostID || !p.AdminStateUp {
		p.Status = l3.StatusDown
	}
	if p.Binding.HostID == before.Binding.HostID {
		return nil
	}
	var on *l3.Agent
	if host := p.Binding.HostID; host != "" {
		a, known, err := agentOn(ctx, tx, host)
		if err != nil {
			return err
		}
		if known {
			on = &a
		}
	}
	bindPort(p, p.Binding.HostID, on)
	return nil
}

// unplug has the ports of the workloads of a host DOWN, of which nothing will be heard.
func (s *Service) unplug(ctx context.Context, w *work, host string) error {
	bound, err := workloadsOn(ctx, w, host)
	if err != nil {
		return err
	}
	for i := range bound {
		bound[i].Status = l3.StatusDown
		bindPort(&bound[i], host, nil)
	}
	return s.savePorts(ctx, w, bound)
}

func (s *Service) savePorts(ctx context.Context, w *work, ports []l3.Port) error {
	for i := range ports {
		after := &ports[i]
		before, err := w.Ports().Get(ctx, after.ID)
		if err != nil {
			return err
		}
		if err := refresh(ctx, w, w.Ports(), before, after, s.now(), before.Status != after.Status); err != nil {
			return err
		}
	}
	return nil
}
