package ovs

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/ovs/internal/openflow"
)

// Tables of the tunnel bridge. Where Neutron's Open vSwitch agent has a table for the same, the
// number is the same.
//
//	0        where from: the integration bridge → 2, a tunnel → 3, 4 or 6, with its peer in xxreg0
//	3, 4, 6  from a tunnel, by type: tunnel id → local VLAN
//	10       learn that the sender is at the peer, for table 20; out to the integration bridge
//	2        from the integration bridge: unicast → 20 and 22, ARP requests → 21, others → 22
//	20       destinations at a known peer: the peer into xxreg0
//	21       ARP requests for known addresses: the answer goes back; others → 22
//	22       local VLAN → tunnel id, → 23, 24 or 26
//	23 …     to tunnels, by type: to the peer in xxreg0, if it has a tunnel, else to all
//
// What comes from a tunnel meets no table that leads to one (split horizon). What a table does not
// know is dropped.
//
// A destination is known by its host's tunnel address rather than by a port. So when a peer goes,
// or its port gets another number, two or three flows change, whatever the number of networks and
// of learned destinations; and those that are behind the peer are unknown at once: they are flooded
// for.
const (
	tableOrigin  = 0
	tableOut     = 2
	tableGRE     = 3
	tableVXLAN   = 4
	tableGeneve  = 6
	tableLearn   = 10
	tableKnown   = 20
	tableARP     = 21
	tableSegment = 22
	toTunnels    = 20 // from a table that receives to that which sends
)

// Priorities in tables with more than a default.
const (
	usual  = 1
	better = 2
)

// learnedTime is after how many seconds of silence a learned destination is unknown again, as on a
// bridge (IEEE 802.1D, 7.9.2).
const learnedTime = 300

// tunnelFlows makes the tunnel bridge a switch that knows, for each network, which host a
// destination is on.
func (l layout) tunnelFlows() []openflow.Flow {
	var f flowList
	tunnels := l.tunnels()
	networks := l.networks(func(n dataplane.Network) bool { return receiver(n.Type) != 0 })

	if l.PatchTun != 0 {
		f.add(tableOrigin, usual, fmt.Sprintf("in_port=%d", l.PatchTun), submit(tableOut))
	}
	for _, t := range tunnels {
		f.add(tableOrigin, usual, fmt.Sprintf("in_port=%d", t.Port), setPeer(t.Peer)+","+submit(receiver(t.Type)))
	}
	f.otherwise(tableOrigin, "drop")

	f.add(tableOut, usual, "arp,arp_op=1,dl_dst=ff:ff:ff:ff:ff:ff", submit(tableARP))
	f.add(tableOut, 0, "dl_dst=00:00:00:00:00:00/01:00:00:00:00:00", submit(tableKnown, tableSegment))
	f.add(tableOut, 0, "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", submit(tableSegment))

	containedNetworks := l.containedNetworks()
	for _, n := range networks {
		h := containedNetworks[n.Network.ID]
		h.containEgress(&f, tableOut, fmt.Sprintf("dl_vlan=%d", n.VLAN), submit(tableARP))
		for _, leg := range h.legs { // lest the MAC is learned
			f.add(tableLearn, better, fmt.Sprintf("dl_vlan=%d,dl_src=%s", n.VLAN, leg.MAC), "drop")
		}
	}
	for _, table := range []uint8{tableGRE, tableVXLAN, tableGeneve} {
		for _, n := range networks {
			if receiver(n.Network.Type) == table {
				f.add(table, usual, fmt.Sprintf("tun_id=%#x", n.Network.Segment), pushVLAN(n.VLAN)+","+submit(tableLearn))
			}
		}
		f.otherwise(table, "drop")
	}
	for _, n := range networks {
		if l.PatchTun != 0 {
			f.add(tableLearn, usual, fmt.Sprintf("dl_vlan=%d", n.VLAN), fmt.Sprintf("%s,output:%d", n.learn(), l.PatchTun))
		}
		f.add(tableSegment, usual, fmt.Sprintf("dl_vlan=%d", n.VLAN),
			fmt.Sprintf("pop_vlan,set_field:%#x->tun_id,%s", n.Network.Segment, submit(receiver(n.Network.Type)+toTunnels)))
	}
	f.otherwise(tableLearn, "drop")
	f.otherwise(tableSegment, "drop")

	l.entryFlows(&f, networks, tunnels)
	sendFlows(&f, tunnels)
	return f.distinct()
}

// entryFlows writes what the host was told. A learned destination gives way to one that was told.
//
// Who announces an address by a request for it (RFC 5227, 3) wants no answer, but to be heard: that
// is flooded.
func (l layout) entryFlows(f *flowList, networks []localNetwork, tunnels []tunnelPort) {
	known := l.entries(networks, tunnels)
	type host struct {
		vlan uint16
		mac  dataplane.MAC
	}
	for _, e := range unique(slices.Clone(known), func(e localEntry) host { return host{e.vlan, e.MAC} }) {
		f.add(tableKnown, better, fmt.Sprintf("dl_vlan=%d,dl_dst=%s", e.vlan, e.MAC), setPeer(e.Peer))
	}
	f.otherwise(tableKnown, "drop")

	type address struct {
		vlan uint16
		ip   netip.Addr
	}
	for _, e := range unique(known, func(e localEntry) address { return address{e.vlan, e.Addr} }) {
		if e.Addr.Is4() {
			match := fmt.Sprintf("arp,dl_vlan=%d,arp_op=1,arp_tpa=%s", e.vlan, e.Addr)
			f.add(tableARP, better, match+",arp_spa="+e.Addr.String(), submit(tableSegment))
			f.add(tableARP, usual, match, e.answer())
		}
	}
	f.otherwise(tableARP, submit(tableSegment))
}

