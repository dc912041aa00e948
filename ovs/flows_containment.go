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

// An anycast port (a leg) is on several hosts, with one MAC and one set of addresses. Flows keep it
// to its host, a few for each network that has legs here:
//
//   - Nothing from a leg's MAC or to it leaves the host, or comes in.
//   - No ARP request and no neighbour solicitation for a leg's address leaves the host, or comes in.
//   - Nothing comes in that tells workloads of another MAC for a leg's address. An ARP request does
//     so by its sender's address; but the centre of the router finds workloads by such requests. So
//     each becomes an ARP probe (RFC 5227, 1.1): workloads answer it, and learn nothing from it.
//   - A port that counts as outside is treated like the other hosts.
//
// Flows do not choose the ports that action NORMAL floods to. So legs are protected ports, as is
// the patch port by which the network leaves the integration bridge: Open vSwitch passes nothing
// from one to another. Legs of several routers are each other's neighbours; flows pass frames
// between them.
//
// Two gaps are left, because NORMAL cannot tell an outside port from a workload's. A leg and an
// outside port on one host receive each other's floods, except announcements of the gateway. And
// the outside port receives the workloads' ARP requests for the gateway; its replies go to other
// hosts only.

// Tables and priorities of containment. Each priority exceeds those of the flows that carry frames.
const (
	tableLegs = 33 // of the integration bridge: from a leg, with its VLAN in reg0

	silent    = 10 // other claims to a leg's address
	rewritten = 11 // ARP requests that claim a leg's address
	asked     = 12 // requests for a leg's address
	exempt    = 13 // announcements of an outside port
	contained = 14 // from or to the MAC of a leg
)

// containedNetwork is a network with its legs on this host, and with the ports that count as
// outside.
type containedNetwork struct {
	localNetwork
	legs, outside []containedPort
	v4            []netip.Addr // of legs
	v6            []netip.Addr // the same, without link-local ones
	linkLocal     []netip.Addr // that derive from legs' MACs
}

// containedNetworks are those networks that have legs here.
func (l layout) containedNetworks() map[string]containedNetwork {
	if len(l.Contained) == 0 {
		return nil
	}
	ports := map[string][]containedPort{}
	for _, p := range l.Contained {
		ports[p.Network] = append(ports[p.Network], p)
	}
	all := map[string]containedNetwork{}
	networks := slices.DeleteFunc(slices.Clone(l.Networks), func(n localNetwork) bool { return n.VLAN == 0 || ports[n.Network.ID] == nil })
	slices.SortFunc(networks, func(a, b localNetwork) int { return strings.Compare(a.Network.ID, b.Network.ID) })
	for _, n := range unique(networks, func(n localNetwork) uint16 { return n.VLAN }) {
		h := containedNetwork{localNetwork: n}
		for _, p := range slices.SortedFunc(slices.Values(ports[n.Network.ID]), compareContained) {
			if p.Anycast {
				h.legs = append(h.legs, p)
			} else {
				h.outside = append(h.outside, p)
			}
		}
		if len(h.legs) == 0 {
			continue
		}
		for _, leg := range h.legs {
			h.v4 = append(h.v4, leg.family(netip.Addr.Is4)...)
			if v6 := leg.family(netip.Addr.Is6); len(v6) > 0 {
				h.v6, h.linkLocal = append(h.v6, v6...), append(h.linkLocal, linkLocal(leg.MAC))
			}
		}
		all[n.Network.ID] = h
	}
	return all
}

func (p containedPort) family(is func(netip.Addr) bool) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(p.Addrs), func(a netip.Addr) bool { return !is(a) })
}

