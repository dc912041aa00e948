package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
)

// patch is the least wiring that carries frames: a bridge for each network, by the network's ID.
type patch struct {
	namespace.InterfaceDriver // what a lab does not call
	host                      string
}

func (p patch) Plug(_ context.Context, ns namespace.NS, what ...namespace.Attachment) error {
	for _, a := range what {
		if err := p.plug(ns, a.Device, a.Port); err != nil {
			return err
		}
	}
	return nil
}

func (p patch) plug(ns namespace.NS, dev string, port dataplane.Port) error {
	return netdev.At(p.host, func(nl *netlink.Handle) error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: port.Network.ID}}
		if err := nl.LinkAdd(bridge); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		master, err := nl.LinkByName(port.Network.ID)
		if err != nil {
			return err
		}
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "t" + port.ID[:11], MTU: port.MTU, MasterIndex: master.Attrs().Index},
			PeerName:  dev, PeerNamespace: netlink.NsFd(ns.FD), PeerHardwareAddr: net.HardwareAddr(port.MAC[:]),
		}
		if err := nl.LinkAdd(veth); err != nil {
			return err
		}
		return errors.Join(nl.LinkSetUp(master), nl.LinkSetUp(veth))
	})
}

// netnsPath is a path by which other threads of this process can open a host's namespace.
func netnsPath(h interface{ FD() int }) string { return fmt.Sprintf("/proc/self/fd/%d", h.FD()) }

// ipLink sets a device of the calling thread's namespace up or down.
func ipLink(dev string, up bool) error {
	link, err := netlink.LinkByName(dev)
	if err != nil {
		return err
	}
	if up {
		return netlink.LinkSetUp(link)
	}
	return netlink.LinkSetDown(link)
}
