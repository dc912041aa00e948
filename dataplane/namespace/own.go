package namespace

import (
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
)

// OwnIPv6 lists the IPv6 addresses that a valid router has in its namespace, link-local ones
// included, in order. A router without any has no IPv6 on any of its devices.
func OwnIPv6(r dataplane.Router) []netip.Addr {
	r.FloatingIPs, r.Routes = nil, nil // they are IPv4, or no addresses
	var own []netip.Addr
	for _, l := range want(r).links {
		for a := range l.addrs {
			if a.Addr().Is6() {
				own = append(own, a.Addr())
			}
		}
	}
	slices.SortFunc(own, netip.Addr.Compare)
	return slices.Compact(own)
}
