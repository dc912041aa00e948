// Package wiring holds what wiring by Linux bridges and wiring by Open vSwitch have in common.
package wiring

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
)

// HostMAC returns a random address for a device of the host. A bridge takes the lowest MAC among
// its ports; the high first octets keep it from taking this one, which on an existing bridge would
// change the host's own address. Two, as one in 64 random addresses of other devices begins with
// the first.
func HostMAC() dataplane.MAC {
	mac := dataplane.MAC{0xfe, 0xff}
	rand.Read(mac[2:]) // never fails
	return mac
}

// MaxAtOnce bounds how many devices one call removes at the same time. Most of the time that it
// takes is the kernel's wait for packets that may still be using the device (netdev_run_todo in
// net/core/dev.c), which many removals can share.
const MaxAtOnce = 16

// CheckPlug returns an error if a port cannot be plugged into a namespace. The rest has been
// validated, or the kernel or Open vSwitch will refuse it.
func CheckPlug(ns namespace.NS, p dataplane.Port) error {
	if err := CheckPlan(ns, p); err != nil {
		return err
	}
	if ns.FD < 0 {
		return fmt.Errorf("%w: its namespace does not exist", dataplane.ErrInvalid)
	}
	return nil
}

// CheckPlan returns an error for IDs that would make a wrong name or mark, and for a network that
// there cannot be.
func CheckPlan(ns namespace.NS, p dataplane.Port) error {
	if err := errors.Join(dataplane.ValidateID(p.ID), p.Network.Validate()); err != nil || ns.Router == "" {
		return err
	}
	return dataplane.ValidateID(ns.Router)
}

// Step is a change of the wiring.
func Step(op dataplane.Op, object, detail string) dataplane.Step {
	return dataplane.Step{Op: op, Kind: dataplane.KindWiring, Object: object, Detail: detail}
}

// TapName is Neutron's name of the host's end of a port's veth, so that tools and people who know
// that find their way.
func TapName(port string) string { return "tap" + Cut(port) }

// Cut cuts an ID for a name, where Neutron cuts it.
func Cut(id string) string { return id[:min(len(id), 11)] }

// Named reports whether one of devices has the name of a port's device in its router's namespace.
func Named(port string, devices ...string) bool {
	return slices.ContainsFunc(devices, func(dev string) bool { return dataplane.IsDevice(dev, port) })
}

// Peers returns the tunnel addresses of other hosts that can be used by one with the address local,
// which is left out, and an error that names those that cannot.
func Peers(local netip.Addr, list []netip.Addr) (usable []netip.Addr, skipped error) {
	for _, addr := range list {
		addr = addr.Unmap()
		switch {
		case !hostAddress(addr):
			skipped = errors.Join(skipped, fmt.Errorf("%w: tunnel peer %q is not the address of a host",
				dataplane.ErrInvalid, addr))
		case local.IsValid() && addr.Is4() != local.Is4():
			skipped = errors.Join(skipped, fmt.Errorf("%w: tunnel peer %s is not of the same address family "+
				"as the tunnel address %s", dataplane.ErrInvalid, addr, local))
		case addr != local && !slices.Contains(usable, addr):
			usable = append(usable, addr)
		}
	}
	return usable, skipped
}

// hostAddress reports whether an address can be that of another host.
func hostAddress(a netip.Addr) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Zone() != "" {
		return false
	}
	return !a.Is4() || a.As4()[0] != 0 && a.As4()[0] < 240 // this network, reserved, and broadcast
}
