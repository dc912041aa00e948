package iptables

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// Our chains, beside those of the trees that grow from the last two.
const (
	prerouting  = prefix + "PREROUTING"
	forward     = prefix + "FORWARD"
	postrouting = prefix + "POSTROUTING"
	inside      = prefix + "inside" // subnets of internal ports
	own         = prefix + "own"    // IPv6 addresses of the router
	refuse      = prefix + "refuse" // what is link-local
	hairpin     = prefix + "hairpin"
	byDst       = prefix + "dst" // by destination: floating IPs
	bySrc       = prefix + "src" // by source: fixed addresses
)

// hairpinMark is the one bit of the packet mark that the program uses, between the filter table's
// FORWARD and the nat table's POSTROUTING.
const hairpinMark = "0x10000/0x10000"

// program is what every router has.
func program() ruleset {
	return ruleset{
		filter: {chains: map[string][]rule{
			"FORWARD": specs("-j " + forward),
			forward:   specs("-d 169.254.0.0/16 -g " + refuse),
			refuse:    nil,
		}},
		mangle: {chains: map[string][]rule{
			"PREROUTING":  specs("-j " + prerouting),
			"POSTROUTING": specs("-j " + postrouting),
			prerouting:    nil,
			inside:        nil,
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

// program6 is what every router with IPv6 has. The kernel cannot reset TCP towards a link-local
// address (nf_send_reset6), and connect(2) ends by the ICMP error as well.
func program6() ruleset {
	return ruleset{
		filter6: {chains: map[string][]rule{
			"FORWARD": specs("-j " + forward),
			forward:   specs("-d fe80::/10 -g " + refuse),
			refuse:    nil,
		}},
		raw6: {chains: map[string][]rule{
			"PREROUTING": specs("-j " + prerouting),
			prerouting:   specs("! -i lo -j " + own), // what the router sends to itself comes by lo
			inside:       nil,
			own:          nil,
		}},
	}
}

// render is the ruleset that a router asks for. The last word of rules for shared addresses is
// random.
func render(r dataplane.Router, random string) ruleset {
	rs := program()
	for _, t := range trees() {
		t.grow(rs[t.table], r.FloatingIPs, nil)
	}
	dropAll(rs[mangle], inside, subnets(r, ipv4))
	if addrs := namespace.OwnIPv6(r); len(addrs) > 0 {
		maps.Copy(rs, program6())
		dropAll(rs[raw6], inside, subnets(r, ipv6))
		dropAll(rs[raw6], own, hosts(addrs))
	}
	add := func(table, chain, spec string) {
		if rs[table] != nil {
			rs[table].chains[chain] = append(rs[table].chains[chain], rule{spec: spec})
		}
	}
	established := "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
	if g := r.Gateway; g == nil || !g.SNAT {
		add(filter, forward, established)
	}
	if g := r.Gateway; g != nil {
		dev := dataplane.GatewayDevice(g.ID)
		add(filter, refuse, "-i "+dev+" -j DROP") // to the outside nobody speaks in the name of such an address
		add(filter6, refuse, "-i "+dev+" -j DROP")
		add(mangle, prerouting, "-i "+dev+" -j "+inside)
		add(raw6, prerouting, "-i "+dev+" -j "+inside)
		if g.SNAT {
			add(filter, forward, "! -o "+dev+" "+established)
			// What gets neither another source nor back the one that was asked would show private
			// addresses outside.
			add(filter, forward, "-m conntrack --ctstate SNAT --ctstatus CONFIRMED --ctdir ORIGINAL -j RETURN")
			add(filter, forward, "-m conntrack --ctstate DNAT --ctstatus CONFIRMED --ctdir REPLY -j RETURN")
			add(filter, forward, "-o "+dev+" -m conntrack --ctstatus CONFIRMED -j DROP")
			// What conntrack does not follow cannot be translated, and would show private addresses
			// outside.
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
	add(filter, refuse, "-p tcp -j REJECT --reject-with tcp-reset")
	add(filter, refuse, "-j REJECT --reject-with icmp-port-unreachable")
	add(filter6, refuse, "-j REJECT --reject-with icmp6-port-unreachable")
	add(mangle, prerouting, "-j "+byDst)
	add(nat, postrouting, "-m mark --mark "+hairpinMark+" -j "+hairpin)
	return rs
}

// subnets lists those of the internal ports, of a family.
func subnets(r dataplane.Router, f family) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range r.Ports {
		for _, a := range p.Addrs {
			if a.Addr().Is6() == (f == ipv6) {
				list = append(list, a.Masked())
			}
		}
	}
	return list
}

// hosts makes prefixes of addresses.
func hosts(addrs []netip.Addr) []netip.Prefix {
	list := make([]netip.Prefix, len(addrs))
	for i, a := range addrs {
		list[i] = netip.PrefixFrom(a, a.BitLen())
	}
	return list
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

// renderFloatingIPs is only those chains of the ruleset in which a difference in some floating IPs
// shows, with all their rules.
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
