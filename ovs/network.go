package ovs

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/ovn-org/libovsdb/ovsdb"

	"github.com/l3kit/l3kit/dataplane"
	"github.com/l3kit/l3kit/internal/wiring"
)

// surveyNetwork says what is wrong with the bridges that a network needs, and with what joins them
// to each other and to other hosts.
func (d *Driver) surveyNetwork(w *work) error {
	if w.segment.direct {
		_, err := d.existing(w)
		return err
	}
	integration, err := d.surveyBridge(w.change, d.config.Integration)
	if err != nil {
		return err
	}
	switch {
	case w.segment.physical != "":
		physical, err := d.existing(w)
		if err != nil {
			return err
		}
		return w.surveyPatch(integration, physical, d.config.patchNames(w.segment.physical), w.segment.Physical)
	case w.segment.tunnel:
		tunnel, err := d.surveyBridge(w.change, d.config.Tunnel.Bridge)
		if err != nil {
			return err
		}
		if err := w.surveyPatch(integration, tunnel, [2]string{"patch-tun", "patch-int"}, ""); err != nil {
			return err
		}
		return d.surveyTunnels(w.change, w.segment.Type, tunnel, d.peers.get())
	}
	return nil
}

// end is a bridge for a transaction: one that is there, or one that the same transaction adds.
type end struct{ name, uuid string }

// existing looks up the bridge of a physical network.
func (d *Driver) existing(w *work) (end, error) {
	b := w.s.bridge(w.segment.physical)
	if b == nil {
		return end{}, fmt.Errorf("%w: physical network %q: Open vSwitch has no bridge %s", dataplane.ErrHostConfig, w.segment.Physical, w.segment.physical)
	}
	return end{b.Name, b.UUID}, d.checkDatapath(b)
}

// checkDatapath refuses a bridge that ports of ours would not work on: devices are made for a
// datapath, and patch ports lead nowhere between two.
func (d *Driver) checkDatapath(b *bridgeRow) error {
	have := Datapath(b.DatapathType)
	if have == "system" {
		have = System
	}
	if have != d.config.Datapath {
		return fmt.Errorf("%w: bridge %s has datapath_type %s, and this host is configured for datapath %s: give the bridge that one, "+
			"or configure the bridge's", dataplane.ErrUnsupported, b.Name, have, d.config.Datapath)
	}
	return nil
}

// surveyBridge makes a bridge of ours, or mends it. One that somebody else made serves as well, and
// is left as it is.
func (d *Driver) surveyBridge(c *change, name string) (end, error) {
	b := c.s.bridge(name)
	first := c.once(name)
	switch {
	case b == nil && first:
		c.add(name, "bridge with the %s datapath", d.config.Datapath)
		return end{name, c.addBridge(name, d.config.Datapath, map[string]string{keyRole: string(bridgeRole)})}, nil
	case b == nil:
		return end{name, c.added(name)}, nil
	case !first:
		return end{b.Name, b.UUID}, nil
	}
	if err := d.checkDatapath(b); err != nil {
		return end{}, err
	}
	if mode := value(b.FailMode); mode != "secure" && b.ExternalIDs[keyRole] == string(bridgeRole) {
		if mode == "" {
			mode = "standalone"
		}
		c.mend(name, "fail_mode secure, was %s", mode)
		c.set(bridgeTable, b.UUID, ovsdb.Row{"fail_mode": "secure"})
	}
	return end{b.Name, b.UUID}, nil
}

// patchNames are those of the ports between the integration bridge and a physical network's, as
// Neutron calls them; unless the integration bridge is not called as usual, for there may be
// another one.
func (c Config) patchNames(bridge string) [2]string {
	if c.Integration != defaultIntegration {
		bridge += "-" + c.Integration
	}
	return [2]string{"int-" + bridge, "phy-" + bridge}
}

// surveyPatch makes or mends a pair of patch ports between the integration bridge and another.
//
// A pair passes frames of every network until both bridges have their flows: action NORMAL of the
// integration bridge floods to it, and the other bridge may have a NORMAL of its own. So a pair is
// made closed, and opened when the flows are there. It is closed while the far end names a peer that
// does not exist: ovs-vswitchd joins ports that name each other. A bridge that the same transaction
// adds has no flows, and passes nothing.
func (c *change) surveyPatch(integration, other end, names [2]string, physical string) error {
	if c.dealt[names[1]] {
		return nil
	}
	near := newPort{name: names[0], kind: "patch", options: map[string]string{"peer": names[1]}, protected: c.protected[other.name]}
	far := newPort{name: names[1], kind: "patch", options: map[string]string{"peer": names[0]}}
	nearMark, farMark := mark{role: patchRole, bridge: integration.name, to: other.name, physical: physical}, mark{role: patchRole, bridge: other.name}
	if c.added(other.name) == "" && !(c.present(near, nearMark) && c.present(far, farMark)) {
		far.options = map[string]string{"peer": nonexistentPeer}
		if c.present(far, farMark) {
			c.mend(far.name, "closed")
		}
		c.closed = append(c.closed, names)
	}
	if err := c.surveyPlumbing(integration, near, nearMark, "patch port to bridge "+other.name); err != nil {
		return err
	}
	return c.surveyPlumbing(other, far, farMark, "patch port to bridge "+integration.name)
}

