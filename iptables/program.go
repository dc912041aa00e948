package iptables

import (
	"fmt"
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
	byForward   = prefix + "pf"  // by destination: addresses of which ports are forwarded

	// Of instances of distributed routers. Names of trees have no room for more.
	steer   = prefix + "steer" // what comes by internal ports of an edge
	byFixed = prefix + "fix"   // by source: fixed addresses
	byAway  = prefix + "els"   // by source: fixed addresses that are translated elsewhere
	byEdge  = prefix + "fip"   // by destination: floating IPs of all edges; in the nat table, of other instances
	asShown = prefix + "shown" // shows the gateway's address
)

// hairpinMark is the one bit of the packet mark that the program uses, between the filter table's
// FORWARD and the nat table's POSTROUTING.
const hairpinMark = "0x10000/0x10000"

// Marks by which the kernel chooses a packet's way at an edge.
var (
	floatingIPMark = mask(namespace.MarkFloatingIP)
	centreMark     = mask(namespace.MarkToCentre)
	markFloatingIP = "-j MARK --set-xmark " + floatingIPMark
	markToCentre   = "-j MARK --set-xmark " + centreMark
)

// mask is a bit of the packet mark in the words of iptables.
func mask(bit uint32) string { return fmt.Sprintf("%#x/%#x", bit, bit) }

// instance is what a router is of a distributed one, as far as its rules depend on it: the devices
// that it has, and what it does by them.
type instance struct {
	transit      string // empty: it is whole
	gateway      string // empty: there is none
	edge         bool   // it is one of several, and not the centre
	floatingOnly bool   // its gateway is for floating IPs only
	limited      bool   // some address is
	// shown is the address that others show to floating IPs of other instances; zero if no rule of
	// its own is needed for that.
	shown netip.Addr
	scopes
}

func instanceOf(r dataplane.Router) (i instance) {
	i.limited = len(r.Limits) > 0
	i.scopes = scopesOf(r)
	if t := r.Transit; t != nil {
		i.transit, i.edge = dataplane.TransitDevice(t.ID), len(t.Centre) > 0
	}
	if g := r.Gateway; g != nil {
		i.gateway, i.floatingOnly = dataplane.GatewayDevice(g.ID), g.FloatingIPsOnly
		if i.transit != "" && !i.edge && !g.SNATAddr().IsValid() {
			i.shown = g.HairpinAddr()
		}
	}
	return i
}

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
			"PREROUTING":  specs("-j "+byDst, "-j "+byForward),
			"OUTPUT":      specs("-j "+byDst, "-j "+byForward), // for the router's own connections
			"POSTROUTING": specs("-j " + postrouting),
			postrouting:   nil,
			hairpin:       specs("-j " + bySrc), // a client shows its floating IP
			byDst:         nil,
			bySrc:         nil,
			byForward:     nil,
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
	rs, i := program(), instanceOf(r)
	for _, t := range trees(i) {
		t.grow(rs[t.table], t.of(membersOf(r)))
	}
	growPorts(rs[nat], r.PortForwardings)
	dropAll(rs[mangle], inside, only(ipv4, namespace.Inside(r)))
	if addrs := namespace.OwnIPv6(r); len(addrs) > 0 {
		maps.Copy(rs, program6())
		dropAll(rs[raw6], inside, only(ipv6, namespace.Inside(r)))
		dropAll(rs[raw6], own, hosts(addrs))
	}
	i.addTo(rs)
	if r.Metadata {
		i.addMetadata(rs)
	}
	i.addLimits(rs)
	addClamp(rs, r)
	i.pass(rs, i.gateway)
	established := "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
	add := rs.add
	if !r.Gateway.Guarded() {
		add(filter, forward, established)
	}
	if g := r.Gateway; g != nil {
		dev := dataplane.GatewayDevice(g.ID)
		add(filter, refuse, "-i "+dev+" -j DROP") // to the outside nobody speaks in the name of such an address
		add(filter6, refuse, "-i "+dev+" -j DROP")
		if g.Guarded() {
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
		if len(i.routed) == 0 {
			add(nat, postrouting, "-o "+dev+" -j "+bySrc)
		}
		if a := g.SNATAddr(); a.IsValid() {
			add(nat, postrouting, "-o "+dev+" -j SNAT --to-source "+a.String()+random)
		}
		if i.shown.IsValid() {
			add(nat, postrouting, "-o "+dev+" -j "+byEdge)
			add(nat, asShown, "-j SNAT --to-source "+i.shown.String()+random)
		}
		if a := g.HairpinAddr(); a.IsValid() {
			for _, dev := range internalDevices(r) {
				add(nat, hairpin, "-o "+dev+" -j SNAT --to-source "+a.String()+random)
			}
		}
	}
	i.confine(rs, i.gateway)
	add(filter, refuse, "-p tcp -j REJECT --reject-with tcp-reset")
	add(filter, refuse, "-j REJECT --reject-with icmp-port-unreachable")
	add(filter6, refuse, "-j REJECT --reject-with icmp6-port-unreachable")
	add(nat, postrouting, "-m mark --mark "+hairpinMark+" -j "+hairpin)
	return rs
}

