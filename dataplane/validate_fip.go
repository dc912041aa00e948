package dataplane

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"net/netip"
)

func (c *checker) floatingIPs(r *Router) {
	if len(r.FloatingIPs) == 0 {
		return
	}
	if g := r.Gateway; g == nil || !g.FloatingIPsOnly && !g.addr4().IsValid() {
		c.fault("FloatingIPs", "need a gateway with an IPv4 address")
	}
	for i := range r.FloatingIPs {
		f := &r.FloatingIPs[i]
		if !validID(f.ID) || len(f.ID) > maxIDLen {
			c.id(index("FloatingIPs", i)+".ID", f.ID)
		}
		if why := c.floating(f.Addr); why != "" {
			c.fault(index("FloatingIPs", i)+".Addr", "%s", why)
		}
		if why := c.fixed(f.Fixed); why != "" {
			c.fault(index("FloatingIPs", i)+".Fixed", "%s", why)
		}
	}
	if !distinct(r.FloatingIPs) {
		c.duplicates(r.FloatingIPs)
	}
}

// floating says why an address cannot be a floating IP; empty when it can.
func (c *checker) floating(a netip.Addr) string {
	if why := unusable4(a); why != "" {
		return why
	}
	if at, ok := c.neighbours[a]; ok {
		return fmt.Sprintf("%s is also %s", a, at)
	}
	if at, ok := c.held[a]; ok {
		return fmt.Sprintf("%s is also %s", a, at)
	}
	s := c.subnetOf(a)
	switch {
	case s == nil:
		return "" // routed to this router by its neighbours
	case s.role != gateway:
		return fmt.Sprintf("%s is in %s of %s, not on the external network", a, s.addr.Masked(), s.path)
	case s.bare: // without an own address there, the kernel knows no broadcast address
		return ""
	}
	return reserved(a, s.addr)
}

// fixed says why an address cannot have a floating IP; empty when it can.
func (c *checker) fixed(a netip.Addr) string {
	if why := unusable4(a); why != "" {
		return why
	}
	s := c.subnetOf(a)
	switch {
	case s == nil:
		return fmt.Sprintf("%s is in no subnet of the router", a)
	case s.addr.Addr() == a:
		return fmt.Sprintf("%s is the router's own address, %s", a, s.path)
	case s.role != internal:
		return fmt.Sprintf("%s is in %s of %s, not of an internal port", a, s.addr.Masked(), s.role)
	case c.away(a):
		return fmt.Sprintf("%s is not a neighbour of %s, which is anycast", a, s.port)
	}
	return reserved(a, s.addr)
}

func unusable4(a netip.Addr) string {
	if why := unusable(a); why != "" {
		return why
	}
	if !a.Is4() {
		return fmt.Sprintf("%s is not an IPv4 address", a)
	}
	return ""
}

// duplicates names the IDs and addresses that are there twice. What is faulty in itself is not
// compared.
func (c *checker) duplicates(fips []FloatingIP) {
	ids := make(map[string]int)
	addrs, fixed := make(map[netip.Addr]int), make(map[netip.Addr]int)
	for i, f := range fips {
		if first, ok := ids[f.ID]; ok && f.ID != "" {
			c.fault(index("FloatingIPs", i)+".ID", "%s is also FloatingIPs[%d].ID", quote(f.ID), first)
		} else {
			ids[f.ID] = i
		}
		if first, ok := addrs[f.Addr]; ok && f.Addr.Is4() {
			c.fault(index("FloatingIPs", i)+".Addr", "%s is also FloatingIPs[%d].Addr", f.Addr, first)
		} else {
			addrs[f.Addr] = i
		}
		if first, ok := fixed[f.Fixed]; ok && f.Fixed.Is4() {
			c.fault(index("FloatingIPs", i)+".Fixed", "%s has a floating IP already, FloatingIPs[%d]", f.Fixed, first)
		} else {
			fixed[f.Fixed] = i
		}
	}
}

// distinct says that no ID and no address is there twice. It may be false without reason, then
// duplicates finds none. With 10,000 floating IPs it takes a tenth of the time that duplicates
// takes, and every Apply waits for it.
func distinct(fips []FloatingIP) bool {
	size := 4
	for size < 2*len(fips) {
		size *= 2
	}
	seed := maphash.MakeSeed()
	ids, addrs, fixed := make(hashSet, size), make(hashSet, size), make(hashSet, size)
	for i := range fips {
		f := &fips[i]
		if !ids.add(maphash.String(seed, f.ID)) || !addrs.add(key(f.Addr)) || !fixed.add(key(f.Fixed)) {
			return false
		}
	}
	return true
}

// key is a different number for each IPv4 address.
func key(a netip.Addr) uint64 {
	b := a.As16()
	const odd = 0x9e3779b97f4a7c15 // spreads neighbouring addresses; multiplying by an odd number is reversible
	return (uint64(binary.BigEndian.Uint32(b[12:])) + 1) * odd
}

// hashSet is a set of numbers that are spread well. Its length is a power of two, and greater than
// what it is to hold.
type hashSet []uint64

// add returns false for a number that is there already.
func (s hashSet) add(k uint64) bool {
	if k == 0 {
		k = 1 // zero marks a free place
	}
	mask := uint64(len(s) - 1)
	for i := k >> 32 & mask; ; i = (i + 1) & mask {
		switch s[i] {
		case 0:
			s[i] = k
			return true
		case k:
			return false
		}
	}
}