// localEntry is an entry of a network that is here.
type localEntry struct {
	Entry
	vlan uint16
}

// entries are those whose peer has a tunnel for their network. They are sorted, so that of two that
// contradict each other always the same one counts.
func (l layout) entries(networks []localNetwork, tunnels []tunnelPort) []localEntry {
	byID := make(map[string]localNetwork, len(networks))
	for _, n := range networks {
		byID[n.Network.ID] = n
	}
	reached := make(map[tunnelPort]bool, len(tunnels))
	for _, t := range tunnels {
		reached[tunnelPort{Peer: t.Peer, Type: t.Type}] = true
	}
	var list []localEntry
	for _, e := range l.Entries {
		n := byID[e.Network]
		e.Addr, e.Peer = e.Addr.Unmap(), e.Peer.Unmap()
		if reached[tunnelPort{Peer: e.Peer, Type: n.Network.Type}] {
			list = append(list, localEntry{e, n.VLAN})
		}
	}
	slices.SortFunc(list, func(a, b localEntry) int {
		return cmp.Or(cmp.Compare(a.vlan, b.vlan), slices.Compare(a.MAC[:], b.MAC[:]), a.Addr.Compare(b.Addr), a.Peer.Compare(b.Peer))
	})
	return list
}

// sendFlows finds the tunnels to take, for each type.
func sendFlows(f *flowList, tunnels []tunnelPort) {
	for _, table := range []uint8{tableGRE, tableVXLAN, tableGeneve} {
		var all []string
		for _, t := range tunnels {
			if receiver(t.Type) == table {
				output := fmt.Sprintf("output:%d", t.Port)
				f.add(table+toTunnels, usual, "xxreg0="+peerNumber(t.Peer), output)
				all = append(all, output)
			}
		}
		if all == nil {
			all = []string{"drop"}
		}
		f.otherwise(table+toTunnels, strings.Join(all, ","))
	}
}

// tunnels are those that have a port, one for each peer and type, sorted.
func (l layout) tunnels() []tunnelPort {
	list := slices.DeleteFunc(slices.Clone(l.Tunnels), func(t tunnelPort) bool { return t.Port == 0 || receiver(t.Type) == 0 })
	for i := range list {
		list[i].Peer = list[i].Peer.Unmap()
	}
	slices.SortFunc(list, func(a, b tunnelPort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), a.Peer.Compare(b.Peer), cmp.Compare(a.Type, b.Type))
	})
	list = unique(list, func(t tunnelPort) uint32 { return t.Port })
	return unique(list, func(t tunnelPort) tunnelPort { return tunnelPort{Peer: t.Peer, Type: t.Type} })
}

// receiver is the table for what comes from tunnels of a type; 0 for networks that use none.
func receiver(t dataplane.NetworkType) uint8 {
	switch t {
	case dataplane.NetworkGRE:
		return tableGRE
	case dataplane.NetworkVXLAN:
		return tableVXLAN
	case dataplane.NetworkGeneve:
		return tableGeneve
	}
	return 0
}

// learn makes a flow in table 20 of a frame's sender and VLAN, and of the peer that it comes from.
// What was learned for a network goes with it, or with its local VLAN or segment.
func (n localNetwork) learn() string {
	cookie := openflow.LearnedCookie(fmt.Sprintf("%s %s %d %d", n.Network.ID, n.Network.Type, n.Network.Segment, n.VLAN))
	return fmt.Sprintf("learn(table=%d,hard_timeout=%d,priority=%d,delete_learned,cookie=%s,"+
		"NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_NX_XXREG0[]->NXM_NX_XXREG0[])",
		tableKnown, learnedTime, usual, cookie)
}

// answer turns an ARP request into the reply (RFC 826) and sends it back.
func (e localEntry) answer() string {
	return fmt.Sprintf("move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],set_field:%[1]s->eth_src,set_field:2->arp_op,"+
		"move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],"+
		"set_field:%[1]s->arp_sha,set_field:%[2]s->arp_spa,IN_PORT", e.MAC, e.Addr)
}

func submit(tables ...uint8) string {
	var actions []string
	for _, t := range tables {
		actions = append(actions, fmt.Sprintf("resubmit(,%d)", t))
	}
	return strings.Join(actions, ",")
}

// setPeer remembers the peer for table 23 and so on. No peer is 0, which registers are at first.
func setPeer(peer netip.Addr) string { return "set_field:" + peerNumber(peer) + "->xxreg0" }

// peerNumber is an address as a number of up to 128 bits.
func peerNumber(peer netip.Addr) string {
	digits := strings.TrimLeft(fmt.Sprintf("%x", peer.Unmap().AsSlice()), "0")
	return "0x" + cmp.Or(digits, "0")
}