// present reports whether there is such a port of ours already.
func (c *change) present(p newPort, m mark) bool {
	have, iface := c.s.port(p.name)
	return have != nil && iface != nil && have.mark == m && iface.Type == p.kind && maps.Equal(iface.Options, p.options)
}

// nonexistentPeer is the peer of the far end of a closed pair of patch ports.
const nonexistentPeer = "nonexistent-peer"

// open writes the flows that follow from a change, and opens the pairs of patch ports that it has
// left closed. The transaction fails if anything has changed since those flows were worked out.
func (d *Driver) open(ctx context.Context, c *change) error {
	opened, err := d.commit(ctx, func(s *session) (*change, error) {
		o := newChange(s)
		if err := d.flows.replace(ctx, s, d.bridges(c)...); err != nil {
			return nil, err
		}
		for _, names := range c.closed {
			if _, i := s.port(names[1]); i != nil && i.Options["peer"] == nonexistentPeer {
				o.set(interfaceTable, i.UUID, ovsdb.Row{"options": textMap(map[string]string{"peer": names[0]})})
				o.verify = append(o.verify, names[:]...)
			}
		}
		return o, nil
	})
	if err != nil || !opened.transacts() {
		return err
	}
	if err := d.settled(ctx, opened); err != nil {
		return err
	}
	// ovs-vswitchd joins the ports in its next round, and the round after that says so.
	next, err := d.commit(ctx, func(s *session) (*change, error) {
		n := newChange(s)
		n.missing = true
		return n, nil
	})
	if err != nil {
		return err
	}
	return d.settled(ctx, next)
}

// surveyPlumbing makes or mends a port that serves whole networks.
func (c *change) surveyPlumbing(on end, p newPort, m mark, what string) error {
	if !c.once(p.name) {
		return nil
	}
	p.portIDs, p.interfaceID = m.ids(), map[string]string{keyRole: string(m.role)}
	have, iface := c.s.port(p.name)
	if have == nil && iface == nil {
		c.add(p.name, "%s on bridge %s", what, on.name)
		c.addPort(on.name, on.uuid, p)
		return nil
	}
	if have == nil || iface == nil || have.mark.role != m.role {
		return fmt.Errorf("port %s %w: it does not carry the mark %s=%s", p.name, dataplane.ErrForeign, keyRole, m.role)
	}
	if b := c.s.bridge(on.name); b == nil || !slices.Contains(b.Ports, have.UUID) {
		return fmt.Errorf("%w: port %s is not on bridge %s, where it ought to be: remove it (ovs-vsctl del-port %s)",
			dataplane.ErrHostConfig, p.name, on.name, p.name)
	}
	if have.mark != m {
		c.mend(p.name, "mark")
		c.set(portTable, have.UUID, ovsdb.Row{"external_ids": textMap(with(have.ExternalIDs, p.portIDs))})
	}
	if have.Protected != p.protected {
		c.mend(p.name, "protected %t, was %t", p.protected, have.Protected)
		c.set(portTable, have.UUID, ovsdb.Row{"protected": p.protected})
	}
	if iface.Type != p.kind || !maps.Equal(iface.Options, p.options) || !has(iface.ExternalIDs, p.interfaceID) {
		c.mend(p.name, "made with other settings")
		c.disturb()
		c.set(interfaceTable, iface.UUID, ovsdb.Row{
			"type": p.kind, "options": textMap(p.options), "external_ids": textMap(with(iface.ExternalIDs, p.interfaceID)),
		})
		c.verify = append(c.verify, p.name)
	} else if value(iface.OFPort) <= 0 {
		c.mend(p.name, "%s", idle(iface))
		c.missing = true
		c.verify = append(c.verify, p.name)
	}
	return nil
}

// idle says why an interface does nothing.
func idle(i *interfaceRow) string {
	if text := value(i.Error); text != "" {
		return "ovs-vswitchd says: " + text
	}
	return "ovs-vswitchd has not taken it up"
}

// surveyTunnels makes the tunnel ports of one type follow the list of peers.
func (d *Driver) surveyTunnels(c *change, kind dataplane.NetworkType, on end, peers []netip.Addr) error {
	stale := map[string]*port{}
	c.s.view.read(func() {
		for name, p := range c.s.view.roles[tunnelRole] {
			if p.mark.network.Type == kind && p.mark.bridge == on.name {
				stale[name] = p
			}
		}
	})
	for _, peer := range peers {
		p := d.config.Tunnel.port(kind, peer)
		delete(stale, p.name)
		m := mark{role: tunnelRole, bridge: on.name, network: dataplane.Network{Type: kind}}
		if err := c.surveyPlumbing(on, p, m, fmt.Sprintf("%s tunnel to %s", kind, peer)); err != nil {
			return err
		}
	}
	for _, p := range set(stale).sorted() {
		if c.once(p.Name) {
			c.steps = append(c.steps, wiring.Step(dataplane.Remove, p.Name, "tunnel to a host that is no peer"))
			c.removePort(on.uuid, p.UUID)
		}
	}
	return nil
}
