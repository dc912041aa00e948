package differential

import (
	"fmt"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/l3kit/l3kit/dataplane"
)

// trial is one packet, and what the one who receives it does.
type trial struct {
	dataplane.Packet
	Kind kind
	MSS  uint16 // that TCP announces both ways; 0: none
	// ErrorFrom, if valid, sends an ICMP error about what was delivered; else the receiver answers.
	ErrorFrom netip.Addr
}

// kind is how a packet begins.
type kind string

const (
	first kind = "first packet" // of a connection
	stray kind = "stray packet" // an echo reply that nobody has asked for, which conntrack calls invalid
)

// other is a protocol that nobody knows (RFC 3692).
const (
	other       = dataplane.Proto("253")
	otherNumber = 253
)

func (p trial) String() string {
	in := "from the router itself"
	if p.In != "" {
		in = "in by " + p.In
	}
	s := fmt.Sprintf("%s, %s: %s", p.Kind, in, p.Packet)
	if p.MSS != 0 {
		s += fmt.Sprintf(" mss %d", p.MSS)
	}
	if p.ErrorFrom.IsValid() {
		s += fmt.Sprintf("; what comes back is an ICMP error of %s", p.ErrorFrom)
	}
	return s
}

// family is what a router's neighbourhood has of one address family, by what the addresses are.
type family map[string][]netip.Addr

// neighbourhood sorts the addresses that packets are drawn from.
func neighbourhood(r dataplane.Router) map[bool]family {
	four := family{
		"outside":  addrs("192.0.2.77", "198.51.100.9", "192.0.2.1", "203.0.113.9", "203.0.114.9"),
		"beyond":   addrs("10.9.8.7", "10.9.0.7", "10.0.0.5", "10.200.0.9"),
		"floating": floating,
		"nonsense": addrs("127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.2.3", "255.255.255.255", "240.0.0.1", "169.254.1.1", "169.254.169.254"),
	}
	six := family{
		"outside":  addrs("2001:db8:e::9", "2001:db8:ff::9", "2001:db8:fe::1", "2001:db8:fe::9", "2001:db8:fd::9"),
		"beyond":   addrs("2001:db8:9::7", "2001:db8:9:1::7"),
		"nonsense": addrs("::1", "::", "ff02::1", "ff05::2", "fe80::7", "fe80::a9fe:a9fe", "::ffff:10.0.0.5", "fec0::7", "::10.0.0.5"),
	}
	if r.Transit != nil {
		four["beyond"] = append(four["beyond"], addr("10.50.0.7"))
	}
	families := map[bool]family{true: four, false: six}
	for _, p := range allPorts(r) {
		for _, a := range p.Addrs {
			f := families[a.Addr().Is4()]
			f["own"] = append(f["own"], a.Addr())
			f["edge"] = append(f["edge"], a.Masked().Addr(), last(a))
		}
		if speaksIPv6(r, p) {
			six["pretended"] = append(six["pretended"], linkLocal(p.MAC))
		}
	}
	for _, a := range neighbours(r.Ports) {
		f := families[a.Is4()]
		f["inside"] = append(f["inside"], a)
	}
	for _, f := range r.FloatingIPs {
		four["bound"] = append(four["bound"], f.Addr)
		four["fixed"] = append(four["fixed"], f.Fixed)
	}
	for _, f := range r.PortForwardings {
		four["forwarded"] = append(four["forwarded"], f.Addr)
		four["fixed"] = append(four["fixed"], f.Fixed)
	}
	return families
}

// last is the last address of a subnet.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// isBroadcast says that an address is a broadcast address of a port's subnet.
func isBroadcast(r dataplane.Router, a netip.Addr) bool {
	return slices.ContainsFunc(allPorts(r), func(p dataplane.Port) bool {
		return slices.ContainsFunc(p.Addrs, func(s netip.Prefix) bool { return s.Addr().Is4() && s.Bits() < 31 && last(s) == a })
	})
}

// What packets come from and go to, the likelier the more often it is listed.
var (
	sources      = []string{"inside", "fixed", "outside", "beyond", "inside", "fixed", "outside", "own", "edge", "floating", "nonsense", "pretended"}
	destinations = []string{"inside", "bound", "outside", "fixed", "beyond", "bound", "outside", "own", "inside", "edge", "floating", "nonsense", "forwarded", "forwarded"}
)

