package nftables

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// addressKey is an IPv4 address as sets and maps hold it.
func addressKey(a netip.Addr) string {
	b := a.As4()
	return string(b[:])
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
