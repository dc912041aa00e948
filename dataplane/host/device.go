package host

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/internal/dump"
)

// checkTunnel runs in the host's namespace.
func (w *Wiring) checkTunnel() error {
	local := w.config.Tunnel.Local
	if !local.IsValid() {
		return nil
	}
	addrs, err := dump.Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("list the addresses of this host: %w", err)
	}
	if !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.Equal(local.AsSlice()) }) {
		return fmt.Errorf("this host does not have the address %s", local)
	}
	return nil
}

// checkInterface runs in the host's namespace. An existing bridge may have addresses, an interface
// must not: it becomes a port of a bridge, where they would stop working.
func checkInterface(device string) error {
	l, err := netlink.LinkByName(device)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return fmt.Errorf("there is no interface %s on this host", device)
	}
	if err != nil || l.Type() == "bridge" {
		return err
	}
	addrs, err := dump.Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if !a.IP.IsLinkLocalUnicast() {
			return fmt.Errorf("interface %s has the address %s, which would stop working: name an interface without addresses, or a bridge", device, a.IPNet)
		}
	}
	return nil
}
