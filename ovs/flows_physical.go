package ovs

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/ovs/internal/openflow"
)

// physicalFlows lets into a physical bridge what comes from the integration bridge and belongs to a
// network of the physical network, with the tags of the latter. The priorities are Neutron's, so
// that flows which an operator put above or below those have the same effect here.
//
// All else is the bridge's own business: how frames get from its other ports to the patch port, and
// how NORMAL works on it. With fail_mode standalone, the default, and no controller, ovs-vswitchd
// itself gives a bridge the flow "priority=0 actions=NORMAL". That is a flow as any other: ours do
// not remove it, and nobody brings it back once an operator has removed it. With fail_mode secure
// there is none, and the operator's own flows say what passes. A NORMAL of ours would overrule them
// in the one case, and in the other take the place of ovs-vswitchd's, so that the bridge would be
// dead when we go.
func (l layout) physicalFlows(p physicalBridge) []openflow.Flow {
	const (
		translate = 4
		refuse    = 2
	)
	var f flowList
	containedNetworks := l.containedNetworks()
	for _, n := range l.physicalNetworks(p) {
		change := "pop_vlan"
		if vid := n.segment(); vid != 0 {
			change = setVLAN(uint16(vid))
		}
		f.add(0, translate, fmt.Sprintf("in_port=%d,dl_vlan=%d", p.Phy, n.VLAN), change+",NORMAL")
		containedNetworks[n.Network.ID].containEgress(&f, 0, fmt.Sprintf("in_port=%d,dl_vlan=%d", p.Phy, n.VLAN), change+",NORMAL")
	}
	f.add(0, refuse, fmt.Sprintf("in_port=%d", p.Phy), "drop")
	return f.distinct()
}

// patches are the physical bridges that are joined, sorted.
func (l layout) patches() []physicalBridge {
	list := slices.DeleteFunc(slices.Clone(l.Physical), func(p physicalBridge) bool { return p.Int == 0 || p.Phy == 0 })
	slices.SortFunc(list, func(a, b physicalBridge) int {
		return cmp.Or(cmp.Compare(a.Int, b.Int), cmp.Compare(a.Bridge, b.Bridge), cmp.Compare(a.Phy, b.Phy), cmp.Compare(a.Name, b.Name))
	})
	list = unique(list, func(p physicalBridge) uint32 { return p.Int })
	return unique(list, func(p physicalBridge) physicalBridge { return physicalBridge{Bridge: p.Bridge, Phy: p.Phy} })
}

// physicalNetworks are those that cross a patch pair.
func (l layout) physicalNetworks(p physicalBridge) []localNetwork {
	return l.networks(func(n dataplane.Network) bool {
		return n.Physical == p.Name && (n.Type == dataplane.NetworkFlat || n.Type == dataplane.NetworkVLAN)
	})
}
