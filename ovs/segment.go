package ovs

import (
	"fmt"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// segment is how this host carries one network, before anybody has looked at the host.
type segment struct {
	dataplane.Network
	physical string // bridge of the physical network; empty: none
	direct   bool   // ports are plugged into that
	tunnel   bool
}

// segment works out what a network, which is valid, needs, and refuses what cannot be carried.
func (c Config) segment(n dataplane.Network) (s segment, err error) {
	s = segment{Network: n}
	switch n.Type {
	case "", dataplane.NetworkLocal:
		s.Network = dataplane.Network{ID: n.ID, Type: dataplane.NetworkLocal}
	case dataplane.NetworkFlat:
		if n.Physical == "" {
			return s, nil
		}
		s.direct = slices.Contains(c.Direct, n.Physical)
		s.physical, err = c.bridge(n.Physical)
	case dataplane.NetworkVLAN:
		if slices.Contains(c.Direct, n.Physical) {
			return s, fmt.Errorf("%w: physical network %q is configured as direct on this host, and so carries flat networks only",
				dataplane.ErrUnsupported, n.Physical)
		}
		s.physical, err = c.bridge(n.Physical)
	case dataplane.NetworkVXLAN, dataplane.NetworkGeneve, dataplane.NetworkGRE:
		s.tunnel = true
		if !c.Tunnel.Local.IsValid() {
			err = fmt.Errorf("%w: %s networks need a local tunnel address, and none is configured for this host", dataplane.ErrUnsupported, n.Type)
		}
	default:
		err = fmt.Errorf("%w: unknown network type %q", dataplane.ErrInvalid, n.Type)
	}
	return s, err
}

func (c Config) bridge(physical string) (string, error) {
	if bridge := c.Physical[physical]; bridge != "" {
		return bridge, nil
	}
	return "", fmt.Errorf("%w: no bridge is configured for physical network %q on this host", dataplane.ErrUnsupported, physical)
}

// home is the bridge that the network's ports are plugged into.
func (c Config) home(s segment) string {
	if s.direct {
		return s.physical
	}
	return c.Integration
}

// bridgesOf is bridges for a network that was carried once; none for one that cannot be any more.
func (c Config) bridgesOf(n dataplane.Network) []string {
	s, err := c.segment(n)
	if err != nil || n.ID == "" {
		return nil
	}
	return c.bridges(s)
}

// bridges are all those that the network's frames pass through on this host, and that need flows
// for it.
func (c Config) bridges(s segment) []string {
	switch {
	case s.direct:
		return nil
	case s.physical != "":
		return []string{c.Integration, s.physical}
	case s.tunnel:
		return []string{c.Integration, c.Tunnel.Bridge}
	}
	return []string{c.Integration}
}

// wire is what two networks must not have in common: their frames would meet. The zero Network
// stands for those that leave the host by none.
func wire(n dataplane.Network) dataplane.Network {
	if n.Type == dataplane.NetworkLocal || n.Type == dataplane.NetworkFlat && n.Physical == "" {
		return dataplane.Network{}
	}
	n.ID = ""
	return n
}

// alone refuses a second network on a segment, as of the end of the change: ports that leave do not
// count any more. Two processes cannot both be told that they are alone, because a transaction
// fails when somebody has plugged since it was thought out.
func (w *work) alone() error {
	on := wire(w.segment.Network)
	if on == (dataplane.Network{}) || w.was == w.segment.Network {
		return nil
	}
	var others []string
	leaving := map[string]int{}
	for _, o := range w.works {
		if wire(o.was) == on && o.was.ID != o.segment.ID {
			leaving[o.was.ID]++
		}
		if wire(o.segment.Network) == on && o.segment.ID != w.segment.ID {
			others = append(others, o.segment.ID)
		}
	}
	w.s.view.read(func() {
		for id, ports := range w.s.view.segments[on] {
			if id != w.segment.ID && ports > leaving[id] {
				others = append(others, id)
			}
		}
	})
	if len(others) == 0 {
		return nil
	}
	other := slices.Min(others)
	return fmt.Errorf("%w: networks %s and %s cannot both be %s%s", dataplane.ErrInvalid,
		min(other, w.segment.ID), max(other, w.segment.ID), describeWire(on), w.usersOf(other))
}

// usersOf says which routers must leave the host before the segment of a network is free.
func (w *work) usersOf(network string) string {
	var routers []string
	w.s.view.read(func() {
		for router, ports := range w.s.view.routers {
			for _, p := range ports {
				if router != "" && p.mark.network.ID == network && !slices.Contains(routers, router) {
					routers = append(routers, router)
				}
			}
		}
	})
	if len(routers) == 0 {
		return ""
	}
	slices.Sort(routers)
	return fmt.Sprintf(": %s has ports of router %s on this host, remove them or give one of the networks another segment",
		network, strings.Join(routers, ", "))
}

// describeWire names a segment for people.
func describeWire(n dataplane.Network) string {
	switch n.Type {
	case dataplane.NetworkFlat:
		return fmt.Sprintf("the flat network of physical network %q", n.Physical)
	case dataplane.NetworkVLAN:
		return fmt.Sprintf("VLAN %d of physical network %q", n.Segment, n.Physical)
	}
	return fmt.Sprintf("segment %d of type %s", n.Segment, n.Type)
}
