package l3

import (
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
)

// hosts are the addresses of a subnet that a port may have: not an IPv4 network's own address and
// its broadcast address (a /31 has neither, RFC 3021), not IPv6's subnet-router anycast address
// (RFC 4291 §2.6.1; not on a /127, RFC 6164).
func hosts(cidr netip.Prefix) AddressRange {
	first, last := cidr.Masked().Addr(), lastOf(cidr)
	switch spare := first.BitLen() - cidr.Bits(); {
	case spare <= 1:
	case first.Is4():
		first, last = first.Next(), last.Prev()
	default:
		first = first.Next()
	}
	return AddressRange{first, last}
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

func (r AddressRange) contains(a netip.Addr) bool {
	return a.BitLen() == r.First.BitLen() && r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

func (r AddressRange) overlaps(o AddressRange) bool {
	return r.contains(o.First) || o.contains(r.First)
}

func (r AddressRange) String() string { return r.First.String() + "-" + r.Last.String() }

// without cuts an address out of ranges.
func without(ranges []AddressRange, a netip.Addr) []AddressRange {
	rest := make([]AddressRange, 0, len(ranges)+1)
	for _, r := range ranges {
		if !r.contains(a) {
			rest = append(rest, r)
			continue
		}
		if r.First != a {
			rest = append(rest, AddressRange{r.First, a.Prev()})
		}
		if r.Last != a {
			rest = append(rest, AddressRange{a.Next(), r.Last})
		}
	}
	return rest
}

// plain says whether an address can be kept: it has no zone, and is not IPv4 dressed up as IPv6.
func plain(a netip.Addr) bool { return a.IsValid() && a.Zone() == "" && !a.Is4In6() }

func version(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// eui64 is the address that a host with this MAC address makes for itself in a /64 (RFC 4291,
// appendix A).
func eui64(cidr netip.Prefix, m dataplane.MAC) netip.Addr {
	b := cidr.Masked().Addr().As16()
	copy(b[8:], []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	return netip.AddrFrom16(b)
}

// auto says whether hosts of a subnet make their own addresses.
func (n Subnet) auto() bool {
	makes := func(m IPv6Mode) bool { return m == IPv6SLAAC || m == IPv6DHCPv6Stateless }
	return makes(n.IPv6AddressMode) || makes(n.IPv6RAMode)
}
