package lab

import (
	"errors"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
)

// Hold gives the host a further address on eth0, or takes it.
func (h *Host) Hold(a netip.Addr, hold bool) error {
	return h.Do(func() error {
		dev, err := netlink.LinkByName(device(0))
		if err != nil {
			return err
		}
		addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, a.BitLen()))}
		if hold {
			err = netlink.AddrReplace(dev, addr)
		} else if err = netlink.AddrDel(dev, addr); errors.Is(err, unix.EADDRNOTAVAIL) {
			err = nil
		}
		return err
	})
}

// Announce sends a gratuitous ARP request for an address of the host's eth0 (RFC 5227 2.3).
func (h *Host) Announce(a netip.Addr, mac dataplane.MAC) error {
	return h.Do(func() error {
		dev, err := net.InterfaceByName(device(0))
		if err != nil {
			return err
		}
		c, err := arp.Dial(dev)
		if err != nil {
			return err
		}
		defer c.Close()
		p, err := arp.NewPacket(arp.OperationRequest, mac[:], a, net.HardwareAddr{0, 0, 0, 0, 0, 0}, a)
		if err != nil {
			return err
		}
		return c.WriteTo(p, ethernet.Broadcast)
	})
}
