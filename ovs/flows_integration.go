package ovs

import (
	"fmt"
	"maps"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/ovs/internal/openflow"
)

// integrationFlows makes the integration bridge a learning switch whose VLANs are networks: its
// ports are tagged, and action NORMAL does the rest. Frames of a physical network enter by a patch
// port with that network's own tags. Those that belong to a network here change them for its local
// VLAN, and no others come in.
//
// A frame without a tag and one with the tag 0, which carries only a priority (IEEE 802.1Q, 6.9),
// are both of the flat network.
//
// NORMAL would let dead ports talk to each other, and what they send is not tagged yet when flows
// see it. So they are dropped by port.
func (l layout) integrationFlows() []openflow.Flow {
	const (
		first     = 65535
		translate = 3
		refuse    = 2
	)
	var f flowList
	f.add(0, first, fmt.Sprintf("dl_vlan=%d", deadVLAN), "drop")
	for _, port := range slices.Compact(slices.Sorted(slices.Values(l.Dead))) {
		if port != 0 {
			f.add(0, first, fmt.Sprintf("in_port=%d", port), "drop")
		}
	}
	containedNetworks := l.containedNetworks()
	uplinks := map[string]uint32{} // by network
	for _, p := range l.patches() {
		for _, n := range l.physicalNetworks(p) {
			uplinks[n.Network.ID] = p.Int
			for _, e := range n.ingresses(p.Int) {
				f.add(0, translate, e.match, e.tag+",NORMAL")
				containedNetworks[n.Network.ID].containIngress(&f, e)
			}
		}
		f.add(0, refuse, fmt.Sprintf("in_port=%d", p.Int), "drop")
	}
	if l.PatchInt != 0 {
		for _, n := range l.networks(func(n dataplane.Network) bool { return receiver(n.Type) != 0 }) {
			uplinks[n.Network.ID] = l.PatchInt
			containedNetworks[n.Network.ID].containIngress(&f, ingress{match: fmt.Sprintf("in_port=%d,dl_vlan=%d", l.PatchInt, n.VLAN), untag: "pop_vlan"})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(containedNetworks)) {
		containedNetworks[id].containLocal(&f, uplinks[id])
	}
	f.otherwise(0, "NORMAL")
	return f.distinct()
}

// ingresses are the ways from the patch port of a physical network: with the network's tag, or if
// it has none, also without any.
func (n localNetwork) ingresses(patch uint32) []ingress {
	tagged := ingress{match: fmt.Sprintf("in_port=%d,dl_vlan=%d", patch, n.segment()), tag: setVLAN(n.VLAN), untag: "pop_vlan"}
	if n.segment() != 0 {
		return []ingress{tagged}
	}
	return []ingress{{match: fmt.Sprintf("in_port=%d,vlan_tci=0x0000/0x1fff", patch), tag: pushVLAN(n.VLAN)}, tagged}
}
