package bridge

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/wiring"
)

// uplinkChanges makes or mends what connects the first bridge with other hosts.
func (d *Driver) uplinkChanges(n *network, p dataplane.Port) ([]change, error) {
	switch {
	case n.segment.uplink == "" && (n.existing || n.physical == nil):
		return nil, nil
	case n.segment.uplink == "":
		return d.interfaceChanges(n, p)
	}
	var changes []change
	if n.vlan != 0 && !n.physical.up {
		changes = d.raise(n.physical)
	}
	kind := "vxlan"
	if n.vlan != 0 {
		kind = "vlan"
	}
	u := n.uplink
	if u == nil {
		return append(changes, d.newUplink(n, p)), d.kindSupported(kind)
	}
	if u.mark != n.mark(0) {
		if n.holder.network != "" {
			return nil, fmt.Errorf("%w: %w", dataplane.ErrHostConfig, n.holder.segmentTaken(u.name))
		}
		return nil, foreign(u, n.mark(0))
	}
	same := u.vxlan == n.vxlan && u.vlan == n.vlan
	if n.vlan != 0 && u.lower != n.physical.index || !same {
		gone := change{wiring.Step(dataplane.Remove, u.name, "made with other settings"), func() error { return d.remove(u) }}
		gone.step.Disturbs = true
		return append(changes, gone, d.newUplink(n, p)), nil
	}
	mtu := 0 // what a physical network can carry is its operator's to say
	if n.vlan == 0 {
		mtu = p.MTU
		c, err := d.floodChanges(u)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c...)
	}
	return append(changes, d.plumbingChanges(u, n.firstName(), n.first, mtu)...), nil
}

// interfaceChanges puts a physical interface into the first bridge. The interface is not ours: it
// gets no mark and is never deleted, and one that the host itself uses is refused, for a bridge
// would cut it off.
func (d *Driver) interfaceChanges(n *network, p dataplane.Port) (changes []change, err error) {
	nic := n.physical
	if !nic.up {
		changes = d.raise(nic)
	}
	if n.first != nil && nic.master == n.first.index {
		return changes, nil
	}
	if nic.master != 0 {
		return nil, fmt.Errorf("%w: %w", dataplane.ErrHostConfig, n.holder.taken(nic.name, p.Network.Physical))
	}
	addrs, err := d.host.addresses(nic.index)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(addrs, func(a address) bool { return !a.linkLocal }) { // link-local ones come by themselves
		return nil, fmt.Errorf("%w: interface %s has IP addresses, which would stop working in a bridge: put it into a bridge of your own "+
			"that has the addresses, and configure that bridge for physical network %q", dataplane.ErrHostConfig, nic.name, p.Network.Physical)
	}
	return append(changes, d.enslave(nic, n.firstName())), nil
}

// raise sets a physical interface up.
func (d *Driver) raise(nic *link) []change {
	r := repair{link: nic}
	r.add("down", setUp(nic.index))
	return d.mend(nic.name, r)
}

// newUplink makes a VLAN or VXLAN device in the first bridge. It comes up last, when it has its
// peers.
func (d *Driver) newUplink(n *network, p dataplane.Port) change {
	detail := fmt.Sprintf("VNI %d in bridge %s", n.vxlan.vni, n.firstName())
	if n.vlan != 0 {
		detail = fmt.Sprintf("VLAN %d of %s in bridge %s", n.vlan, n.physical.name, n.firstName())
	}
	return change{wiring.Step(dataplane.Add, n.segment.uplink, detail), func() error {
		masters, err := d.indexes(n.firstName())
		if err != nil {
			return err
		}
		index := d.newIndex()
		if n.vlan != 0 {
			b := append(batch{newVLAN(index, n.segment.uplink, n.physical.index, masters[0], n.vlan)}, d.introduce(index, n.mark(0), ethernetMTU)...)
			return kindMissing("vlan", d.host.write(append(b, setUp(index))...))
		}
		b := append(batch{newVXLAN(index, n.segment.uplink, p.MTU, masters[0], n.vxlan)}, d.introduce(index, n.mark(0), p.MTU)...)
		// SetPeers either runs before this and gives the list used here, or after it and finds the
		// device.
		d.peers.Lock()
		defer d.peers.Unlock()
		for _, addr := range d.peers.want {
			b = append(b, flood(unix.RTM_NEWNEIGH, index, addr))
		}
		if err := kindMissing("vxlan", d.host.write(append(b, setUp(index))...)); err != nil {
			return err
		}
		d.peers.synced[index] = true
		return nil
	}}
}
