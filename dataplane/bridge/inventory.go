package bridge

import (
	"context"
	"maps"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
)

// Networks returns the networks of a router's ports, by port ID; see [namespace.InterfaceDriver]. A
// physical network is found by the device that the configuration names for it.
func (d *Driver) Networks(ctx context.Context, router string) (map[string]dataplane.Network, error) {
	if err := ctx.Err(); err != nil {
		return nil, failure.Of("read wiring of", "router "+router, err)
	}
	networks := map[string]dataplane.Network{}
	err := d.view.read(func() {
		for _, tap := range d.view.taps[router] {
			networks[tap.mark.port] = d.view.networkOf(tap, d.config.physicalOf)
		}
	})
	return networks, failure.Of("read wiring of", "router "+router, err)
}

// networkOf works out how the network of a port is carried. The view is locked.
func (v *view) networkOf(tap *link, physicalOf func(device string) string) dataplane.Network {
	n := dataplane.Network{ID: tap.mark.network, Type: dataplane.NetworkLocal}
	if home := v.links[tap.master]; home != nil && home.mark == (mark{}) { // an existing bridge
		n.Type, n.Physical = dataplane.NetworkFlat, physicalOf(home.name)
		return n
	}
	for _, l := range v.plumbing[n.ID] {
		switch {
		case l.kind == "vxlan":
			n.Type, n.Segment = dataplane.NetworkVXLAN, l.vxlan.vni
		case l.kind == "vlan":
			n.Type, n.Segment = dataplane.NetworkVLAN, uint32(l.vlan)
			if lower := v.links[l.lower]; lower != nil {
				n.Physical = physicalOf(lower.name)
			}
		case l.mark.uplink != "":
			n.Type, n.Physical = dataplane.NetworkFlat, physicalOf(l.mark.uplink)
		}
	}
	return n
}

// physicalOf returns the physical network that a device is named for; empty if there is none. Of
// several it is the first by name.
func (c Config) physicalOf(device string) string {
	for _, physical := range slices.Sorted(maps.Keys(c.Physical)) {
		if c.Physical[physical] == device {
			return physical
		}
	}
	return ""
}
