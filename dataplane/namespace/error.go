package namespace

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/failure"
)

func opError(op, object string, err error) error { return failure.Of(op, object, err) }

// supported refuses a router that the kernel cannot be.
func supported(r dataplane.Router) error {
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil || !speaksIPv6(r) {
		return nil
	}
	return &dataplane.OpError{Op: "apply router", Object: r.ID, Err: fmt.Errorf("%w: the kernel has no IPv6", dataplane.ErrUnsupported)}
}

func speaksIPv6(r dataplane.Router) bool {
	for _, p := range PortsByDevice(r) {
		if slices.ContainsFunc(p.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() }) {
			return true
		}
	}
	if r.Transit != nil && transitSpeaksIPv6(r) {
		return true
	}
	return r.Gateway != nil && (slices.ContainsFunc(r.Gateway.NextHops, netip.Addr.Is6) ||
		slices.ContainsFunc(r.Gateway.OnLink, func(p netip.Prefix) bool { return p.Addr().Is6() }))
}