func (f family) draw(t *rapid.T, label string, kinds []string) netip.Addr {
	all := f[rapid.SampledFrom(kinds).Draw(t, "kind of "+label)]
	if len(all) == 0 {
		all = f["outside"]
	}
	return rapid.SampledFrom(all).Draw(t, label)
}

// drawOwn makes of a packet one that a program on the router may ask for. For the addresses that
// mean something else to sockets than to routers (ip(7): the unspecified one is the host itself, an
// IPv4-mapped one is IPv4, and a multicast one is no source), it takes others.
func drawOwn(t *rapid.T, f family, p *trial) {
	if p.Dst.IsUnspecified() || p.Dst.Is4In6() || p.Dst.IsMulticast() {
		p.Dst = f.draw(t, "destination", []string{"outside"})
	}
	p.Src = netip.Addr{} // the kernel chooses
	if rapid.IntRange(0, 3).Draw(t, "source is known") == 3 {
		p.Src = f.draw(t, "source", []string{"own", "bound", "outside"})
	}
}

// drawTrials draws packets that a router may meet, sensible ones and others.
func drawTrials(r dataplane.Router) *rapid.Generator[trial] {
	model := dataplane.NewModel(r)
	families := neighbourhood(r)
	in := []string{""}
	for _, p := range allPorts(r) {
		in = append(in, p.ID)
	}
	return rapid.Custom(func(t *rapid.T) trial {
		four := rapid.SampledFrom([]bool{true, true, true, false}).Draw(t, "IPv4")
		f := families[four]
		p := trial{Kind: first, Packet: dataplane.Packet{
			Src:   f.draw(t, "source", sources),
			Dst:   f.draw(t, "destination", destinations),
			Proto: rapid.SampledFrom([]dataplane.Proto{dataplane.UDP, dataplane.TCP, dataplane.ICMP, other}).Draw(t, "proto"),
		}}
		switch p.Proto {
		case dataplane.TCP, dataplane.UDP:
			p.SrcPort, p.DstPort = rapid.Uint16Range(1024, 65535).Draw(t, "source port"), rapid.Uint16Range(1, 65535).Draw(t, "destination port")
			if rapid.IntRange(0, 3).Draw(t, "a port that may be forwarded") > 0 {
				p.DstPort = rapid.SampledFrom(forwardedPorts).Draw(t, "destination port")
			}
			if p.Proto == dataplane.TCP {
				p.MSS = rapid.SampledFrom(announcements).Draw(t, "MSS")
			}
		case dataplane.ICMP:
			p.SrcPort = rapid.Uint16Min(1).Draw(t, "identifier")
		}
		expected, reachable := model.PortTo(p.Src)
		if p.In = expected; !reachable || rapid.IntRange(0, 3).Draw(t, "by its own port") == 3 {
			p.In = rapid.SampledFrom(in).Draw(t, "in")
		}
		if p.In == "" {
			drawOwn(t, f, &p)
		} else {
			drawMetadata(t, r, &p)
		}
		if p.In == "" && r.Transit != nil && !p.Src.IsValid() { // the kernel's choice depends on the order in which devices were made
			p.Src = f.draw(t, "source", []string{"own"})
		}
		if p.In != "" && r.Transit != nil && isBroadcast(r, p.Src) { // since the namespace has had policy routing, the kernel refuses it
			p.Src = f["outside"][0]
		}
		if rapid.IntRange(0, 3).Draw(t, "comes back") == 3 {
			from := map[bool][]netip.Addr{true: addrs("192.0.2.33", "10.200.0.1"), false: addrs("2001:db8:e::33")}[four]
			p.ErrorFrom = rapid.SampledFrom(append(from, p.Dst)).Draw(t, "error from")
		}
		if p.In != "" && p.Proto == dataplane.ICMP && rapid.IntRange(0, 3).Draw(t, "stray") == 3 {
			p.Kind, p.ErrorFrom = stray, netip.Addr{}
		}
		return p
	})
}
