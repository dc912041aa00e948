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
//   - No question who has a leg's address leaves the host, or comes in.
//   - No claim to be a leg's address comes in. An ARP request makes such a claim by its sender's
//     address. It is a question all the same, for the centre of the router looks for workloads by
//     it. So it becomes an ARP probe (RFC 5227, 1.1): that is answered, and nobody learns from it.
//   - A port that counts as outside is treated like the other hosts.
//
// Floods are the business of action NORMAL, which no flow can follow to the ports. So legs are
// protected ports, as are the patch ports by which the network leaves the integration bridge:
// NORMAL passes nothing between them. Legs of several routers are each other's neighbours, so flows
// pass their frames.
//
// Two gaps are known. A leg and a port that counts as outside, on one host, hear what the other one
// floods, except for claims to be the gateway: NORMAL cannot tell the outside port from a
// workload's. And that port hears workloads ask for the gateway; it answers to other hosts only.

// Tables and priorities of containment. Each priority exceeds those of the flows that carry frames.
const (
	tableLegs = 33 // of the integration bridge: from a leg, with its VLAN in reg0

	silent    = 10 // claims to be a leg
	rewritten = 11
	asked     = 12 // questions for a leg
	exempt    = 13
	contained = 14 // the MAC of a leg
)

// household is a network with its legs on this host, and with the ports that count as outside.
type household struct {
	localNetwork
	legs, outside []containedPort
	v4            []netip.Addr // of legs
	v6            []netip.Addr // the same, without link-local ones
	linkLocal     []netip.Addr // that derive from legs' MACs
}

// households are those networks that have legs here.
func (l layout) households() map[string]household {
	if len(l.Contained) == 0 {
		return nil
	}
	ports := map[string][]containedPort{}
	for _, p := range l.Contained {
		ports[p.Network] = append(ports[p.Network], p)
	}
	all := map[string]household{}
	networks := slices.DeleteFunc(slices.Clone(l.Networks), func(n localNetwork) bool { return n.VLAN == 0 || ports[n.Network.ID] == nil })
	slices.SortFunc(networks, func(a, b localNetwork) int { return strings.Compare(a.Network.ID, b.Network.ID) })
	for _, n := range unique(networks, func(n localNetwork) uint16 { return n.VLAN }) {
		h := household{localNetwork: n}
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

// entrance is a way by which a network's frames enter the integration bridge.
type entrance struct {
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

// enter contains what enters the integration bridge.
func (h household) enter(f *flowList, e entrance) {
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
func (h household) having(a netip.Addr) []containedPort {
	return slices.DeleteFunc(slices.Clone(h.outside), func(p containedPort) bool { return !slices.Contains(p.Addrs, a) })
}

// residents contains what ports outside and legs send. The uplink is the port of the integration
// bridge by which the network leaves it; 0: it does not.
func (h household) residents(f *flowList, uplink uint32) {
	abroad := "drop"
	if uplink != 0 {
		abroad = fmt.Sprintf("%s,output:%d", pushVLAN(h.VLAN), uplink)
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
			f.add(0, asked, fmt.Sprintf("%s,arp,arp_op=1,arp_spa=%s,arp_tpa=%s", in, a, a), abroad)
			f.add(0, rewritten, fmt.Sprintf("%s,arp,arp_op=1,arp_spa=%s", in, a), probe+",NORMAL")
			f.add(0, silent, fmt.Sprintf("%s,arp,arp_spa=%s", in, a), abroad)
		}
		for _, a := range h.v6 {
			f.add(0, silent, fmt.Sprintf("%s,icmp6,icmp_type=136,nd_target=%s", in, a), abroad)
			f.add(0, silent, fmt.Sprintf("%s,icmp6,icmp_type=135,ipv6_src=%s", in, a), abroad)
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

// leave contains what leaves the host, in a table that sees frames with their local VLAN. A port
// outside may announce that it has a leg's address: the actions do that.
func (h household) leave(f *flowList, table uint8, match, announce string) {
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
