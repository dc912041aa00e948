package ovs

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/dataplane/namespace"
	"github.com/l3kit/l3kit/internal/netdev"
	"github.com/l3kit/l3kit/internal/netns"
	"github.com/l3kit/l3kit/internal/wiring"
)

// devices are what a port has in the kernel.
type devices struct {
	same    bool         // the namespace is the host's own
	inside  netlink.Link // in the port's namespace, by the name that it has there; nil: none
	outside netlink.Link // in the host's, by the name of the port on the bridge; nil: none
	paired  bool         // they are the ends of one veth
}

// devices looks up a port's devices.
func (d *Driver) devices(ns namespace.NS, dev, name string) (f devices, err error) {
	if f.outside, err = netdev.Find(d.host, name); err != nil || ns.FD < 0 {
		return f, err
	}
	if f.same, err = d.isHost(ns); err != nil {
		return f, err
	}
	err = netdev.In(ns.FD, func(h *netlink.Handle) (err error) {
		f.inside, err = netdev.Find(h, dev)
		return err
	})
	if err == nil && f.inside != nil && f.outside != nil && f.outside.Type() == "veth" && f.outside.Attrs().ParentIndex == f.inside.Attrs().Index {
		f.paired, err = d.leadsTo(f.outside, ns, f.same)
	}
	return f, err
}

// leadsTo says that the other end of a device is in a namespace.
func (d *Driver) leadsTo(l netlink.Link, ns namespace.NS, same bool) (bool, error) {
	at := l.Attrs().NetNsID // by an ID that is valid in the host's namespace; -1: that namespace itself
	if same || at < 0 {
		return same && at < 0, nil
	}
	id, err := d.host.GetNetNsIdByFd(ns.FD)
	return at == id, err
}

func (d *Driver) isHost(ns namespace.NS) (bool, error) {
	id, err := netns.IdentifyFD(ns.FD)
	return id == d.hostID, err
}

// evict removes a device that is in the way of a port's, from a router's namespace, in which
// everything is ours.
func evict(a attachment) error {
	return netdev.In(a.ns.FD, func(h *netlink.Handle) error {
		l, err := netdev.Find(h, a.dev)
		if err != nil || l == nil {
			return err
		}
		return netdev.Remove(h, l)
	})
}

// newVeth makes a veth with one end in the namespace, down, and the other on the host, up. The host
// does not speak through its end: it neither answers ARP nor has an IPv6 address. To the userspace
// datapath that matters, because there the host's own stack sees each packet too.
//
// Unasked the kernel makes as many queues as there are processors, and then waits, with its lock on
// all links held, until it may leave all but one of them unused (veth_init_queues); so one is asked
// for.
func (d *Driver) newVeth(a attachment, name string) error {
	attrs, mac := netlink.NewLinkAttrs(), wiring.HostMAC()
	attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.NumTxQueues, attrs.NumRxQueues = name, a.MTU, mac[:], 1, 1
	veth := netlink.NewVeth(attrs) // its other end gets as many queues
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU, veth.PeerNamespace = a.dev, a.MAC[:], uint32(a.MTU), netlink.NsFd(a.ns.FD)
	if err := d.host.LinkAdd(veth); err != nil {
		return err
	}
	err := d.raise(veth)
	if err == nil && d.config.Datapath == Netdev {
		err = a.ns.Do(func() error { return netdev.ChecksumInSoftware(a.dev) })
	}
	if err != nil {
		return errors.Join(err, netdev.Remove(d.host, veth))
	}
	return nil
}

// raise makes the host's end of a veth ready for its bridge.
func (d *Driver) raise(l netlink.Link) error {
	if err := netdev.KeepIPv6Away(d.host, l); err != nil {
		return err
	}
	if err := d.host.LinkSetARPOff(l); err != nil {
		return fmt.Errorf("turn ARP off: %w", err)
	}
	return d.host.LinkSetUp(l)
}

// fetch moves an internal port's device into the namespace, where it takes the place of one that
// ovs-vswitchd has given up.
func (d *Driver) fetch(a attachment, name string) error {
	f, err := d.devices(a.ns, a.dev, name)
	if err != nil {
		return err
	}
	if f.outside == nil {
		return fmt.Errorf("%w: ovs-vswitchd has not made the device %s", dataplane.ErrDaemon, name)
	}
	if !f.same {
		if f.inside != nil {
			if err := evict(a); err != nil {
				return err
			}
		}
		if err := d.host.LinkSetNsFd(f.outside, a.ns.FD); err != nil {
			return fmt.Errorf("move device %s into the namespace: %w", name, err)
		}
	}
	return settle(a, name)
}

// settle gives a device in the namespace the port's name, MAC and MTU.
func settle(a attachment, name string) error {
	return netdev.In(a.ns.FD, func(h *netlink.Handle) error {
		l, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if dataplane.MAC(l.Attrs().HardwareAddr) != a.MAC {
			if err := h.LinkSetHardwareAddr(l, a.MAC[:]); err != nil {
				return fmt.Errorf("set MAC: %w", err)
			}
		}
		if l.Attrs().MTU != a.MTU {
			if err := h.LinkSetMTU(l, a.MTU); err != nil {
				return fmt.Errorf("set MTU: %w", err)
			}
		}
		return nil
	})
}
