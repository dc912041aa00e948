// Package netdev works on network devices of one namespace, for packages that use
// vishvananda/netlink.
package netdev

import (
	"errors"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/netns"
)

// At calls fn with an rtnetlink socket in the namespace that has a path.
func At(path string, fn func(*netlink.Handle) error) error {
	ns, err := netns.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return In(int(ns.Fd()), fn)
}

// In calls fn with an rtnetlink socket in the namespace that ns is open on.
func In(ns int, fn func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(ns), unix.NETLINK_ROUTE)
	if err != nil {
		return failure.Of("open", "rtnetlink socket in the namespace", err)
	}
	defer h.Close()
	return fn(h)
}

// Find returns the device with a name, or nil if there is none.
func Find(h *netlink.Handle, name string) (netlink.Link, error) {
	l, err := h.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, failure.Of("find device", name, err)
	}
	return l, nil
}

// Remove removes a device. One that is gone already is fine.
func Remove(h *netlink.Handle, l netlink.Link) error {
	if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return failure.Of("remove device", l.Attrs().Name, err)
	}
	return nil
}

// KeepIPv6Away keeps the kernel from giving a device an IPv6 address by itself. A device that has
// no IPv6 at all, for want of MTU, is fine.
func KeepIPv6Away(h *netlink.Handle, l netlink.Link) error {
	const addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE of linux/if_link.h
	if err := h.LinkSetIP6AddrGenMode(l, addrGenModeNone); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return failure.Of("keep IPv6 addresses away from", l.Attrs().Name, err)
	}
	return nil
}
