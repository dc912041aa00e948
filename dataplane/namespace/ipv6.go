package namespace

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// OwnIPv6 returns the IPv6 addresses of a valid router in its namespace, sorted and including the
// link-local ones. A router that has none has no IPv6 on any device.
func OwnIPv6(r dataplane.Router) []netip.Addr {
	r.FloatingIPs = nil // they are IPv4
	var own []netip.Addr
	for _, l := range wantLinks(r) {
		for a := range l.addrs {
			if a.Addr().Is6() {
				own = append(own, a.Addr())
			}
		}
	}
	slices.SortFunc(own, netip.Addr.Compare)
	return slices.Compact(own)
}
