package ovs

import (
	"context"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// Networks returns the networks of a router's ports, by port ID; see [namespace.InterfaceDriver].
// The marks of ports name them.
func (d *Driver) Networks(ctx context.Context, router string) (map[string]dataplane.Network, error) {
	s, err := d.db.synced(ctx)
	if err != nil {
		return nil, opError("read wiring of", "router "+router, err)
	}
	networks := map[string]dataplane.Network{}
	s.view.read(func() {
		for _, p := range s.view.routers[router] {
			networks[p.mark.port] = p.mark.network
		}
	})
	return networks, nil
}

// Attached returns, sorted, those ports of [Driver.Networks] whose devices exist: Open vSwitch
// keeps the port of a device that has gone with its namespace. It tells that only of devices that
// are not internal, within some seconds.
func (d *Driver) Attached(ctx context.Context, router string) ([]string, error) {
	s, err := d.db.synced(ctx)
	if err != nil {
		return nil, opError("read wiring of", "router "+router, err)
	}
	var attached []string
	s.view.read(func() {
		for name, p := range s.view.routers[router] {
			if i := s.view.interfaces[name]; i != nil && !i.gone() {
				attached = append(attached, p.mark.port)
			}
		}
	})
	slices.Sort(attached)
	return attached, nil
}

// gone reports whether the device does not exist, as far as ovs-vswitchd knows.
func (r *interfaceRow) gone() bool {
	return r.Type != "internal" && r.IfIndex != nil && *r.IfIndex == 0
}
