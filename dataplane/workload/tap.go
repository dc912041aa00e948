package workload

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/failure"
	"github.com/l3kit/l3kit/internal/netdev"
)

// Names of the devices of a port's tap; see the package comment.
const (
	tapPrefix    = "vm-"
	bridgePrefix = "vb-"
	plugPrefix   = "vp-"
	idLen        = 11 // of the port's ID in a name
)

func deviceName(prefix, port string) string { return prefix + port[:min(len(port), idLen)] }

// helper reports whether a device only serves a tap device.
func helper(name string) bool {
	return strings.HasPrefix(name, bridgePrefix) || strings.HasPrefix(name, plugPrefix)
}

// TapName returns the name of a port's tap device.
func TapName(port string) string { return deviceName(tapPrefix, port) }

// AttachTap makes a persistent tap device in the host's namespace, attached to the port's network,
// and returns its name. The virtual machine that opens it must use the port's MAC address, and at
// most its MTU. Calling it again mends what somebody else changed. After an error what it made is
// gone, unless the tap device was there before.
func AttachTap(ctx context.Context, w namespace.InterfaceDriver, host namespace.NS, p dataplane.Port) (tap string, err error) {
	before, err := Device(host, p.ID)
	if err != nil {
		return "", err
	}
	tap = TapName(p.ID)
	if err = attachTap(ctx, w, host, p); err != nil && before == "" {
		err = errors.Join(err, DetachTap(context.WithoutCancel(ctx), w, host, p.ID))
	}
	return tap, err
}

func attachTap(ctx context.Context, w namespace.InterfaceDriver, host namespace.NS, p dataplane.Port) error {
	m := mark{p.ID, p.Network.ID}
	plugged := namespace.Attachment{Device: deviceName(plugPrefix, p.ID), Port: p}
	// A bridge takes frames to the addresses of its ports for the host, and this one's are the
	// virtual machine's: so what the wiring plugs has another address, as a tap device of libvirt
	// has.
	plugged.Port.MAC[0] = 0xfe
	for _, name := range []string{deviceName(bridgePrefix, p.ID), TapName(p.ID)} {
		if err := owned(host, name, m); err != nil {
			return err
		}
	}
	if err := w.Plug(ctx, host, plugged); err != nil {
		return err
	}
	if err := host.Do(func() error { return makeTap(TapName(p.ID)) }); err != nil {
		return err
	}
	err := netdev.In(host.FD, func(h *netlink.Handle) error { return join(h, m, plugged.Device, p) })
	if err != nil {
		return err
	}
	return w.Ready(ctx, host, plugged)
}

// owned refuses a device that has the name and is not the port's.
func owned(host namespace.NS, name string, m mark) error {
	return netdev.In(host.FD, func(h *netlink.Handle) error {
		l, err := netdev.Find(h, name)
		if err != nil || l == nil {
			return err
		}
		if have, _ := parseMark(l.Attrs().Alias); have.port != m.port {
			return failure.Of("attach", "port "+m.port, fmt.Errorf("device %s %w", name, dataplane.ErrForeign))
		}
		return nil
	})
}

// makeTap makes a tap device in the calling thread's namespace, unless it is there.
func makeTap(name string) error {
	// One that a virtual machine has open cannot be opened here.
	_, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		err = netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI})
	}
	if err != nil {
		return failure.Of("create tap device", name, err)
	}
	return nil
}

// join connects the tap device with what the wiring plugged.
func join(h *netlink.Handle, m mark, plugged string, p dataplane.Port) error {
	name := deviceName(bridgePrefix, p.ID)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, p.MTU
	off, none := false, uint32(0)
	b := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off, AgeingTime: &none}
	if err := h.LinkAdd(b); err != nil && !errors.Is(err, unix.EEXIST) {
		return failure.Of("create bridge", name, err)
	}
	bridge, err := h.LinkByName(name)
	if err != nil {
		return failure.Of("find device", name, err)
	}
	if err := ready(h, bridge, m, p.MTU); err != nil {
		return err
	}
	for _, name := range []string{plugged, TapName(p.ID)} {
		l, err := h.LinkByName(name)
		if err != nil {
			return failure.Of("find device", name, err)
		}
		if err := h.LinkSetMaster(l, bridge); err != nil {
			return failure.Of("put into bridge", name, err)
		}
		if err := ready(h, l, m, p.MTU); err != nil {
			return err
		}
	}
	return nil
}

// ready marks a device, keeps the host from using it for itself, and sets it up.
func ready(h *netlink.Handle, l netlink.Link, m mark, mtu int) error {
	name := l.Attrs().Name
	if err := h.LinkSetAlias(l, m.String()); err != nil {
		return failure.Of("mark device", name, err)
	}
	if err := h.LinkSetMTU(l, mtu); err != nil {
		return failure.Of("set MTU", name, err)
	}
	if err := netdev.KeepIPv6Away(h, l); err != nil {
		return err
	}
	if err := h.LinkSetARPOff(l); err != nil {
		return failure.Of("turn ARP off", name, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return failure.Of("set link up", name, err)
	}
	return nil
}

// DetachTap removes a port's tap device and what AttachTap made for it. One that is not there is
// fine.
func DetachTap(ctx context.Context, w namespace.InterfaceDriver, host namespace.NS, port string) error {
	var errs []error
	for _, prefix := range []string{tapPrefix, bridgePrefix} {
		name := deviceName(prefix, port)
		errs = append(errs, netdev.In(host.FD, func(h *netlink.Handle) error {
			l, err := netdev.Find(h, name)
			if err != nil || l == nil {
				return err
			}
			// One without a mark is from a process that was killed before it marked it.
			if have, marked := parseMark(l.Attrs().Alias); marked && have.port != port || !marked && l.Attrs().Alias != "" {
				return nil
			}
			return netdev.Remove(h, l)
		}))
	}
	return errors.Join(append(errs, w.Unplug(ctx, host, deviceName(plugPrefix, port)))...)
}