// addTo adds what an instance does with packets where they enter, and what it drops before anything
// is let through.
func (i instance) addTo(rs ruleset) {
	if i.transit != "" {
		// Other instances have the same addresses.
		chains := rs[raw6]
		if chains != nil {
			chains.chains[prerouting] = slices.Insert(chains.chains[prerouting], 0, rule{spec: "-i " + i.transit + " -j RETURN"})
		}
	}
	if i.edge {
		// What was led here by mistake would come back for ever.
		loop := "-i " + i.transit + " -o " + i.transit + " -j DROP"
		rs.add(filter, forward, loop)
		rs.add(filter6, forward, loop)
		rs[nat].chains["PREROUTING"] = specs("-m mark ! --mark " + centreMark + " -j " + byDst)
		rs[mangle].chains[steer] = specs("-j " + byAway)
	}
	if i.gateway != "" {
		rs.add(mangle, prerouting, "-i "+i.gateway+" -j "+inside)
	}
	switch {
	case i.floatingOnly:
		i.addFloatingOnly(rs)
	case i.gateway != "":
		rs.add(raw6, prerouting, "-i "+i.gateway+" -j "+inside)
		if i.transit != "" {
			rs.add(filter, forward, "-o "+i.gateway+" -j "+byAway)
		}
	}
	count := "-j " + byDst
	if i.edge {
		rs.add(mangle, prerouting, "! -i "+i.transit+" -j "+steer)
		count = "-m mark ! --mark " + centreMark + " " + count
	}
	rs.add(mangle, prerouting, count)
}

// addFloatingOnly lets nothing pass the gateway but what is of floating IPs. What leaves by it was
// marked where it entered.
func (i instance) addFloatingOnly(rs ruleset) {
	in, out := "-i "+i.gateway+" ", "-o "+i.gateway+" "
	rs.add(mangle, prerouting, in+markFloatingIP)
	rs.add(mangle, prerouting, in+"-g "+byDst)
	rs.add(mangle, steer, "-m mark --mark "+centreMark+" -j RETURN")
	// Answers to what came by the transit go back there.
	rs.add(mangle, steer, "-m conntrack --ctdir ORIGINAL -g "+byFixed)
	rs.add(mangle, steer, "-m conntrack --ctstate INVALID,UNTRACKED,DNAT -g "+byFixed)
	rs[filter].chains["INPUT"] = specs("-i " + i.gateway + " -j " + refuse)
	rs.add(filter, forward, in+"-m conntrack ! --ctstate SNAT,DNAT -j DROP")
	rs.add(filter, forward, in+out+"-j DROP")
	rs.add(filter, forward, out+"-m mark ! --mark "+floatingIPMark+" -j DROP")
	rs.add(raw6, prerouting, in+"-j DROP")
	rs.add(filter6, forward, out+"-j DROP")
}

// add appends a rule, if the ruleset has the table.
func (rs ruleset) add(table, chain, spec string) {
	if rs[table] != nil {
		rs[table].chains[chain] = append(rs[table].chains[chain], rule{spec: spec})
	}
}

// only returns the prefixes of a family.
func only(f family, prefixes []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(prefixes), func(p netip.Prefix) bool { return p.Addr().Is6() != (f == ipv6) })
}

// hosts makes prefixes of addresses.
func hosts(addrs []netip.Addr) []netip.Prefix {
	list := make([]netip.Prefix, len(addrs))
	for i, a := range addrs {
		list[i] = netip.PrefixFrom(a, a.BitLen())
	}
	return list
}

// internalDevices are in order, whatever that of the ports is. The transit is one.
func internalDevices(r dataplane.Router) []string {
	var devices []string
	for _, p := range r.Ports {
		devices = append(devices, dataplane.PortDevice(p.ID))
	}
	if r.Transit != nil {
		devices = append(devices, dataplane.TransitDevice(r.Transit.ID))
	}
	slices.Sort(devices)
	return devices
}

func specs(texts ...string) []rule {
	list := make([]rule, len(texts))
	for i, s := range texts {
		list[i].spec = s
	}
	return list
}
