package dataplane

import (
	"net/netip"
	"slices"
	"strings"
)

// Advertisement is what a port tells the hosts on its link by router advertisements (RFC 4861):
// that the router is their default gateway, the port's MTU, and how they get addresses.
//
// A [Dataplane] that has applied the router sends them until it is closed: unasked every 30 to 100
// seconds, more often after a change, and to hosts that solicit. Hosts keep what they were told for
// half an hour, and addresses for a day, so that they outlast a restart of the program. When the
// port goes, or ceases to advertise, and the router stays, hosts are told that it is no gateway any
// more. [Dataplane].Delete tells them nothing: another host may have the router already.
type Advertisement struct {
	// Managed says that addresses are to be had by DHCPv6, and Other that other settings are (the
	// flags M and O, RFC 4861 §4.2). Nothing here serves DHCPv6.
	Managed bool `json:"managed,omitempty"`
	Other   bool `json:"other,omitempty"`
	// Prefixes are those of the port's IPv6 subnets that hosts are told of: they are on the link.
	Prefixes []AdvertisedPrefix `json:"prefixes,omitempty"`
	// DNS are recursive resolvers (RFC 8106), IPv6 addresses, at most 8.
	DNS []netip.Addr `json:"dns,omitempty"`
}

// AdvertisedPrefix is a subnet in an [Advertisement].
type AdvertisedPrefix struct {
	Prefix netip.Prefix `json:"prefix"`
	// Autonomous has hosts choose an address in it by themselves (SLAAC, RFC 4862). It must have 64
	// bits then.
	Autonomous bool `json:"autonomous,omitempty"`
}

const maxAdvertisedDNS = 8

func (a *Advertisement) clone() *Advertisement {
	if a == nil {
		return nil
	}
	c := *a
	c.Prefixes, c.DNS = slices.Clone(a.Prefixes), slices.Clone(a.DNS)
	return &c
}

// Equal says that two ports advertise the same. The order of Prefixes makes no difference.
func (a *Advertisement) Equal(o *Advertisement) bool {
	if a == nil || o == nil {
		return a == o
	}
	x, y := a.clone(), o.clone()
	x.normalise()
	y.normalise()
	return x.same(y)
}

// String lists what is advertised: "fd00:1::/64 autonomous, managed, dns fd00::53".
func (a *Advertisement) String() string {
	var parts []string
	for _, p := range a.Prefixes {
		text := p.Prefix.String()
		if p.Autonomous {
			text += " autonomous"
		}
		parts = append(parts, text)
	}
	if a.Managed {
		parts = append(parts, "managed")
	}
	if a.Other {
		parts = append(parts, "other")
	}
	for _, r := range a.DNS {
		parts = append(parts, "dns "+r.String())
	}
	return strings.Join(parts, ", ")
}

func (a *Advertisement) normalise() {
	slices.SortFunc(a.Prefixes, func(a, b AdvertisedPrefix) int { return a.Prefix.Compare(b.Prefix) })
}

func (a *Advertisement) same(o *Advertisement) bool {
	if a == nil || o == nil {
		return a == o
	}
	return a.Managed == o.Managed && a.Other == o.Other && slices.Equal(a.Prefixes, o.Prefixes) && slices.Equal(a.DNS, o.DNS)
}

// advertisement checks what an internal port advertises.
func (c *checker) advertisement(path string, p *Port) {
	a := p.Advertisement
	six := slices.DeleteFunc(slices.Clone(p.Addrs), func(x netip.Prefix) bool { return !x.Addr().Is6() })
	if len(six) == 0 {
		c.fault(path, "is for ports with an IPv6 address only")
		return
	}
	seen := map[netip.Prefix]string{}
	for i, s := range a.Prefixes {
		at := index(path+".Prefixes", i)
		switch {
		case !slices.ContainsFunc(six, func(x netip.Prefix) bool { return x.Masked() == s.Prefix }):
			c.fault(at, "%s is no IPv6 subnet of the port", s.Prefix)
		case s.Autonomous && s.Prefix.Bits() != 64:
			c.fault(at, "%s has %d bits, and hosts choose addresses in subnets of 64 bits only (RFC 4862 §5.5.3)", s.Prefix, s.Prefix.Bits())
		case seen[s.Prefix] != "":
			c.fault(at, "%s is also %s", s.Prefix, seen[s.Prefix])
		}
		seen[s.Prefix] = at
	}
	if len(a.DNS) > maxAdvertisedDNS {
		c.fault(path+".DNS", "has %d resolvers, and %d are the most", len(a.DNS), maxAdvertisedDNS)
	}
	for i, r := range a.DNS {
		switch why := unusable(r); {
		case why != "":
			c.fault(index(path+".DNS", i), "%s", why)
		case !r.Is6():
			c.fault(index(path+".DNS", i), "%s is no IPv6 address", r)
		}
	}
}
