package iptables

import (
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// Our chains, beside those of the trees that grow from the last two.
const (
	forward     = prefix + "FORWARD"
	postrouting = prefix + "POSTROUTING"
	hairpin     = prefix + "hairpin"
	byDst       = prefix + "dst" // by destination: floating IPs
	bySrc       = prefix + "src" // by source: fixed addresses
)

// hairpinMark is the one bit of the packet mark that the program uses, between the filter table's FORWARD and the nat table's POSTROUTING.
const hairpinMark = "0x10000/0x10000"

// program is what every router has.
func program() ruleset {
	return ruleset{
		filter: {chains: map[string][]rule{
			"FORWARD": specs("-j " + forward),
			forward:   specs("-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"), // most packets end here
		}},
		mangle: {chains: map[string][]rule{
			"PREROUTING":  specs("-j " + byDst),
			"POSTROUTING": specs("-j " + postrouting),
			postrouting: specs(
				"-m conntrack --ctstate SNAT --ctdir ORIGINAL -j "+bySrc, // what will get another source: not the first packet, see Counters
				"-m conntrack --ctstate DNAT --ctdir REPLY -j "+bySrc),
			byDst: nil,
			bySrc: nil,
		}},
		nat: {chains: map[string][]rule{
			"PREROUTING":  specs("-j " + byDst),
			"OUTPUT":      specs("-j " + byDst), // for the router's own connections
			"POSTROUTING": specs("-j " + postrouting),
			postrouting:   nil,
			hairpin:       specs("-j " + bySrc), // a client shows its floating IP
			byDst:         nil,
			bySrc:         nil,
		}},
	}
}

// render is the ruleset that a router asks for. The last word of rules for shared addresses is random.
func render(r dataplane.Router, random string) ruleset {
	rs := program()
	for _, t := range trees() {
		t.grow(rs[t.table], r.FloatingIPs, nil)
	}
	add := func(table, chain, spec string) {
		rs[table].chains[chain] = append(rs[table].chains[chain], rule{spec: spec})
	}
	if g := r.Gateway; g != nil {
		dev := dataplane.GatewayDevice(g.ID)
		if g.SNAT {
			// What conntrack does not follow cannot be translated, and would show private addresses outside.
			add(filter, forward, "-i "+dev+" -m conntrack --ctstate INVALID,UNTRACKED -j DROP")
			add(filter, forward, "-o "+dev+" -m conntrack --ctstate INVALID,UNTRACKED -j DROP")
			// From outside only floating IPs are open.
			add(filter, forward, "-i "+dev+" -m conntrack ! --ctstate DNAT -j DROP")
		}
		add(filter, forward, "! -i "+dev+" -m conntrack --ctstate DNAT -j MARK --set-xmark "+hairpinMark)
		add(nat, postrouting, "-o "+dev+" -j "+bySrc)
		if a := g.SNATAddr(); a.IsValid() {
			add(nat, postrouting, "-o "+dev+" -j SNAT --to-source "+a.String()+random)
		}
		if a := g.HairpinAddr(); a.IsValid() {
			for _, dev := range internalDevices(r) {
				add(nat, hairpin, "-o "+dev+" -j SNAT --to-source "+a.String()+random)
			}
		}
	}
	add(nat, postrouting, "-m mark --mark "+hairpinMark+" -j "+hairpin)
	return rs
}

// internalDevices are in order, whatever that of the ports is.
func internalDevices(r dataplane.Router) []string {
	var devices []string
	for _, p := range r.Ports {
		devices = append(devices, dataplane.PortDevice(p.ID))
	}
	slices.Sort(devices)
	return devices
}

// renderFloatingIPs is only those chains of the ruleset in which a difference in some floating IPs shows, with all their rules.
func renderFloatingIPs(fips, changed []dataplane.FloatingIP) ruleset {
	rs := ruleset{}
	for _, t := range trees() {
		if rs[t.table] == nil {
			rs[t.table] = &table{chains: map[string][]rule{}}
		}
		t.grow(rs[t.table], fips, changed)
	}
	return rs
}

func specs(texts ...string) []rule {
	list := make([]rule, len(texts))
	for i, s := range texts {
		list[i].spec = s
	}
	return list
}
