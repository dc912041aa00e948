package iptables

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/l3kit/l3kit/dataplane"
)

// A packet's way to the rule of its port begins in a tree by address, as for floating IPs, which
// leads to the chain of the address. That holds the rules of its forwardings if they are few.
// Otherwise it leads on by protocol, and then by one more hexadecimal digit of the port with each
// chain, until few are left. A range that no digit takes whole has its rule where that digit
// divides. Equal sets of forwardings make equal chains.
const (
	maxForwardings = 16 // of one chain that is not divided
	portDigits     = 4
	digitBits      = 4
)

// forwarders lists the addresses of forwardings as the tree by address has them.
func forwarders(list []dataplane.PortForwarding) (addrs []dataplane.FloatingIP) {
	known := map[netip.Addr]bool{}
	for i := range list {
		if a := list[i].Addr; !known[a] {
			known[a] = true
			addrs = append(addrs, dataplane.FloatingIP{Addr: a})
		}
	}
	return addrs
}

// ports is the ports of an address that a chain is about: all; those of a protocol; or those that
// begin with some digits.
type ports struct {
	addr   netip.Addr
	proto  dataplane.Proto // empty: all
	digits string          // hexadecimal
}

// chain is the chain's name. It is shorter than the 28 characters that iptables allows.
func (p ports) chain() string {
	name := prefix + p.addr.String()
	if p.proto == "" {
		return name
	}
	return name + "-" + string(p.proto[0]) + p.digits
}

// portsOf is the inverse of chain.
func portsOf(chain string) (p ports, ok bool) {
	name, ok := strings.CutPrefix(chain, prefix)
	if !ok {
		return p, false
	}
	addr, rest, divided := strings.Cut(name, "-")
	a, err := netip.ParseAddr(addr)
	if err != nil || !a.Is4() {
		return p, false
	}
	p.addr = a
	if !divided {
		return p, true
	}
	for _, proto := range []dataplane.Proto{dataplane.SCTP, dataplane.TCP, dataplane.UDP} {
		if digits, ok := strings.CutPrefix(rest, string(proto[0])); ok {
			p.proto, p.digits = proto, digits
		}
	}
	return p, p.proto != "" && p.chain() == chain
}

// match is the options that a rule leads on to the chain by.
func (p ports) match() string {
	if p.digits == "" {
		return "-p " + string(p.proto)
	}
	n, _ := strconv.ParseUint(p.digits, 16, 16)
	shift := digitBits * (portDigits - len(p.digits))
	return fmt.Sprintf("-p %s -m %s --dport %d:%d", p.proto, p.proto, n<<shift, n<<shift+1<<shift-1)
}

// divide returns the parts of a list that chains of their own are for, in order, and the rest. The
// list is in order, and so are the parts.
func (p ports) divide(list []*dataplane.PortForwarding) (rest []*dataplane.PortForwarding, limbs []limb) {
	if len(list) <= maxForwardings || len(p.digits) == portDigits-1 {
		return list, nil
	}
	shift := digitBits * (portDigits - 1 - len(p.digits))
	digit := func(port uint16) uint16 {
		if p.proto == "" {
			return 0
		}
		return port >> shift
	}
	whole := make([]*dataplane.PortForwarding, 0, len(list)) // of one digit: a limb is a run of these
	for _, f := range list {
		if digit(f.Ports.First) == digit(f.Ports.Last) {
			whole = append(whole, f)
		} else {
			rest = append(rest, f)
		}
	}
	for len(whole) > 0 {
		proto, first := whole[0].Proto, digit(whole[0].Ports.First)
		n := slices.IndexFunc(whole, func(f *dataplane.PortForwarding) bool { return f.Proto != proto || digit(f.Ports.First) != first })
		if n < 0 {
			n = len(whole)
		}
		next := limb{ports{addr: p.addr, proto: proto}, whole[:n]}
		if p.proto != "" {
			next.digits = p.digits + strconv.FormatUint(uint64(first&(1<<digitBits-1)), 1<<digitBits)
		}
		limbs, whole = append(limbs, next), whole[n:]
	}
	return rest, limbs
}

// limb is a part of a list of forwardings that has a chain of its own.
type limb struct {
	ports
	list []*dataplane.PortForwarding
}

// rules are those of the chain for a list, and the limbs that they lead on to.
func (p ports) rules(list []*dataplane.PortForwarding) (rules []rule, limbs []limb) {
	rest, limbs := p.divide(list)
	rules = make([]rule, 0, len(rest)+len(limbs))
	for _, f := range rest {
		rules = append(rules, rule{spec: forwardingSpec(*f)})
	}
	for _, l := range limbs {
		rules = append(rules, rule{spec: l.match() + " -g " + l.chain()})
	}
	return rules, limbs
}

// growPorts writes the chains of all addresses that ports are forwarded of.
func growPorts(into *table, list []dataplane.PortForwarding) {
	byAddr := map[netip.Addr][]*dataplane.PortForwarding{}
	for i := range list {
		f := &list[i]
		byAddr[f.Addr] = append(byAddr[f.Addr], f)
	}
	nothing := &table{chains: map[string][]rule{}}
	for a, list := range byAddr {
		sortPorts(list)
		limb{ports{addr: a}, list}.grow(nothing, into, nil)
	}
}

// growChangedPorts writes those chains of an address alone that differ between two lists of
// forwardings. A forwarding that stays is the same value in both.
func growChangedPorts(have, want *table, a netip.Addr, before, after []*dataplane.PortForwarding) {
	sortPorts(before)
	sortPorts(after)
	var was *limb
	if len(before) > 0 {
		was = &limb{ports{addr: a}, before}
	}
	limb{ports{addr: a}, after}.grow(have, want, was)
}

