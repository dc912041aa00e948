package bridge

import (
	"fmt"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// segment is how this host carries one network, before anybody has looked at the host.
type segment struct {
	network  string
	physical string // device that the configuration names for the physical network: an existing bridge or an interface; empty: none
	uplink   string // device of ours between the bridge and other hosts; empty: none
	vlan     uint16 // of uplink; 0: not a VLAN device
	vxlan    vxlanInfo
}

// segment works out what a network, which is valid, needs, and refuses what Linux bridges cannot
// carry.
func (c Config) segment(n dataplane.Network) (segment, error) {
	s := segment{network: n.ID}
	switch n.Type {
	case "", dataplane.NetworkLocal:
	case dataplane.NetworkFlat:
		if n.Physical == "" {
			return s, nil
		}
		device, err := c.device(n.Physical)
		if err != nil {
			return s, err
		}
		s.physical = device
	case dataplane.NetworkVLAN:
		device, err := c.device(n.Physical)
		if err != nil {
			return s, err
		}
		s.physical, s.vlan = device, uint16(n.Segment)
		s.uplink = vlanName(device, s.vlan)
	case dataplane.NetworkVXLAN:
		if !c.VXLAN.Local.IsValid() {
			return s, fmt.Errorf("%w: VXLAN networks need a local tunnel address, and none is configured for this host", dataplane.ErrUnsupported)
		}
		s.vxlan = vxlanInfo{vni: n.Segment, local: c.VXLAN.Local, port: c.VXLAN.Port, learning: true}
		s.uplink = vxlanName(n.Segment)
	case dataplane.NetworkGeneve, dataplane.NetworkGRE:
		return s, fmt.Errorf("%w: Linux bridges do not carry %s networks: use the ovs wiring", dataplane.ErrUnsupported, n.Type)
	}
	return s, nil
}

func (c Config) device(physical string) (string, error) {
	if device := c.Physical[physical]; device != "" {
		return device, nil
	}
	return "", fmt.Errorf("%w: no bridge or interface is configured for physical network %q on this host", dataplane.ErrUnsupported, physical)
}

// VXLAN is how this host takes part in VXLAN networks (RFC 7348). Frames that are not for one known
// peer are sent to each peer in turn.
type VXLAN struct {
	Local netip.Addr   // this host's tunnel address; needed only for networks of that type
	Port  uint16       // UDP; 0: 4789
	Peers []netip.Addr // the other hosts' tunnel addresses; Local among them does no harm
}
