package nftables

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// addressKey is an address as sets and maps hold it.
func addressKey(a netip.Addr) string { return string(a.AsSlice()) }

// subnetKey is a subnet as sets of intervals hold it: its first address, and the one after its
// last; without that if the last is the last of all.
func subnetKey(p netip.Prefix) string {
	b := p.Masked().Addr().AsSlice()
	start := string(b)
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	if end := last.Next(); end.IsValid() {
		return start + string(end.AsSlice())
	}
	return start
}

// strayKey is one end of an interval without the other, or an element with more to it than ours
// have. No subnet has a key of this length.
func strayKey(key string, flags uint32) string { return key + string([]byte{byte(flags)}) }

// cutInterval returns the addresses that a key of a set of intervals is made of. The flags are
// those of the first.
func cutInterval(key string) (start, end string, flags uint32) {
	switch n := len(key); n {
	case 4, 16:
		if _, ok := netip.AddrFromSlice([]byte(key)); ok {
			return key, "", 0
		}
	case 8, 32:
		return key[:n/2], key[n/2:], 0
	case 5, 17:
		return key[:n-1], "", uint32(key[n-1])
	}
	return key, "", 0
}

// addressText is a key of a set of addresses for people.
func addressText(key string) string {
	a, ok := netip.AddrFromSlice([]byte(key))
	if !ok {
		return keyText(key)
	}
	return a.String()
}

// subnetText is a key of a set of intervals for people.
func subnetText(key string) string {
	start, end, flags := cutInterval(key)
	first, ok := netip.AddrFromSlice([]byte(start))
	if !ok || len(key) != len(start)+len(end) || flags != 0 {
		return "an odd one"
	}
	for bits := range first.BitLen() + 1 {
		if p := netip.PrefixFrom(first, bits); p.Masked() == p && subnetKey(p) == key {
			return p.String()
		}
	}
	next, _ := netip.AddrFromSlice([]byte(end))
	return first.String() + "-" + next.Prev().String()
}

// deviceKey is the name of a device as sets and maps hold it.
func deviceKey(name string) string {
	var b [unix.IFNAMSIZ]byte
	copy(b[:], name)
	return string(b[:])
}

// keyText is a key or value for people.
func keyText(key string) string {
	if a, ok := netip.AddrFromSlice([]byte(key)); ok && a.Is4() {
		return a.String()
	}
	if key == oddValue {
		return "an odd one"
	}
	return strings.TrimRight(key, "\x00")
}
