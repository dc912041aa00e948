package service

import (
	"net/netip"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/l3"
)

// hosts are the addresses of a subnet that a port may have: not an IPv4 network's own address and
// its broadcast address (a /31 has neither, RFC 3021), not IPv6's subnet-router anycast address
// (RFC 4291 §2.6.1; not on a /127, RFC 6164).
func hosts(cidr netip.Prefix) l3.AddressRange {
	first, last := cidr.Masked().Addr(), lastOf(cidr)
	switch spare := first.BitLen() - cidr.Bits(); {
	case spare <= 1:
	case first.Is4():
		first, last = first.Next(), last.Prev()
	default:
		first = first.Next()
	}
	return l3.AddressRange{First: first, Last: last}
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// without cuts an address out of ranges.
func without(ranges []l3.AddressRange, a netip.Addr) []l3.AddressRange {
	rest := make([]l3.AddressRange, 0, len(ranges)+1)
	for _, r := range ranges {
		if !r.Contains(a) {
			rest = append(rest, r)
			continue
		}
		if r.First != a {
			rest = append(rest, l3.AddressRange{First: r.First, Last: a.Prev()})
		}
		if r.Last != a {
			rest = append(rest, l3.AddressRange{First: a.Next(), Last: r.Last})
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

// autoAddressed says whether hosts of a subnet make their own addresses.
func autoAddressed(n l3.Subnet) bool {
	makes := func(m l3.IPv6Mode) bool { return m == l3.IPv6SLAAC || m == l3.IPv6DHCPv6Stateless }
	return makes(n.IPv6AddressMode) || makes(n.IPv6RAMode)
}
