package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/netns"
)

// Underlay is an Ethernet between machines, in a namespace of its own. Its embedded Host is that
// namespace: by [Host.CaptureAll] on the device that Join returns, all that a machine sends and
// receives can be looked at.
type Underlay struct {
	*Host
	lab   *Lab
	ports int
}

// UnderlayBridge is the bridge in an underlay's namespace.
const UnderlayBridge = "underlay"

// NewUnderlay makes an underlay. It ends with the machine l, which need not join it.
func (l *Lab) NewUnderlay() (*Underlay, error) { return l.NewEthernet("underlay") }

// NewEthernet is NewUnderlay for a machine that has several, whose names differ.
func (l *Lab) NewEthernet(name string) (*Underlay, error) {
	h, err := l.create(name, nil)
	if err != nil {
		return nil, err
	}
	if err := h.configure(Spec{}); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	err = netdev.In(h.FD(), func(nl *netlink.Handle) error {
		off := false
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: UnderlayBridge}, MulticastSnooping: &off}
		return errors.Join(nl.LinkAdd(bridge), nl.LinkSetUp(bridge))
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Underlay{Host: h, lab: l}, nil
}

// Connect gives a machine a device with addresses that is the end of a cable to the underlay. far
// is the underlay's end.
func (u *Underlay) Connect(l *Lab, device string, addrs ...netip.Prefix) (far string, err error) {
	fail := func(err error) (string, error) { return "", fmt.Errorf("connect %s to %s: %w", device, u.Name, err) }
	if far, err = u.cable(l, device); err != nil {
		return fail(err)
	}
	err = netdev.At(l.HostNS, func(nl *netlink.Handle) error {
		_, err := up(nl, device, addrs)
		return err
	})
	if err != nil {
		return fail(err)
	}
	return far, nil
}

// Cut interrupts a cable, or mends it. As with a switch that fails further on, neither end sees its
// carrier go.
func (u *Underlay) Cut(far string, cut bool) error {
	return netdev.In(u.FD(), func(nl *netlink.Handle) error {
		link, err := nl.LinkByName(far)
		if err != nil {
			return fmt.Errorf("cable %s of %s: %w", far, u.Name, err)
		}
		if cut {
			return nl.LinkSetNoMaster(link)
		}
		master, err := nl.LinkByName(UnderlayBridge)
		if err != nil {
			return err
		}
		return nl.LinkSetMaster(link, master)
	})
}

// cable makes one between a new port of the underlay and a device of the machine.
func (u *Underlay) cable(l *Lab, near string) (far string, err error) {
	host, err := netns.Open(l.HostNS)
	if err != nil {
		return "", err
	}
	defer host.Close()
	u.ports++
	far = fmt.Sprintf("machine%d", u.ports)
	return far, netdev.In(u.FD(), func(nl *netlink.Handle) error {
		master, err := nl.LinkByName(UnderlayBridge)
		if err != nil {
			return err
		}
		cable := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: far, MasterIndex: master.Attrs().Index},
			PeerName:  near, PeerNamespace: netlink.NsFd(host.Fd()),
		}
		return errors.Join(nl.LinkAdd(cable), nl.LinkSetUp(cable))
	})
}

// Join connects a machine: a bridge of its switch, with that datapath_type, holds a cable to the
// underlay and has the address. The userspace datapath finds its way to other tunnel endpoints
// through such bridges only. The device is the underlay's end of the cable.
func (u *Underlay) Join(ctx context.Context, l *Lab, s *Switch, datapath string, addr netip.Prefix) (device string, err error) {
	const bridge, near = "br-underlay", "underlay0"
	fail := func(err error) (string, error) { return "", fmt.Errorf("join %s to the underlay: %w", addr, err) }

	if device, err = u.cable(l, near); err != nil {
		return fail(err)
	}
	_, err = s.vsctl(ctx, "add-br", bridge, "--", "set", "bridge", bridge, "datapath_type="+datapath, "--", "add-port", bridge, near)
	if err != nil {
		return fail(err)
	}
	err = netdev.At(l.HostNS, func(nl *netlink.Handle) error {
		if _, err := up(nl, near, nil); err != nil {
			return err
		}
		_, err := up(nl, bridge, []netip.Prefix{addr})
		return err
	})
	if err != nil {
		return fail(err)
	}
	return device, nil
}
