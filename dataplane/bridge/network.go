package bridge

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/wiring"
)

// The kernel numbers a bridge's ports with ten bits, from 1 (BR_MAX_PORTS in
// net/bridge/br_private.h). A network with more ports gets overflow bridges, each joined to the
// first by a veth, the trunk: a star, so that frames cannot run in circles. The first bridge keeps
// a place for each trunk.
const (
	maxPorts    = 1<<10 - 1
	maxOverflow = 35 // see digit
)

// network is what the host has of a network, as far as one port of it is concerned.
type network struct {
	segment
	physical *link // device of segment.physical
	uplink   *link // device of segment.uplink
	first    *link // first bridge; nil: to be made
	existing bool  // the first bridge is an existing one, and not ours
	overflow int   // number of the bridge that the port is in, or should be put into
	home     *link // that bridge; nil: to be made
	trunk    [2]*link
	strays   []*link // uplinks in the first bridge that no longer belong there
	full     bool    // no place in any bridge
	holder   holder  // who has the physical interface, or the uplink, if it is not this network
}

// firstName is the name of the first bridge.
func (n *network) firstName() string {
	if n.existing {
		return n.segment.physical
	}
	return bridgeName(n.network, 0)
}

// homeName is the name of the bridge for the port.
func (n *network) homeName() string {
	if n.overflow == 0 {
		return n.firstName()
	}
	return bridgeName(n.network, n.overflow)
}

func (s segment) mark(overflow int) mark { return mark{network: s.network, overflow: overflow} }

// bridgeMark is the mark of the first bridge. It remembers a physical interface that is a port of
// it.
func (n *network) bridgeMark() mark {
	m := n.mark(0)
	if n.segment.physical != "" && n.segment.uplink == "" {
		m.uplink = n.segment.physical
	}
	return m
}

// survey looks up a network in the view, which is locked. tap is the port's host end, if there is
// one.
func (v *view) survey(s segment, tap *link) *network {
	n := &network{segment: s, uplink: v.names[s.uplink]}
	if s.physical != "" {
		n.physical = v.names[s.physical]
		n.existing = s.vlan == 0 && n.physical != nil && n.physical.kind == "bridge"
	}
	n.first = v.names[n.firstName()]
	if !n.existing && n.first != nil {
		n.strays = v.strays(n)
	}
	n.holder = v.holderOf(n)
	n.settle(v, tap)
	if n.overflow > 0 {
		n.home = v.names[bridgeName(s.network, n.overflow)]
		a, b := trunkNames(s.network, n.overflow)
		n.trunk = [2]*link{v.names[a], v.names[b]}
	} else {
		n.home = n.first
	}
	return n
}

// strays lists the uplinks in the first bridge that the network had under another segment or
// another configuration.
func (v *view) strays(n *network) (strays []*link) {
	for _, l := range v.plumbing[n.network] {
		if l.kind != "bridge" && l.mark.overflow == 0 && l.master == n.first.index && l != n.uplink {
			strays = append(strays, l)
		}
	}
	nic := v.names[n.first.mark.uplink]
	if nic != nil && nic.master == n.first.index && n.bridgeMark().uplink != nic.name {
		strays = append(strays, nic)
	}
	return strays
}

// settle finds the bridge for a port: where it is, or the first with a place.
func (n *network) settle(v *view, tap *link) {
	free := -1
	for i := 0; i <= maxOverflow; i++ {
		b, taken := n.first, 0
		if i > 0 {
			b = v.names[bridgeName(n.network, i)]
		}
		if b != nil {
			taken = len(v.ports[b.index])
		}
		if i == 0 && taken >= maxPorts-maxOverflow {
			taken += maxOverflow - v.trunks(n.network)
		}
		if tap != nil && b != nil && tap.master == b.index {
			n.overflow = i
			return
		}
		if free < 0 && taken < maxPorts {
			free = i
			if tap == nil || tap.master == 0 {
				break
			}
		}
	}
	n.overflow, n.full = max(free, 0), free < 0
}

// trunks counts the places in a network's first bridge that are not kept for trunks any more, but
// have one.
func (v *view) trunks(network string) (count int) {
	for i := 1; i <= maxOverflow; i++ {
		if name, _ := trunkNames(network, i); v.names[name] != nil {
			count++
		}
	}
	return count
}

// networkChanges says what is wrong with a network's bridges and uplink, as far as the port that
// the survey was made for needs them.
func (d *Driver) networkChanges(n *network, p dataplane.Port) (changes []change, err error) {
	if n.full {
		return nil, fmt.Errorf("%w: network %s has a bridge and %d overflow bridges, and all are full", dataplane.ErrExhausted, n.network, maxOverflow)
	}
	if n.segment.physical != "" && n.physical == nil {
		return nil, fmt.Errorf("%w: physical network %q: no bridge or interface %s", dataplane.ErrHostConfig, p.Network.Physical, n.segment.physical)
	}
	if !n.existing {
		changes, err = d.bridgeChanges(n.first, n.firstName(), n.bridgeMark())
		if err != nil {
			return nil, err
		}
	}
	for _, l := range n.strays {
		changes = append(changes, d.strayChange(l, n.firstName()))
	}
	uplink, err := d.uplinkChanges(n, p)
	if err != nil {
		return nil, err
	}
	changes = append(changes, uplink...)
	if n.overflow > 0 {
		overflow, err := d.bridgeChanges(n.home, n.homeName(), n.mark(n.overflow))
		if err != nil {
			return nil, err
		}
		trunk, err := d.trunkChanges(n, p)
		if err != nil {
			return nil, err
		}
		changes = append(append(changes, overflow...), trunk...)
	}
	return changes, nil
}

