package ovs

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/ovs/internal/openflow"
)

// layout is what flows follow from: what this host's bridges hold at the moment. Ports are numbers
// of OpenFlow; 0 is one that ovs-vswitchd has not given yet, and whatever needs it is left out. The
// order of things does not matter.
type layout struct {
	Integration string // bridge
	Tunnel      string // bridge; empty: none
	Networks    []localNetwork
	Physical    []physicalBridge
	Dead        []uint32 // ports of the integration bridge that must not be heard, because nobody knows their network
	PatchInt    uint32   // the end on the integration bridge of the pair that joins the tunnel bridge
	PatchTun    uint32   // the other end
	Tunnels     []tunnelPort
	Entries     []Entry
	Contained   []containedPort
}

// localNetwork is a network that has ports on this host.
type localNetwork struct {
	Network dataplane.Network
	VLAN    uint16 // on the integration bridge
}

// physicalBridge is an existing bridge, joined to the integration bridge by a patch pair.
type physicalBridge struct {
	Name   string // of the physical network
	Bridge string
	Int    uint32 // the pair's end on the integration bridge
	Phy    uint32 // the pair's end on Bridge
}

// tunnelPort leads to another host.
type tunnelPort struct {
	Peer netip.Addr
	Type dataplane.NetworkType // vxlan, geneve or gre
	Port uint32                // on the tunnel bridge
}

// deadVLAN is the local VLAN of ports that belong to no network.
const deadVLAN = 4095

// flows returns the flows that are ours, for every bridge that the layout names. A bridge that has
// left the layout needs none any more: whatever is there must be replaced by nothing, lest the next
// port with the old one's number be taken for it.
//
// A segment belongs to one network, which Plug sees to. Should several claim it all the same, that
// with the lowest local VLAN has it, and the others stay on this host.
func (l layout) flows() map[string][]openflow.Flow {
	all := map[string][]openflow.Flow{l.Integration: l.integrationFlows()}
	for _, p := range l.Physical {
		all[p.Bridge] = nil
	}
	for _, p := range l.patches() {
		all[p.Bridge] = append(all[p.Bridge], l.physicalFlows(p)...)
	}
	if l.Tunnel != "" {
		all[l.Tunnel] = l.tunnelFlows()
	}
	return all
}

// flowList is a bridge's flows in the making.
type flowList []openflow.Flow

func (f *flowList) add(table uint8, priority uint16, match, actions string) {
	*f = append(*f, openflow.Flow{Table: table, Priority: priority, Match: match, Actions: actions})
}

// otherwise is what a table does with packets that nothing else in it matches.
func (f *flowList) otherwise(table uint8, actions string) { f.add(table, 0, "", actions) }

// setVLAN rewrites the tag that a frame has. The bit 0x1000 says that there is one (vlan_vid in
// ovs-fields(7)).
func setVLAN(vlan uint16) string { return fmt.Sprintf("set_field:%d->vlan_vid", 0x1000|vlan) }

// pushVLAN gives a frame a tag more.
func pushVLAN(vlan uint16) string { return "push_vlan:0x8100," + setVLAN(vlan) }

// networks returns those networks for which carried holds, sorted by VLAN. No two share a VLAN or a
// segment.
func (l layout) networks(carried func(dataplane.Network) bool) []localNetwork {
	type segment struct {
		kind dataplane.NetworkType
		id   uint32
	}
	list := slices.DeleteFunc(slices.Clone(l.Networks), func(n localNetwork) bool { return n.VLAN == 0 })
	slices.SortFunc(list, func(a, b localNetwork) int {
		return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), cmp.Compare(a.Network.ID, b.Network.ID))
	})
	list = unique(list, func(n localNetwork) uint16 { return n.VLAN })
	list = slices.DeleteFunc(list, func(n localNetwork) bool { return !carried(n.Network) })
	return unique(list, func(n localNetwork) segment { return segment{n.Network.Type, n.segment()} })
}

// segment is the network's number on the wire; 0 for one without tags.
func (n localNetwork) segment() uint32 {
	if n.Network.Type == dataplane.NetworkFlat {
		return 0
	}
	return n.Network.Segment
}

// unique removes all but the first of those with the same key.
func unique[T any, K comparable](list []T, key func(T) K) []T {
	seen := make(map[K]bool, len(list))
	return slices.DeleteFunc(list, func(e T) bool {
		k := key(e)
		again := seen[k]
		seen[k] = true
		return again
	})
}
