package ovs

import (
	"context"

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
