package l3

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/l3kit/l3kit/dataplane/agent"
)

// ErrTunnelAddress is returned for a tunnel address that no host can send to.
var ErrTunnelAddress = errors.New("the tunnel address cannot be used")

// TunnelPeer returns the host's address for tunnels, which every [Bus] tells to all hosts; the zero
// Addr: it has none. An address that is not usable is [ErrTunnelAddress].
func TunnelPeer(h agent.Heartbeat) (netip.Addr, error) {
	addr := h.Capabilities.TunnelAddress
	if addr.IsValid() {
		return addr, CheckTunnelAddress(addr)
	}
	if text, _ := h.Capabilities.Other[agent.TunnelingIP].(string); text != "" {
		return addr, fmt.Errorf("%w: %q is no IP address", ErrTunnelAddress, text)
	}
	return addr, nil
}

// CheckTunnelAddress refuses addresses that are not those of one host on a shared network. Whether
// a host can use IPv4 or IPv6 depends on its wiring, which skips the addresses of the other family.
func CheckTunnelAddress(addr netip.Addr) error {
	switch v4 := addr.Unmap(); {
	case !addr.IsValid():
		return fmt.Errorf("%w: it is missing", ErrTunnelAddress)
	case addr.Zone() != "" || addr.Is6() && addr.IsLinkLocalUnicast():
		return fmt.Errorf("%w: %s is an address of one link", ErrTunnelAddress, addr)
	case addr.Is4In6():
		return fmt.Errorf("%w: %s is written as IPv6: write %s", ErrTunnelAddress, addr, v4)
	case addr.IsMulticast() || addr.IsLoopback() || addr.IsUnspecified() || v4.Is4() && (v4.As4()[0] == 0 || v4.As4()[0] >= 240):
		return fmt.Errorf("%w: %s is not the address of a host", ErrTunnelAddress, addr)
	}
	return nil
}