func foreign(l *link, want mark) error {
	if l.mark == (mark{}) {
		return fmt.Errorf("device %s %w: it does not carry the mark %q", l.name, dataplane.ErrForeign, want)
	}
	return fmt.Errorf("device %s %w: it carries the mark %q, not %q", l.name, dataplane.ErrForeign, l.mark, want)
}

// bridgeChanges makes or mends a bridge of ours.
func (d *Driver) bridgeChanges(b *link, name string, want mark) ([]change, error) {
	if b == nil {
		what := "bridge of network " + want.network
		if want.overflow > 0 {
			what = fmt.Sprintf("overflow bridge %d of network %s", want.overflow, want.network)
		}
		return []change{{wiring.Step(dataplane.Add, name, what), func() error {
			index := d.newIndex()
			b := append(batch{newBridge(index, name)}, d.introduce(index, want, ethernetMTU)...)
			return kindMissing("bridge", d.host.write(append(b, setUp(index))...))
		}}}, nil
	}
	identity := b.mark
	identity.uplink = want.uplink
	if b.kind != "bridge" || identity != want {
		return nil, foreign(b, want)
	}
	r := repair{link: b}
	if b.mark != want {
		r.add("names another uplink", setMark(b.index, want))
	}
	if b.bridge != (bridgeInfo{}) {
		r.add("multicast snooping or spanning tree on", setBridge(b.index))
	}
	r.silence(b.mtu)
	if !b.up {
		r.add("down", setUp(b.index))
	}
	return d.mend(name, r), nil
}

// strayChange takes a device out of a network that changed its segment or its physical interface.
func (d *Driver) strayChange(l *link, bridge string) change {
	if l.mark == (mark{}) {
		return change{wiring.Step(dataplane.Remove, l.name, "physical interface leaves bridge "+bridge), func() error {
			return d.host.write(setMaster(l.index, 0))
		}}
	}
	return change{wiring.Step(dataplane.Remove, l.name, "not the uplink of bridge "+bridge+" any more"), func() error { return d.remove(l) }}
}

// trunkChanges makes or mends the veth between the first bridge and the overflow bridge of the
// survey.
func (d *Driver) trunkChanges(n *network, p dataplane.Port) (changes []change, err error) {
	names, want := [2]string{}, n.mark(n.overflow)
	names[0], names[1] = trunkNames(n.network, n.overflow)
	for _, end := range n.trunk {
		if end != nil && (end.kind != "veth" || end.mark != want) {
			return nil, foreign(end, want)
		}
	}
	bridges := [2]string{n.firstName(), n.homeName()}
	if n.trunk[0] == nil || n.trunk[1] == nil || n.trunk[0].lower != n.trunk[1].index {
		for _, end := range n.trunk { // each has its other end elsewhere
			if end != nil {
				changes = append(changes, change{wiring.Step(dataplane.Remove, end.name, "trunk without its other end"), func() error { return d.remove(end) }})
			}
		}
		detail := fmt.Sprintf("trunk between bridges %s and %s", bridges[0], bridges[1])
		return append(changes, change{wiring.Step(dataplane.Add, names[0], detail), func() error {
			masters, err := d.indexes(bridges[:]...)
			if err != nil {
				return err
			}
			i, j := d.newIndex(), d.newIndex()
			far := peer{ns: -1, index: j, name: names[1], mac: wiring.HostMAC()}
			b := batch{newVeth(i, names[0], p.MTU, masters[0], far)}
			b = append(b, d.introduce(i, want, p.MTU)...)
			b = append(b, d.introduce(j, want, p.MTU)...)
			return d.host.write(append(b, setMaster(j, masters[1]), setUp(i), setUp(j))...)
		}}), nil
	}
	for i, end := range n.trunk {
		changes = append(changes, d.plumbingChanges(end, bridges[i], []*link{n.first, n.home}[i], p.MTU)...)
	}
	return changes, nil
}

// plumbingChanges mends what a bridge's port that serves the whole network needs: to be in the
// bridge, up and quiet, and to let the largest frames through.
func (d *Driver) plumbingChanges(l *link, bridgeName string, bridge *link, mtu int) []change {
	r := repair{link: l}
	if l.mtu < mtu {
		r.add(fmt.Sprintf("mtu %d, was %d", mtu, l.mtu), setMTU(l.index, mtu))
	}
	r.silence(max(l.mtu, mtu))
	if !l.up {
		r.add("down", setUp(l.index))
	}
	changes := d.mend(l.name, r)
	if bridge == nil || l.master != bridge.index {
		changes = append(changes, d.enslave(l, bridgeName))
	}
	return changes
}

// enslave puts a device into a bridge.
func (d *Driver) enslave(l *link, bridge string) change {
	return change{wiring.Step(dataplane.Change, l.name, "not in bridge "+bridge), func() error {
		masters, err := d.indexes(bridge)
		if err != nil {
			return err
		}
		return d.host.write(setMaster(l.index, masters[0]))
	}}
}

// remove deletes a device. One that has gone meanwhile is fine.
func (d *Driver) remove(l *link) error {
	if err := d.host.with(func(c *netlink.Conn) error { return remove(c, l) }); err != nil {
		return &dataplane.OpError{Op: "delete", Object: l.name, Err: err}
	}
	return nil
}

// indexes looks up devices that must be there by now.
func (d *Driver) indexes(names ...string) (indexes []int, err error) {
	var missing error
	err = d.view.read(func() {
		for _, name := range names {
			l := d.view.names[name]
			if l == nil {
				missing = fmt.Errorf("device %s has gone: %w", name, unix.ENODEV)
				return
			}
			indexes = append(indexes, l.index)
		}
	})
	return indexes, errors.Join(err, missing)
}
