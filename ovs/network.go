package ovs

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/ovn-org/libovsdb/ovsdb"

	"github.com/l3kit/l3kit/dataplane"
)

// surveyNetwork says what is wrong with the bridges that a network needs, and with what joins them to each other and to other hosts.
func (d *Driver) surveyNetwork(w *work) error {
	if w.segment.direct {
		_, err := d.existing(w)
		return err
	}
	integration, err := d.surveyBridge(w, d.config.Integration)
	if err != nil {
		return err
	}
	switch {
	case w.segment.physical != "":
		physical, err := d.existing(w)
		if err != nil {
			return err
		}
		return d.surveyPatch(w, integration, physical, patchNames(w.segment.physical), w.segment.Physical)
	case w.segment.tunnel:
		tunnel, err := d.surveyBridge(w, d.config.Tunnel.Bridge)
		if err != nil {
			return err
		}
		if err := d.surveyPatch(w, integration, tunnel, [2]string{"patch-tun", "patch-int"}, ""); err != nil {
			return err
		}
		return d.surveyTunnels(w, w.segment.Type, tunnel, d.peers.get())
	}
	return nil
}

// end is a bridge for a transaction: one that is there, or one that the same transaction adds.
type end struct{ name, uuid string }

// existing looks up the bridge of a physical network.
func (d *Driver) existing(w *work) (end, error) {
	b := w.s.bridge(w.segment.physical)
	if b == nil {
		return end{}, fmt.Errorf("physical network %q: Open vSwitch has no bridge %s", w.segment.Physical, w.segment.physical)
	}
	return end{b.Name, b.UUID}, d.checkDatapath(b)
}

// checkDatapath refuses a bridge that ports of ours would not work on: devices are made for a datapath, and patch ports lead nowhere between two.
func (d *Driver) checkDatapath(b *bridgeRow) error {
	have := Datapath(b.DatapathType)
	if have == "system" {
		have = System
	}
	if have != d.config.Datapath {
		return fmt.Errorf("%w: bridge %s has datapath_type %s, and Config.Datapath is %s", dataplane.ErrUnsupported, b.Name, have, d.config.Datapath)
	}
	return nil
}

// surveyBridge makes a bridge of ours, or mends it. One that somebody else made serves as well, and is left as it is.
func (d *Driver) surveyBridge(w *work, name string) (end, error) {
	b := w.s.bridge(name)
	if b == nil {
		w.steps = append(w.steps, step(dataplane.Add, name, "bridge with the "+d.config.Datapath.String()+" datapath"))
		return end{name, w.addBridge(name, d.config.Datapath, map[string]string{keyRole: string(bridgeRole)})}, nil
	}
	if err := d.checkDatapath(b); err != nil {
		return end{}, err
	}
	if mode := value(b.FailMode); mode != "secure" && b.ExternalIDs[keyRole] == string(bridgeRole) {
		if mode == "" {
			mode = "standalone"
		}
		w.change(name, "fail_mode secure, was %s", mode)
		w.set(bridgeTable, b.UUID, ovsdb.Row{"fail_mode": "secure"})
	}
	return end{b.Name, b.UUID}, nil
}

// patchNames are those of the ports between the integration bridge and a physical network's, as Neutron calls them.
func patchNames(bridge string) [2]string { return [2]string{"int-" + bridge, "phy-" + bridge} }

// surveyPatch makes or mends a pair of patch ports between the integration bridge and another.
func (d *Driver) surveyPatch(w *work, integration, other end, names [2]string, physical string) error {
	marks := [2]mark{
		{role: patchRole, bridge: integration.name, to: other.name, physical: physical},
		{role: patchRole, bridge: other.name},
	}
	for i, on := range []end{integration, other} {
		p := newPort{name: names[i], kind: "patch", options: map[string]string{"peer": names[1-i]}}
		if err := w.surveyPlumbing(on, p, marks[i], fmt.Sprintf("patch port to bridge %s", []end{other, integration}[i].name)); err != nil {
			return err
		}
	}
	return nil
}

// surveyPlumbing makes or mends a port that serves whole networks.
func (w *work) surveyPlumbing(on end, p newPort, m mark, what string) error {
	p.portIDs, p.interfaceID = m.ids(), map[string]string{keyRole: string(m.role)}
	have, iface := w.s.port(p.name)
	if have == nil && iface == nil {
		w.add(p.name, "%s on bridge %s", what, on.name)
		w.addPort(on.name, on.uuid, p)
		return nil
	}
	if have == nil || iface == nil || have.mark.role != m.role {
		return fmt.Errorf("port %s %w: it does not carry the mark %s=%s", p.name, dataplane.ErrForeign, keyRole, m.role)
	}
	if b := w.s.bridge(on.name); b == nil || !slices.Contains(b.Ports, have.UUID) {
		return fmt.Errorf("port %s is not on bridge %s, where it ought to be: remove it (ovs-vsctl del-port %s)", p.name, on.name, p.name)
	}
	if have.mark != m {
		w.change(p.name, "mark")
		w.set(portTable, have.UUID, ovsdb.Row{"external_ids": textMap(with(have.ExternalIDs, p.portIDs))})
	}
	if iface.Type != p.kind || !maps.Equal(iface.Options, p.options) || !has(iface.ExternalIDs, p.interfaceID) {
		w.change(p.name, "made with other settings")
		w.disturb()
		w.set(interfaceTable, iface.UUID, ovsdb.Row{
			"type": p.kind, "options": textMap(p.options), "external_ids": textMap(with(iface.ExternalIDs, p.interfaceID)),
		})
		w.verify = append(w.verify, p.name)
	} else if value(iface.OFPort) <= 0 {
		w.change(p.name, "%s", idle(iface))
		w.missing = true
		w.verify = append(w.verify, p.name)
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
func (d *Driver) surveyTunnels(w *work, kind dataplane.NetworkType, on end, peers []netip.Addr) error {
	stale := map[string]*port{}
	w.s.view.read(func() {
		for name, p := range w.s.view.roles[tunnelRole] {
			if p.mark.network.Type == kind && p.mark.bridge == on.name {
				stale[name] = p
			}
		}
	})
	for _, peer := range peers {
		p := d.config.Tunnel.port(kind, peer)
		delete(stale, p.name)
		m := mark{role: tunnelRole, bridge: on.name, network: dataplane.Network{Type: kind}}
		if err := w.surveyPlumbing(on, p, m, fmt.Sprintf("%s tunnel to %s", kind, peer)); err != nil {
			return err
		}
	}
	for _, p := range set(stale).sorted() {
		w.steps = append(w.steps, step(dataplane.Remove, p.Name, "tunnel to a host that is no peer"))
		w.removePort(on.uuid, p.UUID)
	}
	return nil
}
