package ovs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/wiring"
)

// removePorts takes ports away in one transaction, with their devices, and with the flows of
// networks whose last ports they are. What serves the whole host stays: bridges, patch pairs,
// tunnels.
func (d *Driver) removePorts(ctx context.Context, ports []*port) error {
	if len(ports) == 0 {
		return nil
	}
	names := make([]string, len(ports))
	for i, p := range ports {
		names[i] = p.Name
	}
	c, err := d.commit(ctx, func(s *session) (*change, error) {
		c := newChange(s)
		for _, p := range ports {
			if now, _ := s.port(p.Name); now != nil && now.UUID == p.UUID {
				c.removePort(s.bridgeOf(now), p.UUID)
			}
		}
		d.unprotectWithout(c, ports)
		return c, nil
	})
	if err != nil {
		return err
	}
	errs := []error{d.removeDevices(names)}
	if c.transacts() {
		if err := c.carriedOut(ctx); err != nil {
			return errors.Join(append(errs, d.stalled(ctx, err))...)
		}
		errs = append(errs, d.removeDevices(names)) // ovs-vswitchd has let go of internal ones, if it was there to do so
	}
	return errors.Join(append(errs, d.forget(ctx, c.s, ports))...)
}

// Spare says what Sweep would remove; see [namespace.InterfaceDriver]. It is ports only: bridges,
// patch pairs and tunnels serve the whole host, and flows of networks that have gone are for
// whoever plugs next.
func (d *Driver) Spare(ctx context.Context, router string, devices []string) (steps []dataplane.Step, err error) {
	ports, err := d.others(ctx, router, devices)
	for _, p := range ports {
		steps = append(steps, wiring.Step(dataplane.Remove, p.Name, "not a port of router "+router+" any more"))
	}
	return steps, opError("look for", "spare ports", err)
}

// Sweep removes them; see [namespace.InterfaceDriver].
func (d *Driver) Sweep(ctx context.Context, router string, devices []string) error {
	ports, err := d.others(ctx, router, devices)
	if err == nil {
		err = d.removePorts(ctx, ports)
	}
	return opError("sweep", "spare ports", err)
}

// others lists the ports of a router that are none of these devices.
func (d *Driver) others(ctx context.Context, router string, devices []string) ([]*port, error) {
	s, err := d.db.synced(ctx)
	if err != nil {
		return nil, err
	}
	var ports []*port
	s.view.read(func() { ports = s.view.routers[router].sorted() })
	return slices.DeleteFunc(ports, func(p *port) bool {
		return wiring.Named(p.mark.port, devices...)
	}), nil
}

// removeDevices removes what is left of ports in the host's namespace, by their names.
func (d *Driver) removeDevices(names []string) error {
	workers := min(len(names), wiring.MaxAtOnce)
	errs := make([]error, workers)
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			errs[i] = netdev.In(int(d.hostNS.Fd()), func(h *netlink.Handle) error {
				var errs []error
				for j := i; j < len(names); j += workers {
					l, err := netdev.Find(h, names[j])
					if err == nil && l != nil && (l.Type() == "veth" || l.Type() == "tuntap") {
						err = netdev.Remove(h, l)
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// forget removes the flows of networks that have no ports any more.
func (d *Driver) forget(ctx context.Context, s *session, ports []*port) error {
	bridges := map[string]bool{}
	for _, p := range ports {
		used := false
		s.view.read(func() { used = s.view.networks[p.mark.network.ID] != nil })
		if used && p.mark.contain == "" || p.mark.vlan == 0 {
			continue
		}
		for _, name := range d.config.bridgesOf(p.mark.network) {
			bridges[name] = bridges[name] || s.bridge(name) != nil
		}
	}
	maps.DeleteFunc(bridges, func(_ string, there bool) bool { return !there })
	return d.flows.replace(ctx, s, slices.Sorted(maps.Keys(bridges))...)
}

// takeBack removes what a transaction has made, after that came to nothing. What others need by now
// stays.
func (d *Driver) takeBack(ctx context.Context, c *change, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var gone []*port
	undo, err := d.commit(ctx, func(s *session) (*change, error) {
		undo := newChange(s)
		gone = nil
		for _, m := range c.made {
			if c.plugs(m.name) == nil && d.needed(s, m, c) {
				continue
			}
			b := s.bridge(m.name)
			p, _ := s.port(m.name)
			switch {
			case m.table == bridgeTable && b != nil && b.UUID == m.uuid:
				undo.removeBridge(b.UUID)
			case m.table == portTable && m.name != m.bridge && p != nil && p.UUID == m.uuid:
				undo.removePort(s.bridgeOf(p), p.UUID)
				gone = append(gone, p)
			}
		}
		d.unprotectWithout(undo, gone)
		return undo, nil
	})
	err = errors.Join(err, d.removeDevices(c.veths))
	if err == nil && undo.transacts() {
		if c.acted { // then it removes the devices, too; and if it has died since, the next one does
			_ = undo.carriedOut(ctx)
		}
		if err = undo.s.view.settle(ctx); err == nil {
			_ = d.forget(ctx, undo.s, gone) // an ovs-vswitchd that does not act is why we are here, and the next one has no flows
		}
	}
	if err != nil {
		return errors.Join(why, fmt.Errorf("what was made could not be taken back: %w", err))
	}
	return why
}

// needed says that a bridge, or a port between bridges or hosts, serves any other port than those
// that it was made for.
func (d *Driver) needed(s *session, m made, by *change) (needed bool) {
	s.view.read(func() {
		for _, ports := range s.view.routers {
			for name, p := range ports {
				segment, err := d.config.segment(p.mark.network)
				if by.plugs(name) != nil || err != nil {
					continue
				}
				bridges := d.config.bridges(segment)
				if m.table == bridgeTable {
					needed = needed || slices.Contains(bridges, m.name)
				} else if made := s.view.ports[m.name]; made != nil {
					far := cmp.Or(made.mark.to, m.bridge) // of a patch pair
					needed = needed || slices.Contains(bridges, far) && (made.mark.role != tunnelRole || made.mark.network.Type == segment.Type)
				}
			}
		}
	})
	return needed
}