// linkLocal derives from a MAC (RFC 4291 appendix A).
func linkLocal(m dataplane.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// ingress is a way by which a network's frames enter the integration bridge.
type ingress struct {
	match string
	tag   string // actions that give a frame its local VLAN
	untag string // actions that take away the tag that it has on entry
}

func joined(actions ...string) string {
	return strings.Join(slices.DeleteFunc(actions, func(a string) bool { return a == "" }), ",")
}

func outputTo(ports ...containedPort) string {
	var actions []string
	for _, p := range ports {
		if p.Port != 0 {
			actions = append(actions, fmt.Sprintf("output:%d", p.Port))
		}
	}
	return joined(actions...)
}

// containIngress adds flows for frames that enter the integration bridge.
func (h containedNetwork) containIngress(f *flowList, e ingress) {
	for _, leg := range h.legs {
		f.add(0, contained, fmt.Sprintf("%s,dl_src=%s", e.match, leg.MAC), "drop")
		f.add(0, contained, fmt.Sprintf("%s,dl_dst=%s", e.match, leg.MAC), "drop")
	}
	ask := func(match string, a netip.Addr) {
		to := outputTo(h.having(a)...)
		if to != "" {
			to = joined(e.untag, to)
		}
		f.add(0, asked, e.match+","+match, cmp.Or(to, "drop"))
	}
	for _, a := range h.v4 {
		ask("arp,arp_tpa="+a.String(), a)
		f.add(0, rewritten, fmt.Sprintf("%s,arp,arp_op=1,arp_spa=%s", e.match, a), joined(probe, e.tag, "NORMAL"))
		f.add(0, silent, fmt.Sprintf("%s,arp,arp_spa=%s", e.match, a), "drop")
	}
	for _, a := range slices.Concat(h.v6, h.linkLocal) {
		ask("icmp6,icmp_type=135,nd_target="+a.String(), a)
		f.add(0, silent, fmt.Sprintf("%s,icmp6,icmp_type=136,nd_target=%s", e.match, a), "drop")
		f.add(0, silent, fmt.Sprintf("%s,icmp6,icmp_type=135,ipv6_src=%s", e.match, a), "drop")
	}
}

const (
	// probe makes an ARP request one without a sender.
	probe = "set_field:0.0.0.0->arp_spa"
	// pass lets a frame of one protected port out by another, by hiding where it came from.
	pass = "load:0->NXM_OF_IN_PORT[]"
)

// having are the ports outside that have an address.
func (h containedNetwork) having(a netip.Addr) []containedPort {
	return slices.DeleteFunc(slices.Clone(h.outside), func(p containedPort) bool { return !slices.Contains(p.Addrs, a) })
}

// containLocal adds flows for frames that legs and outside ports send. The uplink is the port of
// the integration bridge by which the network leaves the host; 0: it does not.
func (h containedNetwork) containLocal(f *flowList, uplink uint32) {
	toUplink := "drop"
	if uplink != 0 {
		toUplink = fmt.Sprintf("%s,output:%d", pushVLAN(h.VLAN), uplink)
	}
	for _, p := range h.outside {
		if p.Port == 0 {
			continue
		}
		in := fmt.Sprintf("in_port=%d", p.Port)
		for _, leg := range h.legs {
			f.add(0, contained, fmt.Sprintf("%s,dl_dst=%s", in, leg.MAC), "drop")
		}
		for _, a := range h.v4 {
			f.add(0, asked, fmt.Sprintf("%s,arp,arp_op=1,arp_spa=%s,arp_tpa=%s", in, a, a), toUplink)
			f.add(0, rewritten, fmt.Sprintf("%s,arp,arp_op=1,arp_spa=%s", in, a), probe+",NORMAL")
			f.add(0, silent, fmt.Sprintf("%s,arp,arp_spa=%s", in, a), toUplink)
		}
		for _, a := range h.v6 {
			f.add(0, silent, fmt.Sprintf("%s,icmp6,icmp_type=136,nd_target=%s", in, a), toUplink)
			f.add(0, silent, fmt.Sprintf("%s,icmp6,icmp_type=135,ipv6_src=%s", in, a), toUplink)
		}
	}
	if len(h.legs) == 1 && len(h.outside) == 0 {
		return
	}
	for i, leg := range h.legs {
		if leg.Port == 0 {
			continue
		}
		f.add(0, contained, fmt.Sprintf("in_port=%d", leg.Port), fmt.Sprintf("set_field:%d->reg0,%s", h.VLAN, submit(tableLegs)))
		f.add(tableLegs, better, fmt.Sprintf("reg0=%d,dl_dst=%s", h.VLAN, leg.MAC), joined(pass, outputTo(leg)))
		if others := outputTo(slices.Delete(slices.Clone(h.legs), i, i+1)...); others != "" {
			f.add(tableLegs, usual, fmt.Sprintf("in_port=%d,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", leg.Port), joined("NORMAL", pass, others))
		}
	}
	for _, p := range h.outside {
		f.add(tableLegs, better, fmt.Sprintf("reg0=%d,dl_dst=%s", h.VLAN, p.MAC), "drop")
	}
	f.otherwise(tableLegs, "NORMAL")
}

// containEgress adds flows for frames that leave the host, to a table that sees them with their
// local VLAN. An outside port may announce a leg's address; announce are the actions for that.
func (h containedNetwork) containEgress(f *flowList, table uint8, match, announce string) {
	for _, leg := range h.legs {
		f.add(table, contained, fmt.Sprintf("%s,dl_src=%s", match, leg.MAC), "drop")
		f.add(table, contained, fmt.Sprintf("%s,dl_dst=%s", match, leg.MAC), "drop")
	}
	for _, a := range h.v4 {
		for _, p := range h.having(a) {
			f.add(table, exempt, fmt.Sprintf("%s,dl_src=%s,dl_dst=ff:ff:ff:ff:ff:ff,arp,arp_op=1,arp_spa=%s,arp_tpa=%s", match, p.MAC, a, a), announce)
		}
		f.add(table, asked, fmt.Sprintf("%s,arp,arp_op=1,arp_tpa=%s", match, a), "drop")
	}
	for _, a := range slices.Concat(h.v6, h.linkLocal) {
		f.add(table, asked, fmt.Sprintf("%s,icmp6,icmp_type=135,nd_target=%s", match, a), "drop")
	}
}

// distinct removes flows whose place in a table another one has: legs may share a MAC or an
// address.
func (f flowList) distinct() []openflow.Flow {
	type place struct {
		table    uint8
		priority uint16
		match    string
	}
	return unique(f, func(f openflow.Flow) place { return place{f.Table, f.Priority, f.Match} })
}