func sortPorts(list []*dataplane.PortForwarding) {
	slices.SortFunc(list, func(a, b *dataplane.PortForwarding) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Ports.First, b.Ports.First))
	})
}

// grow writes the chain of a limb, and those that it leads on to, into want, and those of the limb
// that it was before into have. It leaves out what is the same. A list without entries is no chain,
// and was is nil for none.
func (l limb) grow(have, want *table, was *limb) {
	if was != nil && len(l.list) > 0 && slices.Equal(was.list, l.list) {
		return
	}
	var before, after []limb
	if was != nil {
		have.chains[l.chain()], before = l.rules(was.list)
	}
	if len(l.list) > 0 {
		want.chains[l.chain()], after = l.rules(l.list)
	}
	old := make(map[ports]*limb, len(before))
	for i := range before {
		old[before[i].ports] = &before[i]
	}
	for _, next := range after {
		next.grow(have, want, old[next.ports])
		delete(old, next.ports)
	}
	for p, gone := range old {
		limb{ports: p}.grow(have, want, gone)
	}
}

// forwardingSpec is the text of a forwarding's rule. Without a port the kernel keeps the one that
// was asked for; a port behind a slash is where the range begins that is led to another one.
func forwardingSpec(f dataplane.PortForwarding) string {
	dport, to := portsText(f.Ports), f.Fixed.String()
	switch {
	case f.FixedPorts.First == f.FixedPorts.Last:
		to += ":" + strconv.Itoa(int(f.FixedPorts.First))
	case f.FixedPorts != f.Ports:
		to += fmt.Sprintf(":%s/%d", f.FixedPorts, f.Ports.First)
	}
	return fmt.Sprintf("-p %s -m %s --dport %s -j DNAT --to-destination %s", f.Proto, f.Proto, dport, to)
}

// portsText is a range of ports in the words of iptables.
func portsText(r dataplane.PortRange) string { return strings.Replace(r.String(), "-", ":", 1) }

// parseForwarding returns the forwarding whose rule stands in a chain for ports of an address.
func parseForwarding(chain string, r rule) (f dataplane.PortForwarding, ok bool) {
	p, ok := portsOf(chain)
	words := strings.Fields(r.spec)
	if !ok || len(words) != 10 {
		return f, false
	}
	f.Addr, f.Proto = p.addr, dataplane.Proto(words[1])
	f.Ports, _ = dataplane.ParsePortRange(strings.Replace(words[5], ":", "-", 1))
	addr, to, hasPort := strings.Cut(words[9], ":")
	f.Fixed, _ = netip.ParseAddr(addr)
	if f.FixedPorts = f.Ports; hasPort {
		to, _, _ = strings.Cut(to, "/")
		f.FixedPorts, _ = dataplane.ParsePortRange(to)
	}
	return f, forwardingSpec(f) == r.spec
}

// leadsToPorts says that a rule leads on from one chain for ports of an address to the next.
func leadsToPorts(chain string, r rule) bool {
	_, in := portsOf(chain)
	p, ok := portsOf(r.target())
	return in && ok && p.proto != "" && r.spec == p.match()+" -g "+p.chain()
}

// forwardingChange is where a forwarding led, and where it leads; empty if it is not there.
type forwardingChange struct{ addr, was, now string }

// forwardings gathers what changes at the ends of the trees of ports, by what is forwarded. A rule
// that is only in another chain then is no change.
func (d difference) forwardings() map[string]forwardingChange {
	found := map[string]forwardingChange{}
	note := func(c chainDiff, r rule, gone bool) {
		f, ok := parseForwarding(c.name, r)
		if !ok || c.table != nat {
			return
		}
		change := found[f.Object()]
		change.addr = f.Addr.String()
		if gone {
			change.was = f.Target()
		} else {
			change.now = f.Target()
		}
		found[f.Object()] = change
	}
	for _, c := range d.chains {
		if h := d.have[c.table]; h != nil && h.opaque {
			continue // nobody knows which are there
		}
		gone, come := c.changed()
		if ours(c.name) && !c.wanted {
			gone = c.gone(d.have)
		}
		for _, r := range gone {
			note(c, r, true)
		}
		for _, r := range come {
			note(c, r, false)
		}
	}
	maps.DeleteFunc(found, func(_ string, f forwardingChange) bool { return f.was == f.now })
	return found
}

func (f forwardingChange) step(object string) dataplane.Step {
	step := dataplane.Step{Op: dataplane.Change, Kind: dataplane.KindForwarding, Object: object, Detail: f.now + ", was " + f.was, Disturbs: true}
	switch {
	case f.was == "":
		step.Op, step.Detail, step.Disturbs = dataplane.Add, f.now, false
	case f.now == "":
		step.Op, step.Detail = dataplane.Remove, f.was
	}
	return step
}

// forwardingSteps tells them in the order of addresses, protocols and ports.
func forwardingSteps(found map[string]forwardingChange) []dataplane.Step {
	var steps []dataplane.Step
	for object, f := range found {
		steps = append(steps, f.step(object))
	}
	slices.SortFunc(steps, func(a, b dataplane.Step) int { return compareObjects(a.Object, b.Object) })
	return steps
}

// compareObjects orders names of forwardings; see [dataplane.PortForwarding.Object].
func compareObjects(a, b string) int {
	read := func(s string) (addr netip.Addr, proto string, first uint16) {
		w := strings.Fields(s)
		addr, _ = netip.ParseAddr(w[0])
		ports, _ := dataplane.ParsePortRange(w[2])
		return addr, w[1], ports.First
	}
	addr, proto, first := read(a)
	addr2, proto2, first2 := read(b)
	return cmp.Or(addr.Compare(addr2), strings.Compare(proto, proto2), cmp.Compare(first, first2), strings.Compare(a, b))
}
